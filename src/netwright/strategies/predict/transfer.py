"""A new device from few measurements, given what other devices took for networks of the same space."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from operator import add

import numpy as np

from .base import Predictor
from .encode import Features
from .prepare import Inputs, Scale, inputs

FEWEST = 5
"""Records of another device that tell something of it."""
POPULATION = 2000
"""Networks of the others, at most, on which their predictions are compared."""
LEAST = 0.05
"""Share of its mean below which no device is expected to go, where a straight line would."""
SHARE = 0.3
"""Deviation of products of columns, beside columns of deviation 1."""
SUMS = 80
"""Columns, at most, whose products are tried: these are half as many as the square."""
PENALTIES = 10.0 ** np.arange(-1, 4)
"""Of the ridge regressions of the other devices; the columns have deviation 1."""

# The prior on a new device: every combination is as likely as another, but for the slope;
# Spearman moved by less than 0.003 when other shares were tried (for the mean of the others, for small variances).
# Units are the typical deviation between networks of the other devices, and its square.
SLOPES = np.array([0.25, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0, 2.8, 4.0])
"""By which what another device takes is stretched."""
STRETCH = 0.7
"""Deviation of the logarithm of the slope."""
BETWEEN = np.array([0.003, 0.01, 0.03, 0.1, 0.3, 1.0])
"""Variance along the ways in which the others differ from one another."""
OWN = np.array([1e-4, 1e-3, 1e-2, 1e-1, 1.0])
"""Variance along the features, for what no other device has."""
NOISE = np.array([0.01, 0.03, 0.06, 0.12, 0.25, 0.5, 1.0]) ** 2
"""Variance of what is measured around all that."""
LEVEL = 10.0
"""Variance of the new device's level around the mean of its measurements."""
NEGLIGIBLE = 1e-4
"""Probability below which a combination is left out."""


@dataclass(frozen=True)
class _Columns:
    """What a regression reads of features, each column of mean 0 and deviation 1.

    Args:
        sums: the scale of those whose products are read too; None: no products.
        scale: the scale of all columns.
    """

    sums: Scale | None
    scale: Scale

    @classmethod
    def of(cls, features: Features, products: bool) -> _Columns:
        sums = Scale.of(_sums(features)) if products else None
        return cls(sums, Scale.of(cls._raw(features, sums)))

    def __call__(self, features: Features) -> np.ndarray:
        return self.scale(self._raw(features, self.sums))

    @staticmethod
    def _raw(features: Features, sums: Scale | None) -> np.ndarray:
        single = np.hstack([features.options, inputs(features)])
        if sums is None:
            return single
        one = sums(_sums(features))
        first, second = np.triu_indices(one.shape[1])
        return np.hstack([single, SHARE * one[:, first] * one[:, second]])


def _sums(features: Features) -> np.ndarray:
    return np.hstack([features.totals, features.regions, features.costs])


@dataclass(frozen=True)
class _Learnt:
    """What was learnt of another device: a value in units of its mean, or a logarithm.

    Args:
        columns: the columns that are read.
        weights: the weights of the columns.
        level: what is added.
        logarithmic: whether the logarithm of the sum is the prediction.
    """

    columns: _Columns
    weights: np.ndarray
    level: float
    logarithmic: bool


def _predictions(devices: Sequence[_Learnt], features: Features) -> np.ndarray:
    """What each device takes, shape (n, devices)."""
    read: dict[int, np.ndarray] = {}  # most devices share their columns
    found = []
    for device in devices:
        x = read.get(id(device.columns))
        if x is None:
            x = read[id(device.columns)] = device.columns(features)
        found.append(_output(x @ device.weights + device.level, device.logarithmic))
    return np.stack(found, axis=1)


def _output(values: np.ndarray, logarithmic: bool) -> np.ndarray:
    return np.log(np.maximum(values, LEAST)) if logarithmic else values


