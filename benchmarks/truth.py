"""Our figures beside plain loops: of ONNX Runtime, with and without bound inputs, and of torch.utils.benchmark.

    python benchmarks/truth.py [--rounds 7]

On the same files, in turn, one thread. The loops run in a process of their own, pinned to one core as ours is.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from repeatability import networks

from netwright.measure.convert import example, feeds_of
from netwright.measure.feeds import read_feeds, write_feeds
from netwright.measure.latency import Latency
from netwright.measure.machine import pin
from netwright.measure.runtimes.base import Runtime
from netwright.measure.runtimes.onnxruntime import OnnxRuntime
from netwright.measure.runtimes.torch import Torch

SECONDS = 0.6


def plain(path: Path) -> float:
    """Median wall time of ``session.run``, which copies inputs and outputs, in ms."""
    session = OnnxRuntime().session(path)
    feeds = dict(read_feeds(path.with_suffix(".npz")))
    return looped(lambda: session.run(None, feeds))


def bound(path: Path) -> float:
    """The same of ``session.run_with_iobinding``, as ONNX Runtime's own benchmarks run it."""
    session = OnnxRuntime().session(path)
    binding = session.io_binding()
    for name, value in read_feeds(path.with_suffix(".npz")).items():
        binding.bind_cpu_input(name, value)
    for output in session.get_outputs():
        binding.bind_output(output.name)
    return looped(lambda: session.run_with_iobinding(binding))


def looped(run: Callable[[], object]) -> float:
    times, end = [], time.perf_counter() + SECONDS
    while time.perf_counter() < end:
        begin = time.perf_counter_ns()
        run()
        times.append(time.perf_counter_ns() - begin)
    return float(np.median(times)) / 1e6


def timer(path: Path) -> float:
    """Median of ``torch.utils.benchmark`` on the loaded program, in ms."""
    from torch.utils.benchmark import Timer

    torch.set_num_threads(1)
    module = torch.export.load(path).module()
    inputs = tuple(torch.from_numpy(x) for x in read_feeds(path.with_suffix(".npz")).values())
    with torch.inference_mode():
        timed = Timer("module(*inputs)", globals={"module": module, "inputs": inputs}, num_threads=1)
        timed.timeit(3)
        return float(timed.blocked_autorange(min_run_time=SECONDS).median) * 1e3


THEIRS = {"plain": plain, "bound": bound, "timer": timer}


def theirs(name: str, path: Path) -> float:
    command = [sys.executable, __file__, "--theirs", name, str(path)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--theirs", nargs=2)
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.theirs:
        pin(1)
        print(THEIRS[given.theirs[0]](Path(given.theirs[1])))
        return
    print(f"{'network':28}{'runtime':13}{'CPU ms':>9}{'wall ms':>9}  theirs in ms (ours in wall time over theirs)")
    off: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        for name, network, inputs in networks():
            for runtime, other in ((OnnxRuntime(), ("bound", "plain")), (Torch(), ("timer",))):
                off += row(name, network, inputs, runtime, other, Path(folder), given.rounds)
    within = np.mean(np.array(off) <= 0.03)
    print(f"largest difference {max(off):.1%}; median {np.median(off):.1%}; within 3 %: {within:.0%}")


def row(
    name: str, network: Any, inputs: Any, runtime: Runtime, others: tuple[str, ...], folder: Path, rounds: int
) -> list[float]:
    """Measure one network in turn; the relative differences."""
    path = folder / f"network{runtime.suffix}"
    runtime.convert(network, example(inputs, 1), path)
    feeds = feeds_of(example(inputs, 1))
    write_feeds(path.with_suffix(".npz"), feeds)
    latency = Latency(runtime)
    ours: list[tuple[float, float]] = []
    found: dict[str, list[float]] = {other: [] for other in others}
    for _ in range(rounds):
        how = latency.run(path, feeds)["latency"].how
        ours.append((how["cpu"]["median"], how["wall"]["median"]))
        for other in others:
            found[other].append(theirs(other, path))
    cpu, wall = np.median(ours, axis=0)
    medians = {other: float(np.median(values)) for other, values in found.items()}
    said = ", ".join(f"{other} {value:.4g} ({wall / value - 1:+.1%})" for other, value in medians.items())
    print(f"{name:28}{runtime.name:13}{cpu:9.4g}{wall:9.4g}  {said}", flush=True)
    return [abs(wall / value - 1) for value in medians.values()]


if __name__ == "__main__":
    main()
