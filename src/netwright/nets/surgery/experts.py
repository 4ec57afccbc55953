"""Experts: a dense feed-forward network as several, of which a router chooses."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ...core.errors import NetError, format_error
from ..cut import ModuleIndex
from ..importance.base import given_batches
from ..inputs import call, evaluating, fresh, tensors_in
from ..isolation import isolated
from ..layers import attributes, is_transposed_linear
from ..paths import join
from ..recalibrate import calibration_inputs

ROUNDS = 10
"""Of the clustering: it seldom changes after half of them."""

MOST = 4096
"""Tokens that experts are found by."""


class ExpertMixture(nn.Module):
    """Experts whose results are added, and a router that chooses some of them for each token.

    Args:
        router: gives a score for each expert.
        experts: the experts, the most active first.
        bias: what is added once, whichever of them run.

    Attributes:
        active: how many run for a token: those of the highest scores. All, until it is set: then nothing is routed.
        free, free_router: experts that cost next to nothing, and what scores them: see :func:`add_free_experts`.
    """

    free_router: nn.Linear | None

    def __init__(self, router: nn.Linear, experts: Sequence[nn.Module], bias: nn.Parameter | None = None) -> None:
        super().__init__()
        self.bias = bias
        self.router, self.experts = router, nn.ModuleList(experts)
        self.active = len(experts)
        self.free, self.free_router = nn.ModuleList(), None

    def forward(self, x: Tensor) -> Tensor:
        """The sum of what the chosen experts make of each token; (..., channels)."""
        count = self.router.weight.shape[0]  # a sub-network has fewer
        if self.active >= count:
            total = self.experts[0](x)
            for expert in self.experts[1:count]:
                total = total + expert(x)
            return total if self.bias is None else total + self.bias
        rows = x.reshape(-1, x.shape[-1])
        experts, scores = [*self.experts[:count], *self.free], self.scores(rows)
        chosen = torch.zeros_like(scores).scatter(1, scores.topk(self.active, 1).indices, 1.0)
        if self.training:  # 1, with the gradient of the router's share
            share = scores.softmax(1)
            chosen = chosen * (1 + share - share.detach())
        total = torch.zeros_like(rows)
        for expert, gate in zip(experts, chosen.unbind(1), strict=True):
            at = gate.nonzero().squeeze(1)
            total = total.index_add(0, at, expert(rows[at]) * gate[at, None])
        return (total if self.bias is None else total + self.bias).reshape(x.shape)

    def scores(self, rows: Tensor) -> Tensor:
        """Of all experts for tokens (tokens, channels); the free ones last."""
        own = self.router(rows)
        return own if self.free_router is None else torch.cat([own, self.free_router(rows)], 1)


@torch.no_grad()
def to_experts(module: nn.Module, ffn: str, count: int, batches: Iterable[Any]) -> None:
    """Split a dense feed-forward network into experts, in place, by which of its neurons are active together (Cai et
    al. 2024, "Read-ME"; Zhang et al. 2022, "MoEfication", for clusters of one size).

    All experts together compute what the network did. A router, fitted by least squares to how active each expert is,
    chooses for each token once ``module.get_submodule(ffn).active`` is less than all; it is trained with the rest. How
    many experts a network has at all is an axis: ``Experts.of(module, name, options, router=f"{ffn}.router",
    experts=f"{ffn}.experts")``.

    Args:
        module: the network, changed in place and put into evaluation mode.
        ffn: path of the feed-forward network: layers that make its neurons of what it is given (one, or two where one
            gates the other) and one that reads them.
        count: number of experts; the neurons are shared out evenly.
        batches: inputs, or tuples whose first entry is the input; a few hundred examples are enough.

    Raises :class:`NetError` for what is no such network, and for a number of experts that does not fit.
    """
    index = ModuleIndex(module.eval())
    whole = index.module(ffn)
    makes, reads = neuron_layers(whole, ffn)
    neurons = _sizes(whole.get_submodule(reads))[0]
    if type(count) is not int or not 2 <= count <= neurons or neurons % count:
        raise NetError(
            f"count= is a number of experts from 2 that divides the {neurons} neurons of {ffn}, not {count!r}"
        )
    given, active = _activity(index, ffn, reads, given_batches(batches, "to_experts"))
    groups = _clusters(active, count)
    experts = [_expert(whole, makes, reads, group) for group in groups]
    router = _router(given, torch.stack([active[:, g].abs().mean(1) for g in groups], 1))
    added: Any = whole.get_submodule(reads).bias
    bias = None if added is None else nn.Parameter(added.clone(), added.requires_grad)
    made = ExpertMixture(router, experts, bias)
    _check_same(whole, made, given, ffn)
    parent, own = index.parent(ffn)
    parent._modules[own] = made.to(given.device, given.dtype).train(whole.training)


def neuron_layers(whole: nn.Module, ffn: str) -> tuple[tuple[str, ...], str]:
    """The layers that make the neurons, and the one that reads them."""
    layers = {p: m for p, m in whole.named_modules() if isinstance(m, nn.Linear) or is_transposed_linear(m)}
    others = [p for p, m in whole.named_modules() if p not in layers and m._parameters]
    sizes = {p: _sizes(layer) for p, layer in layers.items()}
    for reads, (neurons, channels) in reversed(sizes.items()):  # which is defined last, as a rule
        makes = tuple(p for p in sizes if p != reads)
        if makes and len(makes) < 3 and not others and all(sizes[p] == (channels, neurons) for p in makes):
            return makes, reads
    held = ", ".join(f"{p} {a} to {b}" for p, (a, b) in sizes.items()) or "no linear layers"
    raise NetError(
        f"{ffn} is no feed-forward network that could be split: looked for one or two linear layers that make neurons "
        f"of what it is given, one that reads them, and no other weights; it has {held}{' and ' * bool(others)}"
        f"{', '.join(p or type(whole).__name__ for p in others)}"
    )


def neuron_dim(layer: nn.Module, reads: bool) -> int:
    """The dimension of a layer's weight that holds the neurons, which the layer reads or makes."""
    return int(reads != is_transposed_linear(layer))


