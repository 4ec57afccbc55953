"""Strategies on tabular spaces of other kinds than OFA's, with measured and noisy objectives.

Nothing here knows how netwright's predictors are made; every objective is measured (predicted by whoever predicts)
unless it says exact.

- ``cell``: six edges of five unordered operators, as in NAS-Bench-201 (15,625 cells, all known). Accuracy comes from
  signals that run along the paths of the graph: ``none`` cuts them, convolutions count less the more came before, a
  skip beside a convolution helps, the order of convolution and pooling matters. It saturates, dead cells stay at
  chance (10 %), and every cell is off by an own fixed 0.15 points. Latency counts live edges and the longest path.
  Noise: 0.15 points and 2 %.
- ``blocks``: FBNet's 22 layers of nine operators, one of them skip (9^22). Latency is additive, fitted to 5,000
  networks measured on a Xeon Gold 6240 (``fbnet_latency``), with the noise that the fit leaves (2.4 %). Accuracy:
  saturating capacity, stages weighed unlike, runs of skips punished, and a random recurrent network that reads the
  layers in their order. Noise: 0.1 points.
- ``blocks3``: the same with the latency on a Raspberry Pi 4 as a third objective.
- ``transformer``: HAT's dimensions, decoder layers conditional. Loss by a scaling law of both halves with a penalty on
  imbalance, heads that must fit the width, attention to several encoder layers that only helps late layers, and a
  random network of the numbers. Latency: 30 decoding steps, fixed costs per layer. Noise: 0.005 and 2 %.
- ``transformer3``: the same with the exact number of parameters as a third objective.
- ``fbnet-table``: those 5,000 measured networks themselves, as a listed space: the real latencies on a phone
  (Samsung A50) as they were measured, and the accuracy of ``blocks``.
- ``ofa-table``: 5,000 measured sub-networks of OFA MobileNetV3 (``ofa_latency``): real latencies on a V100 (batch 1),
  top-1 of the bench that is fitted to real evaluations, less what MobileNetV2 loses at lower resolutions.

Prints medians of the hypervolume of the noise-free values as a share of that of the best known front: of all
candidates where they can be listed, else of a long search on noise-free values and of all that any run found. It is
measured from a corner of each task that leaves out what nobody would use: on ``cell`` 88 % and 4 ms, on ``blocks``
62 % and 45 ms, on the tables 66 %; on ``transformer`` the worst of the smallest and the largest network.

    python benchmarks/search_spaces.py
    python benchmarks/search_spaces.py --tasks cell --only guided nsga2 --seeds 3 --budget 100
"""

from __future__ import annotations

import argparse
import csv
import importlib.util
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import moocore
import numpy as np

import netwright as nw
from netwright.core.enumerated import EnumeratedSpace
from netwright.core.front import nondominated
from netwright.core.metric import Measurement, Metric
from netwright.core.record import Record
from netwright.strategies.base import Problem, Strategy, of_each
from netwright.strategies.integer_encoding import IntegerEncoding, new_rows
from netwright.strategies.ranking import ranked

SHARED = Path("../shared")
MARKS = (50, 100, 200)
STRATEGIES: dict[str, type[Strategy]] = {
    "guided": nw.Guided,
    "linas": nw.Linas,
    "weaknas": nw.WeakNas,
    "nsga2": nw.Nsga2,
    "moead": nw.MoeaD,
    "random": nw.Random,
}
WHOLE = 20000
"""Spaces up to this size are known whole."""
POPULATION, GENERATIONS = 400, 150
"""Of the long search in others."""

Truth = Callable[[np.ndarray], Mapping[str, np.ndarray]]
"""Noise-free metrics of rows of option positions (see ``IntegerEncoding``), each of shape (n,)."""


