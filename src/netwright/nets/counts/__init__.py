"""Exact counts of candidates, from a table of sizes."""

from .counter import Counter
from .result import Counts, ManyCounts

__all__ = ["Counter", "Counts", "ManyCounts"]
