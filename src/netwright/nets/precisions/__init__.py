"""Precisions of single layers, one a file: how many bits weights and activations have, and how they are rounded."""

from __future__ import annotations

from .base import Precision
from .binary import Binary
from .float32 import Float32
from .int4 import Int4
from .int8 import Int8
from .registry import PRECISIONS as PRECISIONS
from .ternary import Ternary
from .uniform import Uniform

__all__ = ["Binary", "Float32", "Int4", "Int8", "Precision", "Ternary", "Uniform"]
