"""What each operator does with labels: one rule per operator, or per kind of operator; others are tried.

A rule may be incomplete without doing harm: see :mod:`netwright.nets.dependency_groups`.
"""

from . import arrange, compute
from .base import FIXES, PROPAGATORS, REASONS, Rows, plain, propagates

__all__ = ["FIXES", "PROPAGATORS", "REASONS", "Rows", "arrange", "compute", "plain", "propagates"]
