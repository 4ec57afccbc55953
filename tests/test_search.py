"""``nw.search``: the simplest way in, and what a study does with odd functions and limits."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import netwright as nw
from netwright.core.errors import InfeasibleConstraints, StoreError
from netwright.strategies.aging_evolution import AgingEvolution
from netwright.strategies.cmaes import CmaEs
from netwright.strategies.linas import Linas
from netwright.strategies.local_search import LocalSearch
from netwright.strategies.moea import AgeMoea, CTaea, Ga, MoeaD, UNsga3
from netwright.strategies.weaknas import WeakNas
from netwright.study.journal import read_journal
from netwright.study.stores.memory import MemoryStore

SPACE = nw.Space([nw.Choice(f"k{i}", (1, 2, 3)) for i in range(5)] + [nw.Choice("z", (1, 4), when={"k0": 2})])
STRATEGIES = [nw.Random(), nw.Nsga2(batch=4, population=6), nw.Guided(batch=4, start=6, population=12, generations=2)]
each_strategy = pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda s: type(s).__name__)


def cost(candidate: Mapping[str, Any]) -> dict[str, float]:
    return {"cost": sum(candidate.values())}


class Counted:
    """An evaluation that counts its calls; q grows with cost, not evenly."""

    def __init__(self, odd: Callable[[int], Any] | None = None) -> None:
        self.calls: Counter[nw.Candidate] = Counter()
        self.odd = odd

    def __call__(self, candidate: nw.Candidate) -> Any:
        self.calls[candidate] += 1
        values = {"q": sum(np.sqrt(v) for v in candidate.values()), "heat": max(candidate.values()), "more": 1}
        return {**values, **self.odd(self.calls.total())} if self.odd else values


def search(evaluate: Any, **settings: Any) -> list[nw.Record]:
    given = {"objectives": {"q": "max", "cost": "min"}, "exact": cost, "strategy": nw.Random(), "evaluations": 20}
    return nw.search(SPACE, evaluate, **{**given, **settings})


@each_strategy
def test_every_evaluation_is_one_call_and_one_record(strategy: nw.Strategy) -> None:
    evaluate = Counted()
    records = search(evaluate, strategy=strategy, evaluations=23)
    assert len(records) == evaluate.calls.total() == len(evaluate.calls) == 23
    assert [r.candidate for r in records] == list(evaluate.calls)
    for r in records:
        assert r.status == "ok" and r.reason == ""
        assert r.values == {**cost(r.candidate), "q": pytest.approx(r.values["q"]), "heat": r.values["heat"], "more": 1}
    assert {SPACE.smallest, SPACE.largest} <= set(evaluate.calls)


@each_strategy
def test_the_same_seed_gives_the_same_journal(strategy: nw.Strategy) -> None:
    def journal(seed: int) -> list[Any]:
        store = MemoryStore()
        search(Counted(), strategy=strategy, seed=seed, store=store)
        entries = list(store.read())
        for _, body in entries:
            for name in ("time", "seconds"):
                body.get("provenance", {}).pop(name, None)
        return entries

    assert journal(3) == journal(3) != journal(4)


def test_an_exhausted_space_ends_the_search() -> None:
    tiny = nw.Space([nw.Choice("a", (1, 2, 3)), nw.Choice("b", (1, 2), when={"a": 3})])
    for strategy in STRATEGIES:
        assert len(nw.search(tiny, lambda c: {"q": c["a"]}, {"q": "max"}, strategy=strategy, evaluations=50)) == 4


def test_one_objective_and_its_front() -> None:
    records = nw.search(SPACE, lambda c: {"q": min(5, c["k1"] + c["k2"])}, {"q": "max"}, evaluations=30, seed=1)
    best = nw.front(records)
    assert {r.values["q"] for r in best} == {5} and len(best) > 1
    assert best.objectives == (nw.Metric("q", direction="max"),)


def test_the_front_keeps_the_order_of_the_objectives() -> None:
    for objectives in (
        {"q": "max", "cost": "min"},
        {"cost": "min", "q": "max"},
        {"heat": "min", "cost": "min", "q": "max"},
    ):
        best = nw.front(search(Counted(), objectives=objectives))
        assert [m.name for m in best.objectives] == list(objectives)
        losses = [[m.loss(r.values[m.name]) for m in best.objectives] for r in best]
        assert losses == sorted(losses) and len(best) > 2


# -- functions that fail -----------------------------------------------------------------------------------------


BAD: dict[str, dict[str, Any]] = {
    "nan": {"q": float("nan")},
    "infinite": {"q": float("inf")},
    "none": {"q": None},
    "text": {"q": "much"},
    "a number as text": {"q": "1.5"},
    "a list": {"q": [1]},
    "complex": {"q": 1j},
    "bad extra": {"more": float("nan")},
}
REASONS = {"raises": "the device went away", "nan": "finite", "infinite": "finite", "missing": "'q' was not measured"}


@each_strategy
@pytest.mark.parametrize("how", [*BAD, "raises", "missing", "no mapping"])
def test_a_failure_is_recorded_with_its_reason_and_the_search_goes_on(strategy: nw.Strategy, how: str) -> None:
    evaluate = Counted()

    def sometimes(candidate: nw.Candidate) -> Any:
        values = evaluate(candidate)
        if evaluate.calls.total() % 3:
            return values
        if how == "raises":
            raise RuntimeError("the device\nwent away")
        return {"no mapping": 0.7, "missing": {"heat": 1}}.get(how) or values | BAD[how]

    records = search(sometimes, strategy=strategy)
    assert [r.status for r in records] == [["ok", "ok", "failed"][i % 3] for i in range(20)]
    for r in records:
        if r.status == "failed":
            assert REASONS.get(how, "") in r.reason and r.reason and "\n" not in r.reason
            assert r.values["cost"] == cost(r.candidate)["cost"], "what was found before is kept"
            assert r not in list(nw.front(records))


@each_strategy
def test_where_all_fail_it_is_said_and_all_is_kept(strategy: nw.Strategy) -> None:
    store = MemoryStore()
    with pytest.raises(nw.NetwrightError, match=r"none of 20 networks could be measured: .*division by zero"):
        search(lambda c: 1 / 0, strategy=strategy, store=store)
    records = list(read_journal(store).records)
    assert len(records) == 20 and {r.status for r in records} == {"failed"}
    assert all("division by zero" in r.reason for r in records)


def test_when_all_fail_the_limits_are_not_blamed() -> None:
    with pytest.raises(InfeasibleConstraints, match="division by zero"):
        search(lambda c: 1 / 0, limits=["cost <= 12"])


def test_a_keyboard_interrupt_is_no_failure(tmp_path: Path) -> None:
    evaluate = Counted()

    def impatient(candidate: nw.Candidate) -> Any:
        if evaluate.calls.total() == 7:
            raise KeyboardInterrupt
        return evaluate(candidate)

    with pytest.raises(KeyboardInterrupt):
        search(impatient, store=tmp_path / "s.db")
    records = search(evaluate, store=tmp_path / "s.db")
    assert max(evaluate.calls.values()) == 1 and len(records) == 20
    assert [r.candidate for r in records] == [r.candidate for r in search(Counted())]


def test_numbers_of_every_kind() -> None:
    for number in (np.float32(1.5), np.int64(2), 3, np.array(4.0), 2**70, True):
        records = search(lambda c, number=number: {"q": number}, evaluations=2)
        assert [r.values["q"] for r in records] == [float(number)] * 2


def test_a_function_that_changes_its_mind_about_an_exact_metric_does_not_change_the_record() -> None:
    records = search(lambda c: {"q": 1.0, "cost": -5.0}, evaluations=3)
    assert [r.values["cost"] for r in records] == [cost(r.candidate)["cost"] for r in records]


# -- limits ------------------------------------------------------------------------------------------------------


@each_strategy
def test_exact_limits_are_kept_by_everything_that_is_measured(strategy: nw.Strategy) -> None:
    evaluate = Counted()
    records = search(evaluate, strategy=strategy, limits=["cost <= 8", "cost > 6"])
    assert records and all(6 < r.values["cost"] <= 8 and r.status == "ok" for r in records)


def test_limits_on_what_only_the_function_finds() -> None:
    records = search(Counted(), limits=["heat <= 2", "cost <= 14"])
    assert {r.status for r in records} == {"ok", "infeasible"}
    for r in records:
        assert (r.status == "ok") == (r.values["heat"] <= 2)
        assert ("heat" in r.reason) == (r.status == "infeasible")
    assert all(r.values["heat"] <= 2 for r in nw.front(records))
    with pytest.raises(InfeasibleConstraints, match="'heap' was not measured"):
        search(Counted(), limits=["heap <= 2"])


def test_an_exact_limit_that_nobody_keeps_is_said_before_any_evaluation(tmp_path: Path) -> None:
    evaluate = Counted()
    with pytest.raises(InfeasibleConstraints, match=r"no candidate keeps cost <= 4: the nearest has cost 5"):
        search(evaluate, limits=["cost <= 4"], store=tmp_path / "s.db")
    assert not evaluate.calls
    assert len(search(evaluate, limits=["cost <= 5"], store=tmp_path / "s.db")) == 1


def test_a_limit_that_nobody_keeps_names_the_nearest_and_keeps_the_study(tmp_path: Path) -> None:
    evaluate = Counted()
    with pytest.raises(
        InfeasibleConstraints, match=r"no candidate keeps heat <= 0\.5: the nearest has heat 1 "
    ) as error:
        search(evaluate, limits=["heat <= 0.5"], store=tmp_path / "s.db")
    assert SPACE.smallest.id in str(error.value)
    records = search(evaluate, store=tmp_path / "s.db")
    assert len(records) == 20 == evaluate.calls.total()
    assert {r.status for r in records} == {"ok"}


def test_limits_at_the_high_end_are_reached() -> None:
    wide = nw.Space([nw.Choice(f"k{i}", (1, 2)) for i in range(40)])
    records = nw.search(wide, Counted(), {"q": "max", "cost": "min"}, exact=cost, limits=["cost >= 77"], evaluations=16)
    assert len(records) == 16 and all(r.values["cost"] >= 77 for r in records)


def test_malformed_limits_and_objectives() -> None:
    for limits in (["cost"], ["cost <= 5 ms"], ["<= 5"], ["q <= many"], ["cost <= 1e999"]):
        with pytest.raises(nw.NetwrightError):
            search(Counted(), limits=limits)
    with pytest.raises(nw.NetwrightError, match="objective"):
        search(Counted(), objectives={})
    with pytest.raises(nw.NetwrightError, match="'max' or 'min'"):
        search(Counted(), objectives={"q": "most"})
    with pytest.raises(nw.NetwrightError, match="seed"):
        search(Counted(), seed=-1)


# -- going on ----------------------------------------------------------------------------------------------------


@each_strategy
def test_more_evaluations_go_on_and_fewer_measure_nothing(strategy: nw.Strategy, tmp_path: Path) -> None:
    evaluate, path = Counted(), tmp_path / "s.db"
    first = search(evaluate, strategy=strategy, evaluations=9, store=path)
    second = search(evaluate, strategy=strategy, evaluations=24, store=path)
    assert [r.candidate for r in second[:9]] == [r.candidate for r in first]
    assert len(second) == 24 == evaluate.calls.total() == len(evaluate.calls)
    assert len(search(evaluate, strategy=strategy, evaluations=5, store=path)) == 24 == evaluate.calls.total()


@each_strategy
def test_limits_changed_between_runs_judge_what_is_known(strategy: nw.Strategy, tmp_path: Path) -> None:
    evaluate, path = Counted(), tmp_path / "s.db"
    search(evaluate, strategy=strategy, evaluations=12, store=path)
    tight = search(evaluate, strategy=strategy, evaluations=16, limits=["heat <= 2", "cost <= 9"], store=path)
    assert [r.status for r in tight] == [
        "ok" if r.values["heat"] <= 2 and r.values["cost"] <= 9 else "infeasible" for r in tight
    ]
    assert len(tight) == 16 == evaluate.calls.total()
    loose = search(evaluate, strategy=strategy, evaluations=20, limits=["cost <= 12"], store=path)
    assert [r.status for r in loose] == ["ok" if r.values["cost"] <= 12 else "infeasible" for r in loose]
    assert len(loose) == 20 == evaluate.calls.total() == len(evaluate.calls)


def test_a_limit_on_what_was_never_measured_does_not_pass_for_kept(tmp_path: Path) -> None:
    evaluate, path = Counted(), tmp_path / "s.db"
    first = search(evaluate, objectives={"cost": "min"}, evaluations=10, store=path)  # all exact
    later = search(evaluate, objectives={"cost": "min"}, evaluations=10, limits=["heat <= 1"], store=path)
    assert len(first) == 10
    for r in nw.front(later):
        assert r.values["heat"] <= 1
    assert all("heat" in r.values for r in later if r.status == "ok")


@pytest.mark.parametrize(
    "change, named",
    [
        ({"seed": 1}, "seed"),
        ({"objectives": {"q": "max"}}, "objectives"),
        ({"objectives": {"cost": "min", "q": "max"}}, "objectives"),
        ({"objectives": {"q": "min", "cost": "min"}}, "objectives"),
        ({"exact": None}, "objectives"),
    ],
)
def test_another_search_in_the_same_place_is_refused(change: dict[str, Any], named: str, tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    search(Counted(), store=path, evaluations=3)
    before = path.read_bytes()
    with pytest.raises(StoreError, match=f"its {named} is"):
        search(Counted(), store=path, **change)
    other = nw.Space([nw.Choice("k0", (1, 2))])
    with pytest.raises(StoreError):
        nw.search(other, Counted(), {"q": "max", "cost": "min"}, exact=cost, store=path)
    assert path.read_bytes() == before


def test_another_space_is_named_even_where_the_candidates_fit(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    search(Counted(), store=path, evaluations=3)
    same = nw.Space([*list(SPACE)[:-1], nw.Choice("z", (1, 4, 9), when={"k0": 2})])
    with pytest.raises(StoreError, match="its space is"):
        nw.search(same, Counted(), {"q": "max", "cost": "min"}, exact=cost, store=path)


def test_everything_exact_needs_no_evaluation_but_extras_are_stored() -> None:
    """What is searched for is exact, yet the function's figures belong to the records (its docstring says so)."""
    records = search(Counted(), objectives={"cost": "min"}, evaluations=4)
    assert [sorted(r.values) for r in records] == [["cost", "heat", "more", "q"]] * 4


