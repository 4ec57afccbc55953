"""What an energy meter is, and what it reads: counters of joules, and powers that are added up over time."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar, Literal

from ...core.errors import MeasureError

SYS = Path("/sys")

POWER_PERIOD_S = 0.1
"""How often a power is taken to change where the driver does not say."""


class MeterAbsent(MeasureError):
    """A meter that cannot be read here; the reason."""


class Meter(ABC):
    """A kind of energy meter."""

    label: ClassVar[str]
    """What people call it; by default the name of the class."""
    scope: ClassVar[Literal["cpu", "gpu", "machine"]]
    """What it measures: the processors, the graphics cards, or all of the machine that the network runs on."""

    def __init_subclass__(cls) -> None:
        cls.label = vars(cls).get("label", cls.__name__)

    @abstractmethod
    def channels(self) -> list[Channel]:
        """Its readings, no two of the same energy; what a network draws is their sum.

        Raises :class:`MeterAbsent` with the reason where there is nothing that can be read.
        """


class Channel(ABC):
    """One reading of a meter, such as a processor package.

    Args:
        name: what it measures, as it stands in the record.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    @abstractmethod
    def joules(self) -> float:
        """Energy since it was first asked, in J. A power is taken to be a straight line between two calls."""

    @abstractmethod
    def period_s(self) -> float:
        """How often its reading changes, in s."""


class Counter(Channel):
    """A counter of energy.

    Args:
        name: what it measures.
        read: its value.
        unit: of its value, in J.
        wraps: after how many units it begins anew; None where it does not.
    """

    def __init__(self, name: str, read: Callable[[], int], unit: float, wraps: int | None = None) -> None:
        super().__init__(name)
        self._read, self._unit, self._wraps = read, unit, wraps
        self._last, self._sum = read(), 0

    def joules(self) -> float:
        now = self._read()
        moved = now - self._last
        if moved < 0:
            if self._wraps is None:
                raise MeasureError(f"the energy counter of {self.name} went back, from {self._last} to {now}")
            moved %= self._wraps
        self._last, self._sum = now, self._sum + moved
        return self._sum * self._unit

    def period_s(self, most_s: float = 2.0, changes: int = 8) -> float:
        """Seconds between two changes of the counter, watched for a moment.

        Raises :class:`MeasureError` where it stands still, as it does in many virtual machines.
        """
        begin, value = time.perf_counter(), self._read()
        seen: list[float] = []
        while len(seen) <= changes and time.perf_counter() - begin < most_s:
            now = self._read()
            if now != value:
                value = now
                seen.append(time.perf_counter())
            else:
                time.sleep(0.0002)
        if len(seen) < 2:
            raise MeasureError(f"energy is unavailable here: the counter of {self.name} does not move in {most_s:g} s")
        return (seen[-1] - seen[0]) / (len(seen) - 1)


class Power(Channel):
    """A power, added up over time.

    Args:
        name: what it measures.
        read: its value in W.
        period_s: how often it changes.
    """

    def __init__(self, name: str, read: Callable[[], float], period_s: float = POWER_PERIOD_S) -> None:
        super().__init__(name)
        self._read, self._period_s = read, period_s
        self._at, self._watts, self._sum = time.perf_counter(), read(), 0.0

    def joules(self) -> float:
        watts, now = self._read(), time.perf_counter()
        self._sum += (watts + self._watts) / 2 * (now - self._at)
        self._at, self._watts = now, watts
        return self._sum

    def period_s(self) -> float:
        return self._period_s


def whole_of(path: Path) -> Callable[[], int]:
    """What reads a whole number from a file."""
    return lambda: int(needed(path))


def needed(path: Path) -> str:
    """The content of a file. Raises :class:`MeterAbsent` where it cannot be read."""
    try:
        return path.read_text()
    except PermissionError:
        raise MeterAbsent(
            f"{path} is there, but may not be read: run as root, or let all read it (chmod a+r)"
        ) from None
    except OSError as error:
        raise MeterAbsent(f"{path} cannot be read: {error.strerror}") from None


def text_of(path: Path) -> str | None:
    """The content of a file; None where it cannot be read."""
    try:
        return path.read_text().strip()
    except OSError:
        return None
