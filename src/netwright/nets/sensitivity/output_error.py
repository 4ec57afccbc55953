"""Output error: how far the outputs move."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from ...core.candidate import Option
from ...core.errors import NetError
from ..importance.base import given_batches
from ..inputs import call, evaluating, fresh, tensors_in
from ..isolation import isolated
from ..precisions.registry import FLOAT32
from ..recalibrate import calibration_inputs
from ..supernet import SuperNet
from .base import Scores, Sensitivity, bits_axes

Distance = Literal["squared", "kl"]


class OutputError(Sensitivity):
    """How far the outputs are from those of float32 where one axis alone has fewer bits, weights and inputs of its
    layers: one run of the batches for each option of each axis.

    With ``distance="kl"`` it is the sensitivity of ZeroQ (Cai et al. 2020, arXiv 2001.00281): the mean Kullback-Leibler
    divergence of the classes' probabilities. Inputs that are not real ones may be distilled:
    :func:`netwright.distil_inputs`.

    Args:
        batches: inputs, or tuples whose first entry is the input; 16 to 64 examples are enough.
        distance: ``squared``, relative to the squares of the outputs; or ``kl``, of the softmax over the last
            dimension.
    """

    def __init__(self, batches: Iterable[Any], distance: Distance = "squared") -> None:
        self.batches, self.distance = given_batches(batches, "OutputError"), distance

    def scores(self, net: SuperNet) -> Scores:
        axes = bits_axes(net)
        whole = self._outputs(net, {})
        return Scores({
            axis.name: {
                option: 0.0 if option == FLOAT32 else self._far(self._outputs(net, {axis.name: option}), whole)
                for option in axis.options
            }
            for axis in axes
        })  # fmt: skip

    @torch.no_grad()
    def _outputs(self, net: SuperNet, options: dict[str, Option]) -> list[Tensor]:
        found = []
        with net.active(net.largest_with(options)) as module, isolated(module), evaluating(module):
            for batch in self.batches:
                output = call(module, fresh(calibration_inputs(net, batch)))
                found += [t.float() for t in tensors_in(output) if t.is_floating_point()]
        return found

    def _far(self, got: list[Tensor], wanted: list[Tensor]) -> float:
        each = []
        for mine, theirs in zip(got, wanted, strict=True):
            if self.distance == "kl":
                if theirs.dim() < 2:
                    raise NetError(
                        f"OutputError: an output of shape {tuple(theirs.shape)} has no classes along its last "
                        'dimension, which distance="kl" compares; take "squared"'
                    )
                got_logs, logs = (F.log_softmax(t, -1).flatten(0, -2) for t in (mine, theirs))
                each.append(float(F.kl_div(got_logs, logs, reduction="batchmean", log_target=True)))
            else:
                each.append(float((mine - theirs).square().sum() / theirs.square().sum().clamp_min(1e-30)))
        return max(0.0, sum(each) / len(each))
