"""The predictor, against closed forms."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from sklearn.linear_model import BayesianRidge

from netwright.core.space import Choice, Space
from netwright.strategies.predict import BayesianLinear
from netwright.strategies.predict.encode import encode


def data(n: int = 40, d: int = 6, noise: float = 0.3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(2)
    x = rng.normal(3, 2, (n, d)) * [1, 10, 0.1, 1, 1, 1]
    return x, 100 + x @ [2, -0.3, 5, 0, 0, 1] + rng.normal(0, noise, n)


def test_predictions_are_the_posterior_in_closed_form() -> None:
    x, y = data()
    new = data(n=7)[0] + 1
    z, t = (x - x.mean(0)) / x.std(0), (y - y.mean()) / y.std()
    ridge = BayesianRidge(fit_intercept=False).fit(z, t)
    covariance = np.linalg.inv(ridge.alpha_ * z.T @ z + ridge.lambda_ * np.eye(6))
    weights = ridge.alpha_ * covariance @ z.T @ t
    at = (new - x.mean(0)) / x.std(0)
    mean, spread = BayesianLinear().fit(x, y).predict(new)
    assert mean == pytest.approx(at @ weights * y.std() + y.mean(), rel=1e-4)
    assert spread == pytest.approx(np.sqrt(np.diag(at @ covariance @ at.T)) * y.std(), rel=2e-2)


def test_samples_scatter_as_predicted_and_are_functions() -> None:
    x, y = data(n=15, noise=5.0)
    model = BayesianLinear().fit(x, y)
    new = data(n=5)[0] + 4
    mean, spread = model.predict(new)
    rng = np.random.default_rng(0)
    drawn = np.array([model.sample(new, rng) for _ in range(4000)])
    assert drawn.mean(axis=0) == pytest.approx(mean, abs=float(5 * spread.max() / np.sqrt(4000)))
    assert drawn.std(axis=0) == pytest.approx(spread, rel=0.06)
    twice = model.sample(np.vstack([new, new]), rng)
    assert twice[:5] == pytest.approx(twice[5:])
    line = model.sample(np.array([new[0], (new[0] + new[1]) / 2, new[1]]), rng)
    assert line[1] == pytest.approx((line[0] + line[2]) / 2)


@pytest.mark.parametrize("shape", ["one row", "constant target", "collinear", "constant features", "wide", "huge"])
def test_awkward_data_give_finite_predictions(shape: str) -> None:
    x, y = data()
    if shape == "one row":
        x, y = x[:1], y[:1]
    elif shape == "constant target":
        y = np.full(len(y), 7.0)
    elif shape == "collinear":
        x = np.hstack([x, x, x[:, :1] + x[:, 1:2], 1e9 * x])
    elif shape == "constant features":
        x = np.ones_like(x)
    elif shape == "wide":
        x = np.hstack([x[:6], np.random.default_rng(1).integers(0, 2, (6, 50)).astype(float)])
        y = y[:6]
    else:
        x, y = x * 1e8, y * 1e12
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        model = BayesianLinear().fit(x, y)
        mean, spread = model.predict(x)
        drawn = model.sample(x, np.random.default_rng(0))
    assert mean.shape == spread.shape == drawn.shape == y.shape
    assert np.isfinite([mean, spread, drawn]).all() and (spread >= 0).all()
    if shape in ("one row", "constant target", "constant features"):
        assert mean == pytest.approx(np.full(len(y), y.mean()), rel=1e-6)
    if shape == "collinear":
        assert mean == pytest.approx(y, abs=3.0)


def test_features_tell_candidates_apart_and_are_blind_to_what_is_absent() -> None:
    space = Space([Choice("d", (1, 2)), Choice("a", (3, 5, 7), when={"d": 2}), Choice("f", (None, "x"))])
    everyone = list(space.enumerate())
    rows = encode(space, everyone)
    assert rows.shape == (8, 2 + 3 + 1 + 2)
    assert len({tuple(r) for r in rows}) == 8
    assert rows[:, 2:6].tolist()[::2] == [[0, 0, 0, 0], [1, 0, 0, 0], [0, 1, 0, 0.5], [0, 0, 1, 1]]
    assert [r.sum() for r in np.delete(rows, 5, axis=1)] == [len(c) for c in everyone]
    assert encode(space, []).shape == (0, 8)
