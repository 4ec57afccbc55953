"""The space and the measurements of OFA MobileNetV3 on ImageNet, as search problems.

The bench (``shared/bench/ofa_mbv3``) predicts top-1 from 2,162 real evaluations and computes MACs and parameters.
Run as a script it searches the best fronts that are known, for many minutes, and writes them:

    python benchmarks/ofa_bench.py --bench ../shared/bench/ofa_mbv3 --out benchmarks/data
"""

from __future__ import annotations

import argparse
import csv
import importlib.util
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import moocore
import numpy as np

from netwright.core.candidate import Candidate
from netwright.core.front import nondominated
from netwright.core.limits import Limit
from netwright.core.metric import Measurement, Metric
from netwright.core.record import Record
from netwright.core.space import Choice, Space
from netwright.strategies.base import Problem, of_each
from netwright.strategies.integer_encoding import IntegerEncoding, new_rows
from netwright.strategies.ranking import ranked

TOP1 = Metric("top1", "%", "max")
MACS = Metric("macs", "", "min", exact=True)
PARAMS = Metric("params", "", "min", exact=True)
REFERENCE = np.array([-70.0, 570.0, 7.8])
"""What hypervolume is measured from: 70 % top-1, 570 M MACs, 7.8 M parameters; losses, in these units."""
AREA = 2951.343
"""Of the front that was the best known when the benchmark was set, in points x M MACs: 100 %."""
LIMIT = 300.0
"""M MACs, of the task with one objective."""
BUDGETS = np.arange(200.0, 501.0, 50.0)
"""M MACs at which the accuracy regret is taken."""
MOST = 1500
"""Networks of a front that are kept."""
STAGES = ((300, 300), (1200, 100))
"""Populations and generations of the evolution: first wide, then between neighbours on the front."""
ROUNDS = 4
"""Of changing single choices."""
DATA = Path(__file__).parent / "data"


@dataclass(frozen=True)
class Task:
    """What is searched for, and how a search is judged.

    Args:
        name: on the command line.
        objectives: of the search.
        limits: that candidates must keep.
        score: from true losses (n, 3) in %, M MACs and M parameters to one number.
        unit: of the score.
    """

    name: str
    objectives: tuple[Metric, ...]
    limits: tuple[Limit, ...]
    score: Callable[[np.ndarray], float]
    unit: str


class Ofa:
    """The bench and its space.

    Args:
        folder: that holds ``ofa_mbv3_bench.py``.
    """

    def __init__(self, folder: Path) -> None:
        spec = importlib.util.spec_from_file_location("ofa_mbv3_bench", folder / "ofa_mbv3_bench.py")
        if spec is None or spec.loader is None or not (folder / "ofa_mbv3_bench.py").exists():
            raise SystemExit(f"there is no ofa_mbv3_bench.py in {folder}; give --bench the folder that holds it")
        self.module: Any = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(self.module)
        self.bench = self.module.Bench()
        blocks = [(s, j) for s in range(5) for j in range(4)]
        choices = [Choice(f"d{s}", (2, 3, 4)) for s in range(5)]
        for s, j in blocks:
            when = None if j < 2 else {f"d{s}": tuple(d for d in (2, 3, 4) if d > j)}
            choices += [Choice(f"k{s}{j}", (3, 5, 7), when), Choice(f"e{s}{j}", (3, 4, 6), when)]
        self.space = Space(choices)
        self._blocks = blocks
        self._exact: dict[Candidate, dict[str, float]] = {}

    def config(self, candidate: Candidate) -> dict[str, list[int]]:
        """As the bench wants it."""
        depth: Any = [candidate[f"d{s}"] for s in range(5)]
        kernel: Any = [candidate.get(f"k{s}{j}", 3) for s, j in self._blocks]
        expand: Any = [candidate.get(f"e{s}{j}", 3) for s, j in self._blocks]
        return {"d": depth, "ks": kernel, "e": expand}

    def candidate(self, vector: Sequence[float] | np.ndarray) -> Candidate:
        """Of the 45 positions that the peers search: 20 kernels, 20 expansions, 5 depths, each 0, 1 or 2."""
        at = [round(float(v)) for v in vector]
        options = {f"d{s}": (2, 3, 4)[at[40 + s]] for s in range(5)}
        for i, (s, j) in enumerate(self._blocks):
            if options[f"d{s}"] > j:
                options |= {f"k{s}{j}": (3, 5, 7)[at[i]], f"e{s}{j}": (3, 4, 6)[at[20 + i]]}
        return self.space.candidate(options)

    def exact(self, candidate: Candidate) -> dict[str, float]:
        """MACs and parameters."""
        found = self._exact.get(candidate)
        if found is None:
            macs, params = self.module.macs_params(*self.config(candidate).values())
            found = self._exact[candidate] = {"macs": float(macs), "params": float(params)}
        return found

    def exact_of(self, vectors: np.ndarray) -> dict[str, np.ndarray]:
        """MACs and parameters of many index vectors, (n, 45), each of shape (n,)."""
        kernels, expansions = (3, 5, 7), (3, 4, 6)
        found = np.tile(
            np.array([self.module._FIXED_MACS, self.module._FIXED_PARAMS], dtype=np.float64), (len(vectors), 1)
        )
        for i, (s, j) in enumerate(self._blocks):
            costs = np.array([[self.module._TABLE[s, j == 0, k, e] for e in expansions] for k in kernels])
            found += np.where(vectors[:, [40 + s]] + 2 > j, costs[vectors[:, i], vectors[:, 20 + i]], 0)
        return {"macs": found[:, 0], "params": found[:, 1]}

    def measure(self, candidate: Candidate, rng: np.random.Generator | None = None) -> dict[str, float]:
        """Top-1, MACs and parameters; with ``rng``, top-1 as noisy as a real evaluation."""
        top1, macs, params = self.bench.evaluate(self.config(candidate), rng)
        return {"top1": float(top1), "macs": float(macs), "params": float(params)}

    def losses(self, candidates: Sequence[Candidate]) -> np.ndarray:
        """True losses of many, shape (n, 3): -top-1 in %, M MACs, M parameters."""
        top1, macs, params = self.bench.evaluate_many([self.config(c) for c in candidates])
        return np.stack([-top1, macs / 1e6, params / 1e6], axis=1)

    def task(self, name: str) -> Task:
        """``two`` (top-1, MACs), ``three`` (and parameters), or ``limit`` (top-1 within :data:`LIMIT`)."""
        if name == "two":
            return Task(name, (TOP1, MACS), (), lambda x: 100 * area(x) / AREA, "% of the best known area")
        if name == "three":
            volume = moocore.hypervolume(known_front("three"), ref=REFERENCE)
            return Task(
                name,
                (TOP1, MACS, PARAMS),
                (),
                lambda x: 100 * moocore.hypervolume(x, ref=REFERENCE) / volume,
                "% of the best known volume",
            )
        front = known_front("two")
        best = float(-front[front[:, 1] <= LIMIT, 0].min())
        return Task(
            name,
            (TOP1,),
            (Limit("macs", "<=", LIMIT * 1e6),),
            lambda x: best - max([-REFERENCE[0], *(-x[x[:, 1] <= LIMIT, 0])]),
            f"points of top-1 below the best known ({best:.3f} %) at {LIMIT:g} M MACs",
        )


