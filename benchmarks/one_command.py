"""What benchmarks of the whole job share: files measured in turn, networks picked by it, a paired test, a table."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from math import comb, hypot
from pathlib import Path

import numpy as np

import netwright as nw
from netwright.core.record import Record
from netwright.measure.sampling import SamplingPlan
from netwright.nets.inputs import Inputs
from netwright.pipeline.callback import NullCallback
from netwright.study.run import Step
from netwright.study.study import Study
from netwright.training.run import Progress

TARGETS = {"float32": "onnxruntime,threads=1", "int8": "onnxruntime,precision=int8,threads=1"}
MARGIN = 0.97
"""What is picked has this share of the time that it may have at most, as it is measured in turn with the whole."""

Files = dict[str, Path]
"""A network's files by the kind of target."""

Times = dict[tuple[str, str], np.ndarray]
"""Of each round, by name and kind."""


def in_turn(files: Mapping[tuple[str, str], Path], example: Inputs, rounds: int) -> Times:
    """Milliseconds of files by name and kind in rounds: those of one round were measured in the same state of the
    machine."""
    latencies = {kind: nw.Latency(target, SamplingPlan(max_seconds=0.2)) for kind, target in TARGETS.items()}
    times = {key: np.empty(rounds) for key in files}
    for i in range(rounds):
        for (name, kind), file in files.items():
            times[name, kind][i] = latencies[kind].of(file, example)["latency"].value
    return times


def ratio(whole: np.ndarray, own: np.ndarray) -> tuple[float, float]:
    """How many times faster one is than another, the median over rounds, and half its 95 % interval."""
    faster = whole / own
    return float(np.median(faster)), float(1.253 * 1.96 * faster.std(ddof=1) / len(faster) ** 0.5)


def best_of(faster: Sequence[tuple[Record, float]], least: float) -> Record:
    """The record with the highest accuracy of those that are so many times faster; of equal ones the fastest."""
    return rivals_of(faster, least, 1)[0]


def rivals_of(faster: Sequence[tuple[Record, float]], least: float, count: int) -> list[Record]:
    """Of the records that are so many times faster the one with the highest accuracy, and at most ``count - 1`` more
    that the search cannot tell from it, the best first; of equal ones the fastest."""
    able = [(record, speed) for record, speed in faster if speed >= least]
    if not able:
        raise SystemExit(f"no network of the search is {least:.1f} times faster")
    able.sort(key=lambda each: (each[0].values["accuracy"], each[1]), reverse=True)
    figures = [record.measurements["accuracy"] for record, _ in able]
    alike = [figures[0].value - found.value <= hypot(figures[0].ci95, found.ci95) for found in figures]
    return [record for (record, _), near in zip(able, alike, strict=True) if near][:count]


def paired(ours: np.ndarray, theirs: np.ndarray) -> tuple[int, int, float]:
    """How many only we have right, and only they; McNemar's exact p, two-sided."""
    more, less = int((ours & ~theirs).sum()), int((theirs & ~ours).sum())
    tail = sum(comb(more + less, k) for k in range(min(more, less) + 1)) / 2 ** (more + less)
    return more, less, min(1.0, 2 * tail)


class Told(NullCallback):
    """Prints how a stage goes on.

    Args:
        what: the stage.
    """

    def __init__(self, what: str) -> None:
        self.what, self.began, self.figures = what, time.perf_counter(), ""

    def stage(self, text: str) -> None:
        """A stage begins, or something is to be said of it."""
        print(f"{self.what}: {text} ({time.perf_counter() - self.began:.0f} s)", flush=True)

    def trained(self, progress: Progress) -> None:
        """A training step was made."""
        found = {n: f.value if isinstance(f, nw.Measurement) else f for n, f in progress.figures.items()}
        figures = ", ".join(f"{name} {value:.2f}" for name, value in found.items())
        if progress.step % 100 == 0 or figures != self.figures:
            told = f"{progress.step} of {progress.steps} steps, loss {progress.loss:.3f}; {figures}"
            print(f"  {self.what}: {told} ({time.perf_counter() - self.began:.0f} s)", flush=True)
        self.figures = figures

    def measured(self, step: Step, study: Study) -> None:
        """A network was measured."""
        told = ", ".join(f"{name} {step.record.values.get(name, float('nan')):.4g}" for name in ("accuracy", "latency"))
        print(f"  {self.what}: {step.done} {dict(step.record.candidate)}: {told}", flush=True)