# -- bad input, for every strategy ---------------------------------------------------------------------------------

MANY = [
    *STRATEGIES,
    WeakNas(batch=4, start=8, pool=60, best=20),
    Linas(batch=8, generations=2),
    LocalSearch(batch=4, start=6),
    AgingEvolution(batch=4, population=6, sample=3),
    AgeMoea(batch=4, population=6),
    CTaea(batch=4, population=6),
    MoeaD(batch=4, population=6),
    UNsga3(batch=4, population=6),
]
each_of_many = pytest.mark.parametrize("strategy", MANY, ids=lambda s: type(s).__name__)
HALF = {
    "nan": float("nan"),
    "infinite": float("-inf"),
    "beyond all reason": 1e300,
    "too large for a float": 10**400,
}


@each_of_many
@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_odd_values_neither_warn_nor_stop_the_search(strategy: nw.Strategy) -> None:
    def q(candidate: nw.Candidate) -> float:
        return float(sum(np.sqrt(v) for v in candidate.values()))  # type: ignore[arg-type]

    fine: dict[str, Callable[[nw.Candidate], Any]] = {
        "no variation": lambda c: 7.5,
        "zero": lambda c: 0.0,
        "huge": lambda c: 1e140 * q(c),
        "tiny": lambda c: 1e-300 * q(c),
        "one far off": lambda c: -1e12 if c == SPACE.smallest else q(c),
    }
    for name, value in fine.items():
        records = search(lambda c, value=value: {"q": value(c)}, strategy=strategy, evaluations=30)
        assert len(records) == 30 and {r.status for r in records} == {"ok"}, name
    for name, odd in HALF.items():
        records = search(lambda c, odd=odd: {"q": odd if c["k1"] == 1 else q(c)}, strategy=strategy, evaluations=30)
        assert len(records) == 30, name
        assert all((r.status == "failed") == (r.candidate["k1"] == 1) for r in records), name
        assert all("number" in r.reason for r in records if r.status == "failed")