class Spent(Exception):
    """The budget is used up."""


class Session:
    """One search: measures, counts, and remembers the truth.

    Args:
        ofa: the bench.
        task: what is searched for.
        budget: evaluations.
        seed: of the search and of the noise.
        noisy: whether the search sees noise.
    """

    def __init__(self, ofa: Ofa, task: Task, budget: int, seed: int, noisy: bool = False) -> None:
        self.ofa, self.task, self.budget, self.seed = ofa, task, budget, seed
        self._rng = np.random.default_rng(seed + 1000) if noisy else None
        self.records: list[Record] = []
        self.seconds = 0.0
        self._true: list[list[float]] = []

    @cached_property
    def problem(self) -> Problem:
        """For netwright's strategies; exact metrics that are neither objective nor limit are not shown."""
        wanted = {m.name for m in self.task.objectives} | {x.metric for x in self.task.limits}

        def exact(candidate: Candidate) -> dict[str, float]:
            return {name: value for name, value in self.ofa.exact(candidate).items() if name in wanted}

        return Problem(self.ofa.space, self.task.objectives, self.task.limits, of_each(exact), self.seed)

    @property
    def left(self) -> int:
        """Evaluations."""
        return self.budget - len(self.records)

    def measure(self, candidate: Candidate) -> Record:
        """One evaluation; raises :class:`Spent` when there is none left. Its CPU time is summed in ``seconds``."""
        if not self.left:
            raise Spent
        begin = time.process_time()
        seen, true = self.ofa.measure(candidate, self._rng), self.ofa.measure(candidate)
        self._true.append([-true["top1"], true["macs"] / 1e6, true["params"] / 1e6])
        units = {"top1": "%", "macs": "", "params": ""}
        record = Record(candidate, {k: Measurement(v, units[k]) for k, v in seen.items()}, "ok", "", ())
        self.records.append(record.judged(self.task.limits))
        self.seconds += time.process_time() - begin
        return self.records[-1]

    def curve(self, step: int) -> dict[int, dict[str, float]]:
        """Score and accuracy regret after every ``step`` evaluations."""
        true = np.array(self._true)
        found = {}
        for n in range(step, len(true) + 1, step):
            found[n] = {"score": float(self.task.score(true[:n])), "regret": regret(true[:n])}
        return found


def area(losses: np.ndarray) -> float:
    """Hypervolume in top-1 points x M MACs."""
    return float(moocore.hypervolume(losses[:, :2], ref=REFERENCE[:2]))


