"""Whether multiply-accumulates tell what is fast: OFA MobileNetV3 sub-networks on every runtime that is installed.

    python benchmarks/rank.py [--networks 100] [--targets onnxruntime,openvino,...] [--out runs/rank]

What a search by MACs costs: of networks with accuracies of the search benchmark (where it is there), the front by MACs
is taken, and its latency at each accuracy compared with that of the front by latency.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from latency_table import measure
from scipy.stats import kendalltau, spearmanr

from netwright.core.candidate import Candidate
from netwright.core.errors import NetwrightError
from netwright.core.front import nondominated
from netwright.measure.latency import Latency
from netwright.measure.runtimes import RUNTIMES
from netwright.measure.sampling import SamplingPlan
from netwright.measure.targets import parse_target
from netwright.nets.families.ofa_mobilenet import ofa_mobilenet_v3

SHARED = Path(__file__).parents[2] / "shared"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", type=int, default=100)
    parser.add_argument("--targets", default=",".join(RUNTIMES.names()), help="names of runtimes, with commas")
    parser.add_argument("--bench", type=Path, default=SHARED / "bench" / "ofa_mbv3")
    parser.add_argument("--out", type=Path, default=Path("runs/rank"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    given.out.mkdir(parents=True, exist_ok=True)
    net = ofa_mobilenet_v3()
    rng = np.random.default_rng(0)
    candidates = [net.space.sample(rng) for _ in range(given.networks)]
    counts = [net.count(c) for c in candidates]
    macs = np.array([c.macs for c in counts], dtype=float)
    top1 = accuracies(given.bench, candidates)
    titles = ("ms", "tau", "Spearman", "same MACs ±2 %", "extra ms by MACs", "extra")
    print(f"{'target':14}" + "".join(f"{t:>{w}}" for t, w in zip(titles, (16, 7, 10, 16, 18, 7), strict=True)))
    for name in given.targets.split(","):
        try:
            latency = Latency(parse_target(name), SamplingPlan(max_seconds=0.5))
            found = measure(net, latency, candidates, given.out / f"{name}.jsonl")
        except NetwrightError as error:
            print(f"{name:14}{error}")
            continue
        ms = np.array([found[c.key]["ms"] for c in candidates])
        near = np.abs(macs[:, None] / macs - 1) <= 0.02
        between = max(float(np.abs(ms[:, None] / ms - 1)[near].max()), 0.0)
        extra, share = cost(macs, ms, top1) if top1 is not None else (float("nan"), float("nan"))
        print(
            f"{name:14}{ms.min():7.2f} to {ms.max():5.2f}{kendalltau(macs, ms).statistic:7.3f}"
            f"{spearmanr(macs, ms).statistic:10.3f}{between:15.0%} {extra:18.3f}{share:7.1%}",
            flush=True,
        )


def accuracies(bench: Path, candidates: list[Candidate]) -> np.ndarray | None:
    """Of the search benchmark, whose choices are named otherwise."""
    if not (bench / "ofa_mbv3_bench.py").exists():
        return None
    from ofa_bench import Ofa

    ofa = Ofa(bench)
    return np.array([ofa.measure(ofa.space.candidate(renamed(c)))["top1"] for c in candidates])


def renamed(candidate: Candidate) -> dict[str, Any]:
    """``stage1.block0.kernel`` as ``k00``."""
    found = {}
    for name, option in candidate.items():
        stage, *block, what = name.split(".")
        places = [int(stage.removeprefix("stage")) - 1, *(int(b.removeprefix("block")) for b in block)]
        found[what[0] + "".join(map(str, places))] = option
    return found


def cost(macs: np.ndarray, ms: np.ndarray, top1: np.ndarray) -> tuple[float, float]:
    """How much slower, in ms and relative, the network is that a search by MACs gives at an accuracy: the mean over
    the accuracies of the front by latency."""
    by_macs = nondominated(np.stack([-top1, macs], axis=1))
    by_ms = nondominated(np.stack([-top1, ms], axis=1))
    extra = []
    for wanted, best in zip(top1[by_ms], ms[by_ms], strict=True):
        enough = by_macs & (top1 >= wanted)
        if enough.any():
            cheapest = np.flatnonzero(enough)[np.argmin(macs[enough])]
            extra.append((ms[cheapest] - best, ms[cheapest] / best - 1))
    mean = np.mean(extra, axis=0)
    return float(mean[0]), float(mean[1])


if __name__ == "__main__":
    main()
