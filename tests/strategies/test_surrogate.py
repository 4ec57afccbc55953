"""What guided search believes of candidates: values, outliers, limits, failures, and what other studies advise."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import scipy.optimize
from hypothesis import given
from hypothesis import strategies as st

from netwright.core.candidate import Candidate
from netwright.core.front import nondominated
from netwright.core.limits import Limit
from netwright.core.metric import Measurement, Metric
from netwright.core.record import Record
from netwright.core.space import Choice, Space
from netwright.strategies import surrogate as module
from netwright.strategies.base import Problem, of_each
from netwright.strategies.integer_encoding import IntegerEncoding
from netwright.strategies.output_transform import OutputTransform
from netwright.strategies.predict import gp
from netwright.strategies.predict.encode import Encoder
from netwright.strategies.predict.gp import GaussianProcess
from netwright.strategies.surrogate import LEAST, MOST, REFIT, Surrogates, _Model, select_training_records

DEPTHS = [Choice(f"d{s}", (1, 2, 3)) for s in range(3)]
SPACE = Space(
    [*DEPTHS, *(Choice(f"w{s}{b}", (1, 2, 4), {f"d{s}": tuple(range(b + 1, 4))}) for s in range(3) for b in range(3))]
)
QUALITY, COST = Metric("quality", direction="max"), Metric("cost", exact=True)
LIMITS = (Limit("heat", "<=", 20.0),)


def cost(candidate: Candidate) -> dict[str, float]:
    return {"cost": float(sum(v for name, v in candidate.items() if name[0] == "w"))}  # type: ignore[misc]


def quality(candidate: Candidate) -> float:
    return float(sum(np.sqrt(v) / (1 + int(name[1])) for name, v in candidate.items() if name[0] == "w"))  # type: ignore[arg-type]


def measured(candidate: Candidate, shift: float = 0.0) -> Record:
    found = {"quality": quality(candidate) + shift, "heat": 1.5 * cost(candidate)["cost"] - shift, **cost(candidate)}
    return Record(candidate, {name: Measurement(value) for name, value in found.items()})


def records(n: int, seed: int = 0, shift: float = 0.0) -> list[Record]:
    rng = np.random.default_rng(seed)
    return [measured(c, shift) for c in list(dict.fromkeys(SPACE.sample(rng) for _ in range(3 * n)))[:n]]


def believed(history: list[Record], **more: Any) -> Surrogates:
    return Surrogates(Problem(SPACE, (QUALITY, COST), LIMITS, of_each(cost), **more), history)


# -- values --------------------------------------------------------------------------------------------------------


def test_the_slope_of_the_posterior_is_that_of_finite_differences(monkeypatch: pytest.MonkeyPatch) -> None:
    caught: list[Callable[[np.ndarray], tuple[float, np.ndarray]]] = []
    minimize = scipy.optimize.minimize

    def catch(function: Any, start: np.ndarray, **settings: Any) -> Any:
        caught.append(function)
        return minimize(function, start, **settings)

    monkeypatch.setattr(scipy.optimize, "minimize", catch)
    some = records(25)
    features = Encoder(SPACE)([r.candidate for r in some], [cost(r.candidate) for r in some])
    noise = np.linspace(0.1, 2.0, 25)
    found = gp.GaussianProcess().fit(features, np.array([r.values["quality"] for r in some]), noise)
    assert found.hyper is not None
    rng = np.random.default_rng(0)
    for at in (found.hyper, found.hyper + rng.normal(0, 0.7, len(found.hyper))):
        _, slope = caught[0](at)
        step = 1e-5
        for i in [*rng.choice(len(at), 25, replace=False).tolist(), len(at) - 1]:
            up, down = at.copy(), at.copy()
            up[i], down[i] = at[i] + step, at[i] - step
            numeric = (caught[0](up)[0] - caught[0](down)[0]) / (2 * step)
            assert slope[i] == pytest.approx(numeric, rel=1e-3, abs=1e-4)


def test_exact_metrics_are_computed_and_the_others_predicted_with_their_spread() -> None:
    surrogates = believed(records(60))
    new = [r.candidate for r in records(300, seed=1)]
    predicted = surrogates.predict(surrogates.encoding.of(new))
    assert surrogates.encoding.candidates(predicted.rows) == new and len(predicted) == 300
    assert predicted.losses[:, 1].tolist() == [cost(c)["cost"] for c in new] and not predicted.std[:, 1].any()
    errors = predicted.losses[:, 0] + np.array([quality(c) for c in new])
    assert np.std(errors) < 0.2 * np.std(predicted.losses[:, 0])
    assert np.mean(np.abs(errors) <= 3 * predicted.std[:, 0]) > 0.9
    cool = np.array([1.5 * cost(c)["cost"] <= 20 for c in new])
    assert predicted.feasible[cool].mean() > 0.9 > 0.1 > predicted.feasible[~cool].mean()
    assert predicted.allowed.all(), "no limit is on an exact metric"


def test_too_few_records_are_said() -> None:
    for n in range(LEAST + 1):
        assert believed(records(n)).ready == (n >= LEAST)
    without = [Record(r.candidate, {"quality": r.measurements["quality"]}) for r in records(20)]
    assert not believed(without).ready, "of heat nothing is known"


numbers = st.floats(-1e6, 1e6)


@given(st.lists(numbers, min_size=4, max_size=30), st.lists(numbers, min_size=2, max_size=20), st.booleans())
def test_shapes_keep_the_order_and_can_be_undone(losses: list[float], others: list[float], positive: bool) -> None:
    if positive:
        losses, others = [abs(x) + 1e-3 for x in losses], [abs(x) + 1e-3 for x in others]
    points = np.sort(np.array([*losses, *others]))
    for transform in OutputTransform.candidates(np.array(losses), positive):
        transformed = transform.transform(points)
        assert np.all(np.diff(transformed) >= -1e-9 * (1 + np.abs(transformed[1:]))), "the order is kept"
        beyond = (np.log(points) if transform.by_factors else points) - transform.bend
        if transform.reach == 0 or np.max(beyond) / transform.reach < 1e6:  # beyond, more than numbers hold
            assert np.allclose(
                transform.inverse(transformed), points, rtol=1e-6, atol=1e-6 * (1 + np.abs(points).max())
            )


def test_the_slope_of_a_shape_is_its_derivative() -> None:
    losses = np.random.default_rng(0).gamma(1.0, 3.0, 60) + 0.1
    transforms = OutputTransform.candidates(losses, positive=True)
    assert [x.by_factors for x in transforms] == [True, True]
    transforms += OutputTransform.candidates(losses, positive=False)
    assert [x.by_factors for x in transforms[2:]] == [False, False]
    points = np.linspace(0.2, 40, 50)
    for transform in transforms:
        slope = (transform.transform(points + 1e-6) - transform.transform(points - 1e-6)) / 2e-6
        assert np.allclose(np.log(slope), transform.log_slope(points), atol=1e-5)


def test_values_are_bent_where_that_makes_them_more_probable() -> None:
    """Some networks are broken and far worse than the others: of values as they are, nothing else would be seen."""
    rng = np.random.default_rng(1)
    space = Space([Choice(f"c{i}", ("none", "skip", "conv")) for i in range(8)])
    drawn = list(dict.fromkeys(space.sample(rng) for _ in range(60)))

    def quality(candidate: Candidate, may_break: bool) -> float:
        found = [candidate[f"c{i}"] for i in range(8)]
        dead = may_break and any(one == other == "none" for one, other in pairwise(found[:5]))
        return 10.0 if dead else 90 + found.count("conv") + 0.5 * found.count("skip")

    for may_break in (True, False):
        history = [Record(c, {"quality": Measurement(quality(c, may_break))}) for c in drawn]
        model = Surrogates(Problem(space, (QUALITY,)), history).models["quality"]
        assert model is not None
        assert (model.transform.bend == model.transform.middle) == may_break


@pytest.mark.parametrize("sign", [-1.0, 1.0])
@pytest.mark.parametrize("op", ["<=", ">="])
def test_the_probability_of_keeping_a_limit_is_that_of_draws(sign: float, op: str) -> None:
    losses = np.concatenate([np.linspace(0, 1, 40), [30.0]])
    model = _Model(sign, OutputTransform.candidates(losses, positive=False)[0], GaussianProcess())
    rng = np.random.default_rng(0)
    for bound in (sign * 0.4, sign * 5.0):
        for mean, std in ((0.3, 0.2), (0.9, 0.05), (3.2, 1.0)):
            limit = Limit("heat", op, bound)
            found = model.keeps(limit, np.array([mean]), np.array([std]))[0]
            drawn = model.value(rng.normal(mean, std, 20_000))
            assert found == pytest.approx(np.mean([limit.allows(v) for v in drawn]), abs=0.015)


def test_candidates_like_those_that_failed_are_thought_to_fail() -> None:
    rng = np.random.default_rng(0)
    drawn = list(dict.fromkeys(SPACE.sample(rng) for _ in range(80)))
    history = [Record(c, {}, "failed", "too deep") if c["d0"] == 3 else measured(c) for c in drawn]
    new = [c for c in dict.fromkeys(SPACE.sample(rng) for _ in range(200)) if c not in drawn]
    surrogates = Surrogates(Problem(SPACE, (QUALITY, COST), (), of_each(cost)), history)
    feasible = surrogates.predict(surrogates.encoding.of(new)).feasible
    deep = np.array([c["d0"] == 3 for c in new])
    assert feasible[~deep].mean() > 0.85 and feasible[deep].mean() < 0.25
    assert feasible.min() > 0, "nothing is ruled out for certain"


# -- which records -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("objectives", [(QUALITY,), (QUALITY, COST), (QUALITY, COST, Metric("heat", direction="max"))])
def test_the_records_that_tell_most_hold_the_front_in_order(objectives: tuple[Metric, ...]) -> None:
    history = records(1500)
    problem = Problem(SPACE, objectives, (), of_each(cost))
    some = select_training_records(problem, history)
    losses = np.array([problem.losses(r) for r in history])
    front = np.flatnonzero(nondominated(losses))
    assert len(some) == MOST and {r.candidate for r in some} >= {history[i].candidate for i in front[: MOST // 2]}
    places = [history.index(r) for r in some[:40]]
    assert places == sorted(places)
    infeasibility_rank = [r for r in some if r not in [history[i] for i in front]]
    assert len(infeasibility_rank) > MOST // 8, "and what is far from it"
    assert select_training_records(problem, history[:MOST]) == history[:MOST]


def test_records_without_objectives_are_told_too() -> None:
    history = [Record(r.candidate, {}, "failed", "why") for r in records(MOST + 50)]
    assert 0 < len(select_training_records(Problem(SPACE, (QUALITY,)), history)) <= MOST


@pytest.mark.parametrize("outliers", [False, True], ids=["even", "outliers"])
def test_hyperparameters_are_found_anew_only_now_and_then(outliers: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    find = gp._find

    def counted(inputs: Any, targets: np.ndarray, trust: np.ndarray) -> np.ndarray:
        calls.append(len(targets))
        return find(inputs, targets, trust)

    monkeypatch.setattr(gp, "_find", counted)
    history = records(40, seed=7)
    if outliers:
        history = [
            Record(r.candidate, {**r.measurements, "quality": Measurement(-50.0 - i)}) if i % 9 == 4 else r
            for i, r in enumerate(history)
        ]
    found: dict[int, tuple[float, ...]] = {}
    problem = Problem(SPACE, (QUALITY, COST), (), of_each(cost))
    for n in range(19, 38):
        hyper = Surrogates(problem, history[:n]).models["quality"].predictor.hyper  # type: ignore[union-attr]
        assert hyper is not None
        found[n] = tuple(hyper.tolist())
    sizes = [LEAST]
    while sizes[-1] < 38:
        sizes.append(int(np.ceil(sizes[-1] * REFIT)))
    for n in range(20, 38):
        assert (found[n] != found[n - 1]) == (n in sizes), n
    due = [n for n in sizes if 19 <= n < 38]
    assert sorted(set(calls)) == due and len(calls) <= 2 * len(due), "each is found once for a transform"
    module._tuned.cache_clear()
    again = Surrogates(problem, history[:30]).models["quality"].predictor.hyper  # type: ignore[union-attr]
    assert tuple(again.tolist()) == found[30], "and is a function of the records"  # type: ignore[union-attr]


def test_another_study_helps_where_little_was_measured_here() -> None:
    new = [r.candidate for r in records(300, seed=3)]
    truth = np.array([-quality(c) - 5.0 for c in new])
    errors = {}
    for name, warm_start in (("warm", records(80, seed=4)), ("cold", [])):
        error = []
        for seed in range(3):
            surrogates = believed(records(8, seed=10 + seed, shift=5.0), warm_start=tuple(warm_start))
            predicted = surrogates.predict(surrogates.encoding.of(new))
            error.append(float(np.sqrt(np.mean((predicted.losses[:, 0] - truth) ** 2))))
        errors[name] = np.mean(error)
    assert errors["warm"] < 0.95 * errors["cold"], errors


def test_advice_that_misleads_is_seen_through() -> None:
    rng = np.random.default_rng(0)
    noise = [
        Record(r.candidate, {"quality": Measurement(float(rng.normal())), "heat": Measurement(1.0)})
        for r in records(80, 4)
    ]
    new = [r.candidate for r in records(300, seed=3)]
    truth = np.array([-quality(c) for c in new])
    errors = []
    for warm_start in ((), tuple(noise)):
        surrogates = believed(records(40, seed=5), warm_start=warm_start)
        errors.append(
            float(np.sqrt(np.mean((surrogates.predict(surrogates.encoding.of(new)).losses[:, 0] - truth) ** 2)))
        )
    assert errors[1] < 2 * errors[0] + 0.02, errors


def test_codes_are_those_of_the_problems_space() -> None:
    surrogates = believed(records(10))
    rows = IntegerEncoding(SPACE).sample(5, np.random.default_rng(0))
    assert surrogates.predict(rows).rows is rows
