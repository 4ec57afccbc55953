"""Whether a latency that was measured once is measured again: ten networks, five processes, a neighbour half the time.

    python benchmarks/repeatability.py [--runs 5] [--out runs/repeatability]

Each of the runs is a process of its own; in every second one a neighbour loads a core. The long-run median of the wall
time, with and without the neighbour, is that of long measurements in processes of their own between the runs.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import kendalltau
from torch import nn

from netwright.measure.convert import example, feeds_of
from netwright.measure.feeds import read_feeds, write_feeds
from netwright.measure.latency import Latency
from netwright.measure.runtimes.onnxruntime import OnnxRuntime
from netwright.measure.sampling import SamplingPlan
from netwright.nets.families.cifar_resnet import cifar_resnet
from netwright.nets.families.mobilenet import mobilenet_v2
from netwright.nets.families.ofa_mobilenet import ofa_mobilenet_v3
from netwright.nets.families.ofa_resnet import ofa_resnet50
from netwright.nets.families.resnet8 import resnet8
from netwright.nets.supernet import SuperNet


def networks() -> Iterator[tuple[str, nn.Module, Any]]:
    """Ten networks between 0.1 and 30 ms on one core, with their inputs."""
    torch.manual_seed(0)

    def of(net: SuperNet, end: str, size: int) -> tuple[nn.Module, torch.Tensor]:
        candidate = net.smallest if end == "smallest" else net.largest
        return net.extract(candidate).eval(), torch.randn(1, 3, size, size)

    made: list[tuple[str, Callable[[], SuperNet], str, int]] = [
        ("resnet8 smallest", resnet8, "smallest", 32),
        ("resnet8", resnet8, "largest", 32),
        ("resnet20", cifar_resnet, "largest", 32),
        ("resnet56", lambda: cifar_resnet(56), "largest", 32),
        ("ofa v3 smallest 128", ofa_mobilenet_v3, "smallest", 128),
        ("ofa v3 smallest 224", ofa_mobilenet_v3, "smallest", 224),
        ("mobilenet v2 160", mobilenet_v2, "largest", 160),
        ("ofa v3 largest 224", ofa_mobilenet_v3, "largest", 224),
        ("ofa resnet50 smallest 192", ofa_resnet50, "smallest", 192),
        ("ofa resnet50 smallest 256", ofa_resnet50, "smallest", 256),
    ]
    for name, build, end, size in made:
        yield name, *of(build(), end, size)


def once(folder: Path, max_seconds: float, precision: float) -> None:
    """Measure each network once; a line of JSON each."""
    measurer = Latency(OnnxRuntime(), SamplingPlan(precision=precision, max_seconds=max_seconds))
    _ = measurer.target  # starting the measuring process is not measuring
    for path in sorted(folder.glob("*.onnx")):
        begin = time.perf_counter()
        found = measurer.run(path, read_feeds(path.with_suffix(".npz")))["latency"]
        print(json.dumps({"name": path.stem, "seconds": time.perf_counter() - begin, **found.to_json()}), flush=True)


def run(folder: Path, max_seconds: float, precision: float) -> list[dict[str, Any]]:
    """:func:`once` in a process of its own."""
    command = [
        sys.executable,
        __file__,
        "--once",
        str(folder),
        "--max-seconds",
        str(max_seconds),
        "--precision",
        str(precision),
    ]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return [json.loads(line) for line in said.splitlines()]


@contextmanager
def neighbour(there: bool) -> Iterator[None]:
    """A process that loads a core."""
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"]) if there else None
    try:
        yield
    finally:
        if process:
            process.kill()
            process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("runs/repeatability"))
    parser.add_argument("--once", type=Path)
    parser.add_argument("--max-seconds", type=float, default=1.0)
    parser.add_argument("--precision", type=float, default=0.02)
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.once:
        once(given.once, given.max_seconds, given.precision)
        return
    folder: Path = given.out
    folder.mkdir(parents=True, exist_ok=True)
    names = []
    for i, (name, network, inputs) in enumerate(networks()):
        path = folder / f"{i}.onnx"
        names.append(name)
        if not path.exists():
            OnnxRuntime().convert(network, example(inputs, 1), path)
            write_feeds(path.with_suffix(".npz"), feeds_of(inputs))
    found: list[list[dict[str, Any]]] = []
    loaded = [i % 2 == 1 for i in range(given.runs)]
    long: dict[bool, list[list[dict[str, Any]]]] = {False: [], True: []}
    for there in loaded:
        with neighbour(there):
            found.append(run(folder, given.max_seconds, given.precision))
        for beside, runs in long.items():  # between them: a machine's state may stay for minutes
            with neighbour(beside):
                runs.append(run(folder, 2.0, 1e-9))
    (folder / "found.json").write_text(json.dumps({"found": found, "long": [long[False], long[True]]}))
    report(names, found, loaded, long)


def report(
    names: list[str],
    found: list[list[dict[str, Any]]],
    loaded: list[bool],
    long: dict[bool, list[list[dict[str, Any]]]],
) -> None:
    """Print what the issue asks for."""
    raw = np.array([[r["cpu"]["median"] for r in each] for each in found])
    cpu = np.array([[r["cpu"]["corrected"] for r in each] for each in found])
    wall = np.array([[r["wall"]["corrected"] for r in each] for each in found])
    spread = np.array([[r["wall"]["spread"] for r in each] for each in found])
    truth = {
        there: np.median([[r["wall"]["corrected"] for r in x] for x in runs], axis=0) for there, runs in long.items()
    }
    held = np.array([abs(wall[i] - truth[there]) <= spread[i] for i, there in enumerate(loaded)])
    middle = np.median(cpu, axis=0)
    titles = ("CPU ms", "largest off", "as measured", "wall alone", "beside", "interval", "held", "s")
    print(f"{'network':28}" + "".join(f"{t:>{w}}" for t, w in zip(titles, (9, 12, 12, 11, 8, 10, 6, 6), strict=True)))
    for i, name in enumerate(names):
        off, before = (np.abs(v[:, i] / np.median(v[:, i]) - 1).max() for v in (cpu, raw))
        seconds = np.mean([r[i]["seconds"] for r in found])
        print(
            f"{name:28}{middle[i]:9.3f}{off:12.2%}{before:12.2%}{truth[False][i]:11.3f}{truth[True][i]:8.3f}"
            f"{np.median(spread[:, i] / wall[:, i]):10.2%}{held[:, i].sum():4d}/{len(found)}{seconds:6.2f}"
        )
    taus = [kendalltau(a, b).statistic for n, a in enumerate(cpu) for b in cpu[:n]]
    print(f"CPU medians: largest deviation {np.abs(cpu / middle - 1).max():.2%}; lowest Kendall tau {min(taus):.3f}")
    print(f"wall: the stated 95 % interval holds the long-run median in {held.mean():.0%} of {held.size} cases")
    print(f"seconds for each network: mean {np.mean([r['seconds'] for each in found for r in each]):.2f}, ", end="")
    print(f"most {max(r['seconds'] for each in found for r in each):.2f}")


if __name__ == "__main__":
    main()
