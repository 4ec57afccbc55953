"""Predictors: the contract of all of them, what each adds, and how they are judged."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kendalltau

from netwright.core.errors import MissingExtra
from netwright.core.space import Choice, Space
from netwright.strategies.predict import (
    BayesianLinear,
    DeepEnsemble,
    Encoder,
    Features,
    GaussianProcess,
    GradientBoosting,
    LightGbm,
    Mlp,
    Predictor,
    RandomForest,
    Ranker,
    Stack,
    SupportVectors,
    held_out,
    ranking_losses,
    scores,
)
from netwright.strategies.predict.neural import _Rising
from netwright.testing import check_predictor

Make = Callable[[], Predictor]


class Average(Predictor):
    """Knows no better than the mean; wrong on purpose in the ways that tests ask for."""

    def __init__(self, std: float = 1.0, sequential: bool = False) -> None:
        self.std, self.sequential = std, sequential

    def fit(self, features: Features, values: np.ndarray, noise: np.ndarray | None = None) -> Average:
        self.mean = float(values[0] if self.sequential else values.mean())
        return self

    def predict(self, features: Features) -> tuple[np.ndarray, np.ndarray]:
        return np.full(len(features), self.mean), np.full(len(features), self.std)


def few() -> list[Predictor]:
    return [BayesianLinear(), SupportVectors(), Average()]


MAKES: dict[str, Make] = {
    "linear": BayesianLinear,
    "interactions": lambda: BayesianLinear(interactions=True),
    "support vectors": SupportVectors,
    "forest": lambda: RandomForest(trees=40),
    "boosting": lambda: GradientBoosting(trees=30),
    "process": GaussianProcess,
    "perceptron": lambda: Mlp((16, 16)),
    "ensemble": lambda: DeepEnsemble((16, 16)),
    "kendall": lambda: Ranker("kendall", (16,)),
    "pairwise, linear": lambda: Ranker("pairwise", ()),
    "stack": lambda: Stack(lambda: [BayesianLinear(), GaussianProcess()], folds=3),
}


@pytest.mark.parametrize("make", MAKES.values(), ids=MAKES)
def test_keeps_the_contract(make: Make) -> None:
    check_predictor(make)


def test_lightgbm_keeps_the_contract() -> None:
    pytest.importorskip("lightgbm")
    check_predictor(lambda: LightGbm(trees=60))


def test_without_lightgbm_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lightgbm", None)
    features, values = records(6)
    with pytest.raises(MissingExtra, match=r"LightGbm needs .* pip install 'netwright\[lightgbm\]'"):
        LightGbm().fit(features, values)


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (Average, "count less"),
        (lambda: Average(std=-1.0), "negative"),
        (lambda: Average(std=np.nan), "finite"),
        (lambda: Average(sequential=True), "order of records"),
    ],
)
def test_the_contract_finds_what_is_wrong(make: Make, complaint: str) -> None:
    with pytest.raises(AssertionError, match=complaint):
        check_predictor(make)


def test_importing_predictors_and_contracts_is_light() -> None:
    code = "import sys, netwright.testing, netwright.testing.predictors, netwright.strategies.predict; "
    code += "print([m for m in ('torch', 'sklearn', 'scipy', 'lightgbm') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# -- records ---------------------------------------------------------------------------------------------------


def records(n: int, noise: float = 0.0, seed: int = 0) -> tuple[Features, np.ndarray]:
    """Of a space with a condition; the value is a curved function of it, with noise."""
    space = Space(
        [
            Choice("depth", (1, 2)),
            *(Choice(f"k{i}", (3, 5, 7)) for i in range(5)),
            Choice("wide", (1, 2, 3, 4), {"depth": 2}),
        ]
    )
    rng = np.random.default_rng(seed)
    everyone = [space.sample(rng) for _ in range(n)]
    total = np.array([sum(c[f"k{i}"] * (i + 1) for i in range(5)) + 10 * c.get("wide", 0) for c in everyone])
    return Encoder(space)(everyone), np.sqrt(total) + noise * rng.standard_normal(n)


# -- losses ----------------------------------------------------------------------------------------------------


def pairs(outputs: np.ndarray, values: np.ndarray, weights: np.ndarray, name: str) -> float:
    """The losses as the papers write them, of one network."""
    if name == "squared":
        return float((weights * (outputs - values) ** 2).sum() / weights.sum() / 2)
    total = 0.0
    for i in range(len(values)):
        for j in range(len(values)):
            apart, true = outputs[i] - outputs[j], values[i] - values[j]
            if name == "pairwise":
                term = np.log1p(np.exp(-np.sign(true) * apart)) if true else 0.0
            else:
                term = -np.tanh(ranking_losses.STEEPNESS / 2 * apart) * np.tanh(ranking_losses.STEEPNESS / 2 * true)
            total += weights[i] * weights[j] * term
    return float(total / weights.sum() ** 2)


@pytest.mark.parametrize("name", ranking_losses.LOSS_GRADIENTS)
def test_slopes_of_losses_are_those_of_the_papers_formulas(name: str) -> None:
    rng = np.random.default_rng(0)
    outputs, values, weights = rng.normal(size=(2, 7)), rng.normal(size=7), rng.random((2, 7))
    values[3] = values[2]  # a tie
    weights[0, 1] = 0  # held out
    found = ranking_losses.LOSS_GRADIENTS[name](outputs, values, weights)
    for m in range(2):
        for i in range(7):
            step = np.eye(7)[i] * 1e-5
            up, down = (pairs(outputs[m] + s, values, weights[m], name) for s in (step, -step))
            assert found[m, i] == pytest.approx((up - down) / 2e-5, abs=1e-7)
    assert found[0, 1] == 0


def test_the_smooth_tau_nears_the_true_one() -> None:
    rng = np.random.default_rng(1)
    one, other = rng.normal(size=30), rng.normal(size=30)
    smooth = -pairs(1e6 * one, 1e6 * other, np.ones(30), "kendall") * 30 / 29  # without pairs of one with itself
    assert smooth == pytest.approx(kendalltau(one, other).statistic)


def test_a_pairwise_ranker_sees_only_the_order_and_still_gives_values() -> None:
    features, values = records(60)
    new, truth = records(100, seed=1)
    one, _ = Ranker("pairwise", ()).fit(features, values).predict(new)
    other, _ = Ranker("pairwise", ()).fit(features, np.exp(values)).predict(new)
    apart, again = one[:, None] - one, other[:, None] - other
    assert (apart * again >= -1e-12).all()
    assert np.abs(one - truth).mean() < 0.3 * truth.std()
    assert np.abs(other - np.exp(truth)).mean() < 0.3 * np.exp(truth).std()


def test_a_ranker_refuses_a_loss_that_is_not_there() -> None:
    with pytest.raises(ValueError, match=r"'hinge'; there are squared, pairwise, kendall"):
        Ranker("hinge")


@given(st.lists(st.tuples(st.floats(-5, 5), st.floats(-5, 5)), min_size=2, max_size=40), st.booleans())
def test_what_maps_outputs_to_values_never_falls(rows: list[tuple[float, float]], bends: bool) -> None:
    outputs, values = np.array(rows).T
    curve = _Rising.of(outputs, values, np.ones(len(rows)), bends)
    found = curve(np.linspace(-20, 20, 401))
    assert np.isfinite(found).all() and (np.diff(found) >= -1e-9).all()


# -- stack -----------------------------------------------------------------------------------------------------


def test_a_stack_trusts_who_ranks_well() -> None:
    features, values = records(60, noise=0.05)
    stack = Stack(few).fit(features, values)
    assert stack.weights.sum() == pytest.approx(1) and (stack.weights >= 0).all()
    assert stack.weights[2] < 0.15
    new, truth = records(200, noise=0.05, seed=1)
    found = scores(*stack.predict(new), truth)
    alone = [scores(*m.fit(features, values).predict(new), truth) for m in few()]
    assert found.kendall >= max(s.kendall for s in alone) - 0.02
    assert 0.85 < found.calibration <= 1 and 0.4 < found.mean_squared_z < 2


def test_a_stack_corrects_spreads_that_its_members_state_too_small() -> None:
    features, values = records(60, noise=1.0)
    mean, std = Stack(lambda: [Average(std=1e-3)]).fit(features, values).predict(features)
    assert mean == pytest.approx(np.full(60, values.mean()))
    assert std == pytest.approx(np.full(60, values.std()), rel=0.05)


# -- scores ----------------------------------------------------------------------------------------------------


def test_scores_of_known_cases() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=4000)
    noise = rng.normal(size=4000)
    honest = scores(values + 0.5 * noise, np.full(4000, 0.5), values)
    assert honest.calibration == pytest.approx(0.95, abs=0.01) and honest.mean_squared_z == pytest.approx(1, abs=0.06)
    assert honest.rmse == pytest.approx(0.5, abs=0.02)
    assert scores(values + 0.5 * noise, np.full(4000, 0.25), values).mean_squared_z == pytest.approx(
        4 * honest.mean_squared_z
    )
    exact = scores(values, np.zeros(4000), values)
    assert (exact.kendall, exact.spearman, exact.rmse, exact.calibration) == pytest.approx((1, 1, 0, 1))
    assert scores(-values, np.ones(4000), values).kendall == pytest.approx(-1)
    blind = scores(np.zeros(4000), np.ones(4000), values)
    assert blind.kendall == blind.spearman == 0


@given(st.lists(st.integers(-50, 50), min_size=2, max_size=20, unique=True), st.integers(0, 99))
def test_rank_scores_do_not_depend_on_scale(numbers: list[int], seed: int) -> None:
    values = np.array(numbers, dtype=np.float64)
    mean = np.random.default_rng(seed).permutation(values)
    one, other = scores(mean, np.ones(len(mean)), values), scores(np.exp(mean / 9), np.ones(len(mean)), values**3)
    assert (one.kendall, one.spearman) == pytest.approx((other.kendall, other.spearman))


def test_held_out_scores_are_of_what_was_not_seen_and_in_any_order() -> None:
    features, values = records(60, noise=0.1)
    found = held_out(BayesianLinear, features, values)
    assert found.kendall > 0.8 and found.rmse < 0.4 * values.std()
    order = np.random.default_rng(0).permutation(60)
    assert held_out(BayesianLinear, features[order], values[order]) == found
    guess = held_out(Average, features, values)
    assert guess.kendall <= 0 and guess.rmse == pytest.approx(values.std(), rel=0.1)
    with pytest.raises(ValueError, match="at least 2 records and 2 folds, not 1 and 5"):
        held_out(BayesianLinear, features[:1], values[:1])