def _learn(features: Features, values: np.ndarray, logarithms: bool) -> list[_Learnt]:
    """A regression for each device, the one that errs least on records left out.

    Args:
        features: the features of n candidates.
        values: what each device took for them, shape (n, devices).
        logarithms: whether the logarithm is wanted; then lines through values compete with lines through logarithms.
    """
    unit = np.abs(values).mean(axis=0)
    plain = values / np.where(unit > 0, unit, 1.0)
    truth = np.log(plain) if logarithms else plain
    best = np.full(len(unit), np.inf)
    found: list[_Learnt | None] = [None] * len(unit)
    for products in (False, True) if _sums(features).shape[1] <= SUMS else (False,):
        columns = _Columns.of(features, products)
        x = columns(features)
        if len(x) < x.shape[1]:
            left, sizes, right = np.linalg.svd(x, full_matrices=False)
            roots, turn, turned = sizes**2, right.T, left * sizes
        else:
            roots, turn = np.linalg.eigh(x.T @ x)
            turned = x @ turn
        for targets, logarithmic in [(truth, False), (plain, True)] if logarithms else [(plain, False)]:
            level = targets.mean(axis=0)
            along = turned.T @ (targets - level)
            for penalty in PENALTIES:
                shrunk = np.maximum(roots, 0) + penalty
                weights = along / shrunk[:, None]
                leverage = np.minimum((turned**2 / shrunk).sum(axis=1) + 1 / len(x), 0.999)  # and of the level
                left_out = targets - (targets - level - turned @ weights) / (1 - leverage)[:, None]
                errors = ((_output(left_out, logarithmic) - truth) ** 2).mean(axis=0)
                for i in np.flatnonzero(errors < best):
                    best[i] = errors[i]
                    found[i] = _Learnt(columns, turn @ weights[:, i], float(level[i]), logarithmic)
    return [one for one in found if one is not None]


@dataclass(frozen=True)
class _Common:
    """What the others have in common, for a new device to be compared with.

    Args:
        others: what was learnt of each.
        unit: typical deviation between networks.
        inputs: the features as numbers of about the same weight.
    """

    others: tuple[_Learnt, ...]
    unit: float
    inputs: Inputs

    def shapes(self, features: Features) -> np.ndarray:
        """What each of the others takes, in units; the last column is their mean. Shape (n, others + 1)."""
        each = _predictions(self.others, features) / self.unit
        return np.hstack([each, each.mean(axis=1, keepdims=True)])


def _apart(shapes: np.ndarray) -> np.ndarray:
    """How each of the others differs from their mean, of about the same size for many of them as for few."""
    return (shapes[:, :-1] - shapes[:, -1:]) / np.sqrt(shapes.shape[1] - 1)


