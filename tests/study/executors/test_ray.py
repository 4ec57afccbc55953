"""Evaluations in a Ray cluster, of several nodes on this machine; skipped where Ray is not installed."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import netwright as nw
from netwright.core.errors import CallError, MissingExtra
from netwright.measure.machine import machine_kind
from netwright.study.executors import EXECUTORS
from netwright.study.stores.memory import MemoryStore
from netwright.testing import FakeMeasurer, FakeNet

cluster_test = pytest.mark.slow
needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed (netwright[ray])")
OBJECTIVES = {"q": "max", "w": "max"}


def search(evaluate: Any, executor: str, options: int = 16, **more: Any) -> list[nw.Record]:
    space = nw.Space([nw.Choice("k", tuple(range(options)))])
    given: dict[str, Any] = {"strategy": "random,batch=4", "evaluations": options, "executor": executor, **more}
    return nw.search(space, evaluate, OBJECTIVES, **given)


def figures(candidate: nw.Candidate) -> Mapping[str, float]:
    k = int(candidate["k"])  # type: ignore[call-overload]
    return {"q": float(k % 7), "w": float(-k)}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two nodes with a core each, one of them with a device."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    import ray
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    made.add_node(num_cpus=1, resources={"jetson": 1})
    ray.init(address=made.address, logging_level="error", log_to_driver=False)
    yield made
    ray.shutdown()
    made.shutdown()


@cluster_test
@needs_ray
def test_a_cluster_evaluates_and_survives_what_candidates_do(cluster: Any, tmp_path: Path) -> None:
    def bad(candidate: nw.Candidate) -> Mapping[str, float]:
        with open(tmp_path / f"{candidate['k']}", "a") as file:
            file.write(f"{os.getpid()}\n")
        match candidate["k"]:
            case 3:
                ctypes.string_at(0)
            case 5:
                time.sleep(600)
            case 9:
                raise RuntimeError("nine")
        return figures(candidate)

    records = search(bad, "ray,timeout=3")
    failed = {r.candidate["k"]: r.reason for r in records if r.status == "failed"}
    assert len({r.candidate for r in records}) == 16
    assert failed.keys() == {3, 5, 9} and failed[5] == "took more than 3 s" and "nine" in failed[9]
    assert "crashed, or was killed" in failed[3]
    tries = {int(p.name): p.read_text().split() for p in tmp_path.iterdir()}
    assert len(tries[3]) == 2, "never twice into the same wall, but for once to see whose it is"
    assert all(len(each) == 1 for k, each in tries.items() if k != 3)
    workers = {each for several in tries.values() for each in several}
    assert str(os.getpid()) not in workers and 2 <= len(workers) <= 6


@cluster_test
@needs_ray
def test_one_worker_for_each_device(cluster: Any) -> None:
    executor = EXECUTORS.make("ray,resource=jetson")
    assert executor.workers == 1 and EXECUTORS.make("ray").workers == 2
    assert EXECUTORS.make("ray,workers=1").workers == 1
    with pytest.raises(CallError, match="offers 'phone': it has CPU 2, jetson 1"):
        search(figures, "ray,resource=phone")


@cluster_test
@needs_ray
def test_workers_join_and_leave(cluster: Any, tmp_path: Path) -> None:
    """A node with two more joins in the middle, and leaves while it evaluates: all is measured once all the same."""
    node: list[Any] = []

    def slow(candidate: nw.Candidate) -> Mapping[str, float]:
        time.sleep(0.3)
        with open(tmp_path / "log", "a") as file:
            file.write(f"{candidate['k']} {os.getpid()}\n")
        return figures(candidate)

    class Watched(nw.Random):
        def ask(self, problem: Any, history: Any, n: int = 1) -> Any:
            if len(history) >= 8 and not node:
                node.append(cluster.add_node(num_cpus=2))
                time.sleep(2.0)
            if len(history) >= 40 and len(node) == 1:
                node.append(cluster.remove_node(node[0], allow_graceful=False))
            return super().ask(problem, history, n)

    executor = EXECUTORS.make("ray")
    most = 0
    submit = executor.submit

    def counted(job: Any) -> None:
        nonlocal most
        submit(job)
        most = max(most, len(executor._running))  # type: ignore[attr-defined]

    executor.submit = counted  # type: ignore[method-assign]
    records = search(slow, executor, 60, strategy=Watched(batch=2))  # type: ignore[arg-type]
    assert len({r.candidate for r in records}) == 60 and {r.status for r in records} == {"ok"}
    assert most == 4 and len(node) == 2


@cluster_test
@needs_ray
def test_killed_workers_lose_nothing_and_the_driver_begins_again(cluster: Any, tmp_path: Path) -> None:
    killed: list[int] = []

    def told(candidate: nw.Candidate) -> Mapping[str, float]:
        (tmp_path / str(os.getpid())).touch()
        time.sleep(0.02)
        return figures(candidate)

    class Killing(nw.Random):
        def ask(self, problem: Any, history: Any, n: int = 1) -> Any:
            pids = {int(p.name) for p in tmp_path.iterdir() if p.name.isdigit()} - {*killed}
            if len(history) in range(4, 30, 8) and pids:
                killed.append(max(pids))
                os.kill(killed[-1], signal.SIGKILL)
            return super().ask(problem, history, n)

    store = tmp_path / "s.db"
    first = search(told, "ray", 40, strategy=Killing(batch=2), evaluations=20, store=store)
    records = search(told, "ray", 40, strategy=Killing(batch=2), store=store)
    assert len({r.candidate for r in records}) == 40 and {r.status for r in records} == {"ok"} and killed
    assert records[:20] == first


@cluster_test
@needs_ray
def test_what_cannot_be_sent_is_said(cluster: Any) -> None:
    import threading

    lock = threading.Lock()
    with pytest.raises(CallError, match="cannot be sent to other machines"):
        search(lambda c: figures(c) if lock else {}, "ray")


@cluster_test
@needs_ray
def test_a_super_network_is_judged_as_it_is_here(cluster: Any) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 3))
    axes = [
        nw.Width.tie(module, "first", (4, 8, 16), out_of=["0"], into=["2"]),
        nw.Width.tie(module, "second", (4, 8, 16), out_of=["2"], into=["4"]),
    ]
    net = nw.SuperNet(module, axes, torch.zeros(1, 8))
    loader = [(torch.randn(64, 8), torch.randint(0, 3, (64,))) for _ in range(2)]

    def found(executor: str) -> dict[nw.Candidate, Mapping[str, float]]:
        study = nw.Study(MemoryStore(), net, objectives=[nw.Accuracy(loader), nw.Count("params")])
        return {r.candidate: r.values for r in study.run("random", 9, executor=executor)}

    assert found("ray") == found("local") and len(found("ray")) == 9


@cluster_test
@needs_ray
def test_each_record_says_on_what_kind_of_machine_it_was_measured(cluster: Any) -> None:
    space, measurer = nw.Space([nw.Choice("k", (1, 2, 3))]), FakeMeasurer("latency", latency_of)
    measurer.on_device = True
    study = nw.Study(MemoryStore(), FakeNet(space), objectives=[measurer])
    assert {r.provenance["machine"] for r in study.run("random", 3, executor="ray")} == {machine_kind()}


def latency_of(candidate: nw.Candidate) -> float:
    return float(candidate["k"])  # type: ignore[arg-type]


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtra, match=r"netwright\[ray\]"):
        EXECUTORS.make("ray,workers=2")


@needs_ray
@pytest.mark.parametrize("text", ["ray,workers=0", "ray,cpus=-1", "ray,timeout=-2", "ray,cpus=inf"])
def test_settings_that_are_wrong_are_said(text: str) -> None:
    with pytest.raises(CallError, match=text.partition(",")[2].partition("=")[0]):
        EXECUTORS.make(text)
