"""A search with a limit on latency, on several runtimes: whether what is exported keeps it when it is measured again.

    python benchmarks/limits.py [--targets onnxruntime,openvino,torch] [--evaluations 40]

On handwritten digits. For each runtime the limit is the median latency of a first search, so that half of the networks
break it; every network of the front is exported, and the exported file measured three times more.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from netwright.core.limits import parse_limit
from netwright.measure.latency import LATENCY


def netwright(*arguments: object) -> str:
    command = [sys.executable, "-m", "netwright", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command[2:])}: {done.stderr.strip().splitlines()[-1]}")
    return done.stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--targets", default="onnxruntime,openvino,torch")
    parser.add_argument("--evaluations", type=int, default=40)
    parser.add_argument("--out", type=Path, default=Path("runs/limits"))
    given = parser.parse_args()
    for target in given.targets.split(","):
        out = given.out / target
        run = ("digits", "--out", out, "--target", target, "--train.epochs", 10, "--export.epochs", 0)
        netwright("train", *run)
        netwright("search", *run, "--evaluations", given.evaluations // 2)
        records = [json.loads(line) for line in netwright("records", out, "--json").splitlines()]
        bound = statistics.median(r["measurements"]["latency"]["value"] for r in records)
        limit = parse_limit(f"latency <= {bound:.4g} ms", [LATENCY])
        netwright("search", *run, "--evaluations", given.evaluations, "--limit", str(limit))
        front = json.loads(netwright("front", out, "--json"))
        flags = [x for record in front for x in ("--network", record["id"])]
        netwright("export", out, *flags)
        report(target, bound, out, [record["id"] for record in front])


def report(target: str, bound: float, out: Path, ids: list[str]) -> None:
    """Print how the exported networks keep the limit."""
    kept, within, worst = 0, 0, 0.0
    for id_ in ids:
        folder = out / "networks" / id_
        again: dict[str, Any] = json.loads((folder / "manifest.json").read_text())["test"]["latency"]
        kept += again["value"] <= bound
        within += again["value"] - again["spread"] <= bound
        worst = max(worst, again["value"] / bound - 1)
    print(
        f"{target}: limit {bound:.4g} ms; {len(ids)} networks exported and measured again: {kept} keep it, "
        f"{within} within their interval; furthest beyond {max(worst, 0.0):.2%}",
        flush=True,
    )


if __name__ == "__main__":
    main()
