"""Turns: of several processes that evaluate networks on one machine, one at a time measures on a device, and nothing
else is computed on its cores meanwhile."""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

from ..core.candidate import digest
from ..core.cores import KEPT, split_cores
from ..measure.base import Measurer

_CLOCK = struct.Struct("dd")
"""Seconds that were waited in all, and since when is waited now; 0 for not at all."""


class Turns:
    """Of a process that evaluates by itself: there is nobody to wait for."""

    @property
    def waited(self) -> float:
        """Seconds that the process has waited for its turns."""
        return 0.0

    def of(self, measurer: Measurer) -> AbstractContextManager[None]:
        """The turn in which a measurer is asked."""
        return nullcontext()

    def beside(self) -> AbstractContextManager[None]:
        """The turn in which is computed what needs no device."""
        return nullcontext()

    def rest(self, measurer: Measurer) -> AbstractContextManager[None] | None:
        """Within a measurer's turn: a time in which the others, which compute beside it, rest. None where they do so
        anyway, or are elsewhere."""
        return None


NOBODY_ELSE = Turns()


class SharedTurns(Turns):
    """Of one of several processes.

    Who measures at a place does so alone there. On this machine the cores that measuring takes are kept for it, and
    other work goes on beside it on the others; where there are no others, all other work rests meanwhile. It can be
    asked to rest for a while where there are, too: the cores of a virtual machine may be threads of one core.

    Args:
        folder: the same for all of them: where the locks lie, which are let go with a process however that ends.
        cores: of this machine that measuring takes at most; 0 where nothing is measured on it.
    """

    def __init__(self, folder: Path, cores: int) -> None:
        self._folder = folder
        allowed = os.sched_getaffinity(0) if hasattr(os, "sched_setaffinity") else set()
        self._kept, self._left = split_cores(cores, allowed) if cores else ([], sorted(allowed))
        self._rests = cores > 0 and not self._kept
        self._clock = mmap.mmap(-1, _CLOCK.size)  # it is seen on both sides of a fork

    @property
    def waited(self) -> float:
        whole, since = _CLOCK.unpack(self._clock[:])
        return float(whole + (time.monotonic() - since if since else 0.0))

    def enter(self) -> None:
        """Have this process, which evaluates, keep to its cores."""
        if self._kept:
            os.sched_setaffinity(0, self._left)
            os.environ[KEPT] = ",".join(map(str, self._kept))

    def of(self, measurer: Measurer) -> AbstractContextManager[None]:
        place = measurer.place
        if place is None:
            return self.beside()
        return self._locked(fcntl.LOCK_EX, f"at-{digest(place.at)}" if place.at else "here")

    def beside(self) -> AbstractContextManager[None]:
        # Whoever measures holds "here" all the while, and "beside" only where the others are to rest.
        return self._locked(fcntl.LOCK_SH, "here" if self._rests else "beside")

    def rest(self, measurer: Measurer) -> AbstractContextManager[None] | None:
        elsewhere = measurer.place is None or measurer.place.at
        return None if elsewhere or self._rests else self._locked(fcntl.LOCK_EX, "beside")

    @contextmanager
    def _locked(self, kind: int, name: str) -> Iterator[None]:
        whole, since = _CLOCK.unpack(self._clock[:])[0], time.monotonic()
        self._clock[:] = _CLOCK.pack(whole, since)
        gate = lock = -1
        try:
            gate = _lock(self._folder / f"{name}-gate", fcntl.LOCK_EX)  # first come, first served
            lock = _lock(self._folder / name, kind)
            os.close(gate)
            gate = -1
            self._clock[:] = _CLOCK.pack(whole + time.monotonic() - since, 0.0)
            yield
        finally:
            for each in (gate, lock):
                if each >= 0:
                    os.close(each)


def _lock(path: Path, kind: int) -> int:
    """A lock on a file, had when this returns; it is let go when what is returned is closed."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, kind)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor
