"""Networks that could not be measured: measured again where something was mended, and only there."""

from __future__ import annotations

import errno
import os
import re
import warnings
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import netwright as nw
from netwright.core.code import code_digest
from netwright.core.errors import InfeasibleConstraints, MachineFault, MeasureError
from netwright.core.metric import Measurement, Metric
from netwright.measure.base import EvaluationContext, Measurer
from netwright.study.journal import read_journal
from netwright.study.stores.base import Store
from netwright.study.stores.memory import MemoryStore
from netwright.study.study import Study
from netwright.testing import FakeNet

SPACE = nw.Space([nw.Choice("depth", (1, 2, 3)), nw.Choice("width", (8, 16, 24)), nw.Choice("kernel", (3, 5))])
OBJECTIVES: dict[str, Any] = {"top1": "max"}


class World:
    """What an evaluation depends on and nobody sees: a disk that is there or not."""

    def __init__(self, works: Callable[[nw.Candidate], bool] = lambda c: True) -> None:
        self.works, self.calls = works, Counter[nw.Candidate]()

    def __call__(self, candidate: nw.Candidate) -> Mapping[str, float]:
        self.calls[candidate] += 1
        if not self.works(candidate):
            raise OSError("the disk is gone")
        return {"top1": candidate["depth"] * candidate["width"], "heat": candidate["kernel"]}  # type: ignore[dict-item, operator]


def search(evaluate: Any, store: Store | Path, **more: Any) -> list[nw.Record]:
    given: dict[str, Any] = {"strategy": nw.Random(), "evaluations": 10, "store": store, **more}
    return nw.search(SPACE, evaluate, OBJECTIVES, **given)


def statuses(store: Store) -> Counter[str]:
    return Counter(r.status for r in read_journal(store).records)


def test_where_everything_failed_it_is_said_and_all_is_measured_again() -> None:
    store, world = MemoryStore(), World(lambda c: False)
    for _ in range(2):
        with pytest.raises(MeasureError, match=r"none of 10 .*the disk is gone; mend it and run this again"):
            search(world, store)
    assert max(world.calls.values()) == 2 and len(world.calls) == 10
    world.works = lambda c: True
    records = search(world, store)
    assert [r.status for r in records] == ["ok"] * 10 and {r.candidate for r in records} == set(world.calls)
    search(world, store)
    assert world.calls.total() == 30, "what is measured stays measured"


def test_some_that_failed_are_measured_again_when_that_is_asked_for(tmp_path: Path) -> None:
    store, world = tmp_path / "s.db", World(lambda c: c["width"] != 16)
    failed = [r.candidate for r in search(world, store) if r.status == "failed"]
    assert 0 < len(failed) < 10
    world.works = lambda c: True
    assert [r.candidate for r in search(world, store) if r.status == "failed"] == failed, "nobody asked"
    assert world.calls.total() == 10
    records = search(world, store, retry="failed", evaluations=3)
    assert {r.status for r in records} == {"ok"} and len(records) == 10
    assert {c for c, n in world.calls.items() if n == 2} == set(failed) and world.calls.total() == 10 + len(failed)


def test_what_fails_once_more_does_not_go_on_for_ever() -> None:
    store, world = MemoryStore(), World(lambda c: c["width"] != 16)
    failed = sum(r.status == "failed" for r in search(world, store))
    records = search(world, store, retry="failed")
    assert sum(r.status == "failed" for r in records) == failed and world.calls.total() == 10 + failed
    search(world, store)
    assert world.calls.total() == 10 + failed


def test_killed_while_it_measures_again_it_goes_on_with_that() -> None:
    store, world = MemoryStore(), World(lambda c: c["width"] != 16)
    failed = sum(r.status == "failed" for r in search(world, store))
    world.works = lambda c: True

    def dying(candidate: nw.Candidate) -> Mapping[str, float]:
        if world.calls.total() == 11:
            raise KeyboardInterrupt
        return world(candidate)

    with pytest.raises(KeyboardInterrupt):
        search(dying, store, retry="failed")
    assert {r.status for r in search(world, store)} == {"ok"}
    assert world.calls.total() == 10 + failed


def test_a_wrong_retry_is_told() -> None:
    with pytest.raises(nw.NetwrightError, match=r"'failed', or empty .*not 'all'"):
        search(World(), MemoryStore(), retry="all")


def test_a_mended_function_measures_again_what_it_failed_on() -> None:
    store = MemoryStore()

    def broken(candidate: nw.Candidate) -> Mapping[str, float]:
        return {"top1": 1 / (candidate["depth"] - 2)}  # type: ignore[operator]

    def mended(candidate: nw.Candidate) -> Mapping[str, float]:
        return {"top1": 1 / (candidate["depth"] - 2.5)}  # type: ignore[operator]

    assert 0 < sum(r.status == "failed" for r in search(broken, store)) < 10
    before = [r for r in search(broken, store) if r.status == "ok"]
    records = search(mended, store)
    assert {r.status for r in records} == {"ok"} and len(records) == 10
    assert all(r in records for r in before), "what was measured is not measured again"


def test_another_limit_measures_again_what_only_the_last_one_failed() -> None:
    store, world = MemoryStore(), World()
    with pytest.raises(
        InfeasibleConstraints, match=r"'heap' was not measured .*did you mean 'heat'.*none of 3 networks"
    ):
        search(world, store, limits=["heap <= 4"])
    assert world.calls.total() == 3
    records = search(world, store, limits=["heat <= 4"])
    assert Counter(r.status for r in records) == {"ok": 5, "infeasible": 5} or len(records) == 10
    assert "failed" not in {r.status for r in records} and max(world.calls.values()) == 2


def test_a_metric_that_comes_only_for_some_is_no_reason_to_stop() -> None:
    def partly(candidate: nw.Candidate) -> Mapping[str, float]:
        return {"top1": 1.0} if candidate["kernel"] == 5 else {"other": 1.0}

    found = Counter(r.status for r in search(partly, MemoryStore()))
    assert found["ok"] and found["failed"] and found.total() == 10


class Broken(Measurer):
    metrics = (Metric("size"),)

    def measure(self, context: EvaluationContext) -> Mapping[str, Measurement]:
        if context.candidate["depth"] == 1:
            raise RuntimeError("no such file")
        return {"size": Measurement(1.0)}


def test_a_mended_measurer_measures_again_what_it_failed_on() -> None:
    store = MemoryStore()
    assert "failed" in {r.status for r in Study(store, FakeNet(SPACE), objectives=[Broken()]).run(nw.Random(), 8)}

    class Mended(Broken):
        def measure(self, context: EvaluationContext) -> Mapping[str, Measurement]:
            return {"size": Measurement(2.0)}

    records = Study(store, FakeNet(SPACE), objectives=[Mended()]).run(nw.Random(), 8)
    assert {r.status for r in records} == {"ok"} and {r.values["size"] for r in records} == {1.0, 2.0}


def test_what_nothing_measures_is_said_before_the_first_network() -> None:
    calls = Counter[nw.Candidate]()

    class Counting(Broken):
        def measure(self, context: EvaluationContext) -> Mapping[str, Measurement]:
            calls[context.candidate] += 1
            return {"size": Measurement(1.0)}

    study = Study(MemoryStore(), FakeNet(SPACE), objectives=[Counting(), Metric("latency", "ms")])
    with pytest.raises(MeasureError, match=r"nothing measures 'latency', which is objective.*nw\.Latency\("):
        study.run(nw.Random(), 5)
    study = Study(
        MemoryStore(), FakeNet(SPACE), objectives=[Counting()], limits=[nw.core.limits.Limit("sise", "<=", 3.0)]  # type: ignore[attr-defined]
    )  # fmt: skip
    with pytest.raises(MeasureError, match=r"nothing measures 'sise', which is limit.*did you mean 'size'"):
        study.run(nw.Random(), 5)
    assert not calls


# -- what a function is


PATH = "/data/val.csv"


def helper(candidate: Any) -> float:
    return 1.0


def uses_helper(candidate: Any) -> float:
    return helper(candidate) if PATH else 0.0


def defined(text: str, **around: Any) -> Any:
    names: dict[str, Any] = {"__name__": "someones", **around}
    exec(text, names)
    return names["f"]