@each_of_many
@pytest.mark.parametrize("given", [None, "good", 3, [1.0], {}, {"heat": 1.0}, {"q": {}}])
@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_a_function_that_never_returns_what_is_asked_for_fails_in_words(strategy: nw.Strategy, given: Any) -> None:
    store = MemoryStore()
    with pytest.raises(nw.NetwrightError, match=r"'q'|mapping"):
        search(lambda c: given, strategy=strategy, evaluations=14, store=store)
    records = read_journal(store).records
    assert {r.status for r in records} == {"failed"}
    assert all("'q'" in r.reason or "mapping" in r.reason for r in records)
    # A mapping without what is asked for is no accident: that is said after a few networks.
    assert len(records) == (3 if isinstance(given, dict) and "q" not in given else 14)


@pytest.mark.parametrize(
    "limits",
    [
        ["cost <= 8", "cost >= 9"],
        ["q <= 8", "q >= 9"],
        ["heat > 2", "cost <= 9", "heat < 2"],
        ["heat < 2", "heat >= 2"],
        ["q >= 3", "q <= 2.5", "q <= 9"],
    ],
)
def test_limits_that_contradict_one_another_are_said_at_once(limits: list[str]) -> None:
    evaluate = Counted()
    with pytest.raises(nw.NetwrightError, match="contradict") as error:
        search(evaluate, limits=limits)
    assert not evaluate.calls
    assert sum(text in str(error.value) for text in limits) == 2, "both are named"


