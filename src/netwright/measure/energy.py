"""The energy of one inference above idle, by a meter of the machine.

A meter is a counter of joules (RAPL, NVML, hwmon) or a power that is added up over time (hwmon, older GPUs). The
machine draws power without us too, and other processes do what they do: idle and running windows take turns, and what
counts is how much more a running window takes than the idle one before it. Where nothing can be read, energy is
unavailable and says why; nothing is guessed from a chip's rated power.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import sqrt
from pathlib import Path

import numpy as np

from ..core.errors import MeasureError, format_error
from ..core.metric import Measurement
from .meters import METERS
from .meters.base import SYS, Channel, Meter

CHOSEN = "NETWRIGHT_METER"
"""The environment variable that names the meter, such as ``hwmon`` or ``mine:Meter,port=3``."""

PAIRS = 6
STUDENT_T = 2.571
"""The 97.5 % point of Student's t with one degree of freedom less than there are pairs."""
WINDOW_S = 0.5
UPDATES = 20
"""The fewest times that a counter moves in a window: it is then known to a twentieth at worst."""
LONGEST_S = 60.0
"""All windows together; a meter that moves too seldom for that is of no use."""
STEP_S = 0.005
"""How often a meter is looked at. Between two looks nothing but inferences runs."""


def meters(device: str = "cpu", root: Path = SYS) -> list[Channel]:
    """The readings here, no two of the same energy; what a network draws is their sum.

    They are those of the meter that ``NETWRIGHT_METER`` names; else of the first that measures the device: one that an
    installed package brings; on a CPU RAPL, else hwmon; on a GPU NVML, with RAPL for the host's part, else hwmon.

    Args:
        device: ``cpu``, or what the runtime computes on: a CPU's meter knows nothing of a GPU, and the other way.
        root: where sysfs is.

    Raises :class:`MeasureError` with the reason for each meter where there is none.
    """
    if chosen := os.environ.get(CHOSEN):
        try:
            return METERS.make(chosen).channels()
        except MeasureError as error:
            raise MeasureError(f"energy is unavailable here: {CHOSEN} is {chosen}: {format_error(error)}") from None
    found: list[tuple[Meter, list[Channel]]] = []
    reasons = {}
    for name in sorted(METERS.names(), key=lambda name: name in METERS.ours):
        given = {"root": root} if "root" in METERS.settings(name) and name in METERS.ours else {}
        meter = METERS.cls(name)(**given)
        try:
            found.append((meter, meter.channels()))
        except MeasureError as reason:
            reasons[meter.label] = str(reason)
    own = "cpu" if device == "cpu" else "gpu"
    fitting = next(((meter, channels) for meter, channels in found if meter.scope in (own, "machine")), None)
    if fitting is None:
        other = {"gpu": "it measures GPUs only", "cpu": "it measures the CPU only"}
        reasons |= {meter.label: other[meter.scope] for meter, _ in found}
        raise MeasureError("energy is unavailable here: " + "; ".join(f"{k}: {reasons[k]}" for k in sorted(reasons)))
    meter, channels = fitting
    host = next((own for each, own in found if each.scope == "cpu"), []) if meter.scope == "gpu" else []
    return [*channels, *host]


def unavailable(device: str = "cpu", root: Path = SYS) -> str:
    """Why energy cannot be measured here, in one sentence; empty where it can."""
    try:
        meters(device, root)
    except MeasureError as error:
        return str(error)
    return ""


def energy(run: Callable[[], object], device: str = "cpu", window_s: float = WINDOW_S, root: Path = SYS) -> Measurement:
    """The energy of one inference above idle, in mJ: the mean over pairs of windows, with its 95 % interval.

    The interval may include 0: then the network draws too little for the meter and the machine's own changes.

    Args:
        run: one inference, waited for.
        device: what it computes on; see :func:`meters`.
        window_s: the least time of a window; longer where the meter's counter moves seldom.
        root: where sysfs is.

    Raises :class:`MeasureError` with the reasons where there is no meter, or none that moves often enough.
    """
    found = meters(device, root)
    names = " + ".join(meter.name for meter in found)
    period = max(meter.period_s() for meter in found)
    window_s = max(window_s, UPDATES * period)
    if 2 * PAIRS * window_s > LONGEST_S:
        raise MeasureError(f"energy is unavailable here: {names} changes only every {period:.2g} s")
    sampler = _Sampler(found, period)
    pairs = [(sampler.window(window_s, None), sampler.window(window_s, run)) for _ in range(PAIRS)]
    return above_idle(names, [idle for idle, _ in pairs], [running for _, running in pairs])


@dataclass(frozen=True)
class Window:
    """What a meter told in a stretch of time.

    Args:
        joules, seconds: between its first and its last change.
        calls: inferences in that time.
    """

    joules: float
    seconds: float
    calls: int

    @property
    def watts(self) -> float:
        return self.joules / self.seconds


def above_idle(meter: str, idle: Sequence[Window], running: Sequence[Window]) -> Measurement:
    """Energy of one inference in mJ, from idle and running windows that took turns."""
    each = [1e3 * (r.joules - i.watts * r.seconds) / r.calls for i, r in zip(idle, running, strict=True)]
    return Measurement(
        float(np.mean(each)),
        "mJ",
        ci95=STUDENT_T * float(np.std(each, ddof=1)) / sqrt(len(each)),
        n=len(each),
        details={
            "meter": meter,
            "idle_w": float(np.mean([i.watts for i in idle])),
            "running_w": float(np.mean([r.watts for r in running])),
            "pairs": len(each),
        },
    )


class _Sampler:
    """Looks at meters while something runs, or nothing does."""

    def __init__(self, found: Sequence[Channel], period: float) -> None:
        self._meters, self._step, self._settle = found, max(STEP_S, period / 10), max(0.05, 2 * period)

    def window(self, seconds: float, run: Callable[[], object] | None) -> Window:
        """From one change of the meters to another, at least so many seconds later.

        It begins when what it measures has gone on for a while: clocks have settled, and so has what a meter averages.
        """
        begin = changed = time.perf_counter()
        level, calls, first = self._joules(), 0, None
        while True:
            calls += self._pass(run)
            now, before, level = time.perf_counter(), level, self._joules()
            if level == before:
                if now - changed > max(1.0, 2 * UPDATES * self._step):
                    raise MeasureError("the energy counter stopped while it was read")
                continue
            changed = now
            if first is None:
                first = (level, now, calls) if now - begin >= self._settle else None
            elif now - first[1] >= seconds:
                return Window(level - first[0], now - first[1], calls - first[2])

    def _pass(self, run: Callable[[], object] | None) -> int:
        """Spend the time between two looks; returns the number of inferences."""
        if run is None:
            time.sleep(self._step)
            return 0
        calls, until = 0, time.perf_counter() + self._step
        while not calls or time.perf_counter() < until:
            run()
            calls += 1
        return calls

    def _joules(self) -> float:
        return sum(meter.joules() for meter in self._meters)
