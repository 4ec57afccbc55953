"""Predictors: what a measurement would find, and how sure that is."""

from .base import Predictor
from .encode import Encoder, Features
from .gp import GaussianProcess
from .linear import BayesianLinear
from .neural import DeepEnsemble, Mlp, Ranker
from .regressors import GradientBoosting, LightGbm, RandomForest, SupportVectors
from .scores import Scores, held_out, scores
from .stack import Stack
from .transfer import Transfer

__all__ = [
    "BayesianLinear",
    "DeepEnsemble",
    "Encoder",
    "Features",
    "GaussianProcess",
    "GradientBoosting",
    "LightGbm",
    "Mlp",
    "Predictor",
    "RandomForest",
    "Ranker",
    "Scores",
    "Stack",
    "SupportVectors",
    "Transfer",
    "held_out",
    "scores",
]
