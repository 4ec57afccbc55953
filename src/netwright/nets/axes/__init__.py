"""Axes: one way of cutting per file."""

from .base import Axis, fractions
from .depth import Depth
from .kernel import Kernel
from .width import Slot, Width

__all__ = ["Axis", "Depth", "Kernel", "Slot", "Width", "fractions"]
