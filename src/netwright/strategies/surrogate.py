"""Surrogates: what is not measured yet is computed where it is exact, and predicted where it costs a run."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from hashlib import sha256

import numpy as np

from ..core.candidate import Candidate
from ..core.front import nondominated
from ..core.limits import Limit
from ..core.record import Record
from ..core.space import Space
from .base import Problem
from .output_transform import OutputTransform
from .predict import PREDICTORS, Predictor
from .predict.encode import Encoder, Features
from .predict.gp import GaussianProcess
from .predict.regressors import RandomForest
from .predict.scores import Z95, Scores, held_out

GAUSSIAN_PROCESS = "gaussian_process"
LEAST = 4
"""Records that a model needs."""
MOST = 400
"""Records that a model learns from: beyond, time grows with their cube, and what is far from the front says little."""
REFIT = 1.25
"""Hyperparameters are found anew when the records have grown by this factor."""
TUNING = 200
"""Records that are enough to find hyperparameters with."""
TRANSFORM_RECORDS = 60
"""Records that are enough to choose the output transform."""


@dataclass(frozen=True)
class Predictions:
    """Candidates and what is predicted of them.

    Args:
        rows: their option positions, see :class:`IntegerEncoding`.
        candidates: the same.
        losses: expected objectives, less is better, shape (n, objectives).
        std: standard deviation of each, 0 for exact ones.
        feasible: the probability that nothing fails and the measured limits are kept, shape (n,).
        violation: how far the expected metrics are beyond the limits, summed; exact limits included.
        allowed: whether the exact limits are kept.
    """

    rows: np.ndarray
    candidates: list[Candidate]
    losses: np.ndarray
    std: np.ndarray
    feasible: np.ndarray
    violation: np.ndarray
    allowed: np.ndarray

    def __len__(self) -> int:
        return len(self.candidates)

    def __getitem__(self, index: np.ndarray) -> Predictions:
        own = [self.candidates[i] for i in np.arange(len(self))[index]]
        return Predictions(
            self.rows[index], own, self.losses[index], self.std[index], self.feasible[index], self.violation[index],
            self.allowed[index],
        )  # fmt: skip

    def __add__(self, other: Predictions) -> Predictions:
        return Predictions(
            np.vstack([self.rows, other.rows]),
            self.candidates + other.candidates,
            np.vstack([self.losses, other.losses]),
            np.vstack([self.std, other.std]),
            np.concatenate([self.feasible, other.feasible]),
            np.concatenate([self.violation, other.violation]),
            np.concatenate([self.allowed, other.allowed]),
        )


class Surrogates:
    """A model of every metric that costs a run, and of failing, fitted to the records.

    Args:
        problem: what is searched for.
        history: what was measured.
        predictor: what learns each metric; netwright's Gaussian process by default, which keeps its hyperparameters
            from one proposal to the next.
    """

    def __init__(
        self, problem: Problem, history: Sequence[Record], predictor: Predictor | str = GAUSSIAN_PROCESS
    ) -> None:
        self.problem = problem
        self.predictor = None if predictor == GAUSSIAN_PROCESS else PREDICTORS.make(predictor)
        self.encoder = _encoder(problem.space)
        self.encoding = self.encoder.encoding
        self.exact = list(problem.exact(problem.space.smallest))
        self._advice: list[Predictor] = []
        self.predicted = [name for name in problem.metrics if name not in self.exact]
        if problem.warm_start:
            advisors = (_Model.of(self, name, problem.warm_start) for name in self.predicted)
            self._advice = [model.predictor for model in advisors if model]
        self.models = {name: _Model.of(self, name, history) for name in self.predicted}
        self._fails = self._failing(history)

    @property
    def ready(self) -> bool:
        """Whether enough was measured for every model."""
        return all(model is not None for model in self.models.values())

    def features(self, rows: np.ndarray, candidates: Sequence[Candidate]) -> tuple[Features, np.ndarray]:
        """Of candidates, with their exact metrics, shape (n, metrics).

        What the records of another study would make expect of a metric is one more cost: the models learn how far
        it holds here.
        """
        exact = np.array([list(self.problem.exact(c).values()) for c in candidates], dtype=np.float64)
        exact = exact.reshape(len(candidates), len(self.exact))
        features = self.encoder.rows(rows, exact)
        if self._advice:
            features = features.with_costs(np.stack([each.predict(features)[0] for each in self._advice], axis=1))
        return features, exact

    def features_of(self, candidates: Sequence[Candidate]) -> Features:
        """The features of candidates whose rows and exact metrics are not asked for."""
        return self.features(self.encoding.of(candidates), candidates)[0]

    def training_data(self, name: str, records: Sequence[Record]) -> tuple[Features, np.ndarray, np.ndarray]:
        """Features, values and the values' standard deviations of records that all have a metric."""
        values = np.array([r.values[name] for r in records])
        noise = np.array([r.measurements[name].ci95 for r in records]) / Z95
        return self.features_of([r.candidate for r in records]), values, noise

    def predict(self, rows: np.ndarray) -> Predictions:
        """What is predicted of the candidates of these rows."""
        problem, candidates = self.problem, self.encoding.candidates(rows)
        features, exact = self.features(rows, candidates)
        mean: dict[str, np.ndarray] = {}
        std: dict[str, np.ndarray] = {}
        for name, model in self.models.items():
            assert model is not None, "predict() needs models"
            mean[name], std[name] = model.predictor.predict(features)
        value = dict(zip(self.exact, exact.T, strict=True))
        value |= {name: model.value(mean[name]) for name, model in self.models.items() if model}
        shape = (len(rows), len(problem.objectives))
        losses, stds = np.zeros(shape), np.zeros(shape)
        for i, metric in enumerate(problem.objectives):
            measured = metric.name in mean
            losses[:, i] = mean[metric.name] if measured else metric.loss(1.0) * value[metric.name]
            stds[:, i] = std[metric.name] if measured else 0.0
        feasible, violation, allowed = np.ones(len(rows)), np.zeros(len(rows)), np.ones(len(rows), dtype=bool)
        for limit in problem.limits:
            beyond = np.array([limit.violation(v) for v in value[limit.metric]], dtype=np.float64)
            violation += beyond
            model = self.models.get(limit.metric)
            if model is None:
                allowed &= beyond <= 0
            else:
                feasible *= model.keeps(limit, mean[limit.metric], std[limit.metric])
        if self._fails is not None:
            feasible *= np.clip(1 - self._fails.predict(features)[0], 0.0, 1.0)
        return Predictions(rows, candidates, losses, stds, feasible, violation, allowed)

    def losses(self, records: Sequence[Record]) -> np.ndarray:
        """The objectives of records that have them, as :class:`Predictions` have theirs, (records, objectives)."""
        found = np.array([self.problem.losses(r) for r in records], dtype=np.float64)
        found = found.reshape(len(records), len(self.problem.objectives))
        for i, metric in enumerate(self.problem.objectives):
            model = self.models.get(metric.name)
            if model is not None:
                found[:, i] = model.transform.transform(found[:, i])
        return found

    def weight(self, points: np.ndarray) -> np.ndarray:
        """How much volume in the objectives' own units a unit of volume stands for at points, shape (n,)."""
        found = np.ones(len(points))
        for metric, column in zip(self.problem.objectives, points.T, strict=True):
            model = self.models.get(metric.name)
            if model is not None:
                found *= model.transform.weight(column)
        return found

    def _failing(self, history: Sequence[Record]) -> RandomForest | None:
        """How likely a candidate fails, where some did and some did not: mostly a few choices that do not go together,
        which trees find sooner than processes do."""
        recent = history[-MOST:]
        failed = np.array([float(r.status == "failed") for r in recent])
        if not 0 < failed.sum() < len(failed):
            return None
        return RandomForest().fit(self.features_of([r.candidate for r in recent]), failed)


