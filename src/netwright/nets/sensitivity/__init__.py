"""Sensitivity: how much a network loses where layers have fewer bits, without a search; one criterion per file."""

from .assign import assign_bits
from .base import SENSITIVITIES, Scores, Sensitivity
from .distil import distil_inputs
from .fisher import Fisher
from .hessian import Hessian
from .output_error import OutputError

__all__ = [
    "SENSITIVITIES",
    "Fisher",
    "Hessian",
    "OutputError",
    "Scores",
    "Sensitivity",
    "assign_bits",
    "distil_inputs",
]
