"""Fisher: how large the gradients are."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from ..importance.base import examples_in, given_batches
from ..importance.taylor import BatchLoss, loss_of, projected
from ..inputs import call, evaluating, fresh, requiring_grad
from ..isolation import isolated
from ..recalibrate import calibration_inputs
from ..supernet import SuperNet
from .base import Scores, Sensitivity, by_curvature, weights_of


class Fisher(Sensitivity):
    """Squared gradients of each weight times its squared rounding error: the diagonal of the empirical Fisher
    information, which costs one backward pass for each batch (Zandonati et al. 2022, "FIT", arXiv 2210.08502, has its
    trace). Inputs of layers count as not rounded.

    The gradient of a batch stands for those of its examples: batches of one example are exact, larger ones are right
    where the mean gradient is 0, as it is when training has converged.

    Args:
        batches: inputs, or batches with targets where the loss wants them; some hundred examples.
        loss: of an output and its batch, the mean over its examples; None: random projections of the outputs, which
            needs no targets.
    """

    def __init__(self, batches: Iterable[Any], loss: BatchLoss | None = None) -> None:
        self.batches, self.loss = given_batches(batches, "Fisher"), loss

    def scores(self, net: SuperNet) -> Scores:
        return by_curvature(net, self.information(net))

    @torch.enable_grad()
    def information(self, net: SuperNet) -> dict[str, Tensor]:
        """The mean squared gradient of every weight of a layer, in its shape, by the layer's path."""
        weights = weights_of(net)
        found = {path: torch.zeros_like(weight, dtype=torch.float64) for path, weight in weights.items()}
        generator = torch.Generator().manual_seed(0)
        with requiring_grad(weights.values()), isolated(net.module), evaluating(net.module):
            for batch in self.batches:
                inputs = calibration_inputs(net, batch)
                output = call(net.module, fresh(inputs))
                count = examples_in(inputs)
                loss = loss_of(self.loss, output, batch) if self.loss else projected(output, generator) / count
                gradients = torch.autograd.grad(loss, list(weights.values()), allow_unused=True)
                for path, gradient in zip(weights, gradients, strict=True):
                    if gradient is not None:
                        found[path] += gradient.double().square() * count / len(self.batches)
        return found
