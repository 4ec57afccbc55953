"""Axes: one way of cutting per file."""

from .attribute import Attribute
from .base import Axis, fractions
from .bits import Bits
from .depth import Depth
from .experts import Experts
from .heads import Heads
from .kernel import Kernel, add_transforms
from .oneof import OneOf
from .parts import Part, Parts
from .rank import Rank, factorise
from .relative_width import RelativeWidth
from .resolution import Resize, Resolution
from .route import Route
from .tied_axes import TiedAxes
from .width import ChannelSlice, Width

__all__ = [
    "Attribute",
    "Axis",
    "Bits",
    "ChannelSlice",
    "Depth",
    "Experts",
    "Heads",
    "Kernel",
    "OneOf",
    "Part",
    "Parts",
    "Rank",
    "RelativeWidth",
    "Resize",
    "Resolution",
    "Route",
    "TiedAxes",
    "Width",
    "add_transforms",
    "factorise",
    "fractions",
]
