"""Each block in the same small network, at equal multiply-accumulates: accuracy, and latency on a CPU's runtimes.

    python benchmarks/blocks.py [--only "uib;star"] [--epochs 3] [--images 60000] [--out runs/blocks]

A stem of 16 channels, two stages of two blocks at 7x7 and 4x4 positions, a classifier. The widths of the stages are
solved for every block, by counting, so that all networks have as many multiply-accumulates. Stage `train` trains each
on Fashion-MNIST (all with the same settings, none tuned) and judges it on the 10,000 test images; what OUT/trained.json
has is not trained again. Stage `measure` measures the latency of all at one image and one thread, in several passes
over all of them, so that the machine's moods meet all alike; the median of the passes counts, those that
OUT/measured.json has included.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import netwright as nw
from netwright.core.errors import NetwrightError
from netwright.measure.base import EvaluationContext
from netwright.measure.sampling import SamplingPlan
from netwright.measure.targets import parse_target

SHARED = Path(__file__).parents[2] / "shared"
FORMS = ("uib,start=3", "uib,start=3,middle=0", "uib,middle=0", "grouped,group_size=1", "grouped,group_size=4",
         "attention,kind=linear", "attention,kind=cosine", "attention,kind=none", "hypercomplex,n=2")  # fmt: skip
"""Forms of blocks beside their default."""
BATCH, STEM, STEP = 128, 16, 8


class Staged(nn.Module):
    """A stem that halves the image, two stages of two blocks, of which the first halves it again, and a classifier."""

    def __init__(self, block: str, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, STEM, 3, 2, 1, bias=False), nn.BatchNorm2d(STEM), nn.ReLU())
        blocks = []
        for before, own in pairwise((STEM, *widths)):
            blocks += [*strided(block, before, own), nw.blocks.BLOCKS.make(block, inputs=own, outputs=own)]
        self.blocks = nn.Sequential(*blocks)
        self.classifier = nn.Linear(widths[-1], 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.blocks(self.stem(x)).mean((2, 3)))


def strided(block: str, inputs: int, outputs: int) -> list[nn.Module]:
    """A block of stride 2; after a convolution with the stride where the block cannot have one."""
    if block != "uib,middle=0":
        return [nw.blocks.BLOCKS.make(block, inputs=inputs, outputs=outputs, stride=2)]
    enter = nn.Sequential(nn.Conv2d(inputs, outputs, 3, 2, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU())
    return [enter, nw.blocks.BLOCKS.make(block, inputs=outputs, outputs=outputs)]


@cache
def supernet(block: str, widths: tuple[int, ...]) -> nw.SuperNet:
    torch.manual_seed(0)
    return nw.SuperNet(Staged(block, widths), [], torch.zeros(1, 1, 28, 28))


def macs(block: str, widths: tuple[int, ...]) -> int:
    net = supernet(block, widths)
    return net.count(net.largest).macs


@cache
def solve(block: str, target: float) -> tuple[int, ...]:
    """Widths, in multiples of 8, whose network comes nearest to so many multiply-accumulates: of those within 4 %, the
    one whose channels are nearest to doubling from stage to stage."""
    near = []
    for first in range(STEP, 40 * STEP, STEP):
        if macs(block, (first, first)) > 1.25 * target:
            break
        for second in range(first, 4 * first + 1, STEP):
            off = abs(macs(block, (first, second)) / target - 1)
            near.append((max(off, 0.04), abs(np.log2(second / first) - 1), (first, second)))
            if macs(block, (first, second)) > 1.25 * target:
                break
    return min(near)[2]


def fashion(images: int) -> dict[str, nw.Split]:
    """Pixels from -1 to 1, and labels."""
    sys.path.insert(0, str(SHARED / "data"))
    from images import load  # type: ignore[import-not-found]

    found = {}
    for split, most in (("train", images), ("test", 10_000)):
        pixels, labels = load("fashion_mnist", split)
        kept = np.random.default_rng(0).permutation(len(labels))[:most]
        x = torch.from_numpy(pixels[kept]).float()[:, None] / 127.5 - 1
        found[split] = nw.Split(x, torch.from_numpy(labels[kept]).long())
    return found


def train(block: str, data: dict[str, nw.Split], given: argparse.Namespace) -> dict[str, Any]:
    """Train the network of a block and judge it."""
    widths = solve(block, given.macs * 1e6)
    net = supernet(block, widths)
    counts, begin = net.count(net.largest), time.process_time()
    loader = nw.TensorLoader(data["train"], BATCH, shuffle=True)
    nw.train(net, loader, epochs=given.epochs, rule="largest", optimizer="adamw,lr=4e-3,weight_decay=0.05",
             schedule="cosine,warmup=0.05")  # fmt: skip
    took = time.process_time() - begin
    judged = nw.Accuracy(nw.TensorLoader(data["test"], 500)).measure(EvaluationContext(net, net.largest, ()))
    accuracy = next(iter(judged.values()))
    return {"widths": widths, "macs": counts.macs, "params": counts.params, "moved_bytes": counts.moved_bytes,
            "accuracy": accuracy.value, "ci95": accuracy.ci95, "train_cpu_s": round(took, 1)}  # fmt: skip


def measure(block: str, widths: tuple[int, ...], runtimes: list[str]) -> dict[str, float]:
    """Milliseconds by runtime, at one image and one thread."""
    net, found = supernet(block, widths), {}
    for name in runtimes:
        latency = nw.Latency(parse_target(f"{name},threads=1"), SamplingPlan(max_seconds=0.5))
        try:
            found[name] = latency.measure(EvaluationContext(net, net.largest, ()))["latency"].value
        except NetwrightError as error:
            print(f"{block} on {name}: {error}", flush=True)
    return found


def rows(names: list[str], trained: dict[str, Any], target: float) -> dict[str, Any]:
    """What is known of each block, whether it was trained or not."""
    found = {}
    for block in names:
        widths = solve(block, target)
        net = supernet(block, widths)
        counts = net.count(net.largest)
        found[block] = {"widths": widths, "macs": counts.macs, "params": counts.params} | trained.get(block, {})
    return found


def write(path: Path, found: dict[str, Any]) -> None:
    path.write_text(json.dumps(found, indent=1))


def table(found: dict[str, Any], measured: dict[str, dict[str, list[float]]], runtimes: list[str]) -> str:
    """A row for each block, the fastest first."""
    lines = [f"| block | widths | k MACs | k params | accuracy % | {' | '.join(f'{r} µs' for r in runtimes)} |",
             "|---|---|--:|--:|--:|" + "--:|" * len(runtimes)]  # fmt: skip
    ms = {block: [float(np.median(measured.get(block, {}).get(r, np.nan))) for r in runtimes] for block in found}
    for block, row in sorted(found.items(), key=lambda item: ms[item[0]]):
        widths = ", ".join(map(str, row["widths"]))
        accuracy = f"{row['accuracy']:.1f} ± {row['ci95']:.1f}" if "accuracy" in row else "-"
        lines.append(f"| `{block}` | {widths} | {row['macs'] / 1e3:.0f} | {row['params'] / 1e3:.1f} | {accuracy} | "
                     f"{' | '.join(f'{1000 * each:.0f}' for each in ms[block])} |")  # fmt: skip
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="blocks with their settings, between semicolons; by default all")
    parser.add_argument("--macs", type=float, default=1.5, help="multiply-accumulates of each network, in millions")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--images", type=int, default=60_000, help="of the training part")
    parser.add_argument("--runtimes", default="onnxruntime,openvino")
    parser.add_argument("--stages", default="train,measure")
    parser.add_argument("--passes", type=int, default=5, help="over all blocks, for latency")
    parser.add_argument("--out", type=Path, default=Path("runs/blocks"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    given.out.mkdir(parents=True, exist_ok=True)
    names = given.only.split(";") if given.only else [*nw.blocks.BLOCKS.names(), *FORMS]
    path = given.out / "trained.json"
    trained: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    if "train" in given.stages and (new := [block for block in names if block not in trained]):
        data = fashion(given.images)
        for block in new:
            trained[block] = train(block, data, given)
            write(path, trained)
            print(block, trained[block], flush=True)
    runtimes, path = given.runtimes.split(","), given.out / "measured.json"
    measured: dict[str, dict[str, list[float]]] = json.loads(path.read_text()) if path.exists() else {}
    for _ in range(given.passes if "measure" in given.stages else 0):
        for block in names:
            for name, ms in measure(block, solve(block, given.macs * 1e6), runtimes).items():
                measured.setdefault(block, {}).setdefault(name, []).append(ms)
            write(path, measured)
    print(table(rows(names, trained, given.macs * 1e6), measured, runtimes))


if __name__ == "__main__":
    main()
