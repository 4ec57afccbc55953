"""Ranks that training finds: linear layers as products of bases and a small matrix between them, truncated each step.

DLRT (Schotthöfer et al. 2022, "Low-rank lottery tickets: finding efficient low-rank neural networks via matrix
differential equations", arXiv 2205.13571, algorithm 1). A weight is ``U S Vᵀ``. A step moves ``K = U S`` and
``L = V Sᵀ`` along their gradients, takes what these and the bases before span for new bases, moves ``S`` between those,
and drops the singular values of ``S`` whose root of the sum of squares is at most a share of all. Steps do not suffer
from small singular values, as those of two thin factors do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...core.errors import NetError
from ..axes.rank import Factorised, pays_below, rank_within, why_not
from ..cut import ModuleIndex
from .same import matching


class DynamicLinear(nn.Module):
    """A linear layer whose weight is ``left @ middle @ right.T``, with orthonormal columns left and right.

    Args:
        layer: what it computes at first.
    """

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        u, s, v = torch.linalg.svd(layer.weight.detach().double(), full_matrices=False)
        self.left, self.middle, self.right = (nn.Parameter(t.to(layer.weight)) for t in (u, s.diag(), v.T.contiguous()))
        self.bias = layer.bias
        self.moving: tuple[Tensor, Tensor] | None = None

    def forward(self, x: Tensor) -> Tensor:
        plain = F.linear(F.linear(x @ self.right, self.middle), self.left, self.bias)
        if self.moving is None:
            return plain
        first, second = self.moving
        both = F.linear(x @ self.right, first, self.bias) + F.linear(x @ second, self.left, self.bias)
        return both - plain  # thrice the same, so that the gradient of the input is right

    @property
    def rank(self) -> int:
        return self.middle.shape[0]

    @torch.no_grad()
    def two(self) -> Factorised:
        """The two layers that it is, as :func:`netwright.factorise` makes them."""
        u, s, v = torch.linalg.svd(self.middle.double())
        root = s.sqrt()
        first = nn.Linear(self.right.shape[0], self.rank, bias=False)
        second = nn.Linear(self.rank, self.left.shape[0], self.bias is not None)
        first.weight = nn.Parameter((root[:, None] * v @ self.right.double().T).to(self.middle))
        second.weight = nn.Parameter((self.left.double() @ u * root).to(self.middle))
        if self.bias is not None:
            second.bias = self.bias
        return Factorised(first, second).train(self.training)

    def folded(self) -> nn.Module:
        """Two layers, or one where the two cost no less."""
        return self.two().folded()


class DynamicRanks:
    """Linear layers of a network whose ranks are found in training, in place.

    At first each has its full rank, and the network computes what it computed. Call :meth:`step` for every batch, then
    :meth:`finish`; after that ``wrap(..., axes=["rank"])`` finds the ranks from there down.

    Args:
        module: the network; layers whose weight something reads by itself or shares are left as they are.
        tolerance: the share of a weight (root of the sum of squares of its singular values) that a step may drop.
        rate: the learning rate of the layers' weights.
        only, except_: patterns of module paths of the layers.

    Raises :class:`NetError` where no layer is left.
    """

    def __init__(
        self,
        module: nn.Module,
        tolerance: float = 0.1,
        rate: float = 0.1,
        only: Iterable[str] = ("*",),
        except_: Iterable[str] = (),
    ) -> None:
        index = ModuleIndex(module)
        matched = matching(index, only, except_)
        if not 0 <= tolerance < 1 or not rate > 0:
            raise NetError(
                f"tolerance= is a share from 0 to below 1 and rate= a number above 0, not {tolerance!r} and {rate!r}"
            )
        self.module, self.tolerance, self.rate = module, tolerance, rate
        self.layers: dict[str, DynamicLinear] = {}
        for path in matched:
            layer = index.modules[path]
            if type(layer) is nn.Linear and not why_not(index, path):
                self.layers[path] = DynamicLinear(layer)
        if not self.layers:
            raise NetError("no linear layer that stands alone is left to find a rank of; see only= and except_=")
        self._put(self.layers)

    @property
    def ranks(self) -> dict[str, int]:
        """The ranks by the layers' paths."""
        return {path: layer.rank for path, layer in self.layers.items()}

    def parameters(self) -> Iterator[nn.Parameter]:
        """All that :meth:`step` leaves to an optimizer: biases, norms, other layers."""
        own = {id(t) for layer in self.layers.values() for t in (layer.left, layer.middle, layer.right)}
        return (p for p in self.module.parameters() if id(p) not in own)

    def step(self, loss: Callable[[], Tensor], optimizer: torch.optim.Optimizer | None = None) -> float:
        """One step of all layers, for which the loss is computed twice.

        Args:
            loss: computes it on one batch, the same both times.
            optimizer: of the other parameters (:meth:`parameters`); they stay as they are without one.

        Returns:
            The loss before the step.
        """
        layers = list(self.layers.values())
        for layer in layers:
            layer.moving = tuple(t.detach().requires_grad_() for t in _halves(layer))  # type: ignore[assignment]
        try:
            value = loss()
            moving = [t for layer in layers for t in layer.moving or ()]
            gradients = iter(torch.autograd.grad(value, moving))
            for layer in layers:
                _span(layer, *(t.detach() - self.rate * next(gradients) for t in layer.moving or ()))
        finally:
            for layer in layers:
                layer.moving = None
        if optimizer:
            optimizer.zero_grad()
        loss().backward()
        for layer in layers:
            _truncate(layer, self.rate, self.tolerance)
        if optimizer:
            optimizer.step()
        return float(value.detach())

    def finish(self) -> dict[str, int]:
        """Make two layers of each whose rank pays, and one again of the others; returns the ranks of the former."""
        made: dict[str, nn.Module] = {}
        found: dict[str, int] = {}
        for path, layer in self.layers.items():
            pays = layer.rank < pays_below((layer.left.shape[0], layer.right.shape[0]))
            made[path] = layer.two() if pays else layer.folded()
            if pays:
                found[path] = layer.rank
        self._put(made)
        return found

    def _put(self, made: Any) -> None:
        for path, layer in made.items():
            parent, _, own = path.rpartition(".")
            self.module.get_submodule(parent)._modules[own] = layer


@torch.no_grad()
def _halves(layer: DynamicLinear) -> tuple[Tensor, Tensor]:
    return layer.left @ layer.middle, layer.right @ layer.middle.T


@torch.no_grad()
def _span(layer: DynamicLinear, first: Tensor, second: Tensor) -> None:
    """New bases that span the moved halves and the old bases; the weight stays what it is."""
    left, right = (torch.linalg.qr(torch.cat(pair, 1)).Q for pair in ((first, layer.left), (second, layer.right)))
    middle = (left.T @ layer.left) @ layer.middle @ (layer.right.T @ right)
    layer.left, layer.middle, layer.right = (nn.Parameter(t) for t in (left, middle, right))


@torch.no_grad()
def _truncate(layer: DynamicLinear, rate: float, tolerance: float) -> None:
    """Move the matrix in the middle, and keep the singular directions that matter."""
    assert layer.middle.grad is not None
    u, s, v = torch.linalg.svd(layer.middle - rate * layer.middle.grad, full_matrices=False)
    rank = rank_within(s, tolerance)
    left, right = layer.left @ u[:, :rank], layer.right @ v[:rank].T
    layer.left, layer.middle, layer.right = (nn.Parameter(t) for t in (left, s[:rank].diag(), right))
