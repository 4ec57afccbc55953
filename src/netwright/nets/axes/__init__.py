"""Axes: one way of cutting per file."""

from .base import Axis, fractions
from .depth import Depth
from .experts import Experts
from .heads import Heads
from .joint import Joint
from .kernel import Kernel, add_transforms
from .rank import Rank, factorise
from .resolution import Resize, Resolution
from .setting import Setting
from .share import Share
from .width import Slot, Width

__all__ = [
    "Axis",
    "Depth",
    "Experts",
    "Heads",
    "Joint",
    "Kernel",
    "Rank",
    "Resize",
    "Resolution",
    "Setting",
    "Share",
    "Slot",
    "Width",
    "add_transforms",
    "factorise",
    "fractions",
]