@dataclass
class Task:
    """What is searched for.

    Args:
        space: of the candidates.
        objectives: in order.
        truth: of rows.
        reference: losses from which hypervolume is measured.
        noise: metric name to standard deviation, and whether it is relative to the value.
    """

    space: nw.Space
    objectives: tuple[Metric, ...]
    truth: Truth
    reference: tuple[float, ...]
    noise: Mapping[str, tuple[float, bool]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.codes = IntegerEncoding(self.space)
        self._known: dict[nw.Candidate, dict[str, float]] = {}
        self.front = self._searched()

    def true(self, candidate: nw.Candidate) -> dict[str, float]:
        """The noise-free metrics of one candidate."""
        if candidate not in self._known:
            found = self.truth(self.codes.of([candidate]))
            self._known[candidate] = {name: float(value[0]) for name, value in found.items()}
        return self._known[candidate]

    def losses(self, rows: np.ndarray) -> np.ndarray:
        """Noise-free losses of rows, shape (n, objectives)."""
        found = self.truth(rows)
        return np.stack([m.loss(1.0) * found[m.name] for m in self.objectives], axis=1)

    def volume(self, losses: np.ndarray) -> float:
        """Hypervolume, each loss divided by the reach of the known front."""
        corner = np.array(self.reference)
        scale = np.abs(corner - self.front.min(axis=0))
        return float(moocore.hypervolume(losses / scale, ref=corner / scale))

    def _searched(self) -> np.ndarray:
        """The losses of the best front that is known."""
        codes, rng, seen = self.codes, np.random.default_rng(0), set[bytes]()
        if self.space.size <= WHOLE:
            losses = self.losses(codes.of(list(self.space.enumerate())))
            return losses[nondominated(losses)]
        rows = new_rows(
            np.vstack([codes.of([self.space.smallest, self.space.largest]), codes.sample(POPULATION, rng)]), seen
        )
        losses = self.losses(rows)
        for _ in range(GENERATIONS):
            one, other = rng.integers(len(rows), size=(2, POPULATION, 2)).min(axis=2)
            other[: POPULATION // 4] = one[: POPULATION // 4]
            near = codes.neighbours(rows[rng.integers(len(rows), size=POPULATION)], rng)
            rows_ = new_rows(np.vstack([codes.children(rows[one], rows[other], rng), near]), seen)
            rows, losses = np.vstack([rows, rows_]), np.vstack([losses, self.losses(rows_)])
            best = ranked(losses, np.zeros(len(losses)), POPULATION)
            rows, losses = rows[best], losses[best]
        return losses[nondominated(losses)]


def own(rows: np.ndarray, deviation: float) -> np.ndarray:
    """A fixed random figure of every row, normal, by hashing its positions."""
    mixed = np.full(len(rows), 1469598103934665603, dtype=np.uint64)
    for column in rows.T:
        mixed = (mixed ^ (column + 7).astype(np.uint64)) * np.uint64(1099511628211)
        mixed ^= mixed >> np.uint64(29)
    uniform = np.stack([(mixed >> np.uint64(shift)) & np.uint64(0xFFFF) for shift in (0, 12, 24, 36, 48)])
    return np.asarray(deviation * ((uniform / 65535.0).sum(axis=0) - 2.5) / np.sqrt(5 / 12))


def cell() -> Task:
    """A graph of four nodes with an operator on each of its six edges."""
    edges = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
    operators = ("none", "skip", "conv1", "conv3", "pool")
    power, reach = np.array([0, 0, 0.55, 1.0, 0.12]), np.array([0, 0, 0.0, 1.0, 0.8])
    cost = np.array([0, 0.04, 0.45, 1.0, 0.3])

    def truth(rows: np.ndarray) -> dict[str, np.ndarray]:
        n = len(rows)
        alive = np.zeros((n, 4), dtype=bool)
        alive[:, 0] = True
        depth, view, longest = np.zeros((n, 4)), np.zeros((n, 4)), np.zeros((n, 4))
        useful = np.zeros((n, 4), dtype=bool)
        useful[:, 3] = True
        for (a, b), op in reversed(list(zip(edges, rows.T, strict=True))):
            useful[:, a] |= useful[:, b] & (op > 0)
        total = np.zeros(n)
        for node in (1, 2, 3):
            coming, seen, weight = np.zeros(n), np.zeros(n), np.zeros(n)
            skipped, learned = np.zeros(n, dtype=bool), np.zeros(n, dtype=bool)
            for (a, b), op in zip(edges, rows.T, strict=True):
                if b != node:
                    continue
                on = alive[:, a] & (op > 0)
                # The more came before, the less a convolution adds; pooling loses some of what came.
                passed = np.where(op == 4, 0.9, 1.0) * depth[:, a] + power[op] / (1 + 0.35 * depth[:, a])
                coming += np.where(on, passed**2, 0)
                seen = np.where(on, np.maximum(seen, view[:, a] + reach[op]), seen)
                weight += on
                skipped |= on & (op == 1)
                learned |= on & ((op == 2) | (op == 3))
                total += np.where(on & useful[:, b], cost[op], 0)
                longest[:, node] = np.where(
                    on, np.maximum(longest[:, node], longest[:, a] + cost[op]), longest[:, node]
                )
            alive[:, node] = weight > 0
            depth[:, node] = np.sqrt(coming / np.maximum(weight, 1) ** 0.4) + 0.15 * (skipped & learned)
            view[:, node] = seen
        strength = depth[:, 3] * (0.6 + 0.4 * np.minimum(view[:, 3], 2.0) / 2.0)
        accuracy = np.where(alive[:, 3], 10 + 84.7 * (1 - np.exp(-0.55 - 2.2 * strength)) + own(rows, 0.15), 10.0)
        live = np.where(alive[:, 3], 0.6 * longest[:, 3] + 0.4 * total, 0.0)
        return {"accuracy": accuracy, "latency": 0.5 + live}

    space = nw.Space([nw.Choice(f"{a}-{b}", operators) for a, b in edges])
    return Task(
        space,
        (Metric("accuracy", "%", "max"), Metric("latency", "ms")),
        truth,
        (-88.0, 4.0),
        {"accuracy": (0.15, False), "latency": (0.02, True)},
    )


@cache
def _fbnet() -> tuple[list[list[str]], dict[str, np.ndarray]]:
    """The operators of 5,000 measured networks, and their latencies by device."""
    with (SHARED / "data/fbnet_latency/fbnet_latency.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    names = [name for name in rows[0] if name.startswith("lat_")]
    return [r["ops"].split("|") for r in rows], {n: np.array([float(r[n]) for r in rows]) for n in names}


OPERATORS = ("skip", "k3_e1_g2", "k3_e1", "k5_e1_g2", "k5_e1", "k3_e3", "k5_e3", "k3_e6", "k5_e6")
LAYERS = 22


def _blocks_accuracy() -> Callable[[np.ndarray], np.ndarray]:
    """Accuracy of networks of blocks, of rows of positions in :data:`OPERATORS`."""
    rng = np.random.default_rng(7)
    power = np.array([0, 0.3, 0.4, 0.33, 0.46, 0.72, 0.8, 0.95, 1.0])
    large = np.array([0, 0, 0, 1, 1, 0, 1, 0, 1.0])
    stage = np.repeat(np.arange(7), (1, 4, 4, 4, 4, 4, 1))
    weigh = np.array([0.5, 0.7, 1.1, 1.3, 1.0, 1.4, 0.6])[stage]
    inner, read, out = rng.normal(size=(24, 24)) * 0.9 / 24**0.5, rng.normal(size=(7, 4, 24)), rng.normal(size=24)

    def teacher(rows: np.ndarray) -> np.ndarray:
        state = np.zeros((len(rows), 24))
        for layer in range(LAYERS):
            at = rows[:, layer]
            given = np.stack([power[at], large[at], power[at] * large[at], at == 0], axis=1) @ read[stage[layer]]
            state = np.where((at == 0)[:, None], 0.97 * state, 0.85 * state + np.tanh(state @ inner + given))
        return np.asarray(np.tanh(state / 3) @ out)

    some = teacher(np.random.default_rng(0).integers(0, 9, size=(4000, LAYERS)))
    centre, scale = some.mean(), some.std()

    def accuracy(rows: np.ndarray) -> np.ndarray:
        capacity = (power[rows] * weigh).sum(axis=1) / weigh.sum()
        view = (large[rows] * (stage >= 3)).sum(axis=1) / 13
        run = longest = np.zeros(len(rows))
        for layer in range(LAYERS):
            run = np.where(rows[:, layer] == 0, run + 1, 0)
            longest = np.maximum(longest, run)
        grown = 1 - np.exp(-3.5 * capacity)
        found = 55 + 20 * grown + 1.2 * view * grown - 0.5 * np.maximum(longest - 2, 0)
        return np.asarray(found + 0.6 * (teacher(rows) - centre) / scale + own(rows, 0.05))

    return accuracy


def _fitted(device: str) -> tuple[Callable[[np.ndarray], np.ndarray], float]:
    """Additive latency fitted to what was measured on a device, and the relative deviation that it leaves."""
    operators, latencies = _fbnet()
    places = np.array([[OPERATORS.index(o) for o in row] for row in operators])

    def columns(rows: np.ndarray) -> np.ndarray:
        return np.hstack([np.eye(9)[rows].reshape(len(rows), -1), np.ones((len(rows), 1))])

    given, wanted = columns(places), latencies[device]
    weights = np.linalg.solve(given.T @ given + 0.1 * np.eye(given.shape[1]), given.T @ wanted)
    left = float(np.std(wanted - given @ weights) / wanted.mean())
    return lambda rows: np.asarray(np.maximum(columns(rows) @ weights, 0.1)), left


def blocks(third: bool = False) -> Task:
    """FBNet's space, free."""
    accuracy, (xeon, left), (raspi, _) = _blocks_accuracy(), _fitted("lat_gold_6240"), _fitted("lat_raspi4")

    def truth(rows: np.ndarray) -> dict[str, np.ndarray]:
        found = {"accuracy": accuracy(rows), "latency": xeon(rows)}
        return {**found, "raspi": raspi(rows)} if third else found

    space = nw.Space([nw.Choice(f"layer{i}", OPERATORS) for i in range(LAYERS)])
    objectives = (Metric("accuracy", "%", "max"), Metric("latency", "ms"), Metric("raspi", "ms"))
    return Task(
        space,
        objectives[: 3 if third else 2],
        truth,
        (-62.0, 45.0, 80.0)[: 3 if third else 2],
        {"accuracy": (0.1, False), "latency": (left, True), "raspi": (0.02, True)},
    )


def transformer(third: bool = False) -> Task:
    """HAT's space."""
    widths, ffn, heads, layers = (512, 640), (1024, 2048, 3072), (4, 8), range(6)
    choices = [nw.Choice("encoder", widths), nw.Choice("decoder", widths)]
    choices += [c for i in layers for c in (nw.Choice(f"ffn{i}", ffn), nw.Choice(f"heads{i}", heads))]
    choices.append(nw.Choice("layers", tuple(range(1, 7))))
    for i in layers:
        when = {"layers": tuple(range(i + 1, 7))}
        kinds = {"dffn": ffn, "dheads": heads, "cross": heads, "sees": (1, 2, 3)}
        choices += [nw.Choice(f"{name}{i}", options, when) for name, options in kinds.items()]
    space = nw.Space(choices)
    rng = np.random.default_rng(11)
    first, second = rng.normal(size=(len(choices), 32)) / len(choices) ** 0.5 * 1.5, rng.normal(size=32)

    def truth(rows: np.ndarray) -> dict[str, np.ndarray]:
        at = {c.name: rows[:, i] for i, c in enumerate(choices)}
        on = {i: at["layers"] >= i for i in layers}

        def value(name: str, options: tuple[int, ...]) -> np.ndarray:
            return np.array(options, dtype=float)[np.maximum(at[name], 0)]

        wide, narrow = value("encoder", widths), value("decoder", widths)
        encoder = [4 * wide * 64 * value(f"heads{i}", heads) + 2 * wide * value(f"ffn{i}", ffn) for i in layers]
        decoder = [
            on[i]
            * (
                (2 * narrow + 2 * wide) * 64 * value(f"cross{i}", heads)
                + 4 * narrow * 64 * value(f"dheads{i}", heads)
                + 2 * narrow * value(f"dffn{i}", ffn)
            )
            for i in layers
        ]
        large, small = sum(encoder), sum(decoder)
        # Heads of a wide layer must be many; looking at several encoder layers helps from the third layer on.
        misfit = sum((wide == 640) & (at[f"heads{i}"] == 0) for i in layers) / 6
        sees = sum(on[i] * np.where(i >= 2, 1.0, -0.5) * np.maximum(at[f"sees{i}"], 0) for i in layers)
        sees = sees / (1 + 0.1 * np.abs(sees)) * (at[f"cross{0}"] + 1) / 2
        deep = np.log(1 + sum(on.values()))
        hidden = np.tanh((np.maximum(rows, -1) + 0.5) @ first)
        loss = 2.9 + 0.9 * (large / 1e7) ** -0.35 + 0.55 * (small / 1e7) ** -0.28 - 0.25 * deep
        loss += 0.03 * (np.log(large / small) - 0.2) ** 2 + 0.04 * misfit - 0.012 * sees + 0.012 * (hidden @ second)
        encode = sum(0.5 + part / 2.0e6 for part in encoder)
        step = sum(
            on[i] * (0.22 + 0.03 * np.maximum(at[f"sees{i}"], 0)) + part / 4.0e7 for i, part in enumerate(decoder)
        )
        found = {"loss": np.asarray(loss), "latency": np.asarray(encode + 30 * step)}
        return {**found, "params": np.asarray(large + small)} if third else found

    objectives = (Metric("loss"), Metric("latency", "ms"), Metric("params", "", "min", exact=True))[: 3 if third else 2]
    probe = truth(IntegerEncoding(space).of([space.smallest, space.largest]))
    reference = tuple(float(probe[m.name].max()) for m in objectives)
    return Task(space, objectives, truth, reference, {"loss": (0.005, False), "latency": (0.02, True)})


def _listed(
    choices: list[nw.Choice], options: list[dict[str, object]], values: dict[str, np.ndarray]
) -> tuple[EnumeratedSpace, Truth]:
    """A listed space and the truth that was measured."""
    space = EnumeratedSpace(choices, options)
    place = {row.tobytes(): i for i, row in enumerate(IntegerEncoding(space).of(list(space.enumerate())))}

    def truth(rows: np.ndarray) -> dict[str, np.ndarray]:
        at = [place[row.tobytes()] for row in rows]
        return {name: value[at] for name, value in values.items()}

    return space, truth


def fbnet_table() -> Task:
    """5,000 measured networks of blocks."""
    operators, latencies = _fbnet()
    places = np.array([[OPERATORS.index(o) for o in row] for row in operators])
    space, truth = _listed(
        [nw.Choice(f"layer{i}", OPERATORS) for i in range(LAYERS)],
        [{f"layer{i}": o for i, o in enumerate(row)} for row in operators],
        {"accuracy": _blocks_accuracy()(places), "latency": latencies["lat_samsung_a50"]},
    )
    return Task(space, (Metric("accuracy", "%", "max"), Metric("latency", "ms")), truth, (-66.0, 60.0))


def ofa_table() -> Task:
    """5,000 measured sub-networks of OFA MobileNetV3."""
    spec = importlib.util.spec_from_file_location("bench", SHARED / "bench/ofa_mbv3/ofa_mbv3_bench.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["bench"] = module
    spec.loader.exec_module(module)
    bench = module.Bench()
    with (SHARED / "data/ofa_latency/ofa_mbv3_latency.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    options, accuracy = [], []
    for row in rows:
        ks, e, d = ([int(x) for x in row[name].split()] for name in ("ks", "e", "d"))
        resolution = int(row["resolution"])
        own_options: dict[str, object] = {"resolution": resolution, **{f"d{s}": d[s] for s in range(5)}}
        for stage in range(5):
            for block in range(d[stage]):
                own_options |= {f"k{stage}{block}": ks[4 * stage + block], f"e{stage}{block}": e[4 * stage + block]}
        options.append(own_options)
        lost = np.interp(resolution, (128, 160, 192, 224), (6.7, 3.2, 1.3, 0.0))
        accuracy.append(bench.evaluate({"d": d, "ks": ks, "e": e})[0] - lost)
    choices = [nw.Choice("resolution", tuple(sorted({int(r["resolution"]) for r in rows})))]
    choices += [nw.Choice(f"d{s}", (2, 3, 4)) for s in range(5)]
    for s in range(5):
        for j in range(4):
            when = None if j < 2 else {f"d{s}": tuple(x for x in (3, 4) if x > j)}
            choices += [nw.Choice(f"k{s}{j}", (3, 5, 7), when), nw.Choice(f"e{s}{j}", (3, 4, 6), when)]
    latency = np.array([float(r["lat_v100_1"]) for r in rows])
    distinct = {tuple(o.items()): i for i, o in enumerate(options)}  # beyond a stage's depth rows may be alike
    keep = sorted(distinct.values())
    space, truth = _listed(
        choices, [options[i] for i in keep], {"top1": np.array(accuracy)[keep], "latency": latency[keep]}
    )
    return Task(space, (Metric("top1", "%", "max"), Metric("latency", "ms")), truth, (-66.0, float(latency.max())))


TASKS: dict[str, Callable[[], Task]] = {
    "cell": cell,
    "blocks": blocks,
    "blocks3": lambda: blocks(third=True),
    "transformer": transformer,
    "transformer3": lambda: transformer(third=True),
    "fbnet-table": fbnet_table,
    "ofa-table": ofa_table,
}


def search(task: Task, strategy: Strategy, seed: int, budget: int) -> np.ndarray:
    """The noise-free losses of what a run measures, in order."""
    exact = [m.name for m in task.objectives if m.exact]
    computed = of_each(lambda c: {n: task.true(c)[n] for n in exact})
    problem = Problem(task.space, task.objectives, exact=computed, seed=seed)
    rng = np.random.default_rng([seed, 1])
    records: list[Record] = []
    while len(records) < budget:
        asked = strategy.ask(problem, records, min(strategy.batch, budget - len(records)))
        assert asked, f"{strategy} proposes nothing after {len(records)} evaluations"
        for candidate in asked:
            seen = {}
            for metric in task.objectives:
                value = task.true(candidate)[metric.name]
                deviation, relative = task.noise.get(metric.name, (0.0, False))
                seen[metric.name] = Measurement(value + deviation * rng.normal() * (value if relative else 1.0))
            records.append(Record(candidate, seen, objectives=task.objectives))
    return task.losses(task.codes.of([r.candidate for r in records]))


def main() -> None:
    """Search, and print a table for every task."""
    os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS), metavar="NAME", help=", ".join(TASKS))
    parser.add_argument("--only", nargs="+", choices=STRATEGIES, default=list(STRATEGIES), metavar="NAME")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--budget", type=int, default=200)
    wish = parser.parse_args()
    marks = [n for n in MARKS if n <= wish.budget]
    behind: list[str] = []
    for name in wish.tasks:
        task = TASKS[name]()
        runs: dict[str, list[np.ndarray]] = {}
        seconds: dict[str, float] = {}
        for label in wish.only:
            begin = time.process_time()
            runs[label] = [search(task, STRATEGIES[label](), seed, wish.budget) for seed in range(wish.seeds)]
            seconds[label] = (time.process_time() - begin) / wish.seeds
        everything = np.vstack([task.front, *(run for own_runs in runs.values() for run in own_runs)])
        before, best = task.volume(task.front), task.volume(everything[nondominated(everything)])
        print(
            f"\n{name}: {', '.join(m.name for m in task.objectives)}; {task.space}; the runs improved the known front"
        )
        print(
            f"by {100 * (best / before - 1):.2f} %\n\n| {'':8} |"
            + "".join(f" {f'at {n}':>18} |" for n in marks)
            + "  CPU s |"
        )
        print(f"| {'-' * 8} |" + f" {'-' * 17}: |" * len(marks) + " -----: |")
        middle: dict[str, list[float]] = {}
        for label, found in runs.items():
            share = np.array([[100 * task.volume(run[:n]) / best for n in marks] for run in found])
            middle[label] = list(np.median(share, axis=0))
            cells = (f"{np.median(x):.1f} ({x.min():.1f}-{x.max():.1f})" for x in share.T)
            print(f"| {label:8} |" + "".join(f" {c:>18} |" for c in cells) + f" {seconds[label]:6.1f} |", flush=True)
        for i, n in enumerate(marks):
            first = max(middle, key=lambda label: middle[label][i])
            if "guided" in middle and first != "guided":
                behind.append(f"{name} at {n}: {first} {middle[first][i]:.1f}, guided {middle['guided'][i]:.1f}")
    print("\nguided leads at every mark" if not behind else "\nguided does not lead: " + "; ".join(behind))


if __name__ == "__main__":
    main()
