"""A new device from few measurements, given others."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netwright.core.space import Choice, Space
from netwright.strategies.integer_encoding import IntegerEncoding
from netwright.strategies.predict import Encoder, Features, GaussianProcess, scores, transfer
from netwright.strategies.predict.transfer import Transfer
from netwright.testing import check_predictor
from netwright.testing import predictors as contract

SPACE = Space(
    [
        *(Choice(f"depth{s}", (1, 2, 3)) for s in range(2)),
        *(
            Choice(f"{kind}{s}{j}", (3, 5, 7), {f"depth{s}": tuple(range(j + 1, 4))} if j else None)
            for s in range(2)
            for j in range(3)
            for kind in ("kernel", "wide")
        ),
    ]
)


def networks(n: int, seed: int) -> Features:
    return Encoder(SPACE).rows(IntegerEncoding(SPACE).sample(n, np.random.default_rng(seed)), np.zeros((n, 0)))


def latency(features: Features, device: int, noise: float = 0.0, seed: int = 0) -> np.ndarray:
    """A sum over blocks and an overhead; devices lie between two kinds, and each has a little of its own."""
    width = features.options.shape[1]
    one, other = np.random.default_rng(0).lognormal(0, 1, (2, width))
    own = np.random.default_rng(100 + device)
    share = own.uniform()
    cost = share * one + (1 - share) * other + 0.1 * own.lognormal(0, 1, width)
    times = own.lognormal(0, 1) * (features.options @ cost + own.uniform(0, 10))
    return times * np.exp(noise * np.random.default_rng(seed).standard_normal(len(times)))


@cache
def six() -> Transfer:
    """Six devices; of each other networks are known."""
    return Transfer({f"d{i}": (networks(120, i), latency(networks(120, i), i, 0.02)) for i in range(6)})


def new(n: int, seed: int = 0) -> tuple[Features, np.ndarray, Features, np.ndarray]:
    """n measurements of a seventh device, and networks with what they would take on it."""
    known, rest = networks(n, 50 + seed), networks(400, 99)
    return known, latency(known, 6, 0.02, seed), rest, latency(rest, 6, 0.02, 1000)


def test_keeps_the_contract() -> None:
    everyone = {}
    for i in range(4):
        rng = np.random.default_rng(i)
        features, values = contract._records(150, 100 + i)
        everyone[f"d{i}"] = features, values + features.options @ rng.lognormal(0, 0.5, features.options.shape[1])
    first = Transfer(everyone)
    check_predictor(lambda: first.without([]))


def test_few_measurements_suffice_where_others_are_known() -> None:
    errors, alone = [], []
    for seed in range(3):
        known, values, rest, truth = new(10, seed)
        found = scores(*six().fit(known, values).predict(rest), truth)
        assert found.spearman > 0.95 and found.calibration > 0.85
        errors.append(found.rmse)
        alone.append(scores(*GaussianProcess().fit(known, values).predict(rest), truth).rmse)
    assert np.mean(errors) < 0.4 * np.mean(alone)
    assert np.mean(errors) < 0.06 * truth.mean()


def test_the_stated_interval_holds_over_devices_and_draws() -> None:
    inside = []
    for out in range(6):
        rest = networks(200, 99)
        truth = latency(rest, out, 0.02, 1000)
        for seed in range(4):
            known = networks(15, 50 + seed)
            model = six().without([f"d{out}"]).fit(known, latency(known, out, 0.02, seed))
            inside.append(scores(*model.predict(rest), truth).calibration)
    assert 0.9 < np.mean(inside) < 0.995


def test_more_measurements_make_surer_and_better() -> None:
    found = [scores(*six().fit(*new(n)[:2]).predict(new(n)[2]), new(n)[3]) for n in (5, 20, 100)]
    stds = [six().fit(*new(n)[:2]).predict(new(n)[2])[1].mean() for n in (5, 20, 100)]
    assert found[0].rmse > found[2].rmse
    assert stds[0] > stds[1] > stds[2]


def test_others_that_have_nothing_to_do_with_it_do_little_harm() -> None:
    rng = np.random.default_rng(3)
    liars = Transfer({f"d{i}": (networks(120, i), rng.lognormal(0, 0.3, 120)) for i in range(3)})
    known, values, rest, truth = new(100)
    error = scores(*liars.fit(known, values).predict(rest), truth)
    assert error.rmse < 0.4 * truth.std() and error.calibration > 0.85


def test_one_measurement_sets_the_level_and_the_others_the_order() -> None:
    known, values, rest, truth = new(1)
    model = six().fit(known, values)
    assert model.predict(known)[0] == pytest.approx(values)
    assert scores(*model.predict(rest), truth).spearman > 0.7


def test_is_the_mixture_that_it_says() -> None:
    """Every combination, one by one, with the textbook's formulas."""
    known, values, rest, _ = new(4)
    rest = rest[:7]
    model = six().without(["d3", "d4", "d5"]).fit(known, values)
    mean, std = model.predict(rest)
    common = model._common(0, True)
    zero = common.shapes(known).mean(axis=0)
    at, to = common.shapes(known) - zero, common.shapes(rest) - zero
    targets = (np.log(values) - np.log(values).mean()) / common.unit
    apart = [(x[:, :-1] - x[:, -1:]) / np.sqrt(3) for x in (at, to)]
    own = [common.inputs(known), common.inputs(rest)]
    prior = np.exp(-0.5 * (np.log(transfer.SLOPES) / transfer.STRETCH) ** 2)
    weights, means, variances = [], [], []
    for between in transfer.BETWEEN:
        for alone in transfer.OWN:

            def kernel(i: int, j: int, between: float = between, alone: float = alone) -> np.ndarray:
                return between * apart[i] @ apart[j].T + alone * own[i] @ own[j].T + transfer.LEVEL

            for noise in transfer.NOISE:
                gram = kernel(0, 0) + noise * np.eye(4)
                gain = kernel(1, 0) @ np.linalg.inv(gram)
                variance = np.diag(kernel(1, 1) - gain @ kernel(0, 1)) + noise
                for device in range(4):
                    for slope, likely in zip(transfer.SLOPES, prior, strict=True):
                        off = targets - slope * at[:, device]
                        fit = -0.5 * off @ np.linalg.solve(gram, off) - 0.5 * np.linalg.slogdet(gram)[1]
                        weights.append(likely * np.exp(fit))
                        means.append(slope * to[:, device] + gain @ off)
                        variances.append(variance)
    weight = np.array(weights) / np.sum(weights)
    middle = weight @ np.array(means)
    deviation = np.sqrt(weight @ (np.array(variances) + np.array(means) ** 2) - middle**2)
    expected = np.exp(middle * common.unit + np.log(values).mean())
    assert mean == pytest.approx(expected, rel=1e-3)
    assert std == pytest.approx(expected * deviation * common.unit, rel=5e-3)


