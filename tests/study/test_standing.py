"""What is kept up as records come is what one finds by going through all of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

import netwright as nw
from netwright.core.limits import Limit
from netwright.core.metric import Measurement, Metric
from netwright.core.record import Record
from netwright.strategies.base import Problem
from netwright.study.evaluate import EvaluationPlan
from netwright.study.standing import Standing
from netwright.study.stores.memory import MemoryStore

SPACE = nw.Space([nw.Choice("a", tuple(range(12)))])
OBJECTIVES = (Metric("q", direction="max"), Metric("t"))


@st.composite
def records(draw: st.DrawFn) -> Record:
    """Whole, stopped, predicted and failed ones, some of the same candidate, with many ties."""
    candidate = SPACE.candidate({"a": draw(st.integers(0, 11))})
    if draw(st.integers(0, 5)) == 0:
        about = draw(st.sampled_from([{}, {"device_lost": True}, {"measured_by": "other"}]))
        return Record(candidate, {}, "failed", "boom", OBJECTIVES, about)
    q, t = draw(st.integers(0, 4)), draw(st.integers(0, 4))
    found = {"q": Measurement(q), "t": Measurement(t)}
    how = draw(st.sampled_from(["whole", "whole", "partial", "predicted", "lacking"]))
    if how == "partial":
        found["q"] = Measurement(q, kind="partial", best_case=q + draw(st.integers(0, 2)))
    if how == "predicted":
        found["t"] = Measurement(t, kind="predicted", best_case=t - 1.0)
    if how == "lacking":
        del found["t"]
    return Record(candidate, found, "ok", "", OBJECTIVES)


@given(st.lists(records(), max_size=25), st.sampled_from([(), (Limit("t", "<=", 3.0),)]), st.sets(st.integers(0, 11)))
def test_it_is_the_same_however_the_records_came(
    made: list[Record], limits: tuple[Limit, ...], again: set[int]
) -> None:
    plan = EvaluationPlan(None, (), OBJECTIVES, limits)  # type: ignore[arg-type]
    pending = {SPACE.candidate({"a": i}) for i in again}
    kept, last = Standing(plan, [], pending), dict[Any, Record]()
    for record in (r.judged(limits) for r in made):
        kept.add(record)
        pending.discard(record.candidate)
        last.pop(record.candidate, None)
        last[record.candidate] = record
        anew = Standing(plan, last.values(), pending)
        assert kept.records == anew.records
        assert list(kept.front) == list(anew.front)
        assert kept.known == anew.known and kept.known.candidates == {r.candidate for r in anew.known}
        assert kept.again == anew.again
        assert kept.unmeasured == anew.unmeasured
        problem = Problem(SPACE, OBJECTIVES, pending=tuple(pending))
        assert problem.known(kept.known) == set(problem.proposed(list(kept.known)))


def test_a_step_costs_the_same_in_a_large_study(work: Callable[[Callable[[], object]], int]) -> None:
    space = nw.Space([nw.Choice(f"k{i}", tuple(range(9))) for i in range(5)])

    def grow(store: MemoryStore, evaluations: int) -> None:
        nw.search(
            space, lambda c: {"q": sum(c.values()) % 7, "t": sum(c.values()) % 5}, {"q": "max", "t": "min"},  # type: ignore[arg-type, misc]
            strategy="random", evaluations=evaluations, store=store,
        )  # fmt: skip

    def calls(size: int) -> int:
        store = MemoryStore()
        grow(store, size)
        opened = work(lambda: grow(store, size))
        return work(lambda: grow(store, size + 32)) - opened

    assert calls(1600) < 1.5 * calls(200), "nothing is gone through anew at each step"