def cross_validate(problem: Problem, records: Sequence[Record]) -> dict[str, Scores]:
    """How well the metrics that cost a run are predicted from the other records: by name, cross-validated.

    Metrics that were measured too seldom to tell are left out.
    """
    surrogates = Surrogates(replace(problem, warm_start=()), ())
    found = {}
    for name in surrogates.predicted:
        known = [r for r in select_training_records(problem, records) if name in r.values]
        if len(known) < 3 * LEAST:
            continue
        found[name] = held_out(GaussianProcess, *surrogates.training_data(name, known))
    return found


class _Model:
    """Of one metric: a predictor of its losses, transformed as they are most probable to a Gaussian process.

    Args:
        sign: 1 where less of the metric is better, else -1.
        transform: what the losses go through before they are learned.
        predictor: of the transformed losses.
    """

    def __init__(self, sign: float, transform: OutputTransform, predictor: Predictor) -> None:
        self._sign, self.transform, self.predictor = sign, transform, predictor

    @classmethod
    def of(cls, surrogates: Surrogates, name: str, history: Sequence[Record]) -> _Model | None:
        """The model of a metric, or None while too little was measured."""
        problem = surrogates.problem
        known = [r for r in history if name in r.values]
        if len(known) < LEAST:
            return None
        sign = next((m.loss(1.0) for m in problem.objectives if m.name == name), None)
        if sign is None:
            sign = next(1.0 if x.op in ("<", "<=") else -1.0 for x in problem.limits if x.metric == name)

        def sample(some: Sequence[Record], most: int = MOST) -> Sample:
            features, values, noise = surrogates.training_data(name, select_training_records(problem, some, most))
            return Sample(features, sign * values, noise)

        # The transform and the hyperparameters are functions of the first records, and found anew only now and then.
        first = _first(len(known))
        early = sample(known[: min(first, TRANSFORM_RECORDS)])
        transforms = OutputTransform.candidates(early.values, positive=sign > 0)
        evidence = [_tuned(early.transformed(x))[1] + x.log_slope(early.values).sum() for x in transforms]
        transform = transforms[int(np.argmax(evidence))]
        fresh = surrogates.predictor
        if fresh is None:
            fresh = GaussianProcess(_tuned(sample(known[:first], TUNING).transformed(transform))[0])
        last = sample(known).transformed(transform)
        model = cls(sign, transform, deepcopy(fresh).fit(last.features, last.values, last.noise))
        lost = [r.candidate for r in history[-MOST:] if r.status == "failed" and name not in r.values]
        if lost:
            # What fails never shows its value. Were it not taken to be as expected, the doubt about it, and with it
            # the optimism, would stay, and the search would try its like for ever.
            more = surrogates.features_of(lost)
            values = np.concatenate([last.values, model.predictor.predict(more)[0]])
            noise = np.concatenate([last.noise, np.full(len(lost), last.noise.mean())])
            model.predictor = deepcopy(fresh).fit(last.features + more, values, noise)
        return model

    def value(self, transformed: np.ndarray) -> np.ndarray:
        """The metric's values of transformed losses."""
        return self._sign * self.transform.inverse(transformed)

    def keeps(self, limit: Limit, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
        """The probability that a limit is kept."""
        from scipy.special import ndtr

        bound = float(self.transform.transform(np.array([self._sign * limit.bound]))[0])
        inside = ndtr((bound - mean) / std)
        upper = (limit.op in ("<", "<=")) == (self._sign > 0)
        return np.asarray(inside if upper else 1 - inside)


@dataclass(frozen=True, eq=False)
class Sample:
    """What a process learns from; equal where its numbers are."""

    features: Features
    values: np.ndarray
    noise: np.ndarray

    def transformed(self, transform: OutputTransform) -> Sample:
        """With losses as they are learned."""
        return replace(self, values=transform.transform(self.values))

    @cached_property
    def _digest(self) -> bytes:
        parts = (self.features.positions, self.features.costs, self.values, self.noise)
        return sha256(b"".join(np.ascontiguousarray(p).tobytes() for p in parts)).digest()

    def __hash__(self) -> int:
        return hash(self._digest)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sample) and self._digest == other._digest


