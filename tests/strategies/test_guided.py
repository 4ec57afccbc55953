"""Guided search: whole fronts of small spaces, lists longer than it looks at whole, and what asking costs."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import netwright as nw
from netwright.core.candidate import Candidate
from netwright.core.enumerated import EnumeratedSpace
from netwright.core.front import nondominated
from netwright.core.metric import Measurement, Metric
from netwright.core.record import Record
from netwright.core.space import Choice, Space
from netwright.strategies.acquisition import ExpectedHypervolumeImprovement, promising
from netwright.strategies.base import Problem, of_each
from netwright.strategies.guided import WHOLE, Guided

Values = Mapping[str, float]


@dataclass(frozen=True)
class Case:
    """A space whose front can be enumerated.

    Args:
        space: of at most ``WHOLE`` candidates.
        values: all metrics of a candidate.
        directions: of the objectives.
        exact: which of them are computed.
    """

    space: Space
    values: Callable[[Candidate], Values]
    directions: Mapping[str, nw.core.metric.Direction]  # type: ignore[name-defined]
    exact: tuple[str, ...]


def numeric_values(candidate: Candidate) -> Values:
    """Compound scaling: each of depth, width and resolution helps less and less, and they need balance."""
    d, w, r, k = (float(candidate[name]) for name in ("depth", "width", "size", "kernel"))  # type: ignore[arg-type]
    accuracy = 90 - 20 / d - 120 / w - 900 / r + 2 * np.log(k) - 0.4 * abs(np.log(d * 32 / w)) ** 2
    return {
        "top1": accuracy,
        "macs": d * (w / 16) ** 2 * (r / 128) ** 2 * (1 + k / 8),
        "params": d * w**2 * (1 + k / 9),
    }


def numeric() -> Space:
    """1,350 candidates of four numbers."""
    return Space(
        [
            Choice("depth", tuple(range(2, 12))),
            Choice("width", (16, 24, 32, 40, 48, 56, 64, 80, 96)),
            Choice("size", (128, 160, 192, 224, 256)),
            Choice("kernel", (3, 5, 7)),
        ]
    )


def conditional() -> Space:
    """1,521 candidates: two stages of one to three blocks with a width each."""
    return Space(
        [
            *(Choice(f"d{s}", (1, 2, 3)) for s in range(2)),
            *(Choice(f"w{s}{b}", (2, 3, 4), {f"d{s}": tuple(range(b + 1, 4))}) for s in range(2) for b in range(3)),
        ]
    )


def conditional_values(candidate: Candidate) -> Values:
    widths = {n: float(v) for n, v in candidate.items() if n[0] == "w"}  # type: ignore[arg-type]
    help_ = sum(np.sqrt(v) / (1 + 0.5 * int(n[1]) + 0.3 * int(n[2])) for n, v in widths.items())
    macs = sum(v * v * (2 - int(n[1])) for n, v in widths.items())
    return {"top1": 20 * np.log(help_) + 0.3 * widths["w00"], "macs": macs, "latency": 3 + len(widths) + 0.1 * macs}


OPERATORS = ("none", "skip", "conv1", "conv3", "pool")


def cell() -> Space:
    """625 cells of four operators."""
    return Space([Choice(f"edge{i}", OPERATORS) for i in range(4)])


def cell_values(candidate: Candidate) -> Values:
    """Convolutions help, a skip beside them helps more, and with no way through nothing does."""
    edges = list(candidate.values())
    worth = {"none": 0.0, "skip": 1.0, "conv1": 2.4, "conv3": 3.1, "pool": 0.6}
    price = {"none": 0.0, "skip": 0.0, "conv1": 1.0, "conv3": 3.0, "pool": 0.3}
    help_ = sum(worth[str(e)] * (1.3 if i in (0, 3) else 0.9) for i, e in enumerate(edges))
    if "skip" in edges and ("conv3" in edges or "conv1" in edges):
        help_ += 1.1
    if edges[0] == edges[3] == "none":
        help_ -= 5
    macs = sum(price[str(e)] * (1.2 if i < 2 else 1.0) for i, e in enumerate(edges))
    return {"top1": 60 + 10 * np.tanh(help_ / 6), "macs": macs, "latency": 1 + macs + 0.5 * edges.count("pool")}


TWO: dict[str, nw.core.metric.Direction] = {"top1": "max", "macs": "min"}  # type: ignore[name-defined]
CASES = {
    "numbers": lambda: Case(numeric(), numeric_values, TWO, ("macs", "params")),
    "numbers, nothing exact": lambda: Case(numeric(), numeric_values, TWO, ()),
    "numbers, three": lambda: Case(numeric(), numeric_values, {**TWO, "params": "min"}, ("macs", "params")),
    "conditions": lambda: Case(conditional(), conditional_values, TWO, ("macs",)),
    "conditions, nothing exact": lambda: Case(conditional(), conditional_values, TWO, ()),
    "conditions, three": lambda: Case(conditional(), conditional_values, {**TWO, "latency": "min"}, ("macs",)),
    "operators": lambda: Case(cell(), cell_values, TWO, ("macs",)),
    "operators, nothing exact": lambda: Case(cell(), cell_values, TWO, ()),
    "operators, three": lambda: Case(cell(), cell_values, {**TWO, "latency": "min"}, ("macs",)),
}


def share_needed(case: Case, seed: int) -> tuple[float, int]:
    """Which share of the space is measured before every point of its front is known, and how many points it has."""
    signs = {name: -1.0 if way == "max" else 1.0 for name, way in case.directions.items()}
    everyone = list(case.space.enumerate())
    table = np.array([[s * case.values(c)[name] for name, s in signs.items()] for c in everyone]).round(9)
    front = set(map(tuple, table[nondominated(table)].tolist()))
    size, left = len(front), set(front)
    metrics = tuple(Metric(n, direction=way, exact=n in case.exact) for n, way in case.directions.items())
    problem = Problem(case.space, metrics, (), of_each(lambda c: {n: case.values(c)[n] for n in case.exact}), seed)
    history: list[Record] = []
    strategy = Guided()
    while left:
        for candidate in strategy.ask(problem, history, strategy.batch):
            values = case.values(candidate)
            history.append(Record(candidate, {n: Measurement(v) for n, v in values.items()}))
            left.discard(tuple(np.round([s * values[n] for n, s in signs.items()], 9).tolist()))
        if len(history) > 0.4 * len(everyone):
            return 1.0, size
    return len(history) / len(everyone), size


# Where much depends on few of the operators together and cells are level in every objective, the last points of the
# front are found late: 18 to 21 % of the space with three objectives, 28 % to more than 40 % with nothing exact.
LATE = pytest.mark.xfail(strict=False, reason="more than 20 % of the cells are measured")
MARKS = {
    "operators": (),
    "operators, three": (pytest.mark.slow, LATE),
    "operators, nothing exact": (pytest.mark.slow, LATE),
}


@pytest.mark.parametrize("name", [pytest.param(n, marks=MARKS.get(n, (pytest.mark.slow,))) for n in CASES])
def test_the_whole_front_of_a_small_space_is_found(name: str) -> None:
    case = CASES[name]()
    assert 300 <= case.space.size <= min(2000, WHOLE)
    for seed in range(1 if name == "operators" else 3):
        share, points = share_needed(case, seed)
        assert points >= 5 and share <= 0.2, f"{share:.1%} was measured, seed {seed}, for {points} points"


# -- lists, and what it costs ----------------------------------------------------------------------------------------


def test_of_a_list_longer_than_it_looks_at_whole_only_listed_candidates_are_met() -> None:
    choices = [Choice(f"w{i}", (1, 2, 3, 4)) for i in range(8)]
    rng, free = np.random.default_rng(0), Space(choices)
    space = EnumeratedSpace(choices, {c.key: c for c in (free.sample(rng) for _ in range(WHOLE + 1500))}.values())
    assert space.size > WHOLE

    def cost(candidate: Candidate) -> dict[str, float]:
        return {"cost": float(sum(space.candidate(candidate).values()))}  # type: ignore[arg-type]

    def quality(candidate: Candidate) -> dict[str, float]:
        return {"quality": sum(np.sqrt(float(v)) / (1 + i) for i, v in enumerate(candidate.values()))}  # type: ignore[arg-type]

    search = partial(nw.search, space, quality, {"quality": "max", "cost": "min"}, exact=cost, evaluations=70)
    everyone = -np.array([[quality(c)["quality"], -cost(c)["cost"]] for c in space.enumerate()])
    best = everyone[nondominated(everyone)]
    shares = {}
    for strategy in (Guided(), nw.Random()):
        records = search(strategy=strategy)
        found = {(-r.values["quality"], r.values["cost"]) for r in records}
        shares[type(strategy).__name__] = len(found & set(map(tuple, best.tolist()))) / len(best)
    assert shares["Guided"] > 0.5 > shares["Random"], shares


def ofa_like() -> Space:
    """Some 2e19 candidates, as many choices as Once-for-all's MobileNetV3: five stages of 2 to 4 blocks."""
    blocks = [
        choice
        for s in range(5)
        for b in range(4)
        for when in [{f"d{s}": tuple(range(b + 1, 5))} if b > 1 else None]
        for choice in (Choice(f"k{s}{b}", (3, 5, 7), when), Choice(f"e{s}{b}", (3, 4, 6), when))
    ]
    return Space([*(Choice(f"d{s}", (2, 3, 4)) for s in range(5)), *blocks])