class Transfer(Predictor):
    """Predicts a metric of a new device, such as latency, from few measurements of it and many of other devices.

    Of every other device a ridge regression is learnt, of values or of their logarithms, with or without products of
    features, whichever errs least on records left out. The new device is taken to be one of the others, or
    their mean, stretched by a slope, and besides to deviate from it a little in the ways in which the others differ,
    in ways of its own (linear in the features), and by noise: a Gaussian process around each. How much of each is
    weighed by the probability of the measurements, in closed form, so that the standard deviation also says how
    unsure it is which device the new one resembles.

    The idea of few samples of a new device beside many of others is HELP's (Lee et al. 2021); there a network is
    meta-learnt. Values are compared as logarithms where all are positive.

    Args:
        others: for each other device the features of candidates and what was measured, shape (n,), n at least
            :data:`FEWEST`; of the same space, not necessarily of the same candidates. Exact metrics among the features
            are read where those of the new device have as many.

    Raises:
        ValueError: without other devices, or where one has too few records or another space.
    """

    def __init__(self, others: Mapping[str, tuple[Features, np.ndarray]]) -> None:
        if not others:
            raise ValueError("Transfer needs measurements of at least one other device")
        widths = {features.options.shape[1] for features, _ in others.values()}
        if len(widths) > 1:
            raise ValueError(f"all devices must have the same space; here are {sorted(widths)} options")
        for name, (features, values) in others.items():
            if len(values) != len(features) or len(values) < FEWEST:
                raise ValueError(
                    f"device {name!r} has {len(features)} candidates and {len(values)} values; "
                    f"as many of each are needed, and at least {FEWEST}"
                )
        self.others = dict(others)
        self._learnt: dict[tuple[str, int, bool], _Learnt] = {}
        self._commons: dict[tuple[int, bool], _Common] = {}

    def without(self, names: Collection[str]) -> Transfer:
        """The same without some of the others; what is learnt of the rest is shared."""
        found = Transfer({name: records for name, records in self.others.items() if name not in names})
        found._learnt = self._learnt
        return found

    def reference(self, features: Features, n: int) -> np.ndarray:
        """Which candidates to measure on the new device first: those of which the others know least from the rest.

        One after the other, the candidate with the greatest variance given those before (pivoted Cholesky). It pays
        with some ten measurements; with fifty, random ones are as good.

        Args:
            features: the features of the candidates to choose from.
            n: how many; at most as many as there are.

        Returns:
            Rows, integers of shape (n,), the most informative first.
        """
        if not 0 <= n <= len(features):
            raise ValueError(f"{n} of {len(features)} candidates cannot be chosen")
        features = self._readable(features)
        common = self._common(features.costs.shape[1], self._positive())
        shapes, own = common.shapes(features), common.inputs(features)
        shapes = (shapes - shapes.mean(axis=0)) / np.sqrt(shapes.shape[1])
        columns = np.hstack([shapes, np.sqrt(OWN[2]) * own, np.ones((len(own), 1))])
        left, known = (columns**2).sum(axis=1), np.zeros((0, len(columns)))
        chosen: list[int] = []
        for _ in range(n):
            best = int(np.argmax(left))
            explained = (columns @ columns[best] - known[:, best] @ known) / np.sqrt(left[best] + NOISE[2])
            known = np.vstack([known, explained])
            left = left - explained**2
            chosen.append(best)
            left[chosen] = -1.0
        return np.array(chosen, dtype=np.int64)

    def fit(self, features: Features, values: np.ndarray, noise: np.ndarray | None = None) -> Transfer:
        features = self._readable(features)
        self._costs = features.costs.shape[1]
        self._logarithms = self._positive() and bool((values > 0).all())
        common = self._at = self._common(self._costs, self._logarithms)
        self._unit = 1.0 if self._logarithms else float(np.abs(values).mean()) or 1.0
        transformed = np.log(values) if self._logarithms else values / self._unit
        self._middle = float(transformed.mean())
        targets = (transformed - self._middle) / common.unit
        self._shapes = common.shapes(features)
        self._inputs = common.inputs(features)
        self._zero = self._shapes.mean(axis=0)
        known = np.zeros(len(values))
        if noise is not None:
            relative = noise / (np.maximum(values, LEAST * values.mean()) if self._logarithms else self._unit)
            known = (relative / common.unit) ** 2
        # Of several networks that all take the same, nothing is learnt from others, whose networks differ.
        slopes = SLOPES if len(values) == 1 or np.ptp(values) > 0 else np.zeros(len(SLOPES))
        self._weigh(targets, known, slopes)
        return self

    def predict(self, features: Features) -> tuple[np.ndarray, np.ndarray]:
        features = self._readable(features, self._costs)
        common = self._at
        shapes, own = common.shapes(features) - self._zero, common.inputs(features)
        apart = _apart(shapes)
        basis = np.hstack([shapes, apart @ self._apart.T, own @ self._inputs.T, np.ones((len(own), 1))])
        mean = basis @ self._mean
        before = np.stack([(apart**2).sum(axis=1), (own**2).sum(axis=1), np.ones(len(own)), np.ones(len(own))], axis=1)
        variance = before @ self._before + ((basis @ self._second) * basis).sum(axis=1) - mean**2
        mean = mean * common.unit + self._middle
        std = np.sqrt(np.maximum(variance, 1e-12)) * common.unit
        if self._logarithms:
            mean = np.exp(mean)
            return mean, mean * std
        return mean * self._unit, std * self._unit

    def _weigh(self, targets: np.ndarray, known: np.ndarray, slopes: np.ndarray) -> None:
        """Weigh every combination of the prior; keep the mean and the second moment over all of them.

        Both are forms of the same basis: the shapes of the others, the kernels of the two ways to differ, and 1.
        ``known``: variances of the noise, where they are.
        """
        shapes = self._shapes - self._zero
        self._apart = _apart(shapes)
        between, own = self._apart @ self._apart.T, self._inputs @ self._inputs.T
        n, others = shapes.shape
        around = (shapes[:, :, None] * slopes).reshape(n, -1)
        off = targets[:, None] - around
        likely = -0.5 * (np.log(SLOPES) / STRETCH) ** 2
        before = np.tile(likely, others)
        solved, evidence = [], []
        for one in BETWEEN:
            for other in OWN:
                roots, turn = np.linalg.eigh(one * between + other * own + LEVEL + np.diag(known))
                variance = np.maximum(roots, 0) + NOISE[:, None]
                turned = turn.T @ off
                fit = -0.5 * (1 / variance) @ turned**2 - 0.5 * np.log(variance).sum(axis=1, keepdims=True)
                evidence.append(fit + before)
                solved.append((one, other, turn, turned, variance))
        found = np.stack(evidence)
        weights = np.exp(found - found.max())
        weights /= weights.sum()
        size = others + 2 * n + 1
        self._mean, self._second, self._before = np.zeros(size), np.zeros((size, size)), np.zeros(4)
        stretched = np.vstack([np.kron(np.eye(others), slopes), np.zeros((2 * n + 1, others * len(slopes)))])
        for (one, other, turn, turned, variance), of_noise in zip(solved, weights, strict=True):
            if of_noise.sum() < NEGLIGIBLE:
                continue
            reads = np.vstack([np.zeros((others, n)), one * turn, other * turn, LEVEL * turn.sum(axis=0)[None]])
            for each, level, weight in zip(variance, NOISE, of_noise, strict=True):
                if weight.sum() < NEGLIGIBLE:
                    continue
                forms = stretched + reads @ (turned / each[:, None])
                self._mean += forms @ weight
                self._second += (forms * weight) @ forms.T - weight.sum() * (reads / each) @ reads.T
                self._before += weight.sum() * np.array([one, other, LEVEL, level])
        total = self._before[2] / LEVEL
        self._mean, self._second, self._before = self._mean / total, self._second / total, self._before / total

    def _readable(self, features: Features, costs: int | None = None) -> Features:
        """Without the exact metrics unless all devices have as many; or with as many as were read in the fit."""
        width = next(iter(self.others.values()))[0].options.shape[1]
        if features.options.shape[1] != width:
            raise ValueError(
                f"the space of the other devices has {width} options, that of these candidates "
                f"{features.options.shape[1]}"
            )
        if costs is None:
            widths = {other.costs.shape[1] for other, _ in self.others.values()} | {features.costs.shape[1]}
            costs = widths.pop() if len(widths) == 1 else 0
        return replace(features, costs=features.costs[:, :costs])

    def _positive(self) -> bool:
        return all((values > 0).all() for _, values in self.others.values())

    def _common(self, costs: int, logarithms: bool) -> _Common:
        """What the others have in common, with so many exact metrics read."""
        if (costs, logarithms) in self._commons:
            return self._commons[costs, logarithms]
        groups: dict[bytes, list[str]] = {}
        for name, (features, _) in self.others.items():
            groups.setdefault(features.options.tobytes() + features.costs[:, :costs].tobytes(), []).append(name)
        parts = []
        for names in groups.values():
            features = self.others[names[0]][0]
            parts.append(replace(features, costs=features.costs[:, :costs]))
            missing = [name for name in names if (name, costs, logarithms) not in self._learnt]
            if missing:
                values = np.stack([self.others[name][1] for name in missing], axis=1)
                new = _learn(parts[-1], values, logarithms)
                self._learnt |= {(name, costs, logarithms): one for name, one in zip(missing, new, strict=True)}
        everyone = reduce(add, parts)
        population = everyone[:: -(-len(everyone) // POPULATION)]
        learnt = tuple(self._learnt[name, costs, logarithms] for name in self.others)
        unit = float(np.sqrt(_predictions(learnt, population).var(axis=0).mean()))
        found = _Common(learnt, unit or 1.0, Inputs.of(population, np.ones(len(population))))
        self._commons[costs, logarithms] = found
        return found
