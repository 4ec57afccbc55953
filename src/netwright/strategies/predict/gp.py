"""Gaussian process with a kernel for networks: additive, interacting and total effects, each feature weighed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .base import Predictor
from .encode import Features

JITTER = 1e-6
STEPS = 60
"""Of the search for the hyperparameters."""


@dataclass(frozen=True)
class _Part:
    """One summand of the kernel: its form, the features it reads, and how freely their weights may vary.

    Args:
        form: ``linear``, ``square`` (of 1 + the linear kernel) or ``near`` (squared exponential).
        reads: the fields of :class:`Features`, side by side.
        freedom: standard deviation of the logarithms of the features' weights around their common scale.
    """

    form: str
    reads: tuple[str, ...]
    freedom: float


PARTS = (
    _Part("linear", ("positions",), 1.2),
    _Part("linear", ("options",), 0.5),
    _Part("near", ("positions",), 0.7),
    _Part("square", ("totals", "costs"), 1.0),
    _Part("square", ("regions",), 1.0),
)
SCALE = (-1.0, 3.0)
"""Mean and deviation of the prior on the logarithm of a part's variance."""
NOISE = (-5.0, 3.0)
"""The same of the variance of the noise."""


class GaussianProcess(Predictor):
    """Gaussian process regression whose kernel is the sum of what is known of networks.

    - two linear parts: every choice has an effect of its own, along its order and option by option;
    - a squared-exponential part: choices interact, and what is alike does alike;
    - two quadratic parts, on how often each option is taken and on the logarithms of the exact metrics, and on the
      same stretch by stretch: effects saturate with size, and stages need balance.

    Every feature of every part has a weight (automatic relevance determination, MacKay 1994), held near the others by
    a log-normal prior, so that some ten records suffice. Weights, variances and noise maximise the posterior (L-BFGS
    with exact gradients).

    Args:
        hyper: hyperparameters found before, :attr:`hyper` of another one; None: to be found in :meth:`fit`.
    """

    def __init__(self, hyper: np.ndarray | None = None) -> None:
        self.hyper = hyper
        self.evidence = np.nan
        """The logarithm of the values' probability, up to a constant for so many, with hyperparameters as found."""

    def fit(self, features: Features, values: np.ndarray, noise: np.ndarray | None = None) -> GaussianProcess:
        from scipy.linalg import cho_solve

        self._centre, self._scale = float(values.mean()), float(values.std()) or 1.0
        raw = [_read(part, features) for part in PARTS]
        self._mean = [x.mean(axis=0) for x in raw]
        self._deviation = [np.where(x.std(axis=0) > 1e-9, x.std(axis=0), np.inf) for x in raw]
        self._inputs = self._standard(features)
        targets = (values - self._centre) / self._scale
        trust = _relative(noise, len(values))
        if self.hyper is None:
            self.hyper, evidence = _find(self._inputs, targets, trust)
            # Of the values, not of their standard scores.
            self.evidence = evidence - len(values) * float(np.log(self._scale))
        self._weighed = _weighed(self._inputs, self.hyper)
        kernel = _kernels(self._weighed, self._weighed, self.hyper)
        gram = np.sum(kernel, axis=0) + np.diag(np.exp(self.hyper[-1]) * trust + JITTER)
        self._root = np.linalg.cholesky(gram)
        self._solved = cho_solve((self._root, True), targets)
        return self

    def predict(self, features: Features) -> tuple[np.ndarray, np.ndarray]:
        from scipy.linalg import solve_triangular

        assert self.hyper is not None, "fit() comes first"
        own = _weighed(self._standard(features), self.hyper)
        cross = np.sum(_kernels(own, self._weighed, self.hyper), axis=0)
        explained = solve_triangular(self._root, cross.T, lower=True)
        variance = _diagonal(own, self.hyper) - (explained**2).sum(axis=0)
        mean = cross @ self._solved * self._scale + self._centre
        return mean, np.sqrt(np.maximum(variance, 1e-10)) * self._scale

    @property
    def noise(self) -> float:
        """The standard deviation of the noise that was found, in units of the values."""
        assert self.hyper is not None, "fit() comes first"
        return float(np.exp(self.hyper[-1] / 2)) * self._scale

    def _standard(self, features: Features) -> list[np.ndarray]:
        """The inputs of every part, of mean 0 and deviation 1 over the records; what never varied is left out."""
        return [
            (_read(part, features) - mean) / deviation
            for part, mean, deviation in zip(PARTS, self._mean, self._deviation, strict=True)
        ]


def _read(part: _Part, features: Features) -> np.ndarray:
    return np.hstack([getattr(features, name) for name in part.reads])


# Hyperparameters: for every part the logarithm of its variance and those of its features' weights; at last that of
# the noise's variance.