def test_a_digest_changes_with_the_code_and_with_what_it_calls_and_reads() -> None:
    plain = "def g(x):\n    return x + 1\ndef f(x):\n    return g(x) if PATH else 0\n"
    base = code_digest(defined(plain, PATH="a.csv"))
    assert base == code_digest(defined("\n\n" + plain, PATH="a.csv", unread="b")), "lines and what is not read"
    others = {
        "itself": code_digest(defined(plain.replace("else 0", "else 1"), PATH="a.csv")),
        "what it calls": code_digest(defined(plain.replace("x + 1", "x + 2"), PATH="a.csv")),
        "a path": code_digest(defined(plain, PATH="b.csv")),
        "a path, too": code_digest(defined(plain, PATH=Path("c.csv"))),
        "bound": code_digest(partial(defined(plain, PATH="a.csv"), "x")),
    }
    assert len({base, *others.values()}) == len(others) + 1


def test_a_digest_does_not_change_with_what_counts() -> None:
    counted = "def f(x):\n    return x if n else {1, 2, 3}.pop() in {'a', 'b', 'c'}\n"
    assert code_digest(defined(counted, n=1)) == code_digest(defined(counted, n=2))
    assert code_digest(World()) == code_digest(World(lambda c: False))
    assert code_digest(uses_helper) != code_digest(helper)


@pytest.mark.parametrize("odd", [print, len, Counter, 3, None, partial(print, "x"), World().__call__, "".join])
def test_anything_has_a_digest(odd: Any) -> None:
    assert code_digest(odd) == code_digest(odd)


def test_functions_that_call_one_another_end() -> None:
    assert code_digest(defined("def g(x):\n    return f(x)\ndef f(x):\n    return g(x)\n"))


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EMFILE, errno.EROFS, errno.ENOMEM])
def test_a_fault_of_the_machine_is_no_network_s(number: int) -> None:
    store, broken = MemoryStore(), True

    def evaluate(candidate: nw.Candidate) -> dict[str, float]:
        if broken and candidate["k"] == 3:
            try:
                raise OSError(number, os.strerror(number), "/tmp/file")
            except OSError as error:
                raise RuntimeError("the network could not be written") from error
        return {"q": float(candidate["k"])}  # type: ignore[arg-type]

    def go() -> list[nw.Record]:
        space = nw.Space([nw.Choice("k", (1, 2, 3, 4))])
        return nw.search(space, evaluate, {"q": "max"}, strategy="random", evaluations=4, store=store)

    for _ in range(4):
        with pytest.raises(MachineFault, match="the same search goes on from here"):
            go()
    assert not any(kind == "record" and body["status"] == "failed" for kind, body in store.read())
    broken = False
    assert [r.status for r in go()] == ["ok"] * 4


@pytest.mark.parametrize(
    ("said", "fault"),
    [
        ("[enforce fail at inline_container.cc:672] . unexpected pos 576 vs 534", "the disk is full"),
        ("unable to open shared memory object </torch_1> in read/write mode: No space left on device (28)", "the disk"),
        ("Too many open files. Communication with the workers is no longer possible.", "too many files are open"),
        ("basic_ios::clear: iostream error", "the disk is full"),
        ("[enforce fail at inline_container.cc:112] . file not found: a/data.pkl", ""),
        ("Cannot allocate memory: you tried to allocate 1000000000000 bytes", "there is not enough memory"),
    ],
)
def test_a_fault_of_the_machine_is_known_by_what_libraries_say(said: str, fault: str) -> None:
    def evaluate(candidate: nw.Candidate) -> dict[str, float]:
        raise RuntimeError(said)

    with pytest.raises(MachineFault if fault else MeasureError, match=fault or re.escape(said[:20])):
        nw.search(SPACE, evaluate, OBJECTIVES, strategy="random", evaluations=2)


def test_how_many_failed_is_said_in_the_end() -> None:
    def evaluate(candidate: nw.Candidate) -> dict[str, float]:
        k = int(candidate["k"])  # type: ignore[call-overload]
        if k % 2:
            raise ValueError("odd" if k > 1 else "one")
        return {"q": float(k)}

    space = nw.Space([nw.Choice("k", tuple(range(8)))])
    said = r"4 of 8 networks could not be measured: ValueError: odd \(the reason of 3; .*retry=\"failed\" measures them"
    with pytest.warns(UserWarning, match=said) as warned:
        nw.search(space, evaluate, {"q": "max"}, strategy="random", evaluations=8)
    assert len(warned) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        nw.search(space, lambda c: {"q": 1.0}, {"q": "max"}, strategy="random", evaluations=8)
