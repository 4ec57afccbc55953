"""Predictors: what a measurement would find, and how sure that is."""

from ...core.registry import Registry
from .base import Predictor
from .encode import Encoder, Features
from .gp import GaussianProcess
from .linear import BayesianLinear
from .neural import DeepEnsemble, Mlp, Ranker
from .regressors import GradientBoosting, LightGbm, RandomForest, SupportVectors
from .scores import Scores, held_out, scores
from .stack import Stack
from .transfer import Transfer

PREDICTORS: Registry[Predictor] = Registry(
    "predictor", Predictor, __name__,
    {
        "gaussian_process": "gp:GaussianProcess", "bayesian_linear": "linear:BayesianLinear",
        "support_vectors": "regressors:SupportVectors", "random_forest": "regressors:RandomForest",
        "gradient_boosting": "regressors:GradientBoosting", "lightgbm": "regressors:LightGbm", "mlp": "neural:Mlp",
        "deep_ensemble": "neural:DeepEnsemble", "ranker": "neural:Ranker", "stack": "stack:Stack",
        "transfer": "transfer:Transfer",
    },
)  # fmt: skip

__all__ = [
    "PREDICTORS",
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
