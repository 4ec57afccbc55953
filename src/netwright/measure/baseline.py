"""Baseline: how fast this machine usually is, kept from one measuring process to the next."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from math import isfinite, sqrt
from pathlib import Path

import numpy as np

from ..core.candidate import digest
from ..core.cores import max_khz
from ..core.files import cache_folder, read_json, write_json
from .correction import Baseline
from .machine import machine
from .reference import WORKLOADS, Readings

KEPT, APART_S = 500, 10.0
"""Readings that are kept, the last ones, and the least seconds between two: what is usual follows a machine that
settles elsewhere, but not one that is disturbed for some minutes of a search that takes hours."""

FEWEST = 6
"""Readings, a minute's at least, before anything counts as usual."""


class BaselineStore:
    """Readings of the reference workloads.

    Args:
        cores: the cores that this process runs on; those of another speed have readings of their own.
        path: the path of the file that keeps them; None: in netwright's folder.
    """

    def __init__(self, cores: Sequence[int] = (), path: Path | None = None) -> None:
        name = digest([machine()["fingerprint"], np.__version__, WORKLOADS, [max_khz(core) for core in cores[:1]]])
        try:
            self._path: Path | None = path or cache_folder() / "machine" / f"{name}.json"
        except RuntimeError:  # nobody has a home here
            self._path = None

    def get(self) -> Baseline | None:
        """The medians of the readings; None where there are too few."""
        kept = self._kept()
        if len(kept) < FEWEST:
            return None
        _, cores, memories = np.log(kept).T
        # Readings that follow one another are alike, but less so than those of one measurement.
        error = 1.96 * 1.2533 * float(np.std(memories)) / sqrt(len(memories))
        return Baseline(float(np.exp(np.median(cores))), float(np.exp(np.median(memories))), error)

    def note(self, readings: Readings) -> None:
        """Keep readings, unless the last ones are recent. What cannot be written is not kept."""
        kept, now = self._kept(), time.time()
        if self._path is None or (kept and 0 <= now - kept[-1][0] < APART_S):
            return
        with suppress(OSError):
            write_json(self._path, [*kept, (now, readings.core, readings.memory)][-KEPT:])

    def _kept(self) -> list[tuple[float, float, float]]:
        """Seconds since 1970 and the times of both workloads in ms, the oldest first; none of a broken file."""
        try:
            rows = read_json(self._path) if self._path is not None else []
            found = [(float(then), float(core), float(memory)) for then, core, memory in rows]
        except (OSError, ValueError, TypeError, OverflowError):
            return []
        return [row for row in found if all(isfinite(value) and value > 0 for value in row)]
