"""A network that runs out of memory is failed where another has enough; otherwise the machine is to blame."""

from __future__ import annotations

import gc
import warnings
import weakref
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import pytest

import netwright as nw
from netwright.core.candidate import Candidate
from netwright.core.errors import MachineFault
from netwright.core.metric import Measurement, Metric
from netwright.core.record import Record
from netwright.measure.base import EvaluationContext, Measurer
from netwright.strategies.base import Problem
from netwright.study.journal import read_journal
from netwright.study.stores.memory import MemoryStore
from netwright.study.study import Study
from netwright.testing import FakeNet

SIZES = tuple(range(1, 9))
SPACE = nw.Space([nw.Choice("size", SIZES)])
SAYS = (
    r"there is not enough memory: close some programs.* \(.*memory.*\); the study is kept, and the same search goes on"
)
TORCH = RuntimeError("[enforce] DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes.")


@pytest.fixture(autouse=True)
def collect(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """Going through all that the tests have loaded takes long, and is for the one test that asks for it."""
    collect = gc.collect
    monkeypatch.setattr(gc, "collect", lambda: 0)
    return collect


class Machine:
    """One with so much room: who is larger runs out of memory, or who is told."""

    def __init__(self, room: int = 8, error: Exception | None = None, but: Sequence[int] = ()) -> None:
        self.room, self.but, self.error, self.calls = room, but, error or MemoryError(), Counter[int]()

    def __call__(self, candidate: nw.Candidate) -> dict[str, float]:
        size: Any = candidate["size"]
        self.calls[size] += 1
        if size > self.room or size in self.but:
            raise self.error
        return {"quality": float(size)}


def search(evaluate: Any, store: MemoryStore, **more: Any) -> list[nw.Record]:
    given: dict[str, Any] = {"strategy": "random", "evaluations": len(SIZES), "store": store, **more}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*could not be measured")
        return nw.search(SPACE, evaluate, {"quality": "max"}, **given)


def failed(store: MemoryStore) -> dict[Any, str]:
    return {r.candidate["size"]: r.reason for r in read_journal(store).records if r.status == "failed"}


@pytest.mark.parametrize("error", [MemoryError(), TORCH])
def test_where_all_run_out_of_memory_no_network_is_failed(error: Exception) -> None:
    store, machine = MemoryStore(), Machine(0, error)
    for _ in range(4):  # more often than a network that ends the process is tried
        with pytest.raises(MachineFault, match=SAYS):
            search(machine, store)
    assert not read_journal(store).records
    machine.room = 8
    assert [r.status for r in search(machine, store)] == ["ok"] * 8


@pytest.mark.parametrize("error", [MemoryError(), TORCH])
def test_networks_that_are_too_large_are_failed_and_end_nothing(error: Exception) -> None:
    store = MemoryStore()
    records = search(machine := Machine(5, error), store)
    assert Counter(r.status for r in records) == {"ok": 5, "failed": 3}
    assert failed(store).keys() == {6, 7, 8} and all("memory" in reason for reason in failed(store).values())
    assert all(machine.calls[size] == 2 for size in (6, 7, 8))


def test_memory_that_runs_out_later_is_the_machine_s_too() -> None:
    """Networks that were measured before, also small ones, have no room any more."""
    store, machine = MemoryStore(), Machine()
    before = search(machine, store, evaluations=4)
    machine.room = 0
    with pytest.raises(MachineFault, match=SAYS):
        search(machine, store)
    machine.room = 8
    after = search(machine, store)
    assert after[:4] == before and [r.status for r in after] == ["ok"] * 8


@pytest.mark.parametrize("size", SIZES)
def test_one_that_always_runs_out_ends_no_search(size: int) -> None:
    """Also where it is the smallest, or comes first."""
    store = MemoryStore()
    search(Machine(but=[size]), store)
    assert failed(store) == {size: "out of memory: MemoryError"}


def test_memory_that_only_cycles_hold_is_given_back(
    collect: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gc, "collect", collect)

    class Cycle:
        def __init__(self) -> None:
            self.me = self

    held = list[weakref.ref[Cycle]]()

    def evaluate(candidate: nw.Candidate) -> dict[str, float]:
        if sum(each() is not None for each in held) > 3:
            raise MemoryError
        held.append(weakref.ref(Cycle()))
        return {"quality": 1.0}

    store = MemoryStore()
    assert len(search(evaluate, store)) == 8 and not failed(store)


def test_what_is_compared_with_is_measured_whole_and_not_recorded() -> None:
    """A limit that it breaks would leave it unmeasured, and prove nothing."""
    store = MemoryStore()
    with pytest.raises(MachineFault, match=SAYS):
        Study(store, FakeNet(SPACE), objectives=[Weight(), Roomless()], limits=["weight >= 4"]).run("random", 8)
    assert all(r.status == "infeasible" for r in read_journal(store).records)


class Weight(Measurer):
    metrics = (Metric("weight", exact=True),)

    def measure(self, context: EvaluationContext) -> dict[str, Measurement]:
        return {"weight": Measurement(float(context.candidate["size"]), kind="exact")}  # type: ignore[arg-type]


class Roomless(Measurer):
    metrics = (Metric("quality", direction="max"),)

    def measure(self, context: EvaluationContext) -> dict[str, Measurement]:
        raise MemoryError


def test_the_probe_blames_the_machine_too() -> None:
    class OnDevice(Roomless):
        on_device = True

    study = Study(store := MemoryStore(), FakeNet(SPACE), objectives=[OnDevice()])
    for _ in range(4):
        with pytest.raises(MachineFault, match=SAYS):
            study.probe()
    assert not read_journal(store).records


def test_processes_of_their_own_share_the_machine_s_memory() -> None:
    """And what exceeds a limit that was set is failed at once."""
    store = MemoryStore()
    with pytest.raises(MachineFault, match=SAYS):
        search(Machine(0), store, timeout=60)
    assert not read_journal(store).records
    search(Machine(7), store, timeout=60)
    assert failed(store) == {8: "out of memory: MemoryError"}


def test_a_strategy_that_runs_out_of_memory_is_a_fault_of_the_machine() -> None:
    class Large(nw.Random):
        def ask(self, problem: Problem, records: Sequence[Record], n: int) -> list[Candidate]:
            if len(records) >= 3:
                raise MemoryError("Unable to allocate 1.28 MiB for an array")
            return super().ask(problem, records, 3)

    store = MemoryStore()
    with pytest.raises(MachineFault, match=r"there is not enough memory: close some programs.*goes on from here"):
        search(Machine(), store, strategy=Large())
    assert [r.status for r in read_journal(store).records] == ["ok"] * 3