def test_limits_that_leave_one_value_or_are_on_two_metrics_do_not_contradict_one_another() -> None:
    for limits in (["heat <= 2", "heat >= 2"], ["cost <= 9", "q >= 1"], ["cost > 6", "cost < 8"]):
        assert search(Counted(), limits=limits)


@each_of_many
@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_limits_that_nothing_keeps_end_in_words(strategy: nw.Strategy) -> None:
    for limits in (["heat <= 0.5"], ["q >= 100", "heat <= 2"], ["q >= 100", "cost <= 9"]):
        with pytest.raises(InfeasibleConstraints, match="no candidate keeps"):
            search(Counted(), strategy=strategy, limits=limits, evaluations=30)


def test_a_strategy_says_how_many_objectives_it_is_for() -> None:
    for strategy, objectives in (
        (Ga(), {"q": "max", "cost": "min"}),
        (CmaEs(), {"q": "max", "cost": "min"}),
        (MoeaD(), {"q": "max"}),
        (AgeMoea(), {"q": "max"}),
        (CTaea(), {"q": "max"}),
    ):
        evaluate = Counted()
        with pytest.raises(nw.NetwrightError, match=f"{type(strategy).__name__} is for .*; use "):
            search(evaluate, strategy=strategy, objectives=objectives)
        assert not evaluate.calls


