"""Files on ONNX Runtime, timed in turn: what they take in one round was measured in the same state of the machine."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

import numpy as np

from netwright.measure.runtimes.onnxruntime import OnnxRuntime

Name = TypeVar("Name")


def session(path: Path) -> Any:
    """What ONNX Runtime runs, on one thread."""
    return OnnxRuntime(threads=1).session(path)


def timed(
    runs: Mapping[Name, tuple[Any, dict[str, np.ndarray]]], rounds: int, times: int
) -> dict[Name, tuple[float, float]]:
    """CPU milliseconds, and the share of the first's in the same round: medians over the rounds.

    Args:
        runs: sessions, and what they are fed.
        rounds: over all of them.
        times: that each runs in a round, after one that does not count.
    """
    found: dict[Name, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, (ready, feed) in runs.items():
            ready.run(None, feed)
            begin = time.process_time()
            for _ in range(times):
                ready.run(None, feed)
            found[name].append((time.process_time() - begin) / times * 1e3)
    first = next(iter(found.values()))
    shares = {name: [a / b for a, b in zip(own, first, strict=True)] for name, own in found.items()}
    return {name: (median(own), median(shares[name])) for name, own in found.items()}
