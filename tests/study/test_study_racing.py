"""Studies with racing: who is stopped, what becomes of it, and what it never does."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest

import netwright as nw
from netwright.core.errors import InfeasibleConstraints, NetwrightError
from netwright.core.metric import Measurement, Metric
from netwright.measure.base import EvaluationContext
from netwright.recipe.load import load
from netwright.study.run import Step
from netwright.study.stores.memory import MemoryStore
from netwright.study.study import Study
from netwright.testing import FakeMeasurer, FakeNet, fake_space

SPACE = fake_space(5, 4)
TOTAL = 1000


def quality_of(candidate: nw.Candidate) -> float:
    """Grows with the first three choices, of which the cost knows nothing, so that much is dominated."""
    a, b, c, d, e = (int(v) for v in candidate.values())  # type: ignore[call-overload]
    return 40.0 + 5 * (a + b) - 2 * c + d + 0.5 * e


class Racer(FakeMeasurer):
    """Knows the whole value, and pretends to look at a half first, with an interval of five points."""

    def __init__(self, log: list[str] | None = None, name: str = "quality") -> None:
        metric = Metric(name, "%", "max")
        super().__init__(metric, quality_of, ci95=2.0, n=TOTAL, depends_on_weights=True, margin=5.0, log=log)


def cost(candidate: nw.Candidate) -> float:
    return float(sum(int(v) for v in candidate.values()))  # type: ignore[call-overload]


def study(
    store: Any = None, limits: Any = (), racing: float = 0.95, log: list[str] | None = None
) -> tuple[Study, Racer]:
    racer = Racer(log)
    objectives = [racer, FakeMeasurer("latency", cost, log=log)]
    made = Study(
        store if store is not None else MemoryStore(),
        FakeNet(SPACE),
        objectives=objectives,
        record=[
            FakeMeasurer(Metric("macs", exact=True), cost, log=log),
            FakeMeasurer("gain", lambda c: float(c["k0"] + c["k1"])),
        ],  # type: ignore[operator]
        limits=limits,
        racing=racing,
    )
    return made, racer


def stopped(record: nw.Record) -> bool:
    return record.measurements["quality"].kind == "partial"


def test_the_front_is_that_of_a_study_without_racing() -> None:
    raced, _ = study()
    records = raced.run(nw.Random(), 120)
    plain, _ = study(racing=0)
    plain.run(nw.Random(), 120)
    assert [r.candidate for r in records] == [r.candidate for r in plain.records]
    assert [(r.candidate, r.values) for r in raced.front()] == [(r.candidate, r.values) for r in plain.front()]
    assert 30 < sum(map(stopped, records)) < 120 and not any(map(stopped, plain.records))
    assert len(raced.standing.known) == 120, "who was stopped is known"


def test_who_is_stopped_was_dominated_by_a_whole_record_that_came_before() -> None:
    made, _ = study()
    records = made.run(nw.Nsga2(8, 8), 100)
    for i, record in enumerate(records):
        before = [r for r in records[:i] if not stopped(r)]
        own = (-(quality_of(record.candidate) + 5), record.values["latency"])
        points = [(-r.values["quality"], r.values["latency"]) for r in before]
        beaten = [p for p in points if p[0] <= own[0] and p[1] <= own[1] and p != own]
        assert stopped(record) == bool(beaten)
        assert record.status == "ok"


def test_racers_come_last_only_where_there_is_a_race() -> None:
    for racing, first in ((0.95, ["macs", "latency", "quality"]), (0.0, ["macs", "quality", "latency"])):
        log: list[str] = []
        made, _ = study(racing=racing, log=log)
        made.run(nw.Random(), 4)
        assert log[-3:] == first


def test_a_race_is_resumed_exactly() -> None:
    whole, _ = study()
    expected = whole.run(nw.Nsga2(8, 8), 60)
    store = MemoryStore()
    for stop in (7, 20, 33, None):
        part, _ = study(store)

        def watch(step: Step, stop: int | None = stop) -> None:
            if step.done == stop:
                raise KeyboardInterrupt

        with nullcontext() if stop is None else pytest.raises(KeyboardInterrupt):
            part.run(nw.Nsga2(8, 8), 60, watch)

    def told(records: list[nw.Record]) -> list[Any]:
        return [(r.candidate, r.status, r.measurements) for r in records]

    assert any(map(stopped, expected))
    assert told(part.records) == told(expected)
    reread, racer = study(store, racing=0)
    assert told(reread.run(nw.Nsga2(8, 8), 60)) == told(expected) and not racer.calls


def test_what_is_limited_is_measured_whole() -> None:
    made, _ = study(limits=["quality >= 60 %"])
    records = made.run(nw.Random(), 60)
    assert not any(map(stopped, records))
    assert {r.status for r in records} == {"ok", "infeasible"}


def test_a_limit_that_comes_later_does_not_judge_parts() -> None:
    store = MemoryStore()
    first, _ = study(store)
    parts = {r.candidate for r in first.run(nw.Random(), 60) if stopped(r)}
    later, racer = study(store, ["quality >= 60 %"])
    for record in later.records:
        if record.candidate in parts:
            assert record.status == "infeasible" and "in part only" in record.reason
        else:
            assert record.status == ("ok" if record.values["quality"] >= 60 else "infeasible")
    settled = parts & {r.candidate for r in later.standing.known}
    later.run(nw.Random(), 80)
    assert settled, "whom a record that keeps the limit dominates is known well enough"
    assert not settled & racer.calls.keys()
    assert all(quality_of(r.candidate) >= 60 for r in later.records if r.status == "ok")
    with pytest.raises(InfeasibleConstraints):
        study(store, ["quality >= 99 %"])[0].run(nw.Random(), 30)
    assert not any(stopped(r) for r in study(store, ["quality >= 99 %"])[0].standing.known), "no rival is feasible"


def test_who_is_no_longer_dominated_is_measured_again() -> None:
    store = MemoryStore()
    first, _ = study(store)
    parts = {r.candidate for r in first.run(nw.Random(), 80) if stopped(r)}
    later, racer = study(store, ["gain <= 4"])  # the best of all are out now
    assert not any(map(stopped, later.front()))
    open_again = [
        r for r in later.records if r.status == "ok" and r.candidate in parts and r not in later.standing.known
    ]
    assert open_again
    for record in open_again:
        rivals = [r for r in later.front() if r.values["latency"] <= record.values["latency"]]
        assert all(r.values["quality"] <= quality_of(record.candidate) + 5 for r in rivals)
    later.run(nw.Random(), len(later.standing.known) + len(open_again))
    assert racer.calls.keys() == {r.candidate for r in open_again}, "before anybody new"
    assert len(later.standing.known) == 80 and not any(map(stopped, later.front()))


def test_one_objective_alone_can_race_too() -> None:
    made = Study(MemoryStore(), FakeNet(SPACE), objectives=[Racer()], racing=0.95)
    records = made.run(nw.Random(), 60)
    best = max(records, key=lambda r: quality_of(r.candidate))
    assert not stopped(best) and made.front()[0].values["quality"] == quality_of(best.candidate)
    assert sum(map(stopped, records)) > 20


def test_an_objective_that_is_not_known_yet_stops_nobody() -> None:
    """Two racers: the first is asked while the second is not known."""

    class Second(Racer):
        def measure(self, context: EvaluationContext) -> Mapping[str, Measurement]:
            race = context.race
            if race is not None and race.lost("other", -1e9):
                return {"other": Measurement(-1e9, "%", kind="partial", best_case=-1e9)}
            return {"other": Measurement(quality_of(context.candidate))}

    made = Study(MemoryStore(), FakeNet(SPACE), objectives=[Racer(), Second(name="other")], racing=0.95)
    records = made.run(nw.Random(), 40)
    assert not any(map(stopped, records))
    assert any(r.measurements["other"].kind == "partial" for r in records)


@pytest.mark.parametrize("bad", [1, 1.0, 95, -0.1, True, float("nan")])
def test_a_confidence_is_below_one(bad: float) -> None:
    with pytest.raises(NetwrightError, match=r"below 1, such as 0\.95"):
        study(racing=bad)
    with pytest.raises(NetwrightError, match=r"search\.racing"):
        load("digits", {"search.racing": bad})


def test_a_recipe_races_in_a_random_order(tmp_path: Any) -> None:
    from netwright.pipeline.context import Context, open_run
    from netwright.pipeline.search import open_study

    def opened(name: str, racing: float) -> Context:
        with open_run(load("digits", {"search.racing": racing}), tmp_path / name) as context:
            assert open_study(context).racing == racing
            return context

    plain, raced = opened("plain", 0), opened("raced", 0.95)
    labels = [np.concatenate([y.numpy() for _, y in job.validation.loader]) for job in (plain, raced)]
    assert sorted(labels[0]) == sorted(labels[1]) and not (labels[0] == labels[1]).all()
    again = opened("again", 0.95)
    assert (np.concatenate([y.numpy() for _, y in again.validation.loader]) == labels[1]).all()
    total = len(labels[1])
    sizes = [len(y) for _, y in raced.validation.loader]
    assert max(sizes) <= total / 8 + 1
