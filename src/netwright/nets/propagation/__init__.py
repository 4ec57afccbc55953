"""What each operator does with labels: one propagator per operator, or per kind of operator; others are tried.

A propagator may be incomplete without doing harm: see :mod:`netwright.nets.dependency_groups`.
"""

from . import arrange, compute
from .base import FIXES, PROPAGATORS, REASONS, plain, propagates
from .labels import Rows, TensorLabels

__all__ = ["FIXES", "PROPAGATORS", "REASONS", "Rows", "TensorLabels", "arrange", "compute", "plain", "propagates"]