def _first(n: int) -> int:
    """How many of ``n`` records hyperparameters are found with: as many until there are ``REFIT`` times more."""
    size = LEAST
    while (larger := int(np.ceil(size * REFIT))) <= n:
        size = larger
    return size


@lru_cache(maxsize=32)
def _tuned(sample: Sample) -> tuple[np.ndarray, float]:
    """The hyperparameters that fit a sample, and the logarithm of the sample's probability with them.

    Remembered, since many proposals are made with the same.
    """
    process = GaussianProcess().fit(sample.features, sample.values, sample.noise)
    assert process.hyper is not None
    return process.hyper, process.evidence


def select_training_records(problem: Problem, records: Sequence[Record], most: int = MOST) -> Sequence[Record]:
    """At most ``most`` records, in their order: three quarters of them the nearest to the front, the others spread."""
    if len(records) <= most:
        return records
    found = [problem.losses(r) for r in records]
    whole = [i for i, losses in enumerate(found) if losses is not None]
    chosen = set(np.linspace(0, len(records) - 1, most // 4).astype(int).tolist())
    if whole:
        losses = np.array([found[i] for i in whole])
        front = losses[nondominated(losses)]
        reach = np.maximum(np.ptp(front, axis=0), 1e-12)
        # How much better a record would have to be in every objective to stand on the front.
        gap = np.full(len(losses), np.inf)
        for member in np.unique(front, axis=0):
            gap = np.minimum(gap, ((losses - member) / reach).max(axis=1))
        for i in np.argsort(gap, kind="stable"):
            if len(chosen) == most:
                break
            chosen.add(whole[i])
    return [records[i] for i in sorted(chosen)]


@lru_cache(maxsize=8)
def _encoder(space: Space) -> Encoder:
    """The encoder of a space; remembered, since its codes know the rows of the candidates that were met."""
    return Encoder(space)
