"""One candidate, measured: a function of its arguments, also in another process; what is wrong becomes a reason."""

from __future__ import annotations

import multiprocessing
import pickle
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np
import pytest

import netwright as nw
from netwright.core.limits import Limit
from netwright.core.metric import Measurement, Metric
from netwright.measure.base import EvaluationContext, Measurer
from netwright.study.evaluate import EvaluationPlan, Job, evaluate
from netwright.study.racing import rivals_of
from netwright.study.stores.memory import MemoryStore
from netwright.study.study import Study
from netwright.testing import FakeMeasurer, FakeNet

SPACE = nw.Space([nw.Choice("a", (1, 2, 3)), nw.Choice("b", (1, 2, 3))])
QUALITY, COST = Metric("quality", "%", "max"), Metric("cost", "ms")


def area(candidate: nw.Candidate) -> float:
    return float(candidate["a"] * candidate["b"])  # type: ignore[operator]


def good(candidate: nw.Candidate) -> float:
    return 50.0 + float(candidate["b"])  # type: ignore[arg-type]


def costs() -> FakeMeasurer:
    return FakeMeasurer(COST, area, provenance={"target": {"runtime": "none"}})


def qualities() -> FakeMeasurer:
    return FakeMeasurer(QUALITY, good, n=100, margin=1.0, depends_on_weights=True)


def plan(*more: Measurer, limits: tuple[Limit, ...] = ()) -> EvaluationPlan:
    return EvaluationPlan(FakeNet(SPACE), (qualities(), costs(), *more), (QUALITY, COST), limits, racing=True)


def timeless(record: nw.Record) -> dict[str, Any]:
    told = record.to_json()
    return {**told, "provenance": {k: v for k, v in told["provenance"].items() if k not in ("time", "seconds")}}


def test_another_process_makes_the_same_record() -> None:
    best = evaluate(Job(plan(), SPACE.candidate({"a": 1, "b": 3}), {"strategy": "x"}))
    assert (best.status, best.values) == ("ok", {"quality": 53, "cost": 3})
    rivals = rivals_of([best], (QUALITY, COST), (), 0.95)
    told = {"cost": Measurement(6.0, "ms", 0.1, 20, "predicted", best_case=5.9)}
    jobs = [
        Job(plan(), best.candidate, {"strategy": "x"}),
        Job(plan(), SPACE.candidate({"a": 3, "b": 1}), {}, rivals),
        Job(plan(), SPACE.candidate({"a": 3, "b": 2}), {}, None, told),
        Job(plan(limits=(Limit("cost", "<=", 2, "ms"),)), SPACE.candidate({"a": 3, "b": 2})),
    ]
    here = [evaluate(job) for job in jobs]
    assert [r.status for r in here] == ["ok", "ok", "ok", "infeasible"]
    assert [m.kind for m in (here[1].measurements["quality"], here[2].measurements["cost"])] == ["partial", "predicted"]
    assert here[0].provenance["target"] == {"runtime": "none"} and "quality" not in here[3].values
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        there = list(pool.map(evaluate, jobs))
    assert list(map(timeless, there)) == list(map(timeless, here))


def test_a_study_says_what_another_process_needs() -> None:
    study = Study(MemoryStore(), FakeNet(SPACE), objectives=[qualities(), costs()], limits=["cost <= 6 ms"], racing=0.9)
    study.run(nw.Random(), 5)
    again = pickle.loads(pickle.dumps(study.plan))
    for record in study.records:
        assert evaluate(Job(again, record.candidate)).values.keys() == record.values.keys()
    assert again.code == study.plan.code


class Odd(Measurer):
    """Gives what it is told to, right or wrong."""

    metrics = (Metric("odd"),)

    def __init__(self, gives: Any) -> None:
        self.gives = gives

    def measure(self, context: EvaluationContext) -> Mapping[str, Measurement]:
        return self.gives


@pytest.mark.parametrize(
    "gives, words",
    [
        (None, "Odd.measure() gives a mapping of metric names to nw.Measurement, not None"),
        ({"odd": 3.0}, "gives a mapping of metric names to nw.Measurement, not {'odd': 3.0}"),
        ({"odd": Measurement(1.0, details={"x": {1, 2}})}, "JSON"),
        ({"odd": Measurement(1.0, details={"x": float("nan")})}, "JSON"),
        ({"odd": Measurement(1.0, kind="partial", best_case=0.0)}, "left 'odd' partial, though no record dominates"),
        ({"odd": Measurement(1.0, kind="predicted", best_case=0.0)}, "left 'odd' predicted, though no record"),
        ({"even": Measurement(1.0)}, "'odd' was not measured"),
    ],
)
def test_what_a_measurer_gives_wrongly_is_the_reason_and_the_search_ends(gives: Any, words: str) -> None:
    study = Study(MemoryStore(), FakeNet(SPACE), objectives=[Odd(gives)], record=[costs()])
    with pytest.raises(nw.NetwrightError):
        study.run(nw.Random(), 4)
    assert study.records and all(r.status == "failed" and words in r.reason for r in study.records)
    assert entries_of_records(study) <= 4


def entries_of_records(study: Study) -> int:
    return sum(kind == "record" for kind, _ in study.store.read())


def test_what_a_measurer_predicts_itself_stands() -> None:
    odd = Odd({"odd": Measurement(1.0, ci95=0.1, kind="predicted", details={"predictor": "table"})})
    study = Study(MemoryStore(), FakeNet(SPACE), objectives=[odd, costs()])
    assert {r.status for r in study.run(nw.Random(), 4)} == {"ok"} and len(study.front()) == 1


def test_numbers_of_numpy_are_numbers() -> None:
    made = Measurement(np.float32(0.5), ci95=np.float64(0.25), n=np.int64(3))  # type: ignore[arg-type]
    study = Study(MemoryStore(), FakeNet(SPACE), objectives=[Odd({"odd": made})])
    (first, *_) = study.run(nw.Random(), 2)
    assert first.measurements["odd"] == Measurement(0.5, ci95=0.25, n=3)


def test_what_is_asked_for_and_not_measured_is_pending_and_not_asked_for_again() -> None:
    class Enough(Exception):
        pass

    def stop(step: Any) -> None:
        if step.done == 3:
            raise Enough

    strategies = [nw.Random(batch=5), nw.Nsga2(batch=5, population=6), nw.Guided()]
    for strategy in strategies:
        study = Study(MemoryStore(), FakeNet(SPACE), objectives=[qualities(), costs()])
        assert study.problem.pending == ()
        with pytest.raises(Enough):
            study.run(strategy, 9, stop)
        asked = next(body["candidates"] for kind, body in study.store.read() if kind == "ask")
        measured = {r.candidate for r in study.records}
        pending = [c for c in map(SPACE.candidate, asked) if c not in measured]
        assert list(study.problem.pending) == pending and len(measured) == 3
        others = strategy.ask(study.problem, study.records, 9)
        assert others and not {*pending, *measured} & {*others}
        assert len(study.run(strategy, 9)) == 9 and study.problem.pending == ()
