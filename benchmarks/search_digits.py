"""Guided search against NSGA-II on a super-network that is trained here, at equal evaluations.

The digits super-network is trained once and kept in ``--out``, with every accuracy that was ever measured on it: the
runs share them, since a network's accuracy (1,440 validation images, after its statistics were found anew) and MACs
are always the same. Objectives: accuracy and exact MACs. Printed are the medians and ranges over the seeds of the
hypervolume above 96 % accuracy and below the largest network's MACs, as a share of that of the front of all networks
ever measured, and the evaluations that guided needs for NSGA-II's last front.

    python benchmarks/search_digits.py                                 # five seeds, 100 evaluations
    python benchmarks/search_digits.py --seeds 1 --evaluations 40      # a look
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

import moocore
import numpy as np

import netwright as nw
from netwright.core.front import nondominated
from netwright.core.metric import Measurement, Metric
from netwright.core.record import Record
from netwright.measure.base import EvaluationContext
from netwright.pipeline.context import open_run
from netwright.pipeline.train import train
from netwright.recipe.load import load
from netwright.strategies.base import Problem, of_each

ACCURACY = Metric("accuracy", "%", "max")
MACS = Metric("macs", "", "min", exact=True)
LEAST = 96.0
"""% of accuracy from which hypervolume is measured."""
MARKS = (25, 50, 75, 100, 150, 200)
STRATEGIES = {"guided": nw.Guided, "nsga2": nw.Nsga2, "random": nw.Random}


class Digits:
    """The trained super-network and all that was ever measured on it.

    Args:
        out: folder of both.
    """

    def __init__(self, out: Path) -> None:
        with open_run(load("digits", {"objectives": ["accuracy", "macs"]}), out) as self.context:
            train(self.context)
        self.net = self.context.source.supernet()
        self._file = out / "accuracies.json"
        self._known: dict[str, float] = json.loads(self._file.read_text()) if self._file.exists() else {}
        self._macs: dict[nw.Candidate, float] = {}
        self.most = self.macs(self.net.space.largest)

    def macs(self, candidate: nw.Candidate) -> float:
        """Counted, each network once."""
        if candidate not in self._macs:
            self._macs[candidate] = float(self.net.count(candidate).macs)
        return self._macs[candidate]

    def accuracy(self, candidate: nw.Candidate) -> float:
        """Measured, each network once."""
        if candidate.key not in self._known:
            assert self.context.validation
            found = self.context.validation.measure(EvaluationContext(self.net, candidate, self.context.calibration))
            self._known[candidate.key] = found["accuracy"].value
        return self._known[candidate.key]

    def keep(self) -> None:
        """Write what was measured."""
        self._file.write_text(json.dumps(self._known, indent=0))

    def volume(self, losses: np.ndarray) -> float:
        """The hypervolume of (-accuracy, MACs), both scaled to about one."""
        return float(moocore.hypervolume(losses / np.array([100.0, self.most]), ref=[-LEAST / 100, 1.0]))

    @property
    def front(self) -> np.ndarray:
        """Of all that was ever measured, (-accuracy, MACs)."""
        space = self.net.space
        losses = np.array([[-accuracy, self.macs(space.parse(key))] for key, accuracy in self._known.items()])
        return losses[nondominated(losses)]


def search(digits: Digits, strategy: nw.Strategy, seed: int, evaluations: int) -> np.ndarray:
    """The losses of the networks that one run measures, in order, shape (evaluations, 2)."""
    problem = Problem(digits.net.space, (ACCURACY, MACS), exact=of_each(lambda c: {"macs": digits.macs(c)}), seed=seed)
    records: list[Record] = []
    while len(records) < evaluations:
        for candidate in strategy.ask(problem, records, min(strategy.batch, evaluations - len(records))):
            found = {
                "accuracy": Measurement(digits.accuracy(candidate), "%"),
                "macs": Measurement(digits.macs(candidate)),
            }
            records.append(Record(candidate, found, objectives=problem.objectives))
    return np.array([problem.losses(r) for r in records], dtype=np.float64)


def main() -> None:
    """Train where nothing is trained, search, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--evaluations", type=int, default=100)
    parser.add_argument("--only", nargs="+", choices=STRATEGIES, default=["guided", "nsga2"], metavar="NAME")
    parser.add_argument("--out", type=Path, default=Path("runs/search_digits"), help="where the super-network is kept")
    wish = parser.parse_args()
    os.nice(10)
    digits = Digits(wish.out)
    runs: dict[str, list[np.ndarray]] = {name: [] for name in wish.only}
    for seed in range(wish.seeds):
        for name, found in runs.items():
            found.append(search(digits, STRATEGIES[name](), seed, wish.evaluations))
            digits.keep()
            print(f"{name}, seed {seed}: hypervolume {digits.volume(found[-1]):.5f}", flush=True)
    whole = digits.volume(digits.front)
    marks = sorted({n for n in MARKS if n <= wish.evaluations} | {wish.evaluations})
    print(f"\n% of the hypervolume of the best known front ({len(digits.front)} networks); {wish.seeds} seeds")
    print(f"| {'':8} |" + "".join(f" {f'at {n}':>19} |" for n in marks))
    print(f"| {'-' * 8} |" + f" {'-' * 18}: |" * len(marks))
    shares = {
        name: np.array(
            [[100 * digits.volume(run[:n]) / whole for n in range(1, wish.evaluations + 1)] for run in found]
        )
        for name, found in runs.items()
    }
    for name, share in shares.items():
        cells = (f"{np.median(x):.1f} ({x.min():.1f} to {x.max():.1f})" for x in share[:, np.array(marks) - 1].T)
        print(f"| {name:8} |" + "".join(f" {cell:>19} |" for cell in cells))
    if {"guided", "nsga2"} <= shares.keys():
        level = float(np.median(shares["nsga2"][:, -1]))
        reached = np.flatnonzero(np.median(shares["guided"], axis=0) >= level)
        needs = f"after {reached[0] + 1}" if len(reached) else "not within its"
        print(
            f"\nNSGA-II's median after {wish.evaluations} evaluations ({level:.1f} %) is guided's {needs} evaluations"
        )


if __name__ == "__main__":
    main()