def ofa_cost(candidate: Candidate) -> dict[str, float]:
    macs = sum(v * (1 + int(n[1])) for n, v in candidate.items() if n[0] == "e")  # type: ignore[operator,misc]
    return {"macs": float(macs), "params": float(sum(v**2 for n, v in candidate.items() if n[0] == "k"))}  # type: ignore[operator,misc]


@cache
def ofa_records(space: Space, n: int) -> list[Record]:
    """Ever better ones, as a search leaves them, so that the front is long and records are dense near it."""
    rng = np.random.default_rng(0)
    found = []
    for i in range(n):
        share = i / n

        def pick(choice: Choice, share: float = share, level: float = rng.random()) -> int:
            at = rng.binomial(2, level) if rng.random() < share else rng.integers(3)
            return choice.options[int(at)]  # type: ignore[return-value]

        candidate = space.build(pick)
        quality = sum(np.sqrt(float(v)) / (1 + 0.3 * int(n[1])) for n, v in candidate.items())  # type: ignore[arg-type]
        values = {"top1": quality + float(rng.normal(0, 0.05)), **ofa_cost(candidate)}
        found.append(Record(candidate, {name: Measurement(v) for name, v in values.items()}))
    return list({r.candidate: r for r in found}.values())


def seconds_to_ask(objectives: int, n: int) -> float:
    """CPU seconds of one proposal of four after n records, hyperparameters known: the mean of three."""
    metrics = (Metric("top1", direction="max"), Metric("macs", exact=True), Metric("params", exact=True))[:objectives]
    space = ofa_like()
    history = ofa_records(space, n + 20)
    Guided().ask(Problem(space, metrics, (), of_each(ofa_cost)), history[:n], 4)
    spent = []
    for more in (0, 4, 8):
        begin = time.process_time()
        assert len(Guided().ask(Problem(space, metrics, (), of_each(ofa_cost)), history[: n + more], 4)) == 4
        spent.append(time.process_time() - begin)
    return float(np.mean(spent))


