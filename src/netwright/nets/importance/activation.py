"""Activations: what the channels carry on data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..axes import Width
from ..axes.width import ChannelSlice
from ..inputs import call, evaluating, fresh, tensors_in
from ..isolation import isolated
from ..recalibrate import calibration_inputs
from ..supernet import SuperNet
from .base import Criterion, by_channel, given_batches, in_turns, readers, scaled
from .magnitude import magnitude


class Activation(Criterion):
    """The norm of a channel's activations times that of the weights that read them (Sun et al. 2023, "Wanda",
    equation 1, for whole channels).

    Args:
        batches: inputs, or tuples whose first entry is the input; a few hundred examples are enough.
    """

    def __init__(self, batches: Iterable[Any]) -> None:
        self.batches = given_batches(batches, "Activation")

    def scores(self, net: SuperNet, widths: Sequence[Width]) -> list[Tensor]:
        return _activations(net, widths, self.batches)


@torch.no_grad()
def _activations(net: SuperNet, widths: Sequence[Width], batches: list[Any]) -> list[Tensor]:
    index = net.index
    squares: dict[str, Tensor] = {}
    dims = {path: dim for width in widths for path, _, dim in readers(index, width)}

    def watch(path: str) -> Callable[[nn.Module, Any], None]:
        def hook(module: nn.Module, arguments: Any) -> None:
            activity = next(tensors_in(arguments)).detach().double().movedim(dims[path], 0).flatten(1).square().sum(1)
            squares[path] = squares.get(path, 0) + activity.cpu()

        return hook

    with isolated(net.module), evaluating(net.module):  # which takes the hooks away again, too
        for path in dims:
            index.modules[path].register_forward_pre_hook(watch(path))
        for batch, module in in_turns(net, batches):
            call(module, fresh(calibration_inputs(net, batch)))
    scores = []
    for width in widths:
        total = torch.zeros(width.channels, dtype=torch.float64)
        for path, slot, _ in readers(index, width):
            if path in squares:
                columns = index.tensor(slot.tensor).detach().double().movedim(slot.dim, 0).flatten(1).square()
                each = squares[path] * columns.sum(1).cpu()
                total += scaled(
                    by_channel(each, ChannelSlice(slot.tensor, 0, slot.offset, slot.block), width.channels).sum(1)
                )
        scores.append(total if total.any() else magnitude(index, width, 2))
    return scores
