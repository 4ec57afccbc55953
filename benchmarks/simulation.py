"""Studies of many workers in virtual time: how busy these are, and what many outstanding proposals cost the front.

The studies, their journals and their strategies are the real ones; only the workers are not. An executor keeps a
virtual clock: an evaluation takes a minute of it, more or less (log-normal, with a standard deviation of a fifth), and
whatever the driver computes between submitting and waiting (asking the strategy, journalling) moves the clock by the
CPU seconds that it took, and by 2 ms more for each evaluation, which a journal's disk lets one wait. What is searched
are the sub-networks of the once-for-all MobileNetV3 on ImageNet (``../shared/bench/ofa_mbv3``): top-1 against MACs.

* ``workers``: the share of the workers' time in which they evaluate, from the first ask to the last candidate that is
  begun; the driver's CPU ms for each evaluation; and the virtual minutes of all.
* ``front``: hypervolume in percent of the best known front's after equally many evaluations, with so many candidates
  outstanding; the mean share of choices in which two outstanding candidates differ; and the virtual minutes.

    python benchmarks/simulation.py workers                             # minutes
    python benchmarks/simulation.py workers --strategy nsga2,batch=256 --workers 10000
    python benchmarks/simulation.py front                               # 1, 4, 16, 64 outstanding, three seeds
"""

from __future__ import annotations

import argparse
import heapq
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from ofa_bench import AREA, MACS, REFERENCE, TOP1, Ofa, area

import netwright as nw
from netwright.core.candidate import Candidate
from netwright.core.errors import NetwrightError
from netwright.core.record import Record
from netwright.measure.base import EvaluationContext, ManyCandidates, Measurer
from netwright.strategies import STRATEGIES
from netwright.strategies.integer_encoding import IntegerEncoding
from netwright.study.evaluate import Job, evaluate
from netwright.study.executors.base import Executor

SECONDS, DEVIATION = 60.0, 0.2
"""Of an evaluation, and how much the logarithm of its time varies."""
DISK_S = 0.002
"""For which an evaluation's entries in a journal wait for a disk (``executors.py``: in a file against in memory)."""
ROUNDS = 5
"""Evaluations for each worker."""
MEMORY = Path("/dev/shm")
"""Where journals are written, if it is there: for a disk the clock waits anyway."""


class Simulated(Executor):
    """Workers that take time of a clock of their own, and none of anybody else's.

    Args:
        workers: how many.
        seed: of how long evaluations take.
        space: of the candidates, where it is to be told how alike those are that are evaluated at once.
    """

    isolates = True

    def __init__(self, workers: int, seed: int, space: nw.Space | None = None) -> None:
        self.workers = workers
        self.now = self.thought = self.busy = 0.0
        """Virtual seconds: the time, how much of it the driver thought, and what evaluations have taken in all."""
        self.begun, self.apart = 0, list[float]()
        self._rng = np.random.default_rng([seed, workers])
        self._encoding = IntegerEncoding(space) if space else None
        self._waiting: list[tuple[float, int, Job, Record]] = []
        self._ends = 0.0  # of those, in all
        self._since = time.process_time()

    def submit(self, job: Job) -> None:
        self._think(DISK_S)
        took = SECONDS * float(np.exp(DEVIATION * self._rng.standard_normal() - DEVIATION**2 / 2))
        heapq.heappush(self._waiting, (self.now + took, self.begun, job, evaluate(job)))
        self.begun += 1
        self.busy += took
        self._ends += self.now + took
        if self._encoding and len(self._waiting) == self.workers > 1:
            rows = self._encoding.of([job.candidate for _, _, job, _ in self._waiting])
            same = (rows[:, None] == rows[None]).mean(axis=2)
            self.apart.append(float((1 - same).sum() / (len(rows) * (len(rows) - 1))))
        self._since = time.process_time()  # what it took to evaluate here is the worker's

    def results(self, seconds: float | None = None) -> list[tuple[Job, Record]]:
        self._think(0.0)
        if self._waiting:
            self.now = max(self.now, min(self._waiting[0][0], np.inf if seconds is None else self.now + seconds))
        done = []
        while self._waiting and self._waiting[0][0] <= self.now:
            end, _, job, record = heapq.heappop(self._waiting)
            self._ends -= end
            done.append((job, record))
        self._since = time.process_time()
        return done

    def _think(self, more: float) -> None:
        took = time.process_time() - self._since + more
        self.now += took
        self.thought += took

    def utilisation(self) -> float:
        """The share of the workers' time that they have evaluated in until now."""
        left = self._ends - self.now * len(self._waiting)
        return (self.busy - left) / (self.workers * self.now)


@cache
def ofa(bench: str) -> Ofa:
    """The bench."""
    return Ofa(Path(bench))


@dataclass(frozen=True)
class Searched:
    """What is searched: its space alone."""

    space: nw.Space

    def extract(self, candidate: Candidate) -> Any:
        raise NetwrightError("there is a table here, and no network")


