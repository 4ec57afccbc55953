"""The energy of one inference above idle, by a meter of the machine.

A meter is a counter of joules (RAPL, NVML, hwmon) or a power that is added up over time (hwmon, older GPUs). The
machine draws power without us too, and other processes do what they do: idle and running windows take turns, and what
counts is how much more a running window takes than the idle one before it. Where nothing can be read, energy is
unavailable and says why; nothing is guessed from a chip's rated power.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np

from ..core.errors import MeasureError, format_error
from ..core.metric import Measurement

SYS = Path("/sys")

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
POWER_PERIOD_S = 0.1
"""How often a power is taken to change where the driver does not say."""

GPUS = frozenset({"amdgpu", "radeon", "nouveau", "i915", "xe"})
"""hwmon chips that measure a GPU that no runtime here computes on."""
WHOLE = ("vdd_in", "pom_5v_in", "total", "system")
"""Beginnings of labels of what feeds all else that a chip measures."""


class Meter(ABC):
    """Something that tells energy.

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


class Counter(Meter):
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


class Power(Meter):
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


# -- what there is -------------------------------------------------------------------------------------------------


class _Absent(MeasureError):
    """A kind of meter that cannot be read here; the reason."""


def meters(device: str = "cpu", root: Path = SYS) -> list[Meter]:
    """The meters here that can be read, no two of the same energy; what a network draws is their sum.

    RAPL measures processor packages (without the memory's own chips), NVML the boards of NVIDIA GPUs, hwmon what its
    driver says, which may be the whole machine. On a CPU it is RAPL, else hwmon; on a GPU NVML and RAPL, else hwmon.

    Args:
        device: ``cpu``, or what the runtime computes on: a CPU's meter knows nothing of a GPU, and the other way.
        root: where sysfs is.

    Raises :class:`MeasureError` with the reason for each kind where there is none.
    """
    found: dict[str, list[Meter]] = {}
    reasons = {}
    for kind, find in (("RAPL", _rapl), ("NVML", _nvml), ("hwmon", _hwmon)):
        try:
            found[kind] = find(root)
        except _Absent as reason:
            reasons[kind] = str(reason)
    if device != "cpu" and "NVML" in found:
        return found["NVML"] + found.get("RAPL", [])
    if device == "cpu" and "RAPL" in found:
        return found["RAPL"]
    if "hwmon" in found:
        return found["hwmon"]
    other = {"NVML": "it measures GPUs only", "RAPL": "it measures the CPU only"}
    reasons |= {kind: other[kind] for kind in found}
    raise MeasureError("energy is unavailable here: " + "; ".join(f"{k}: {reasons[k]}" for k in sorted(reasons)))


def unavailable(device: str = "cpu", root: Path = SYS) -> str:
    """Why energy cannot be measured here, in one sentence; empty where it can."""
    try:
        meters(device, root)
    except MeasureError as error:
        return str(error)
    return ""


def _rapl(root: Path) -> list[Meter]:
    """Processor packages, Intel's and AMD's alike (``Documentation/power/powercap`` of Linux)."""
    folder = root / "class/powercap"
    packages = [zone for zone in _zones(folder) if (_text(zone / "name") or "").startswith("package")]
    if not packages:
        raise _Absent(f"there is no package in {folder}/intel-rapl:*")
    return [
        Counter(f"rapl {_text(zone / 'name')}", _whole(zone / "energy_uj"), 1e-6, _wraps(zone)) for zone in packages
    ]


def _zones(folder: Path) -> Iterator[Path]:
    """Power zones that are no part of another; the same ones by another way (``intel-rapl-mmio``) left out."""
    return (zone for zone in sorted(folder.glob("intel-rapl:*")) if zone.name.count(":") == 1)


def _wraps(zone: Path) -> int:
    return int(_needed(zone / "max_energy_range_uj"))


def _nvml(root: Path) -> list[Meter]:
    """All NVIDIA GPUs: which of them a runtime takes, it does not say."""
    try:
        import pynvml  # type: ignore[import-not-found, unused-ignore]
    except ImportError:
        raise _Absent("pynvml is not installed (pip install nvidia-ml-py)") from None
    try:
        pynvml.nvmlInit()
        handles = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
    except pynvml.NVMLError as error:
        raise _Absent(format_error(error)) from None
    if not handles:
        raise _Absent("there is no GPU")
    return [_gpu(pynvml, i, handle) for i, handle in enumerate(handles)]


