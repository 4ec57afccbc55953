"""Run times of unlike machines do not go into one study."""

from __future__ import annotations

from collections import deque
from dataclasses import replace

import pytest

import netwright as nw
from netwright.core.errors import StoreError
from netwright.measure.base import kind_here
from netwright.measure.machine import machine_kind
from netwright.study.evaluate import Job, evaluate
from netwright.study.executors.base import Executor
from netwright.study.machines import MACHINE
from netwright.study.stores.memory import MemoryStore
from netwright.testing import FakeMeasurer

SPACE = nw.Space([nw.Choice("a", tuple(range(12)))])


class Cluster(Executor):
    """One worker after another evaluates, each on a machine of its own kind."""

    isolates = True

    def __init__(self, *kinds: str, workers: int = 1) -> None:
        self.kinds, self.workers = deque(kinds), workers
        self.jobs: list[Job] = []

    def submit(self, job: Job) -> None:
        self.jobs.append(job)

    def results(self, seconds: float | None = None) -> list[tuple[Job, nw.Record]]:
        jobs, self.jobs, done = self.jobs, [], []
        for job in jobs:
            record = evaluate(job)
            if kind := self.kinds[0]:
                record = replace(record, provenance={**record.provenance, MACHINE: kind})
            self.kinds.rotate(-1)
            done.append((job, record))
        return done


def search(store: MemoryStore, executor: Executor, evaluations: int = 6) -> list[nw.Record]:
    return nw.search(
        SPACE, lambda c: {"q": float(c["a"])}, {"q": "max"}, strategy="random", evaluations=evaluations, store=store,
        executor=executor,
    )  # fmt: skip


def kinds_of(store: MemoryStore) -> list[str]:
    return [body["provenance"].get(MACHINE, "") for kind, body in store.read() if kind == "record"]


@pytest.mark.parametrize("workers", [1, 3])
def test_what_is_measured_on_another_kind_of_machine_is_refused_and_the_rest_is_kept(workers: int) -> None:
    store = MemoryStore()
    with pytest.raises(StoreError, match=r"another kind of machine \(arm\) than the study was measured on \(zen\)"):
        search(store, Cluster("zen", "", "arm", workers=workers))
    known = kinds_of(store)
    assert known[:2] == ["zen", ""] and "arm" not in known, "the machine of each measurement is told"
    with pytest.raises(StoreError, match=r"\(arm\) than .* \(zen\)"):
        search(store, Cluster("arm"))
    assert kinds_of(store) == known, "also by who goes on with it"
    records = search(store, Cluster("zen", "zen", "", workers=workers), 9)
    assert len(records) == len({r.candidate for r in records}) == 9
    assert set(kinds_of(store)) == {"zen", ""}


def test_a_search_that_measures_on_no_machine_says_nothing_of_any() -> None:
    store = MemoryStore()
    search(store, Cluster(""))
    assert set(kinds_of(store)) == {""}
    there = FakeMeasurer("latency", lambda candidate: 1.0)
    assert kind_here([there]) == ("" if there.place is None else machine_kind())
    there.on_device = True
    assert kind_here([there]) == machine_kind() and "cores" in machine_kind()
