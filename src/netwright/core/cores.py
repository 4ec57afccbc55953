"""The cores of this machine."""

from __future__ import annotations

import os
from collections.abc import Collection
from itertools import chain
from pathlib import Path

CPUS = Path("/sys/devices/system/cpu")

KEPT = "NETWRIGHT_CORES"
"""The environment variable that gives a measuring process the cores that were kept for it, such as ``2,3``."""


def max_khz(core: int) -> int:
    """A core's highest clock; 0 where it cannot be read."""
    return int(_read(f"cpu{core}/cpufreq/cpuinfo_max_freq") or 0)


def twins(core: int) -> str:
    """Names the hardware threads of one core, of which this is one: two of them share what it can do."""
    return _read(f"cpu{core}/topology/thread_siblings_list") or str(core)


def split_cores(number: int, allowed: Collection[int]) -> tuple[list[int], list[int]]:
    """So many cores to be alone on, the fastest where they differ, with all hardware threads; and the others.

    Args:
        number: of cores to be alone on.
        allowed: those that this process may use.

    Returns none to be alone on, and all, where none would be left.
    """
    whole: dict[str, list[int]] = {}
    for core in sorted(allowed, key=lambda core: (-max_khz(core), -core)):
        whole.setdefault(twins(core), []).append(core)
    those = list(whole.values())
    if number >= len(those):
        return [], sorted(allowed)
    return sorted(chain(*those[:number])), sorted(chain(*those[number:]))


def take_kept() -> None:
    """Have this process, and those that it will start, on the cores that were kept for it, if some were."""
    if kept := os.environ.get(KEPT):
        os.sched_setaffinity(0, map(int, kept.split(",")))


def _read(name: str) -> str:
    try:
        return (CPUS / name).read_text().strip()
    except OSError:
        return ""