@pytest.mark.slow
@pytest.mark.parametrize("objectives", [2, 3])
def test_the_time_of_a_proposal_hardly_grows_with_the_records(objectives: int) -> None:
    spent = {n: seconds_to_ask(objectives, n) for n in (250, 1000, 5000)}
    # n log n for a whole search is log n for one proposal, 1.5 from 250 to 5,000; here records, and with them the
    # front that each is compared with, add to it.
    assert spent[5000] < 4 * spent[250], spent
    assert spent[5000] < 2.5 * spent[1000], spent


def test_small_gains_between_close_points_are_told_apart() -> None:
    front = np.array([[i, 49.0 - i] for i in range(50)])
    gaps = np.array([[10.2, 38.2], [20.6, 28.6], [30.5, 20.0]])  # win squares of 0.8 and 0.4, and nothing
    ehvi = ExpectedHypervolumeImprovement(front, gaps, np.zeros((3, 2)), np.random.default_rng(0))
    gains = ehvi.domination_probability(gaps, np.zeros((3, 2))) @ ehvi.undominated
    assert gains[0] / gains[1] == pytest.approx(4, rel=0.2) and gains[2] == 0
    alike = np.repeat(gaps[:1], 5, axis=0) + np.array([[0.0, 0.0], [0.1, 0.0], [0.0, 0.1], [0.1, 0.1], [0.2, 0.2]])
    ehvi = ExpectedHypervolumeImprovement(
        front, alike, np.zeros((5, 2)), np.random.default_rng(0)
    )  # boxes that lie one in another
    gains = ehvi.domination_probability(alike, np.zeros((5, 2))) @ ehvi.undominated
    assert gains / gains[0] == pytest.approx(np.prod([11.0, 39.0] - alike, axis=1) / 0.64, rel=0.12)


@given(st.integers(0, 12), st.integers(0, 8), st.floats(0, 3), st.integers(0, 1000))
def test_optimism_is_given_up_where_even_the_best_that_may_be_is_no_better(
    n: int, m: int, optimism: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    expected, found = (rng.integers(0, 5, size=(k, 2)).astype(float) for k in (n, m))
    std = rng.integers(0, 2, size=(n, 2)).astype(float)
    kept = promising(expected, std, found, optimism)
    for i in range(n):
        best = expected[i] - optimism * std[i]
        assert kept[i] == all((best < other).any() for other in found)
