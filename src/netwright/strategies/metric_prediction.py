"""What a metric of a candidate will be, from the records that have it: for devices on which measuring takes long."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np

from ..core.candidate import Candidate
from ..core.record import Record
from .base import Problem
from .predict.gp import GaussianProcess
from .predict.scores import Z95, held_out
from .surrogate import MOST, Sample, Surrogates, select_training_records

LEAST = 20
"""Records that a prediction needs which is to stand for a measurement."""


def predict_metrics(
    problem: Problem, history: Sequence[Record], candidate: Candidate, names: Sequence[str]
) -> dict[str, tuple[float, float]]:
    """Metric name to what it will be and half its 95 % interval, in the metric's unit.

    A Gaussian process learns the logarithms; its intervals are widened by how far it was off on records that it had
    not seen. Metrics of which too little is known, or that are not all positive, are left out.
    """
    surrogates = Surrogates(replace(problem, warm_start=()), ())
    found: dict[str, tuple[float, float]] = {}
    for name in names:
        known = [r for r in history if name in r.values and r.measurements[name].is_complete]
        if len(known) < LEAST or min(r.values[name] for r in known) <= 0:
            continue
        features, values, noise = surrogates.training_data(name, select_training_records(problem, known, MOST))
        model, mean_squared_z = _learnt(Sample(features, np.log(values), noise / values))
        mean, std = (float(x[0]) for x in model.predict(surrogates.features_of([candidate])))
        value = float(np.exp(mean))
        found[name] = value, value * float(np.expm1(Z95 * std * max(1.0, mean_squared_z) ** 0.5))
    return found


@lru_cache(maxsize=8)
def _learnt(sample: Sample) -> tuple[GaussianProcess, float]:
    """The process of a sample, and how much too sure it is; remembered, since many candidates are predicted by one."""
    parts = sample.features, sample.values, sample.noise
    return GaussianProcess().fit(*parts), held_out(GaussianProcess, *parts).mean_squared_z
