"""Predictors: what a measurement would find, and how sure that is."""

from .base import Predictor
from .linear import BayesianLinear

__all__ = ["BayesianLinear", "Predictor"]
