"""What each operator does with labels: one rule per operator, or per kind of operator; others are tried.

A rule may be incomplete without doing harm: see :mod:`netwright.nets.ties`.
"""

from . import arrange, compute
from .base import FIXES, REASONS, RULES, Rows, plain, rule

__all__ = ["FIXES", "REASONS", "RULES", "Rows", "arrange", "compute", "plain", "rule"]
