"""Our figures beside plain loops: of ONNX Runtime, with and without bound inputs, and of torch.utils.benchmark.

    python benchmarks/truth.py [--rounds 10]

On the same files, one thread, turn by turn within a second: a host's state stays for longer. What is compared is the
wall time as measured, turn by turn; the value beside it is with the memory as fast as usual. The loops run in a process
of their own, pinned to one core as ours is. PyTorch is also timed in a process whose allocator is left as it is
("untuned"; see :data:`netwright.measure.process.KEEPING`); that, and ``session.run`` with its copies, are for
comparison only.
"""

from __future__ import annotations

import argparse
import os
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
from netwright.measure.process import KEEPING
from netwright.measure.runtimes.base import Runtime
from netwright.measure.runtimes.onnxruntime import OnnxRuntime
from netwright.measure.runtimes.torch import Torch
from netwright.measure.sampling import SamplingPlan

SECONDS = 0.3
"""That a loop takes, and a measurement of ours."""


def plain(path: Path) -> Callable[[], float]:
    """Median wall time of ``session.run``, which copies inputs and outputs, in ms."""
    session = OnnxRuntime().session(path)
    feeds = dict(read_feeds(path.with_suffix(".npz")))
    return lambda: looped(lambda: session.run(None, feeds))


def bound(path: Path) -> Callable[[], float]:
    """The same of ``session.run_with_iobinding``, as ONNX Runtime's own benchmarks run it."""
    session = OnnxRuntime().session(path)
    binding = session.io_binding()
    for name, value in read_feeds(path.with_suffix(".npz")).items():
        binding.bind_cpu_input(name, value)
    for output in session.get_outputs():
        binding.bind_output(output.name)
    return lambda: looped(lambda: session.run_with_iobinding(binding))


def looped(run: Callable[[], object]) -> float:
    for _ in range(3):
        run()
    times, end = [], time.perf_counter() + SECONDS
    while time.perf_counter() < end:
        begin = time.perf_counter_ns()
        run()
        times.append(time.perf_counter_ns() - begin)
    return float(np.median(times)) / 1e6


def timer(path: Path) -> Callable[[], float]:
    """Median of ``torch.utils.benchmark`` on the loaded program, in ms."""
    from torch.utils.benchmark import Timer

    torch.set_num_threads(1)
    module = torch.export.load(path).module()
    inputs = tuple(torch.from_numpy(x) for x in read_feeds(path.with_suffix(".npz")).values())
    timed = Timer("module(*inputs)", globals={"module": module, "inputs": inputs}, num_threads=1)

    def run() -> float:
        with torch.inference_mode():
            timed.timeit(3)
            return float(timed.blocked_autorange(min_run_time=SECONDS).median) * 1e3

    return run


THEIRS: dict[str, Callable[[Path], Callable[[], float]]] = {
    "bound": bound,
    "plain": plain,
    "timer": timer,
    "untuned": timer,
}


class Theirs:
    """A loop in a process of its own, which runs it whenever it is asked."""

    def __init__(self, name: str, path: Path) -> None:
        command = [sys.executable, __file__, "--theirs", name, str(path)]
        environment = {**os.environ, **(KEEPING if name != "untuned" else {})}
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self._line()  # it is ready

    def __call__(self) -> float:
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return float(self._line())

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def stop(self) -> None:
        self._process.communicate()


def serve(name: str, path: Path) -> None:
    """The other side: a line of median milliseconds for each line that is read."""
    pin(1)
    run = THEIRS[name](path)
    print("ready", flush=True)
    for _ in sys.stdin:
        print(run(), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--theirs", nargs=2)
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.theirs:
        serve(given.theirs[0], Path(given.theirs[1]))
        return
    titles = f"{'network':28}{'runtime':13}{'value':>9}{'wall ms':>9}"
    print(f"{titles}  theirs in ms (ours over theirs, median of turns and their middle half)")
    off: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        for name, network, inputs in networks():
            for runtime, other in ((OnnxRuntime(), ("bound", "plain")), (Torch(), ("timer", "untuned"))):
                off.append(row(name, network, inputs, runtime, other, Path(folder), given.rounds))
    within = np.mean(np.array(off) <= 0.03)
    print(f"largest difference {max(off):.1%}; median {np.median(off):.1%}; within 3 %: {within:.0%}")


def row(
    name: str, network: Any, inputs: Any, runtime: Runtime, others: tuple[str, ...], folder: Path, rounds: int
) -> float:
    """Measure one network in turn; the relative difference from the first of the others."""
    path = folder / f"network{runtime.suffix}"
    runtime.convert(network, example(inputs, 1), path)
    feeds = feeds_of(example(inputs, 1))
    write_feeds(path.with_suffix(".npz"), feeds)
    latency = Latency(runtime, SamplingPlan(max_seconds=SECONDS))
    loops = {other: Theirs(other, path) for other in others}
    values, walls = [], []
    found: dict[str, list[float]] = {other: [] for other in others}
    for _ in range(rounds):
        ours = latency.run(path, feeds)["latency"]
        values.append(ours.value)
        walls.append(ours.details["wall"]["median"])
        for other, loop in loops.items():
            found[other].append(loop())
    for loop in loops.values():
        loop.stop()
    off, said = [], []
    for other, theirs in found.items():
        low, middle, high = np.percentile(np.array(walls) / np.array(theirs) - 1, [25, 50, 75])
        said.append(f"{other} {np.median(theirs):.4g} ({middle:+.1%}, {low:+.1%} to {high:+.1%})")
        off.append(abs(float(middle)))
    print(f"{name:28}{runtime.name:13}{np.median(values):9.4g}{np.median(walls):9.4g}  {', '.join(said)}", flush=True)
    return off[0]


if __name__ == "__main__":
    main()
