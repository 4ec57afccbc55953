"""How well each predictor knows networks that it has not seen, from few that it has.

2,162 sub-networks of Once-for-All's MobileNetV3 with their measured ImageNet accuracy (../shared/bench/ofa_mbv3; its
README tells where they come from): random rows are learnt, the rest is predicted.

    OMP_NUM_THREADS=1 python benchmarks/predictors.py  # every predictor at 50, 100 and 250 rows, some minutes
    OMP_NUM_THREADS=1 python benchmarks/predictors.py --rows 50 --only gaussian_process mine:Predictor
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from netwright.core.candidate import Candidate
from netwright.core.space import Choice, Space
from netwright.strategies.predict import PREDICTORS, Encoder, Features, Predictor, Scores, scores

TABLE = Path(__file__).parents[2] / "shared/bench/ofa_mbv3/ofa_mbv3_w10_imagenet.csv"
COMPARED = [
    *(name for name in PREDICTORS.names() if name != "transfer"),  # which needs another device's records
    "bayesian_linear,interactions=true", "ranker,loss=squared,hidden=()", "ranker,loss=pairwise,hidden=()",
    "ranker,hidden=()", "ranker,loss=pairwise",
]  # fmt: skip


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[50, 100, 250], help="learnt from")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", nargs="+", default=COMPARED, metavar="NAME", help="or module:Class; by default all")
    asked = parser.parse_args()
    features, values = load()
    print(f"{len(values)} networks, top-1 {values.min():.2f} to {values.max():.2f} %; mean of {asked.repeats} splits\n")
    print("| rows | predictor | Kendall | Spearman | RMSE | within 95 % | mean z² | CPU s |")
    print("|---|---|---|---|---|---|---|---|")
    for n in asked.rows:
        for name in asked.only:
            try:
                found, seconds = judge(partial(PREDICTORS.make, name), features, values, n, asked.repeats)
            except ImportError as error:
                print(f"| {n} | {name} | left out: {error} | | | | | |", flush=True)
                continue
            mean = {k: float(np.mean([getattr(s, k) for s in found])) for k in Scores.__dataclass_fields__}
            print(
                f"| {n} | {name} | {mean['kendall']:.3f} | {mean['spearman']:.3f} | {mean['rmse']:.3f} | "
                f"{100 * mean['calibration']:.0f} % | {mean['mean_squared_z']:.2f} | {seconds:.2f} |",
                flush=True,
            )


def judge(
    make: Callable[[], Predictor], features: Features, values: np.ndarray, n: int, repeats: int
) -> tuple[list[Scores], float]:
    """The scores on the rest after fits to n random rows, and the CPU seconds of one fit and its predictions."""
    found, begin = [], time.process_time()
    for repeat in range(repeats):
        order = np.random.default_rng(repeat).permutation(len(values))
        known, rest = order[:n], order[n:]
        model = make().fit(features[known], values[known])
        found.append(scores(*model.predict(features[rest]), values[rest]))
    return found, (time.process_time() - begin) / repeats


def load() -> tuple[Features, np.ndarray]:
    """The features and the accuracies of the measured networks."""
    space = ofa_space()
    candidates: list[Candidate] = []
    exact, values = [], []
    with TABLE.open(newline="") as lines:
        for row in csv.DictReader(lines):
            chosen = {f"d{s}": int(d) for s, d in enumerate(row["d"])}
            for i, (k, e) in enumerate(zip(row["ks"], row["e"], strict=True)):
                if k != "0":
                    chosen |= {f"k{i // 4}{i % 4}": int(k), f"e{i // 4}{i % 4}": int(e)}
            candidates.append(space.candidate(chosen))
            exact.append({"macs": float(row["macs"]), "params": float(row["params"])})
            values.append(float(row["top1"]))
    return Encoder(space)(candidates, exact), np.array(values)


def ofa_space() -> Space:
    """Five stages of two to four blocks, each with a kernel size and an expansion."""
    choices = [Choice(f"d{s}", (2, 3, 4)) for s in range(5)]
    for s in range(5):
        for j in range(4):
            when = None if j < 2 else {f"d{s}": tuple(d for d in (2, 3, 4) if d > j)}
            choices += [Choice(f"k{s}{j}", (3, 5, 7), when), Choice(f"e{s}{j}", (3, 4, 6), when)]
    return Space(choices)


if __name__ == "__main__":
    main()