def _sizes(layer: Any) -> tuple[int, int]:
    """Inputs and outputs."""
    rows, columns = layer.weight.shape
    return (rows, columns) if is_transposed_linear(layer) else (columns, rows)


def _activity(index: ModuleIndex, ffn: str, reads: str, batches: list[Any]) -> tuple[Tensor, Tensor]:
    """What the feed-forward network is given, (tokens, channels), and its neurons, (tokens, neurons)."""
    given, active = _seen(index, [ffn, join(ffn, reads)], batches)
    return given, active


def given_to(index: ModuleIndex, path: str, batches: list[Any]) -> Tensor:
    """What a module is given, of some tokens: (tokens, channels)."""
    return _seen(index, [path], batches)[0]


def _seen(index: ModuleIndex, paths: Sequence[str], batches: list[Any]) -> list[Tensor]:
    """The same tokens of what modules are given, each (tokens, channels)."""
    seen: list[list[Tensor]] = [[] for _ in paths]
    with isolated(index.root), evaluating(index.root):
        for found, path in zip(seen, paths, strict=True):
            index.modules[path].register_forward_pre_hook(_keeps(found), with_kwargs=True)
        for batch in batches:
            call(index.root, fresh(calibration_inputs(index.root, batch)))
    if not seen[0]:
        raise NetError(f"{paths[0]} does not run on the batches, which have to tell what it is given")
    tokens = [torch.cat(found) for found in seen]
    some = torch.linspace(0, len(tokens[0]) - 1, min(MOST, len(tokens[0]))).long()
    return [each[some] for each in tokens]


def _keeps(found: list[Tensor]) -> Callable[..., None]:
    def hook(module: nn.Module, args: Any, kwargs: Any) -> None:
        given = next(tensors_in((args, kwargs)))
        found.append(given.reshape(-1, given.shape[-1]).clone())

    return hook


def _clusters(active: Tensor, count: int) -> list[Tensor]:
    """Groups of neurons of one size that are active together, the most active first, each in ascending order."""
    from scipy.optimize import linear_sum_assignment

    features = nn.functional.normalize(active.double().abs().T - active.double().abs().mean(0)[:, None], dim=1)
    size = len(features) // count
    order = active.double().abs().mean(0).argsort(descending=True)
    centres = features[order[::size][:count]]
    group = np.zeros(len(features), dtype=np.int64)
    for _ in range(ROUNDS):
        alike = (features @ centres.T).repeat_interleave(size, 1).numpy()
        now = linear_sum_assignment(alike, maximize=True)[1] // size
        if (now == group).all():
            break
        group = now
        centres = torch.stack([features[torch.from_numpy(group == g)].mean(0) for g in range(count)])
    groups = [torch.from_numpy(np.flatnonzero(group == g)) for g in range(count)]
    return sorted(groups, key=lambda g: -float(active[:, g].abs().mean()))


def _expert(whole: nn.Module, makes: Sequence[str], reads: str, group: Tensor) -> nn.Module:
    """The feed-forward network with some of its neurons, and without what is added whichever they are."""
    expert = copy.deepcopy(whole)
    for path, side in (*((p, "makes") for p in makes), (reads, "reads")):
        layer: Any = expert.get_submodule(path)
        own = layer.weight.index_select(neuron_dim(layer, side == "reads"), group)
        layer.weight = nn.Parameter(own, layer.weight.requires_grad)
        if side == "makes" and layer.bias is not None:
            layer.bias = nn.Parameter(layer.bias[group], layer.bias.requires_grad)
        if side == "reads" and layer.bias is not None:
            layer.bias = None if isinstance(layer, nn.Linear) else nn.Parameter(torch.zeros_like(layer.bias))
        vars(layer).update(attributes(layer, {"weight": tuple(layer.weight.shape)}))
    return expert


def _router(given: Tensor, activity: Tensor) -> nn.Linear:
    """Scores that follow how active each expert is, by least squares."""
    columns = torch.cat([given, torch.ones_like(given[:, :1])], 1).double()
    ridge = 1e-3 * columns.square().mean() * len(columns) * torch.eye(columns.shape[1], dtype=torch.double)
    solved = torch.linalg.solve(columns.T @ columns + ridge, columns.T @ activity.double())
    router = nn.Linear(given.shape[1], activity.shape[1])
    router.weight.copy_(solved[:-1].T)
    router.bias.copy_(solved[-1])
    return router


def _check_same(whole: nn.Module, made: ExpertMixture, given: Tensor, ffn: str) -> None:
    try:
        wanted, got = whole(given), made.to(given.device, given.dtype)(given)
    except Exception as error:
        raise NetError(f"{ffn} does not run on some of its neurons alone: {format_error(error)}") from error
    if not isinstance(wanted, Tensor) or (wanted - got).abs().max() > 1e-4 * wanted.abs().max():
        raise NetError(
            f"{ffn} is no sum over its neurons: something in it mixes them (a norm, a softmax); it stays dense"
        )