@settings(max_examples=15, deadline=None)
@given(st.floats(-12, 12), st.integers(2, 12))
def test_the_unit_does_not_matter(power: float, n: int) -> None:
    known, values, rest, _ = new(n)
    mean, std = six().fit(known, values).predict(rest)
    again = six().fit(known, values * 10**power).predict(rest)
    assert again[0] == pytest.approx(mean * 10**power, rel=1e-6)
    assert again[1] == pytest.approx(std * 10**power, rel=1e-4)


def test_values_that_are_not_positive_are_taken_as_they_are() -> None:
    low = Transfer({name: (features, values - 20) for name, (features, values) in six().others.items()})
    known, values, rest, truth = new(20)
    found = scores(*low.fit(known, values - 20).predict(rest), truth - 20)
    assert found.spearman > 0.95 and found.calibration > 0.85


def test_without_some_is_as_if_they_had_never_been() -> None:
    known, values, rest, _ = new(10)
    fresh = Transfer({name: six().others[name] for name in ("d0", "d1", "d2", "d3")})
    left = six().without(["d4", "d5"])
    assert np.allclose(left.fit(known, values).predict(rest), fresh.fit(known, values).predict(rest))
    assert list(six().others) == [f"d{i}" for i in range(6)]


def test_exact_metrics_are_read_where_all_have_them() -> None:
    rng = np.random.default_rng(0)
    hidden = {f"d{i}": networks(60, i).with_costs(rng.normal(size=(60, 1))) for i in range(3)}
    # What nothing else tells.
    model = Transfer({name: (x, np.exp(1 + x.costs[:, 0])) for name, x in hidden.items()})
    known, rest = (networks(n, n).with_costs(rng.normal(size=(n, 1))) for n in (8, 50))
    told = scores(*model.fit(known, np.exp(known.costs[:, 0])).predict(rest), np.exp(rest.costs[:, 0]))
    assert told.spearman > 0.95
    more = known.with_costs(known.costs), rest.with_costs(rest.costs)
    untold = scores(*model.fit(more[0], np.exp(known.costs[:, 0])).predict(more[1]), np.exp(rest.costs[:, 0]))
    assert untold.spearman < 0.6


def test_reference_networks_tell_more_than_random_ones() -> None:
    pool = networks(300, 7)
    chosen = six().reference(pool, 6)
    assert len(set(chosen.tolist())) == 6 and (chosen == six().reference(pool, 6)).all()
    assert (chosen[:3] == six().reference(pool, 3)).all()
    rest = networks(300, 99)

    def error(rows: np.ndarray, out: int) -> float:
        model = six().without([f"d{out}"]).fit(pool[rows], latency(pool[rows], out, 0.02))
        truth = latency(rest, out)
        return scores(*model.predict(rest), truth).rmse / float(truth.std())

    told = np.mean([error(six().without([f"d{out}"]).reference(pool, 6), out) for out in range(6)])
    random = np.mean([error(np.random.default_rng(s).permutation(300)[:6], out) for out in range(6) for s in range(5)])
    assert told < 0.95 * random


def test_says_what_is_wrong() -> None:
    features, values = six().others["d0"]
    with pytest.raises(ValueError, match="at least one other device"):
        Transfer({})
    with pytest.raises(ValueError, match=r"'slow' has 4 candidates and 4 values; .* at least 5"):
        Transfer({"slow": (features[:4], values[:4])})
    with pytest.raises(ValueError, match="'odd' has 120 candidates and 7 values"):
        Transfer({"odd": (features, values[:7])})
    foreign, quality = contract._records(10, 0)
    with pytest.raises(ValueError, match="the same space; here are"):
        Transfer({"d0": (features, values), "foreign": (foreign, quality)})
    with pytest.raises(ValueError, match="options, that of these candidates"):
        six().without([]).fit(foreign, quality)
    with pytest.raises(ValueError, match="7 of 5 candidates"):
        six().reference(features[:5], 7)
    with pytest.raises(ValueError, match="at least one other device"):
        six().without([f"d{i}" for i in range(6)])