def _slices(inputs: list[np.ndarray]) -> list[tuple[int, slice]]:
    found, at = [], 0
    for x in inputs:
        found.append((at, slice(at + 1, at + 1 + x.shape[1])))
        at += 1 + x.shape[1]
    return found


def _weighed(inputs: list[np.ndarray], hyper: np.ndarray) -> list[np.ndarray]:
    """Inputs times weights, scaled so that a kernel of many features is as large as one of few."""
    return [
        x * np.exp(hyper[weights]) / np.sqrt(max(x.shape[1], 1))
        for x, (_, weights) in zip(inputs, _slices(inputs), strict=True)
    ]


def _kernels(one: list[np.ndarray], other: list[np.ndarray], hyper: np.ndarray) -> list[np.ndarray]:
    """The parts of the kernel between two sets of weighed inputs."""
    found = []
    for part, x, z, (at, _) in zip(PARTS, one, other, _slices(one), strict=True):
        inner = x @ z.T
        if part.form == "square":
            inner = (1 + inner) ** 2
        elif part.form == "near":
            apart = (x**2).sum(axis=1)[:, None] + (z**2).sum(axis=1) - 2 * inner
            inner = np.exp(-0.5 * np.maximum(apart, 0))
        found.append(np.exp(hyper[at]) * inner)
    return found


def _diagonal(own: list[np.ndarray], hyper: np.ndarray) -> np.ndarray:
    total = np.zeros(len(own[0]))
    for part, x, (at, _) in zip(PARTS, own, _slices(own), strict=True):
        inner = (x**2).sum(axis=1)
        form = {"linear": inner, "square": (1 + inner) ** 2, "near": np.ones(len(x))}[part.form]
        total += np.exp(hyper[at]) * form
    return total


def _relative(noise: np.ndarray | None, n: int) -> np.ndarray:
    """Variances of the noise relative to one another, shape (n,).

    How large they are at all is found from the values: networks that are judged on the same data are all wrong in the
    same direction, and then far closer to one another than their intervals say.
    """
    if noise is None or not np.any(noise > 0):
        return np.ones(n)
    variance = noise**2 / np.mean(noise**2)
    return np.asarray(np.clip(variance, 0.01, 100.0))


def _find(inputs: list[np.ndarray], targets: np.ndarray, trust: np.ndarray) -> tuple[np.ndarray, float]:
    """The hyperparameters of the highest posterior, and its logarithm.

    ``trust``: variances of the noise, relative to one another.
    """
    from scipy.linalg import LinAlgError, cho_solve
    from scipy.optimize import minimize

    middle, free = [], []
    for part, x in zip(PARTS, inputs, strict=True):
        start = -0.5 if part.form == "near" else 0.0
        middle += [SCALE[0], *[start] * x.shape[1]]
        free += [SCALE[1], *[part.freedom] * x.shape[1]]
    prior, freedom = np.array([*middle, NOISE[0]]), np.array([*free, NOISE[1]])
    diagonal = np.arange(len(targets))

    def unlikely(hyper: np.ndarray) -> tuple[float, np.ndarray]:
        """The negative logarithm of the posterior, and its gradient."""
        weighed = _weighed(inputs, hyper)
        kernels = _kernels(weighed, weighed, hyper)
        gram = np.sum(kernels, axis=0)
        gram[diagonal, diagonal] += np.exp(hyper[-1]) * trust + JITTER
        away = (hyper - prior) / freedom
        try:
            root = np.linalg.cholesky(gram)
        except (LinAlgError, np.linalg.LinAlgError):
            return 1e10, np.zeros(len(hyper))
        solved = cho_solve((root, True), targets)
        value = 0.5 * targets @ solved + np.log(root[diagonal, diagonal]).sum() + 0.5 * away @ away
        # d value / d gram (Rasmussen and Williams 2006, equation 5.9)
        slope = 0.5 * (cho_solve((root, True), np.eye(len(targets))) - np.outer(solved, solved))
        gradient = away / freedom
        for part, x, kernel, (at, weights) in zip(PARTS, weighed, kernels, _slices(inputs), strict=True):
            both = slope * kernel
            gradient[at] += both.sum()
            if part.form == "linear":
                gradient[weights] += 2 * np.exp(hyper[at]) * ((slope @ x) * x).sum(axis=0)
            elif part.form == "square":
                inner = slope * (2 * np.exp(hyper[at]) * (1 + x @ x.T))
                gradient[weights] += 2 * ((inner @ x) * x).sum(axis=0)
            else:
                gradient[weights] += 2 * ((both @ x) * x).sum(axis=0) - 2 * (both.sum(axis=1)[:, None] * x**2).sum(
                    axis=0
                )
        gradient[-1] += np.exp(hyper[-1]) * (slope[diagonal, diagonal] * trust).sum()
        return float(value), gradient

    bounds = [(m - 6, m + 6) for m in prior]
    found = minimize(unlikely, prior, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": STEPS})
    return np.asarray(found.x), -float(found.fun)
