"""Hessian: how curved the loss is."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from ...core.errors import NetError
from ..importance.base import given_batches
from ..importance.taylor import BatchLoss, loss_of
from ..inputs import call, evaluating, fresh, requiring_grad, tensors_in
from ..isolation import isolated
from ..recalibrate import calibration_inputs
from ..supernet import SuperNet
from .base import Scores, Sensitivity, by_curvature, weights_of


class Hessian(Sensitivity):
    """The mean trace of the Hessian of a layer's weights times the squared rounding error of these (Dong et al. 2019,
    "HAWQ-V2", arXiv 1911.03852), the trace estimated by products with random signs (Hutchinson). Inputs of layers count
    as not rounded.

    Args:
        batches: inputs, or batches with targets where the loss wants them; some hundred examples.
        loss: of an output and its batch, differentiable twice; None: half the squared distance of the outputs to what
            they are, relative to their squares, which needs no targets.
        draws: how many vectors of random signs.
        seed: of these.
    """

    def __init__(self, batches: Iterable[Any], loss: BatchLoss | None = None, draws: int = 16, seed: int = 0) -> None:
        self.batches, self.loss = given_batches(batches, "Hessian"), loss
        self.draws, self.seed = draws, seed
        if draws < 1:
            raise NetError(f"Hessian: draws must be 1 or more, not {draws}")

    def scores(self, net: SuperNet) -> Scores:
        traces = self.traces(net)
        sizes = {path: weight.numel() for path, weight in weights_of(net).items()}
        return by_curvature(net, {path: torch.tensor(trace / sizes[path]) for path, trace in traces.items()})

    @torch.enable_grad()
    def traces(self, net: SuperNet) -> dict[str, float]:
        """The trace of the Hessian of each layer's weight, by the layer's path: the mean over batches."""
        weights = weights_of(net)
        found = dict.fromkeys(weights, 0.0)
        generator = torch.Generator().manual_seed(self.seed)
        with requiring_grad(weights.values()), isolated(net.module), evaluating(net.module):
            for batch in self.batches:
                output = call(net.module, fresh(calibration_inputs(net, batch)))
                loss = loss_of(self.loss, output, batch) if self.loss else _to_itself(output)
                for path, trace in _hutchinson(loss, weights, self.draws, generator).items():
                    found[path] += trace / len(self.batches)
        return found


def _to_itself(output: Any) -> Tensor:
    """Half the squared distance of outputs to what they are: its Hessian is that of Gauss and Newton."""
    terms = []
    for t in tensors_in(output):
        if t.is_floating_point() and t.requires_grad:
            fixed = t.detach()
            terms.append(0.5 * (t - fixed).square().sum() / fixed.square().sum().clamp_min(1e-30))
    if not terms:
        raise NetError("Hessian: no output of the network depends on its weights")
    return torch.stack(terms).sum()


def _hutchinson(loss: Tensor, weights: dict[str, Tensor], draws: int, generator: torch.Generator) -> dict[str, float]:
    """Of each weight, the mean of v'Hv over vectors v of random signs: its expectation is the trace."""
    names, tensors = list(weights), list(weights.values())
    gradients = torch.autograd.grad(loss, tensors, create_graph=True, allow_unused=True)
    used = [(n, w, g) for n, w, g in zip(names, tensors, gradients, strict=True) if g is not None and g.requires_grad]
    found = dict.fromkeys(names, 0.0)
    for draw in range(draws if used else 0):
        signs = [(torch.randint(0, 2, w.shape, generator=generator) * 2.0 - 1.0).to(w) for _, w, _ in used]
        products = torch.autograd.grad(
            [g for _, _, g in used], [w for _, w, _ in used], signs, retain_graph=draw + 1 < draws, allow_unused=True
        )
        for (name, _, _), v, product in zip(used, signs, products, strict=True):
            if product is not None:
                found[name] += float((v * product).double().sum()) / draws
    return {name: max(0.0, trace) for name, trace in found.items()}
