"""What the reference workloads usually take on this machine, kept from one measuring process to the next."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import time
from pathlib import Path

import numpy as np

from ..core.candidate import digest
from .convert import folder
from .machine import machine
from .protocol import Readings

KEPT = 300
"""Readings, the last ones: what is usual follows a machine that settles elsewhere."""
APART_S = 5.0
"""The least seconds between two that are kept: the state of a memory stays for some."""


class Usual:
    """Readings of this machine.

    Args:
        path: of the file that keeps them; None: in netwright's folder, by machine and version of NumPy, which computes
            the workloads.
    """

    def __init__(self, path: Path | None = None) -> None:
        name = digest([machine()["fingerprint"], np.__version__])
        self._path = path or folder() / "machine" / f"{name}.json"

    def get(self) -> Readings | None:
        """The medians; None where nothing is kept."""
        kept = self._kept()
        if not kept:
            return None
        _, core, memory = np.median(kept, axis=0)
        return Readings(float(core), float(memory))

    def note(self, readings: Readings) -> None:
        """Keep readings, unless the last ones are recent. What cannot be written is not kept."""
        kept, now = self._kept(), time.time()
        if kept and 0 <= now - kept[-1][0] < APART_S:
            return
        kept = [*kept, [now, readings.core, readings.memory]][-KEPT:]
        with contextlib.suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile("w", dir=self._path.parent, delete=False) as scratch:
                json.dump(kept, scratch)
            os.replace(scratch.name, self._path)

    def _kept(self) -> list[list[float]]:
        """Seconds since 1970 and the times of both workloads in ms, the oldest first; none of a broken file."""
        try:
            found = json.loads(self._path.read_text())
            return [[float(value) for value in row] for row in found if len(row) == 3]
        except (OSError, ValueError, TypeError):
            return []