class Top1(Measurer):
    """The accuracy of a sub-network."""

    metrics = (TOP1,)

    def __init__(self, bench: Ofa) -> None:
        self._bench = bench

    def measure(self, context: EvaluationContext) -> Mapping[str, nw.Measurement]:
        return {"top1": nw.Measurement(self._bench.measure(context.candidate)["top1"], "%")}


class Macs(Measurer):
    """The MACs of sub-networks."""

    metrics = (MACS,)

    def __init__(self, bench: Ofa) -> None:
        self._bench, encoding = bench, IntegerEncoding(bench.space)
        names = [choice.name for choice in bench.space]
        self._encoding = encoding
        # As the bench wants them: 20 kernels, 20 expansions, 5 depths.
        order = [*(f"k{s}{j}" for s in range(5) for j in range(4)), *(f"e{s}{j}" for s in range(5) for j in range(4))]
        self._places = [names.index(name) for name in (*order, *(f"d{s}" for s in range(5)))]

    def measure(self, context: EvaluationContext) -> Mapping[str, nw.Measurement]:
        return {"macs": nw.Measurement(self._bench.exact(context.candidate)["macs"], kind="exact")}

    def compute(self, many: ManyCandidates) -> Mapping[str, np.ndarray]:
        rows = self._encoding.of(many.candidates)
        return {"macs": self._bench.exact_of(np.maximum(rows, 0)[:, self._places])["macs"]}


def study(bench: Ofa, strategy: str, evaluations: int, executor: Simulated, seed: int) -> tuple[float, float]:
    """Search; hypervolume in percent of the best known front's, and the workers' utilisation until the last candidate
    was begun."""
    used = 0.0
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
        made = nw.Study(Path(folder) / "s.db", Searched(bench.space), objectives=[Top1(bench), Macs(bench)], seed=seed)

        def watch(step: Any) -> None:
            nonlocal used
            if executor.begun < evaluations:
                used = executor.utilisation()

        records = made.run(STRATEGIES.make(strategy), evaluations, watch, executor=executor)
    losses = np.array([[-r.values["top1"], r.values["macs"] / 1e6, 0.0] for r in records])
    return 100 * area(losses) / AREA, used


def workers(given: argparse.Namespace) -> None:
    """Print how busy workers are."""
    print(f"evaluations of {SECONDS:g} s, with a standard deviation of {100 * DEVIATION:g} %")
    print(f"{'strategy':<24}{'workers':>8}{'evaluations':>12}{'busy':>9}{'driver, ms each':>17}{'virtual min':>13}")
    for strategy in given.strategy or ["guided,batch=16"]:
        for number in given.workers or [1000]:
            executor = Simulated(number, 0)
            evaluations = given.evaluations or ROUNDS * number
            _, used = study(ofa(str(given.bench)), strategy, evaluations, executor, 0)
            each = 1000 * executor.thought / executor.begun
            print(
                f"{strategy:<24}{number:>8}{executor.begun:>12}{100 * used:>7.1f} %{each:>17.1f}"
                f"{executor.now / 60:>13.1f}",
                flush=True,
            )


def front(given: argparse.Namespace) -> None:
    """Print what outstanding candidates cost the front."""
    bench, alone = ofa(str(given.bench)), np.nan
    evaluations = given.evaluations or 256
    print(f"hypervolume after {evaluations} evaluations, % of the best known; reference {REFERENCE[:2].tolist()}")
    print(f"{'outstanding':>11}  {'each seed':<24}{'mean':>8}{'lost':>8}{'apart':>8}{'virtual min':>13}")
    for number in given.workers or [1, 4, 16, 64]:
        # One worker has four proposals outstanding where they are made four at a time.
        strategy = "guided,batch=1" if number == 1 else "guided"
        found, apart, minutes = [], [], []
        for seed in range(given.seeds):
            executor = Simulated(number, seed, bench.space)
            found.append(study(bench, (given.strategy or [strategy])[0], evaluations, executor, seed)[0])
            apart.append(float(np.mean(executor.apart)) if executor.apart else np.nan)
            minutes.append(executor.now / 60)
        mean = float(np.mean(found))
        alone = mean if number == 1 else alone
        each = " ".join(f"{x:.2f}" for x in found)
        print(
            f"{number:>11}  {each:<24}{mean:>8.2f}{alone - mean:>8.2f}{np.mean(apart):>8.3f}{np.mean(minutes):>13.1f}",
            flush=True,
        )


def main() -> None:
    """Print one of the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("workers", "front"))
    parser.add_argument("--bench", type=Path, default=Path("../shared/bench/ofa_mbv3"), help="folder of the bench")
    parser.add_argument("--workers", type=int, nargs="+", help="how many, one after the other")
    parser.add_argument("--strategy", nargs="+", help="strategies, one after the other")
    parser.add_argument("--evaluations", type=int, help=f"of each; {ROUNDS} for each worker, 256 for the front")
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    {"workers": workers, "front": front}[given.what](given)


if __name__ == "__main__":
    main()
