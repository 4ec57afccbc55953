"""Two workloads that never change: how fast the core is now, and how fast its memory."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from .clocks import Run, timed

WORKLOADS = 1
"""Counts up when they change: readings of others do not compare."""


@dataclass(frozen=True)
class Readings:
    """CPU times, in ms, of the workload that stays in the core's own cache, and of that which reads memory."""

    core: float
    memory: float


@lru_cache(maxsize=1)
def _workloads() -> tuple[Run, Run]:
    """Two workloads that never change, on one thread: products of matrices that stay in the nearest cache; and, as
    networks do, products with 10 MB of small matrices, of a few columns, and 14 MB of large ones, of one."""
    near = np.linspace(-1, 1, 48 * 48, dtype=np.float32).reshape(48, 48)
    out = np.empty_like(near)

    def core() -> None:
        for _ in range(20):
            np.matmul(near, near, out=out)

    small, large = np.ones((16, 160, 960), np.float32), np.ones((3584, 1024), np.float32)
    columns, column = np.ones((960, 16), np.float32), np.ones(1024, np.float32)
    products, product = np.empty((160, 16), np.float32), np.empty(3584, np.float32)

    def memory() -> None:
        for matrix in small:
            np.matmul(matrix, columns, out=products)
        np.dot(large, column, out=product)

    return core, memory


def read() -> tuple[Readings, float]:
    """The workloads' times now, and the core's wall time over its CPU time.

    The first call of each finds what another left in the caches, and is slower by up to 80 %: it is not counted.
    """
    core, memory = _workloads()
    memory()
    far = [timed(memory, 1)["cpu"] for _ in range(2)]
    core()
    near = [timed(core, 1) for _ in range(9)]
    cpu = float(np.median([each["cpu"] for each in near]))
    return Readings(cpu, float(np.mean(far))), float(np.mean([each["wall"] for each in near])) / cpu


@lru_cache(maxsize=1)
def first_readings() -> Readings:
    """The workloads' times when this process, or the one that it was forked from, first asked."""
    core, _ = _workloads()
    for _ in range(50):
        core()
    found = [read()[0] for _ in range(10)]
    return Readings(*(float(np.median([getattr(each, name) for each in found])) for name in ("core", "memory")))