def _gpu(pynvml: Any, number: int, handle: Any) -> Meter:
    name = f"nvml gpu {number}"
    try:
        return Counter(name, lambda: int(pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)), 1e-3)
    except pynvml.NVMLError:  # before Volta
        pass
    try:
        return Power(name, lambda: pynvml.nvmlDeviceGetPowerUsage(handle) / 1e3)
    except pynvml.NVMLError as error:
        raise _Absent(f"GPU {number} tells no energy and no power: {format_error(error)}") from None


def _hwmon(root: Path) -> list[Meter]:
    """What feeds the whole machine if a chip measures that, else the sum of all that chips measure
    (``Documentation/hwmon/sysfs-interface`` of Linux)."""
    folder = root / "class/hwmon"
    if not folder.is_dir():
        raise _Absent(f"there is no {folder}")
    whole: list[Meter] = []
    parts: list[Meter] = []
    reasons = []
    for chip in sorted(folder.iterdir()):
        name = _text(chip / "name") or chip.name
        # A battery's power is that of charging it too.
        if name in GPUS or (chip / "device/subsystem").resolve().name == "power_supply":
            continue
        try:
            measured = _channels(chip, name)
        except _Absent as reason:
            reasons.append(str(reason))
            continue
        all_of_it = [m for label, m in measured.items() if label.lower().startswith(WHOLE) or name == "power_meter"]
        whole += all_of_it[:1]
        sockets = [m for label, m in measured.items() if label.startswith("Esocket")]  # of which cores are parts
        parts += sockets or list(measured.values())
    if not parts:
        raise _Absent(", ".join(reasons) or f"no chip in {folder} measures energy or power")
    return whole[:1] or parts


def _channels(chip: Path, name: str) -> dict[str, Meter]:
    """What a chip measures, by label: energies, else powers, else voltages times currents."""
    update = _text(chip / "update_interval")
    period = int(update) / 1e3 if update else POWER_PERIOD_S
    found: dict[str, Meter] = {}
    for path in sorted(chip.glob("energy*_input")):
        label = _text(chip / path.name.replace("_input", "_label")) or path.name.removesuffix("_input")
        found[label] = Counter(f"hwmon {name} {label}", _whole(path), 1e-6)
    if found:
        return found
    for number in sorted({path.name.split("_")[0] for path in chip.glob("power*_*")}):
        paths = [path for kind in ("input", "average") if (path := chip / f"{number}_{kind}").exists()]
        if paths:
            label = _text(chip / f"{number}_label") or number
            own = _text(chip / f"{number}_average_interval")
            found[label] = Power(f"hwmon {name} {label}", _product(paths[:1]), int(own) / 1e3 if own else period)
    if found or not name.startswith("ina3221"):
        return found
    for i in (1, 2, 3):  # its further channels are voltages across shunts, and sums
        paths = [chip / f"in{i}_input", chip / f"curr{i}_input"]
        if all(path.exists() for path in paths):
            label = _text(chip / f"in{i}_label") or f"in{i}"
            found[label] = Power(f"hwmon {name} {label}", _product(paths), period)
    return found


def _whole(path: Path) -> Callable[[], int]:
    return lambda: int(_needed(path))


def _product(paths: Sequence[Path]) -> Callable[[], float]:
    """Microwatts, or millivolts times milliamperes, as watts."""
    return lambda: float(np.prod([float(_needed(path)) for path in paths])) / 1e6


def _needed(path: Path) -> str:
    """The content of a file. Raises :class:`_Absent` where it cannot be read."""
    try:
        return path.read_text()
    except PermissionError:
        raise _Absent(f"{path} is there, but may not be read: run as root, or let all read it (chmod a+r)") from None
    except OSError as error:
        raise _Absent(f"{path} cannot be read: {error.strerror}") from None


def _text(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None


# -- measuring -----------------------------------------------------------------------------------------------------


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

    def __init__(self, found: Sequence[Meter], period: float) -> None:
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