def test_a_limit_on_an_unknown_metric_of_a_study_is_refused() -> None:
    class Net:
        space = SPACE

        def extract(self, candidate: nw.Candidate) -> Any:
            raise AssertionError("nothing is measured")

    with pytest.raises(nw.NetwrightError, match="unknown metric; did you mean 'cost'"):
        nw.Study(MemoryStore(), Net(), objectives=[nw.Metric("cost")], limits=["coast <= 3"])


def test_exact_metrics_that_are_no_numbers_end_the_search_in_words() -> None:
    for odd in (float("nan"), "cheap", None, 1e300):
        with pytest.raises(nw.NetwrightError, match="number"):
            search(Counted(), exact=lambda c, odd=odd: {"cost": odd}, limits=["cost <= 9"])
        with pytest.raises(nw.NetwrightError, match="number"):
            search(Counted(), exact=lambda c, odd=odd: {"cost": odd}, strategy=STRATEGIES[-1])


def test_sigterm_ends_a_search_in_python_as_ctrl_c_does(tmp_path):
    """What was measured is kept, one line says so, and the exit code is that of SIGTERM."""
    code = """
        import os, signal, sys
        import netwright as nw

        def measure(candidate):
            if candidate["a"] == 3 and sys.argv[1] == "end":
                os.kill(os.getpid(), signal.SIGTERM)
            return {"loss": candidate["a"]}

        space = nw.Space([nw.Choice("a", tuple(range(6)))])
        store = sys.argv[2] if len(sys.argv) > 2 else None
        print(len(nw.search(space, measure, {"loss": "min"}, strategy="random", evaluations=6, store=store)))
    """
    run = [sys.executable, "-c", textwrap.dedent(code)]
    for rest, words in (
        (["s.db"], "kept in s.db; the same call continues from here"),
        ([], "nothing that was measured"),
    ):
        ended = subprocess.run([*run, "end", *rest], capture_output=True, text=True, cwd=tmp_path, timeout=60)
        assert ended.returncode == 143 and ended.stdout == "", ended.stderr
        assert ended.stderr.startswith("netwright: ended by SIGTERM; ") and words in ended.stderr
        assert ended.stderr.count("\n") == 1
    ended = subprocess.run([*run, "go", "s.db"], capture_output=True, text=True, cwd=tmp_path, timeout=60)
    assert ended.stdout == "6\n", ended.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["s.db"]
