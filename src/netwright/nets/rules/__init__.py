"""What each operator does with labels: one rule per operator, or per kind of operator.

A rule may be incomplete without doing harm: see :mod:`netwright.nets.ties`.
"""

from . import arrange, compute
from .base import RULES, Rows, rule

__all__ = ["RULES", "Rows", "arrange", "compute", "rule"]
