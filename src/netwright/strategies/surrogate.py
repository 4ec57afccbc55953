"""Surrogates: what is not measured yet is computed where it is exact, and predicted where it costs a run."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from hashlib import sha256

import numpy as np

from ..core.candidate import Candidate
from ..core.encoding import Candidates
from ..core.front import is_comparable, nondominated
from ..core.limits import Limit
from ..core.record import Record
from ..core.space import Space
from .base import History, Problem
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
        losses: expected objectives, less is better, shape (n, objectives).
        std: standard deviation of each, 0 for exact ones.
        feasible: the probability that nothing fails and the measured limits are kept, shape (n,).
        violation: how far the expected metrics are beyond the limits, summed; exact limits included.
        allowed: whether the exact limits are kept.
    """

    rows: np.ndarray
    losses: np.ndarray
    std: np.ndarray
    feasible: np.ndarray
    violation: np.ndarray
    allowed: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: np.ndarray) -> Predictions:
        return Predictions(
            self.rows[index], self.losses[index], self.std[index], self.feasible[index], self.violation[index],
            self.allowed[index],
        )  # fmt: skip

    def __add__(self, other: Predictions) -> Predictions:
        return Predictions(
            np.vstack([self.rows, other.rows]),
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
        hinted: whether the problem's hints are features: then they are asked for all that is learned and predicted.
    """

    def __init__(
        self,
        problem: Problem,
        history: Sequence[Record],
        predictor: Predictor | str = GAUSSIAN_PROCESS,
        hinted: bool = False,
    ) -> None:
        self.problem = problem
        self._hints = problem.hints if hinted else None
        self.predictor = None if predictor == GAUSSIAN_PROCESS else PREDICTORS.make(predictor)
        self.encoder = _encoder(problem.space)
        self.encoding = self.encoder.encoding
        self.exact = list(problem.exact([problem.space.smallest]))
        self._advice: list[Predictor] = []
        self.predicted = [name for name in problem.metrics if name not in self.exact]
        if problem.warm_start:
            past = Told(problem, problem.warm_start)
            advisors = (_Model.of(self, name, past) for name in self.predicted)
            self._advice = [model.predictor for model in advisors if model]
        self.told = Told(problem, history)
        self.models = {name: _Model.of(self, name, self.told) for name in self.predicted}
        self._fails = self._failing(history)

    @property
    def ready(self) -> bool:
        """Whether enough was measured for every model."""
        return all(model is not None for model in self.models.values())

    def features(self, rows: np.ndarray) -> tuple[Features, np.ndarray]:
        """Of the candidates of these rows, with their exact metrics, shape (n, metrics).

        What the records of another study would make expect of a metric is one more cost: the models learn how far
        it holds here.
        """
        exact = np.zeros((len(rows), len(self.exact)))
        if len(rows):
            for i, values in enumerate(self.problem.exact(Candidates(self.encoding, rows)).values()):
                exact[:, i] = values
        features = self.encoder.rows(rows, exact)
        if self._hints and len(rows):
            found = self._hints(Candidates(self.encoding, rows))
            features = features.with_costs(np.stack([*found.values()], axis=1))
        if self._advice:
            features = features.with_costs(np.stack([each.predict(features)[0] for each in self._advice], axis=1))
        return features, exact

    def features_of(self, candidates: Sequence[Candidate]) -> Features:
        """The features of candidates whose rows and exact metrics are not asked for."""
        return self.features(self.encoding.of(candidates))[0]

    def training_data(self, name: str, records: Sequence[Record]) -> tuple[Features, np.ndarray, np.ndarray]:
        """Features, values and the values' standard deviations of records that all have a metric."""
        values = np.array([r.values[name] for r in records])
        noise = np.array([r.measurements[name].ci95 for r in records]) / Z95
        return self.features_of([r.candidate for r in records]), values, noise

    def predict(self, rows: np.ndarray) -> Predictions:
        """What is predicted of the candidates of these rows."""
        problem = self.problem
        features, exact = self.features(rows)
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
            beyond = limit.violations(value[limit.metric])
            violation += beyond
            model = self.models.get(limit.metric)
            if model is None:
                allowed &= beyond <= 0
            else:
                feasible *= model.keeps(limit, mean[limit.metric], std[limit.metric])
        if self._fails is not None:
            feasible *= np.clip(1 - self._fails.predict(features)[0], 0.0, 1.0)
        return Predictions(rows, losses, stds, feasible, violation, allowed)

    def comparable(self) -> np.ndarray:
        """The objectives of the feasible records that were measured whole in all of them, as :class:`Predictions` have
        theirs, shape (records, objectives)."""
        found = self.told.losses[self.told.comparable()]
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
    def of(cls, surrogates: Surrogates, name: str, told: Told) -> _Model | None:
        """The model of a metric, or None while too little was measured."""
        problem = surrogates.problem
        known = told.having(name)
        if len(known) < LEAST:
            return None
        sign = next((m.loss(1.0) for m in problem.objectives if m.name == name), None)
        if sign is None:
            sign = next(1.0 if x.op in ("<", "<=") else -1.0 for x in problem.limits if x.metric == name)

        def sample(some: np.ndarray, most: int = MOST) -> Sample:
            features, values, noise = surrogates.training_data(name, told.chosen(some, most))
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
        lost = [r.candidate for r in told.records[-MOST:] if r.status == "failed" and name not in r.values]
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


class Told:
    """What records tell, as arrays: read off them once for all models.

    Args:
        problem: what is searched for.
        records: in the order of measuring.
    """

    def __init__(self, problem: Problem, records: Sequence[Record]) -> None:
        self._problem, self.records = problem, History.of(records)
        self._selected: dict[tuple[bytes, int], list[Record]] = {}

    @cached_property
    def losses(self) -> np.ndarray:
        """The objectives with less being better, shape (records, objectives); NaN where one was not found."""
        columns = [metric.loss(1.0) * self.records.values(metric.name) for metric in self._problem.objectives]
        return np.stack(columns, axis=1)

    def having(self, name: str) -> np.ndarray:
        """The places of the records that have a metric."""
        return np.flatnonzero(~np.isnan(self.records.values(name)))

    def not_failed(self) -> np.ndarray:
        """The places of the records that did not fail."""
        return np.flatnonzero(self.records.column("failed", lambda r: r.status == "failed") == 0)

    def comparable(self) -> np.ndarray:
        """The places of the feasible records that were measured whole in all objectives."""
        names = [metric.name for metric in self._problem.objectives]
        whole = self.records.column(("comparable", *names), lambda record: is_comparable(record, names))
        return np.flatnonzero(whole)

    def chosen(self, places: np.ndarray, most: int = MOST) -> list[Record]:
        """At most ``most`` of some records, in their order: three quarters of them the nearest to the front, the others
        spread."""
        key = places.tobytes(), most
        if key not in self._selected:
            kept = places if len(places) <= most else places[_selected(self.losses[places], most)]
            self._selected[key] = [self.records[i] for i in kept.tolist()]
        return self._selected[key]


def select_training_records(problem: Problem, records: Sequence[Record], most: int = MOST) -> Sequence[Record]:
    """See :meth:`Told.chosen`."""
    return records if len(records) <= most else Told(problem, records).chosen(np.arange(len(records)), most)


def _selected(losses: np.ndarray, most: int) -> np.ndarray:
    """The places of ``most`` of more records, ascending; see :meth:`Told.chosen`.

    Args:
        losses: shape (records, objectives), NaN where one is not known.
        most: how many.
    """
    whole = np.flatnonzero(~np.isnan(losses).any(axis=1))
    chosen = np.zeros(len(losses), dtype=bool)
    chosen[np.linspace(0, len(losses) - 1, most // 4).astype(int)] = True
    if len(whole):
        losses = losses[whole]
        front = losses[nondominated(losses)]
        reach = np.maximum(np.ptp(front, axis=0), 1e-12)
        # How much better a record would have to be in every objective to stand on the front.
        gap = np.full(len(losses), np.inf)
        for member in np.unique(front, axis=0):
            gap = np.minimum(gap, ((losses - member) / reach).max(axis=1))
        nearest = whole[np.argsort(gap, kind="stable")]
        nearest = nearest[~chosen[nearest]]
        chosen[nearest[: most - chosen.sum()]] = True
    return np.flatnonzero(chosen)


@lru_cache(maxsize=8)
def _encoder(space: Space) -> Encoder:
    """The encoder of a space; remembered, since a history knows its rows by the encoding that made them."""
    return Encoder(space)