def best_at(losses: np.ndarray) -> np.ndarray:
    """The highest top-1 within each of :data:`BUDGETS`; the reference where nothing is."""
    return np.array([max([-REFERENCE[0], *(-losses[losses[:, 1] <= b, 0])]) for b in BUDGETS])


def regret(losses: np.ndarray) -> float:
    """Mean distance, in points of top-1, below the best known front at :data:`BUDGETS`."""
    return float(np.mean(best_at(known_front("two")) - best_at(losses)))


_fronts: dict[str, np.ndarray] = {}


def known_front(name: str) -> np.ndarray:
    """Losses of the best known front of two or three objectives, shape (n, 3)."""
    if name not in _fronts:
        with (DATA / f"ofa_mbv3_front_{name}.csv").open(newline="") as file:
            rows = [[-float(r["top1"]), float(r["macs"]) / 1e6, float(r["params"]) / 1e6] for r in csv.DictReader(file)]
        _fronts[name] = np.array(rows)
    return _fronts[name]


def search_front(ofa: Ofa, objectives: int, stages: Sequence[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    """Rows of a front and their losses: a long evolution on the truth, then all single changes of what it found.

    Each generation brings as many mutants of survivors as crosses. Of a larger front :data:`MOST` are kept, spread out.
    """
    codes, rng, seen, corner = (
        IntegerEncoding(ofa.space),
        np.random.default_rng(0),
        set[bytes](),
        REFERENCE[:objectives],
    )
    ends = codes.of([ofa.space.smallest, ofa.space.largest])
    rows = new_rows(np.vstack([ends, codes.sample(stages[0][0], rng)]), seen)
    losses = ofa.losses(codes.candidates(rows))

    def join(more: np.ndarray, keep: int) -> tuple[np.ndarray, np.ndarray]:
        both = np.vstack([rows, more])
        found = np.vstack([losses, ofa.losses(codes.candidates(more))]) if len(more) else losses
        best = ranked(found[:, :objectives], np.zeros(len(found)), keep)
        return both[best], found[best]

    for stage, (population, generations) in enumerate(stages):
        for generation in range(generations):
            if stage:  # neighbours on the front
                along = np.argsort(losses[:, 1], kind="stable")
                rows, losses = rows[along], losses[along]
                one = rng.integers(len(rows), size=population)
                other = np.clip(one + rng.integers(-8, 9, size=population), 0, len(rows) - 1)
            else:  # winners of tournaments: the rows stand best first
                one, other = rng.integers(len(rows), size=(2, population, 2)).min(axis=2)
            near = codes.neighbours(rows[rng.integers(len(rows), size=population)], rng)
            rows, losses = join(
                new_rows(np.vstack([codes.children(rows[one], rows[other], rng), near]), seen), population
            )
            if generation % 50 == 0:
                print(stage, generation, moocore.hypervolume(losses[:, :objectives], ref=corner), flush=True)
    for _ in range(ROUNDS):
        front = nondominated(losses[:, :objectives])
        rows, losses = rows[front], losses[front]
        more = new_rows(neighbours(codes, rows), seen)
        if not len(more):
            break
        rows, losses = join(more, MOST)
        print(len(more), "neighbours", moocore.hypervolume(losses[:, :objectives], ref=corner), flush=True)
    front = nondominated(losses[:, :objectives])
    return rows[front], losses[front]


def neighbours(codes: IntegerEncoding, rows: np.ndarray) -> np.ndarray:
    """All rows with one choice changed; where that wakes others, they take each of their own ends."""
    found = []
    for at, size in enumerate(codes.sizes):
        for option in range(size):
            for fill in (0, 1, 2):
                changed = np.where(rows < 0, np.minimum(fill, codes.sizes - 1), rows)
                changed[:, at] = option
                found.append(codes.canonical(changed)[rows[:, at] >= 0])
    return np.vstack(found)


def main() -> None:
    """Search and write the best known fronts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bench", type=Path, default=Path("../shared/bench/ofa_mbv3"))
    parser.add_argument("--out", type=Path, default=DATA)
    parser.add_argument("--only", choices=("two", "three"), help="one of the two")
    arguments = parser.parse_args()
    ofa = Ofa(arguments.bench)
    for name, objectives in (("two", 2), ("three", 3)):
        if arguments.only not in (None, name):
            continue
        rows, losses = search_front(ofa, objectives, STAGES)
        with (arguments.out / f"ofa_mbv3_front_{name}.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["top1", "macs", "params", "positions"])
            for i in np.lexsort(losses.T[::-1]):
                top1, macs, params = losses[i]
                positions = "".join("-" if at < 0 else str(at) for at in rows[i])
                writer.writerow([f"{-top1:.5f}", round(macs * 1e6), round(params * 1e6), positions])
        volume = moocore.hypervolume(losses[:, :objectives], ref=REFERENCE[:objectives])
        print(f"{name}: {len(losses)} networks, hypervolume {volume:.3f}", flush=True)


if __name__ == "__main__":
    main()
