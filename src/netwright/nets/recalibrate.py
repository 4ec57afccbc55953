"""Normalisation statistics of a sub-network: those of the shared weights are nobody's."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..core.errors import NetError
from .inputs import call, inputs_of
from .layout import channels_last


def needs_recalibration(network: nn.Module) -> bool:
    """Whether the network holds running statistics."""
    return any(isinstance(m, _BatchNorm) and m.track_running_stats for m in network.modules())


@torch.no_grad()
def recalibrate(network: nn.Module, batches: Iterable[Any]) -> nn.Module:
    """Replace the running statistics of batch normalisation by the average over ``batches``, in place.

    Everything else (dropout among it) is in evaluation mode meanwhile. Yu and Huang, "Universally slimmable
    networks" (2019), section 3.3, find that one pass over a thousand images is enough.

    Args:
        network: left in evaluation mode.
        batches: inputs, or tuples whose first entry is the input; see :func:`netwright.nets.inputs.inputs_of`.
    """
    norms = [m for m in network.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    network.eval()
    if not norms:
        return network
    remaining = iter(batches)
    first = next(remaining, None)
    if first is None:
        raise NetError("there are no batches to recalibrate with; is the loader used up?")
    momenta = [m.momentum for m in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain average over the batches
        norm.train()
    try:
        with channels_last(network):
            for batch in chain([first], remaining):
                call(network, inputs_of(batch))
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
            norm.eval()
    return network
