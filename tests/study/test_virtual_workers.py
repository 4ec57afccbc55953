"""A study and many workers, whose evaluations end in any order: who was asked for first begins first, and once."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

import netwright as nw
from netwright.core.record import Record
from netwright.study.evaluate import Job, evaluate
from netwright.study.executors.base import Executor
from netwright.study.stores.memory import MemoryStore

SPACE = {"a": tuple(range(9)), "b": tuple(range(9))}


class Shuffled(Executor):
    """Workers whose evaluations end in an order by lot, one or several at a time."""

    isolates = True

    def __init__(self, workers: int, seed: int) -> None:
        self.workers, self.lot = workers, random.Random(seed)
        self.running: list[Job] = []
        self.begun: list[nw.Candidate] = []

    def submit(self, job: Job) -> None:
        self.running.append(job)
        self.begun.append(job.candidate)
        assert len(self.running) <= self.workers

    def results(self, seconds: float | None = None) -> list[tuple[Job, Record]]:
        self.lot.shuffle(self.running)
        ended, self.running = self.running[: (n := self.lot.randint(1, self.workers))], self.running[n:]
        return [(job, evaluate(job)) for job in ended]


@given(workers=st.integers(1, 12), batch=st.integers(1, 12), seed=st.integers(0, 99), some=st.integers(1, 40))
@settings(max_examples=25, deadline=None)
def test_who_was_asked_for_first_is_evaluated_first(workers: int, batch: int, seed: int, some: int) -> None:
    executor, store = Shuffled(workers, seed), MemoryStore()
    records = nw.search(
        SPACE, lambda c: {"q": c["a"] + c["b"]}, {"q": "max"}, evaluations=some, store=store, seed=seed,  # type: ignore[operator]
        strategy=f"random,batch={batch}", executor=executor,
    )  # fmt: skip
    asked = [nw.Candidate(c) for kind, body in store.read() if kind == "ask" for c in body["candidates"]]
    assert executor.begun == asked and len({*asked}) == len(asked) == some
    assert {r.candidate for r in records} == {*asked}
