"""What racing saves on the digits super-network, and whether the front stays what it was.

The super-network is trained once. Then networks are searched with racing, for several seeds and two strategies:
objectives accuracy (on 1,440 examples) and MACs, one thread. Afterwards every network that was stopped is judged on all
examples: what would that have cost, and would the network have been on the front? Random search measures the same
networks without racing, so that is its answer in full. NSGA-II goes another way from the first value that differs: it
is run without racing too, and the hypervolumes are compared.

    python benchmarks/racing.py                                  # five seeds, a quarter of an hour
    python benchmarks/racing.py --seeds 1 --evaluations 60       # a look
    python benchmarks/racing.py --confidence 0.8                 # less sure, sooner
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import mean

import moocore
import numpy as np

import netwright as nw
from netwright.core.front import losses
from netwright.core.metric import Measurement
from netwright.core.record import Record
from netwright.measure.base import EvaluationContext
from netwright.pipeline.context import Context, open_run
from netwright.pipeline.train import train
from netwright.recipe.load import load
from netwright.study.stores.memory import MemoryStore
from netwright.study.study import Study

WORDS = (
    "{:.1f} % of the examples saved",
    "{:.1f} % of the CPU time of judging",
    "{:.1f} % of that of measuring, with extraction and statistics",
    "{:.4g} networks stopped",
    "{:.4g} wrongly",
    "{:.4g} networks on the front",
    "{:.4g} on that of all judged whole",
    "hypervolume {:.2f} % of that without racing",
)


class Timed(nw.Accuracy):
    """Accuracy that keeps, for each candidate, its CPU seconds without and with extraction and recalibration."""

    def __init__(self, context: Context) -> None:
        assert context.validation
        super().__init__(context.validation.loader)
        self.seconds: dict[nw.Candidate, np.ndarray] = {}

    def measure(self, context: EvaluationContext) -> Mapping[str, Measurement]:
        begin = time.process_time()
        _ = context.module
        ready = time.process_time()
        found = super().measure(context)
        now = time.process_time()
        self.seconds[context.candidate] = np.array([now - ready, now - begin])
        return found


def main() -> None:
    """Search with and without racing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--evaluations", type=int, default=150)
    parser.add_argument("--confidence", type=float, default=0.95)
    parser.add_argument("--out", default="runs/racing", help="where the trained super-network is, or will be")
    wish = parser.parse_args()
    recipe = load("digits", {"objectives": ["accuracy", "macs"], "search.racing": wish.confidence})
    with open_run(recipe, Path(wish.out)) as context:
        train(context)
    assert context.data
    searched(context, nw.Random(), 0, 3, wish.confidence)  # what is slow only once is not timed
    print(f"{wish.evaluations} evaluations, {len(context.data.validation):,} examples, confidence {wish.confidence}")
    rows: dict[str, list[list[float]]] = {}
    for seed in range(wish.seeds):
        for strategy in (nw.Random(), nw.Nsga2()):
            row = compared(context, strategy, seed, wish.evaluations, wish.confidence)
            rows.setdefault(type(strategy).__name__, []).append(row)
            print(f"{type(strategy).__name__}, seed {seed}: {in_words(row)}", flush=True)
    for name, found in rows.items():
        print(f"{name}, mean: {in_words([mean(column) for column in zip(*found, strict=True)])}")


def in_words(row: list[float]) -> str:
    """A row of the table."""
    return ", ".join(text.format(value) for text, value in zip(WORDS, row, strict=True))


def compared(context: Context, strategy: nw.Strategy, seed: int, evaluations: int, confidence: float) -> list[float]:
    """The figures of :data:`WORDS`."""
    raced, timed = searched(context, strategy, seed, evaluations, confidence)
    stopped = [r for r in raced.records if r.measurements["accuracy"].kind == "partial"]
    again = Timed(context)
    whole = {
        r.candidate: again.measure(EvaluationContext(context.source.net, r.candidate, context.calibration))
        for r in stopped
    }
    judged = [
        Record(r.candidate, {**r.measurements, **whole.get(r.candidate, {})}, objectives=raced.objectives)
        for r in raced.records
    ]
    true = nw.front(judged)
    plain = true if isinstance(strategy, nw.Random) else searched(context, strategy, seed, evaluations, 0.0)[0].front()
    spent = sum(timed.seconds.values())
    unspent = sum(again.seconds.values()) - sum(timed.seconds[r.candidate] for r in stopped)
    shown = sum(r.measurements["accuracy"].n for r in raced.records)
    return [
        100 - 100 * shown / sum(r.measurements["accuracy"].n for r in judged),
        *np.asarray(100 * unspent / (spent + unspent)).tolist(),
        len(stopped),
        sum(r.candidate in whole for r in true),
        len(raced.front()),
        len(true),
        100 * volume(context, raced.front()) / volume(context, plain),
    ]


def searched(
    context: Context, strategy: nw.Strategy, seed: int, evaluations: int, confidence: float
) -> tuple[Study, Timed]:
    """A study that was run, and its measurer."""
    accuracy = Timed(context)
    study = Study(
        MemoryStore(),
        context.source.net,
        objectives=[accuracy, nw.Count("macs")],
        calibration=context.calibration,
        seed=seed,
        racing=confidence,
    )
    study.run(strategy, evaluations)
    return study, accuracy


def volume(context: Context, front: nw.Front) -> float:
    """The hypervolume above 96 % accuracy and below the largest network's MACs, both scaled to about one."""
    net = context.source.supernet()
    most = net.count(net.space.largest).macs if isinstance(net, nw.SuperNet) else 1.0
    return float(moocore.hypervolume(losses(front, front.objectives) / np.array([100.0, most]), ref=[-0.96, 1.0]))


if __name__ == "__main__":
    main()
