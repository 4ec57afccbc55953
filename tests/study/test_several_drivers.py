"""Several processes measure for one store: nothing is evaluated twice, and who is gone is stood in for."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import netwright as nw
from netwright.core.errors import StoreError
from netwright.study import study as study_module
from netwright.study.evaluate import Job, evaluate
from netwright.study.executors.base import Executor
from netwright.study.failures import ENDED
from netwright.study.journal import Journal, read_journal
from netwright.study.stores.base import body_text
from netwright.study.stores.memory import MemoryStore
from netwright.testing import FakeMeasurer, FakeNet, check_store

SPACE = nw.Space([nw.Choice("a", tuple(range(6))), nw.Choice("b", tuple(range(5)))])


class Desk(MemoryStore):
    """One of several stores that have one journal in common, and know each other."""

    shared = True

    def __init__(self, like: Desk | None = None) -> None:
        super().__init__()
        self._all: list[Desk] = like._all if like else []
        self._entries = like._entries if like else self._entries
        self.ghosts = like.ghosts if like else set[str]()
        self.lapsed = like.lapsed if like else set[str]()
        self._all.append(self)

    @contextmanager
    def held(self) -> Iterator[None]:
        self.member = f"m{self._all.index(self)}"
        try:
            yield
        finally:
            self.member = ""

    def members(self) -> frozenset[str]:
        return frozenset(each.member for each in self._all if each.member) - self.lapsed | self.ghosts

    def claim(self, candidate: nw.Candidate, by: str = "ghost") -> None:
        """As somebody else would who is measuring."""
        self.append("claim", {"candidate": dict(candidate), "by": by})


def value(candidate: nw.Candidate) -> Mapping[str, float]:
    return {"q": float(candidate["a"]), "w": float(candidate["b"])}  # type: ignore[arg-type]


def search(store: Desk, evaluations: int, evaluate: Any = value, **more: Any) -> list[nw.Record]:
    given: dict[str, Any] = {"strategy": nw.Random(batch=3), "evaluations": evaluations, "store": store, **more}
    return nw.search(SPACE, evaluate, {"q": "max", "w": "min"}, **given)


class Waits(BaseException):
    """A search has nothing to do but to wait for another."""


@pytest.fixture(autouse=True)
def nobody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """All is one process here, and a search within another would wait for ever."""

    def sleep(seconds: float) -> None:
        raise Waits

    monkeypatch.setattr(study_module, "time", SimpleNamespace(sleep=sleep, time=time.time))


def beside(store: Desk, evaluations: int, evaluate: Any = value, **more: Any) -> None:
    """A search, within another that has begun one, until it waits for that."""
    with pytest.raises(Waits):
        search(Desk(store), evaluations, evaluate, **more)


def evaluated(store: Desk) -> Counter[nw.Candidate]:
    return Counter(nw.Candidate(body["candidate"]) for kind, body in store.read() if kind == "record")


def test_who_measures_while_another_does_takes_what_that_leaves() -> None:
    first, calls = Desk(), Counter[nw.Candidate]()

    def counted(candidate: nw.Candidate) -> Mapping[str, float]:
        calls[candidate] += 1
        return value(candidate)

    def with_another(candidate: nw.Candidate) -> Mapping[str, float]:
        if not calls:  # while the first evaluates its first, the second evaluates three and ends
            beside(first, 4, counted)
            assert candidate not in calls and calls.total() == 3
        return counted(candidate)

    records = search(first, 10, with_another)
    assert len(records) == 10 and set(calls.values()) == {1} and calls.total() == 10
    assert set(evaluated(first).values()) == {1}
    kinds = Counter(kind for kind, _ in first.read())
    assert kinds["claim"] == 10 and not read_journal(first).claims


def test_asked_candidates_of_another_are_measured_before_new_ones_are_asked_for() -> None:
    first = Desk()
    seen: list[int] = []

    def asks(candidate: nw.Candidate) -> Mapping[str, float]:
        if not seen:
            beside(first, 3)
        seen.append(sum(kind == "ask" for kind, _ in first.read()))
        return value(candidate)

    search(first, 3, asks)
    assert seen[0] == 1, "the second measured the two that the first had asked for beside its own"


def test_no_more_are_begun_than_are_wanted() -> None:
    store = Desk()
    search(store, 4)
    taken = [nw.Candidate({"a": 5, "b": b}) for b in range(3)]
    store.append("ask", {"candidates": [dict(c) for c in taken], "provenance": {}})
    for each in taken:
        store.claim(each)
    calls = list[nw.Candidate]()

    def counted(candidate: nw.Candidate) -> Mapping[str, float]:
        calls.append(candidate)
        return value(candidate)

    store.ghosts.add("ghost")
    beside(store, 7, counted)
    assert not calls, "who is there is waited for"
    store.ghosts.clear()
    records = search(Desk(store), 7, counted)
    assert len(records) == 7 and calls == taken, "who is gone is stood in for"


def test_what_another_has_taken_up_meanwhile_is_not_recorded_again() -> None:
    first, late = Desk(), list[nw.Candidate]()
    steps: list[nw.Record] = []

    def overslept(candidate: nw.Candidate) -> Mapping[str, float]:
        if not late:
            late.append(candidate)
            first.lapsed.add(first.member)
            search(Desk(first), 1)
        return value(candidate)

    study = nw.Study(first, FakeNet(SPACE), objectives=[FakeMeasurer("q", overslept_of(overslept))])
    study.run(nw.Random(batch=3), 5, lambda step: steps.append(step.record))
    assert len(study.records) == 5 and set(evaluated(first).values()) == {1}
    assert {r.candidate for r in study.records} >= set(late)


def overslept_of(function: Any) -> Any:
    return lambda candidate: function(candidate)["q"]


def test_other_limits_end_a_search_and_keep_what_it_has_measured() -> None:
    first = Desk()

    def stricter(candidate: nw.Candidate) -> Mapping[str, float]:
        if sum(kind == "record" for kind, _ in first.read()) == 2:
            beside(first, 3, limits=["w <= 3"])
        return value(candidate)

    with pytest.raises(StoreError, match="another process has set other limits"):
        search(first, 20, stricter)
    assert sum(evaluated(first).values()) == 3
    assert len(search(Desk(first), 6, limits=["w <= 3"])) == 6


def test_a_candidate_at_which_three_processes_end_is_given_up() -> None:
    store = Desk()

    class Killed(BaseException):
        pass

    def deadly(candidate: nw.Candidate) -> Mapping[str, float]:
        if candidate["a"] == 3:
            raise Killed
        return value(candidate)

    # A process that is killed notes nothing.
    attempts = study_module.Attempts
    end, attempts.end = attempts.end, lambda *_: None  # type: ignore[method-assign]
    try:
        for _ in range(100):
            try:
                records = search(Desk(store), 30, deadly)
                break
            except Killed:
                continue
    finally:
        attempts.end = end  # type: ignore[method-assign]
    failed = [r for r in records if r.status == "failed"]
    assert {r.candidate["a"] for r in failed} == {3} and len(failed) == 5
    assert all(r.provenance[ENDED] == 3 for r in failed) and len(records) == 30


def test_an_interrupted_attempt_does_not_count() -> None:
    store = Desk()

    def stopped(candidate: nw.Candidate) -> Mapping[str, float]:
        raise KeyboardInterrupt

    for _ in range(5):
        with pytest.raises(KeyboardInterrupt):
            search(Desk(store), 4, stopped)
    assert {r.status for r in search(Desk(store), 4)} == {"ok"}


def test_two_ask_at_once_and_none_is_asked_for_twice() -> None:
    first = Desk()

    class Slow(nw.Random):
        """While it thinks another has asked for the same, and measured some of it."""

        def ask(self, problem: Any, history: Any, n: int = 1) -> Any:
            found = super().ask(problem, history, n)
            if not len(history):
                search(Desk(first), 2)
            return found

    search(first, 8, strategy=Slow(batch=3))
    asked = Counter(str(each) for kind, body in first.read() if kind == "ask" for each in body["candidates"])
    assert set(asked.values()) == {1} and set(evaluated(first).values()) == {1}


class Together(Executor):
    """Has several jobs at once, and gives the last first."""

    workers, isolates = 3, True

    def __init__(self) -> None:
        self.jobs: list[Job] = []

    def submit(self, job: Job) -> None:
        self.jobs.append(job)

    def results(self, seconds: float | None = None) -> list[tuple[Job, nw.Record]]:
        if seconds is not None or not self.jobs:
            return []
        job = self.jobs.pop()
        return [(job, evaluate(job))]


def test_with_workers_too() -> None:
    first = Desk()
    calls = 0

    def sometimes(candidate: nw.Candidate) -> Mapping[str, float]:
        nonlocal calls
        calls += 1
        if calls in (2, 5):
            beside(first, calls + 4, executor=Together())
        return value(candidate)

    records = search(first, 20, sometimes, executor=Together())
    assert len(records) == 20 and set(evaluated(first).values()) == {1}


def test_one_process_of_a_shared_store_proposes_what_it_would_alone() -> None:
    shared = [r.candidate for r in search(Desk(), 12)]
    alone = [r.candidate for r in search(MemoryStore(), 12)]  # type: ignore[arg-type]
    assert shared == alone


SOME = [nw.Candidate({"a": a, "b": "x"}) for a in range(3)] + [nw.Candidate({"a": 1, "b": (1, "\u00fc")})]
ENTRIES = st.one_of(
    st.tuples(st.just("ask"), st.lists(st.sampled_from(SOME), min_size=1), st.integers(0, 3)),
    st.tuples(st.sampled_from(["claim", "attempt", "record"]), st.sampled_from(SOME), st.integers(0, 3)),
)


def entry(kind: str, about: Any, number: int) -> tuple[str, dict[str, Any]]:
    match kind:
        case "ask":
            return kind, {"candidates": [dict(c) for c in about], "provenance": {"seed": number}}
        case "claim":
            return kind, {"candidate": dict(about), "by": f"m{number}"}
        case "attempt":
            return kind, {"candidate": dict(about), "number": number}
    return kind, nw.Record(about, provenance={"seed": number}).to_json()


@settings(max_examples=200, deadline=None)
@given(st.lists(ENTRIES, max_size=12), st.integers(0, 12))
def test_entries_are_read_alike_from_their_texts(drawn: list[Any], seen: int) -> None:
    entries = [("study", {"objectives": [["q", "", "max", False]]}), *(entry(*each) for each in drawn)]
    one_by_one, by_text = Journal(), Journal()
    for kind, body in entries:
        one_by_one.take(kind, json.loads(body_text(body)))
    for part in (entries[:seen], entries[seen:]):
        for number, (kind, body) in enumerate(part, 1):
            by_text._take_text(number, kind, body_text(body))
        by_text._resolve()
    assert not by_text._wrong
    for what in ("found", "asked", "claims", "attempts"):
        assert getattr(by_text, what) == getattr(one_by_one, what), what
        if what in ("found", "asked"):
            assert list(getattr(by_text, what)) == list(getattr(one_by_one, what))


def test_who_is_evaluated_next_is_claimed_along_with_a_record() -> None:
    store = Desk()
    search(store, 5)
    kinds = [kind for kind, _ in store.read()]
    assert "claim attempt record claim attempt record" in " ".join(kinds)
    steps = Counter[int]()
    add, stores = store.add, list[str]()

    def counted(decide: Any) -> None:
        before = sum(1 for _ in store.read())
        add(decide)
        stores.extend(kind for kind, _ in store.read(before))
        steps[sum(1 for _ in store.read()) - before] += 1

    store.add = counted  # type: ignore[method-assign]
    search(store, 8)
    assert Counter(stores) == {"claim": 3, "attempt": 3, "record": 3, "ask": 1}
    assert steps[3] == 2, "of three networks that were asked for at once two are claimed as the one before is done"


def test_the_fake_keeps_the_contract() -> None:
    check_store(Desk, again=lambda store: Desk(store))  # type: ignore[arg-type]
