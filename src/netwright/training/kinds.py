"""The kinds of choices of a super-network, as rules of training tell them apart."""

from __future__ import annotations

from typing import Literal

from ..nets.axes import Attribute, Axis, Kernel, OneOf, Route
from ..nets.supernet import SuperNet

Kind = Literal["free", "kernel", "depth", "width"]
"""``free``: the options share no weights (modules of a menu), or hold the same (an image's resolution); ``depth``: what
runs; ``width``: how much of it stays, which all else counts as."""


def kinds_of(net: SuperNet) -> dict[str, Kind]:
    """The kind of every choice, by its name."""
    return {axis.name: _kind(axis) for axis in net.axes}


def _kind(axis: Axis) -> Kind:
    members = [*axis.members()]
    if all(isinstance(member, OneOf | Route | Attribute) for member in members):
        return "free"
    if any(member.skipped_modules() for member in members):
        return "depth"
    return "kernel" if any(isinstance(member, Kernel) for member in members) else "width"
