"""The linear predictor, against closed forms."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from sklearn.linear_model import BayesianRidge

from netwright.core.space import Choice, Space
from netwright.strategies.predict import BayesianLinear, Encoder, Features


def features(x: np.ndarray) -> Features:
    none = np.zeros((len(x), 0))
    return Features(x, none, none, none, none)


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
    mean, std = BayesianLinear().fit(features(x), y).predict(features(new))
    assert mean == pytest.approx(at @ weights * y.std() + y.mean(), rel=1e-4)
    variance = np.diag(at @ covariance @ at.T) + 1 / ridge.alpha_
    assert std == pytest.approx(np.sqrt(variance) * y.std(), rel=2e-2)


def test_equal_noise_changes_nothing_and_a_noisy_value_counts_little() -> None:
    x, y = data()
    plain, _ = BayesianLinear().fit(features(x), y).predict(features(x))
    equal, _ = BayesianLinear().fit(features(x), y, np.full(40, 0.5)).predict(features(x))
    assert equal == pytest.approx(plain, rel=1e-6)
    wrong, noise = y.copy(), np.full(40, 0.3)
    wrong[7] += 500
    noise[7] = 500
    told, _ = BayesianLinear().fit(features(x), wrong, noise).predict(features(x))
    assert told == pytest.approx(plain, abs=1.0)


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
        mean, std = BayesianLinear().fit(features(x), y).predict(features(x))
    assert mean.shape == std.shape == y.shape
    assert np.isfinite([mean, std]).all() and (std >= 0).all()
    if shape in ("one row", "constant target", "constant features"):
        assert mean == pytest.approx(np.full(len(y), y.mean()), rel=1e-6)
    if shape == "collinear":
        assert mean == pytest.approx(y, abs=3.0)


def test_neighbours_are_next_to_each_other_or_parent_and_child() -> None:
    space = Space([Choice("d", (1, 2)), Choice("f", ("x", "y")), Choice("a", (3, 5, 7), when={"d": 2})])
    encoded = Encoder(space)(list(space.enumerate()))
    # Columns of positions: d, f = x, f = y, a.
    assert encoded.neighbours.tolist() == [[0, 1], [0, 2], [0, 3], [1, 3], [2, 3]]
    for part in (encoded[:3], encoded.with_costs(np.ones((8, 1)))):
        assert np.array_equal(part.neighbours, encoded.neighbours)


def test_interactions_of_neighbours_are_learnt_where_asked_for() -> None:
    space = Space([Choice(name, (1, 2, 3, 4)) for name in "abcd"])
    everyone = list(space.enumerate())
    encoded = Encoder(space)(everyone)
    values = np.array([(c["a"] - 2.5) * (c["b"] - 2.5) + c["d"] for c in everyone])
    values += np.random.default_rng(1).normal(0, 0.1, 256)
    known = np.random.default_rng(0).permutation(256)[:80]
    errors = []
    for interactions in (False, True):
        model = BayesianLinear(interactions).fit(encoded[known], values[known])
        mean, std = model.predict(encoded)
        errors.append(float(np.abs(mean - values).mean()))
        assert 0.5 < errors[-1] / std.mean() < 1.2  # honest in both cases
    assert errors[1] < 0.2 * errors[0]
