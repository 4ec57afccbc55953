"""A search for a slow device: how many networks are measured there, and what the front loses.

    python benchmarks/slow_device.py [--seeds 3] [--evaluations 200]

OFA MobileNetV3 with the top-1 of the search benchmark and the latencies of a phone (Samsung Note10, the layers' times
that once-for-all published, summed, with a measurement's noise). The study is told that a measurement takes a minute.
"""

from __future__ import annotations

import argparse
import csv
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import moocore
import numpy as np
from ofa_bench import Ofa

import netwright as nw
from netwright.core.metric import Measurement, Metric
from netwright.measure.base import EvaluationContext, Measurer
from netwright.study import prediction as module
from netwright.study.study import Study

TOP1, LATENCY = Metric("top1", "%", "max"), Metric("latency", "ms", "min")
REFERENCE = np.array([-70.0, 110.0])
SHARED = Path(__file__).parents[2] / "shared"


class Phone(Measurer):
    """Latencies of networks at 224 pixels."""

    metrics = (LATENCY,)
    on_device = True

    def __init__(self, table: Path, seed: int) -> None:
        self.rows: dict[tuple[int, bool, int, int], float] = {}
        self.rest = 0.0
        self.measured = 0
        self._rng = np.random.default_rng(seed)
        pattern = re.compile(r"expanded_conv-input:(\d+)x\d+x(\d+)-output:(\d+)x\d+x(\d+)-expand:(\d+)-kernel:(\d)")
        found = []
        with table.open() as file:
            for row in csv.DictReader(file):
                match = pattern.match(row["layer_key"])
                if row["resolution"] != "224":
                    continue
                if match is None or match[2] == match[5]:  # the stem's own block does not expand
                    self.rest += float(row["mean_ms"])
                else:
                    size, into, _, out, expand, kernel = (int(x) for x in match.groups())
                    found.append((size, into, out, expand // into, kernel, float(row["mean_ms"])))
        outs = sorted({out for _, _, out, _, _, _ in found})
        for _, into, out, expand, kernel, ms in found:
            self.rows[outs.index(out), into != out, kernel, expand] = ms

    def truth(self, candidate: Mapping[str, Any]) -> float:
        """Milliseconds."""
        blocks = [(s, j) for s in range(5) for j in range(candidate[f"d{s}"])]
        return self.rest + sum(self.rows[s, j == 0, candidate[f"k{s}{j}"], candidate[f"e{s}{j}"]] for s, j in blocks)

    def measure(self, context: EvaluationContext) -> Mapping[str, Measurement]:
        self.measured += 1
        ms = self.truth(context.candidate)
        return {"latency": Measurement(ms * float(1 + 0.01 * self._rng.normal()), "ms", ci95=0.02 * ms, n=30)}


class Top1(Measurer):
    """The benchmark's accuracy."""

    metrics = (TOP1,)

    def __init__(self, ofa: Ofa) -> None:
        self._ofa = ofa

    def measure(self, context: EvaluationContext) -> Mapping[str, Measurement]:
        return {"top1": Measurement(self._ofa.measure(context.candidate)["top1"], "%", ci95=0.2)}


class Nothing:
    """A super-network without networks."""

    def __init__(self, space: nw.Space) -> None:
        self.space = space

    def extract(self, candidate: nw.Candidate) -> Any:
        raise NotImplementedError


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bench", type=Path, default=SHARED / "bench" / "ofa_mbv3")
    parser.add_argument("--table", type=Path, default=SHARED / "data" / "ofa_note10_lut" / "note10_layer_latency.csv")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--evaluations", type=int, default=200)
    given = parser.parse_args()
    ofa = Ofa(given.bench)
    print("seed   device  measured there  front  hypervolume  wrong by (mean, most)")
    for seed in range(given.seeds):
        for name, dear in (("quick", float("inf")), ("slow", 0.0)):
            module.SLOW_MEASUREMENT_S = dear
            phone = Phone(given.table, seed)
            with tempfile.TemporaryDirectory() as folder:
                study = Study(
                    Path(folder) / "s.db", Nothing(ofa.space), objectives=[Top1(ofa), phone], calibration=(), seed=seed
                )
                study.run(nw.Guided(), given.evaluations)
            front = study.front()
            points = np.array([[-r.values["top1"], phone.truth(r.candidate)] for r in front])
            volume = moocore.hypervolume(points, ref=REFERENCE)
            told = [r for r in study.records if not r.measurements["latency"].is_complete]
            off = [abs(r.values["latency"] / phone.truth(r.candidate) - 1) for r in told] or [0.0]
            print(
                f"{seed:4d} {name:>8} {phone.measured:8d} of {given.evaluations:3d} {len(front):6d} {volume:12.1f} "
                f"{np.mean(off):10.2%} {np.max(off):10.2%}",
                flush=True,
            )


if __name__ == "__main__":
    main()
