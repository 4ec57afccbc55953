"""The cut that keeps most of what the channels are worth within a budget."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from ...core.candidate import Candidate
from ...core.errors import NetError
from ..supernet import SuperNet


def prune_to_budget(net: SuperNet, worth: Mapping[str, Tensor], macs: float) -> Candidate:
    """The candidate of at most ``macs`` multiply-accumulates whose widths keep most of what their channels are worth.

    From the whole network on, the step to a lower option is taken that gives up the least worth for the MACs that it
    saves. Axes that are not in ``worth`` stay whole.

    Args:
        net: the sorted super-network.
        worth: what :func:`sort_channels` returned.
        macs: the limit, for the example inputs.

    Raises :class:`NetError` when the narrowest widths cost more.
    """
    if not macs > 0:
        raise NetError(f"macs is a number of multiply-accumulates, more than 0, not {macs!r}")
    options = {axis.name: axis.options for axis in net.axes if axis.name in worth}
    best, now = net.largest, net.count(net.largest).macs
    while now > macs:
        steps: list[tuple[float, int, Candidate]] = []
        for name, own in options.items():
            at = own.index(best[name]) if name in best else 0  # a width within an expert goes with it
            if at:
                lower = net.space.candidate({**best, name: own[at - 1]})
                left = net.count(lower).macs
                given_up = float(worth[name][own[at - 1] : own[at]].sum())
                steps.append((given_up / max(now - left, 1), left, lower))
        if not steps:
            raise NetError(f"with its widths at their narrowest the network has {now:g} MACs, more than {macs:g}")
        _, now, best = min(steps, key=lambda step: step[0])
    return best
