"""Lookup table and regressor on held-out sub-networks of OFA MobileNetV3, on this machine.

    python benchmarks/latency_table.py [--target onnxruntime] [--held 200] [--out runs/latency_table]

Held-out networks are measured once and kept in OUT, so that a second run only predicts.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from scipy.stats import kendalltau, spearmanr

import netwright as nw
from netwright.measure.base import EvaluationContext
from netwright.measure.latency import Latency
from netwright.measure.lookup import LookupTable
from netwright.measure.sampling import SamplingPlan
from netwright.measure.targets import parse_target
from netwright.nets.families.ofa_mobilenet import ofa_mobilenet_v3
from netwright.strategies.predict.encode import Encoder, Features
from netwright.strategies.predict.gp import GaussianProcess
from netwright.strategies.predict.scores import Z95

RESOLUTIONS = (160, 224)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", default="onnxruntime")
    parser.add_argument("--held", type=int, default=200)
    parser.add_argument("--learn", type=int, default=20, help="networks that the table's overhead is fitted on")
    parser.add_argument("--regress", type=int, default=100, help="networks that the regressor is fitted on at most")
    parser.add_argument("--passes", type=int, default=3, help="how often each network is measured")
    parser.add_argument("--out", type=Path, default=Path("runs/latency_table"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    given.out.mkdir(parents=True, exist_ok=True)
    net = ofa_mobilenet_v3(resolutions=RESOLUTIONS)
    latency = Latency(parse_target(given.target), SamplingPlan(max_seconds=0.5))
    rng = np.random.default_rng(0)
    candidates = [net.space.sample(rng) for _ in range(given.regress + given.held)]
    passes = [
        measure(net, latency, candidates, given.out / f"measured-{given.target}-{i}.jsonl") for i in range(given.passes)
    ]
    # The machine's state stays for seconds: what is measured once, minutes apart, is the long run's median.
    measured = {
        c.key: {name: float(np.median([p[c.key][name] for p in passes])) for name in ("ms", "spread")}
        for c in candidates
    }
    table = LookupTable(latency, given.out / f"table-{given.target}.json")
    begin = time.perf_counter()
    known = len(table.whole)
    for candidate in candidates[known : given.learn]:
        context = EvaluationContext(net, candidate, ())
        table.learn(context.module, context.example_inputs, measured[candidate.key]["ms"])
    held = candidates[given.regress :]
    truth, doubt = (np.array([measured[c.key][name] for c in held]) for name in ("ms", "spread"))
    found = []
    for candidate in held:
        context = EvaluationContext(net, candidate, ())
        found.append(table.predict(context.module, context.example_inputs))
    weights, error = table.overhead()
    print(f"{given.target}: {len(table.rows)} rows, {len(table.whole)} networks; {time.perf_counter() - begin:.0f} s")
    print(f"overhead {np.round(weights, 4).tolist()} of (1, sum ms, blocks, MB); stated error {error:.1%}")
    titles = ("5 %", "10 %", "Spearman", "tau", "in interval", "measured")
    widths = (7, 7, 10, 7, 12, 10)
    print(f"held out {len(held):<25}" + "".join(f"{t:>{w}}" for t, w in zip(titles, widths, strict=True)))
    sums = np.array([m.details["sum"] for m in found])
    print_row("sum of the rows alone", sums, truth, None, len(table.rows))
    means, spreads = (np.array([getattr(m, name) for m in found]) for name in ("value", "ci95"))
    print_row("lookup table", means, truth, np.hypot(spreads, doubt), len(table.rows) + len(table.whole))
    encoder = Encoder(net.space)

    def features(some: list[nw.Candidate]) -> Features:
        counts = [net.count(c) for c in some]
        return encoder(some, [{"macs": c.macs, "moved_bytes": c.moved_bytes} for c in counts])

    for n in (20, 50, given.regress):
        values = np.array([measured[c.key]["ms"] for c in candidates[:n]])
        noise = np.array([measured[c.key]["spread"] for c in candidates[:n]]) / values / Z95
        model = GaussianProcess().fit(features(candidates[:n]), np.log(values), noise)
        mean, spread = model.predict(features(held))
        reach = np.hypot(np.exp(mean) * np.expm1(Z95 * spread), doubt)
        print_row(f"regressor, {n} networks", np.exp(mean), truth, reach, n)
    for name in ("macs", "params"):
        counts = np.array([float(getattr(net.count(c), name)) for c in held])
        print_row(f"{name}, scaled", counts * np.median(truth / counts), truth, None, 0)


def measure(
    net: nw.SuperNet, latency: Latency, candidates: list[nw.Candidate], path: Path
) -> dict[str, dict[str, float]]:
    """The latency of each candidate, by its key; what the file has is not measured again."""
    known = {row["key"]: row for row in map(json.loads, path.read_text().splitlines())} if path.exists() else {}
    with path.open("a") as file:
        for candidate in candidates:
            if candidate.key not in known:
                found = latency.measure(EvaluationContext(net, candidate, ()))["latency"]
                row = {"key": candidate.key, "ms": found.value, "spread": found.ci95, **found.details}
                known[candidate.key] = row
                file.write(json.dumps(row) + "\n")
                file.flush()
    return known


def print_row(name: str, means: np.ndarray, truth: np.ndarray, spreads: np.ndarray | None, measurements: int) -> None:
    off = np.abs(means / truth - 1)
    inside = "-" if spreads is None else f"{np.mean(np.abs(means - truth) <= spreads):.0%}"
    print(
        f"{name:34}{np.mean(off <= 0.05):7.0%}{np.mean(off <= 0.10):7.0%}{spearmanr(means, truth).statistic:10.4f}"
        f"{kendalltau(means, truth).statistic:7.3f}{inside:>12}{measurements:10d}"
    )


if __name__ == "__main__":
    main()
