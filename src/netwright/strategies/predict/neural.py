"""Small neural networks, in NumPy: many at once, so that an ensemble costs little more than one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .base import Predictor
from .encode import Features
from .prepare import FOLDS, UNKNOWN, Inputs, Scale, folds_of, in_order, weights_of
from .ranking_losses import LOSS_GRADIENTS, LossGradient

STEPS = 600
BATCH = 128
RATE = 3e-3
INPUT = 0.5
"""What inputs are multiplied with: the smaller, the more even a function the training finds first."""
DECAY = 0.3
"""Of the weights, times the rate, each step (AdamW; Loshchilov and Hutter 2019)."""
FEW = 20
"""Rows below which isotonic regression would fit their noise."""

Layers = list[np.ndarray]
"""Of all networks: of each layer an array of shape (networks, 1 + inputs, outputs), whose first row is the bias."""


def _forward(layers: Layers, x: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
    """Outputs, shape (networks, n), and what every layer reads."""
    reads: list[np.ndarray] = []
    h = x[None]
    for i, w in enumerate(layers):
        reads.append(h)
        h = h @ w[:, 1:] + w[:, :1]
        if i < len(layers) - 1:
            h = np.tanh(h)
    return h[:, :, 0], reads


def _backward(layers: Layers, reads: list[np.ndarray], slope: np.ndarray) -> Layers:
    """Gradients of the weights, given those of the outputs."""
    gradients: Layers = []
    back = slope[:, :, None]
    for w, h in zip(reversed(layers), reversed(reads), strict=True):
        gradients.append(np.concatenate([back.sum(axis=1, keepdims=True), h.swapaxes(1, 2) @ back], axis=1))
        back = (back @ w[:, 1:].swapaxes(1, 2)) * (1 - h**2)
    return gradients[::-1]


def train(
    x: np.ndarray,
    y: np.ndarray,
    weights: np.ndarray,
    hidden: Sequence[int],
    loss: LossGradient,
    rng: np.random.Generator,
) -> Layers:
    """Train networks side by side (AdamW, the rate falling as a cosine).

    Args:
        x: standardised inputs, shape (n, columns).
        y: standardised values, shape (n,).
        weights: how much each network counts each row, shape (networks, n); 0: held out.
        hidden: units of the hidden layers; none: a linear model.
        loss: the loss of :mod:`.ranking_losses`.
        rng: the random generator of the initial weights and the batches.
    """
    x, y, weights = (INPUT * x).astype(np.float32), y.astype(np.float32), weights.astype(np.float32)
    layers: Layers = []
    for a, b in zip((x.shape[1], *hidden), (*hidden, 1), strict=True):
        w = rng.standard_normal((len(weights), 1 + a, b)).astype(np.float32) / np.float32(np.sqrt(max(a, 1)))
        w[:, 0] = 0
        layers.append(w)
    layers[-1] *= np.float32(0.1)
    first, second = [np.zeros_like(w) for w in layers], [np.zeros_like(w) for w in layers]
    rows = np.arange(0)
    for step in range(1, STEPS + 1):
        if len(rows) < min(BATCH, len(y)):
            rows = np.concatenate([rows, rng.permutation(len(y))])
        batch, rows = rows[:BATCH], rows[BATCH:]
        outputs, reads = _forward(layers, x[batch])
        gradients = _backward(layers, reads, loss(outputs, y[batch], weights[:, batch]).astype(np.float32))
        rate = np.float32(RATE * 0.5 * (1 + np.cos(np.pi * step / STEPS)))
        for w, g, m, v in zip(layers, gradients, first, second, strict=True):
            m += np.float32(0.1) * (g - m)
            v += np.float32(0.01) * (g * g - v)
            change = (m / np.float32(1 - 0.9**step)) / (np.sqrt(v / np.float32(1 - 0.99**step)) + np.float32(1e-8))
            w[:, 1:] *= 1 - rate * np.float32(DECAY)
            w -= rate * change
    return layers


class _Networks(Predictor):
    """Networks that each leave out one fold: their errors there calibrate the outputs and give the standard deviation.

    Values are a function of the outputs that never falls, so that a loss for ranking may leave their scale open.

    Args:
        hidden: units of the hidden layers; none: a linear model.
        loss: name of a loss of :mod:`.ranking_losses`.
        whole: whether one more network learns from all rows, and alone predicts.
    """

    def __init__(self, hidden: Sequence[int], loss: str, whole: bool) -> None:
        if loss not in LOSS_GRADIENTS:
            raise ValueError(f"no loss is called {loss!r}; there are {', '.join(LOSS_GRADIENTS)}")
        self.hidden, self.loss, self.whole = tuple(hidden), loss, whole

    def fit(self, features: Features, values: np.ndarray, noise: np.ndarray | None = None) -> Predictor:
        features, values, noise = in_order(features, values, noise)
        weights = weights_of(values, noise)
        self._inputs, self._scale = Inputs.of(features, weights), Scale.of(values, weights)
        x, y = self._inputs(features), self._scale(values)
        held = folds_of(len(y), FOLDS, seed=0)
        out = held == np.arange(held.max() + 1)[:, None]
        learnt = ~out if len(y) > 1 else np.ones_like(out)
        if self.whole:
            learnt = np.concatenate([learnt, np.ones((1, len(y)), dtype=bool)])
        self._layers = train(x, y, learnt * weights, self.hidden, LOSS_GRADIENTS[self.loss], np.random.default_rng(0))
        outputs = self._outputs(x)
        self._shift = outputs.mean(axis=1, keepdims=True)
        self._size = np.maximum(outputs.std(axis=1, keepdims=True), 1e-6)
        unseen = ((outputs - self._shift) / self._size)[held, np.arange(len(y))]
        self._curve = _Rising.of(unseen, y, weights, isotonic=self.loss != "squared" and len(y) >= FEW)
        errors = self._curve(unseen) - y
        free = len(y) / max(len(y) - len(self._curve.at), 1)  # what the curve's knots explain of these rows alone
        self._error = float(np.sqrt(free * np.average(errors**2, weights=weights))) if len(y) > 1 else UNKNOWN
        return self

    def predict(self, features: Features) -> tuple[np.ndarray, np.ndarray]:
        each = (self._outputs(self._inputs(features)) - self._shift) / self._size
        each = each[-1:] if self.whole else each
        mean = self._curve(each.mean(axis=0))  # one curve over all: the order is that of the outputs
        std = np.sqrt(((self._curve(each) - mean) ** 2).mean(axis=0) + self._error**2)
        return self._scale.inverse(mean), std * self._scale.unit

    def _outputs(self, x: np.ndarray) -> np.ndarray:
        return _forward(self._layers, (INPUT * x).astype(np.float32))[0].astype(np.float64)


@dataclass(frozen=True)
class _Rising:
    """A function that never falls: straight between knots, beyond them as steep as the line through everything.

    Args:
        at, values: the positions and values of the knots, both rising.
        slope: the slope, at least 0.
    """

    at: np.ndarray
    values: np.ndarray
    slope: float

    @classmethod
    def of(cls, outputs: np.ndarray, values: np.ndarray, weights: np.ndarray, isotonic: bool) -> _Rising:
        """The function nearest to the values, by least squares: isotonic regression, or a line."""
        from sklearn.isotonic import IsotonicRegression

        scale = Scale.of(outputs, weights)
        slope = max(float(np.average(scale(outputs) * values, weights=weights)), 0.0) / float(scale.deviation)
        if not isotonic or slope == 0:
            return cls(scale.mean[None], np.average(values, weights=weights)[None], slope)
        levels = IsotonicRegression().fit_transform(outputs, values, sample_weight=weights)
        knots, block = np.unique(levels, return_inverse=True)
        mass = np.bincount(block, weights)
        return cls(np.bincount(block, weights * outputs) / mass, knots, slope)

    def __call__(self, outputs: np.ndarray) -> np.ndarray:
        inside = np.clip(outputs, self.at[0], self.at[-1])
        return np.interp(inside, self.at, self.values) + self.slope * (outputs - inside)


class Mlp(_Networks):
    """A multi-layer perceptron; its standard deviation is the root mean square of errors on rows held out.

    Args:
        hidden: units of the hidden layers.
    """

    def __init__(self, hidden: Sequence[int] = (64, 64)) -> None:
        super().__init__(hidden, "squared", whole=True)


class DeepEnsemble(_Networks):
    """Multi-layer perceptrons of different starts and folds (deep ensemble, Lakshminarayanan et al. 2017; the folds:
    Krogh and Vedelsby 1995); their disagreement is part of the standard deviation.

    Args:
        hidden: units of the hidden layers.
    """

    def __init__(self, hidden: Sequence[int] = (64, 64)) -> None:
        super().__init__(hidden, "squared", whole=False)


class Ranker(_Networks):
    """Networks that learn which of two is better; isotonic regression on rows held out gives values.

    Args:
        loss: ``kendall`` (a differentiable Kendall's tau; DiffKendall, as in ParZC, Dong et al. 2024) or ``pairwise``
            (RankNet, Burges et al. 2005).
        hidden: units of the hidden layers; none: a linear model.
    """

    def __init__(self, loss: str = "kendall", hidden: Sequence[int] = (64,)) -> None:
        super().__init__(hidden, loss, whole=False)
