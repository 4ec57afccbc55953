"""Ranges of activations, one way to find them a file: from where to where values are rounded, and not cut off."""

from __future__ import annotations

from .base import Ranges
from .entropy import Entropy
from .minmax import MinMax
from .mse import Mse
from .percentile import Percentile
from .registry import RANGES as RANGES

__all__ = ["Entropy", "MinMax", "Mse", "Percentile", "Ranges"]
