"""Exact counts of candidates, from a table of sizes."""

from .counter import Counter, Counts

__all__ = ["Counter", "Counts"]
