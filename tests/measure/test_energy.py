"""Meters in a sysfs tree of our own, on machines of known powers whose clock we keep."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from netwright.core.errors import MeasureError
from netwright.measure import energy as e
from netwright.measure.energy import Window, above_idle, energy, meters, unavailable
from netwright.measure.meters.base import Counter

WINDOW_S = 0.08


def write(path: Path, value: object) -> None:
    """At once, as the kernel does: a reader never finds half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_text(f"{value}\n")
    os.replace(part, path)


def package(root: Path, number: int = 0, wraps: int = 262_143_328_850) -> Path:
    """A RAPL package with its parts, and the same one by another way."""
    for kind in ("intel-rapl", "intel-rapl-mmio"):
        zone = root / f"class/powercap/{kind}:{number}"
        write(zone / "name", f"package-{number}")
        write(zone / "energy_uj", 0)
        write(zone / "max_energy_range_uj", wraps)
        write(root / f"class/powercap/{kind}:{number}:0/name", "core")
        write(root / f"class/powercap/{kind}:{number}:0/energy_uj", 0)
    return root / f"class/powercap/intel-rapl:{number}"


def chip(root: Path, number: int, name: str, **files: object) -> Path:
    folder = root / f"class/hwmon/hwmon{number}"
    write(folder / "name", name)
    for file, value in files.items():
        write(folder / file, value)
    return folder


class Clock:
    """Time that passes when it is told to, and tells who asks."""

    def __init__(self) -> None:
        self.now = 100.0
        self.told: Callable[[], None] = lambda: None

    def perf_counter(self) -> float:
        self.pass_by(2e-7)
        return self.now

    def sleep(self, seconds: float) -> None:
        self.pass_by(seconds)

    def pass_by(self, seconds: float) -> None:
        self.now += seconds
        self.told()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """In the place of the machine's."""
    clock = Clock()
    monkeypatch.setattr(e, "time", clock)
    monkeypatch.setattr("netwright.measure.meters.base.time", clock)
    return clock


class Machine:
    """Draws ``idle`` watts, and ``each`` joules an inference, which takes 2 ms; its meters follow every millisecond."""

    def __init__(self, clock: Clock, idle: float, each: float, tell: Callable[[float, float], None]) -> None:
        self._clock, self._idle, self._each, self._tell = clock, idle, each, tell
        self._calls = 0
        self._began = self._told = clock.now
        self._busy_until = 0.0
        clock.told = self._look

    def run(self) -> None:
        self._busy_until = self._clock.now + 0.004
        self._clock.pass_by(0.002)
        self._calls += 1

    def _look(self) -> None:
        now = self._clock.now
        if now - self._told >= 0.001:
            self._told = now
            running = self._each / 0.002 if now < self._busy_until else 0.0
            self._tell(self._idle * (now - self._began) + self._each * self._calls, self._idle + running)


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)


# -- through files -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wraps", [262_143_328_850, 400_000])  # the second wraps about every 50 ms
def test_known_watts_are_found_by_rapl(tmp_path: Path, clock: Clock, wraps: int) -> None:
    zone = package(tmp_path, wraps=wraps)
    machine = Machine(clock, 3.0, 0.012, lambda joules, _: write(zone / "energy_uj", int(joules * 1e6) % wraps))
    found = energy(machine.run, window_s=WINDOW_S, root=tmp_path)
    assert found.unit == "mJ" and found.n == found.details["pairs"] == e.PAIRS
    assert 0 < found.ci95 < 0.4 * found.value
    assert found.value == pytest.approx(12.0, abs=2 * found.ci95 + 0.2)
    assert found.details["meter"] == "rapl package-0"
    assert found.details["idle_w"] == pytest.approx(3.0, rel=0.05)
    assert found.details["running_w"] > found.details["idle_w"] + 1


def test_packages_are_summed(tmp_path: Path, clock: Clock) -> None:
    zones = [package(tmp_path, number) for number in (0, 1)]

    def tell(joules: float, _: float) -> None:
        for zone in zones:
            write(zone / "energy_uj", int(joules * 5e5))

    found = energy(Machine(clock, 4.0, 0.012, tell).run, window_s=WINDOW_S, root=tmp_path)
    assert found.details["meter"] == "rapl package-0 + rapl package-1"
    assert found.value == pytest.approx(12.0, abs=2 * found.ci95 + 0.2)
    assert found.details["idle_w"] == pytest.approx(4.0, rel=0.05)


@pytest.mark.usefixtures("no_gpu")
def test_a_power_is_added_up_over_time(tmp_path: Path, clock: Clock) -> None:
    board = chip(tmp_path, 0, "ina226", power1_input=5e6, power1_label="VDD_IN", update_interval=1)
    machine = Machine(clock, 5.0, 0.004, lambda _, watts: write(board / "power1_input", int(watts * 1e6)))
    found = energy(machine.run, window_s=WINDOW_S, root=tmp_path)
    assert found.details["meter"] == "hwmon ina226 VDD_IN"
    assert (found.details["idle_w"], found.details["running_w"]) == (
        pytest.approx(5, rel=0.02),
        pytest.approx(7, rel=0.05),
    )
    assert found.value == pytest.approx(2 * 2.0, rel=0.05)  # two watts for two milliseconds


@pytest.mark.usefixtures("no_gpu")
@pytest.mark.parametrize(
    ("chips", "names", "watts"),
    [
        # An energy counter before a power; the cores of a socket are parts of it.
        ([("amd_energy", {"energy1_label": "Ecore000", "energy17_label": "Esocket0", "energy1_input": 1,
                          "energy17_input": 5, "power1_input": 7})], ["hwmon amd_energy Esocket0"], None),
        # A server's meter tells the whole machine, other chips parts of it.
        ([("ina226", {"power1_input": 3e6}), ("power_meter", {"power1_average": 150e6})],
         ["hwmon power_meter power1"], 150),
        # Jetson: the module's input feeds the other rails; voltages across shunts and sums are none.
        ([("ina3221", {"in1_label": "VDD_IN", "in1_input": 5000, "curr1_input": 1200, "in2_label": "VDD_SOC",
                       "in2_input": 5000, "curr2_input": 300, "in4_input": 9, "curr4_input": 9})],
         ["hwmon ina3221 VDD_IN"], 6),
        # Rails none of which feeds the others are summed.
        ([("ina3221", {"in1_label": "GPU", "in1_input": 5000, "curr1_input": 400, "in3_label": "CPU",
                       "in3_input": 5000, "curr3_input": 200, "in5_input": 1})],
         ["hwmon ina3221 GPU", "hwmon ina3221 CPU"], 3),
        ([("amdgpu", {"power1_average": 1e6}), ("coretemp", {"temp1_input": 40000}), ("fam15h_power",
          {"power1_input": 30e6})], ["hwmon fam15h_power power1"], 30),
    ],
)  # fmt: skip
def test_no_energy_is_counted_twice(
    tmp_path: Path, clock: Clock, chips: Any, names: list[str], watts: float | None
) -> None:
    for number, (name, files) in enumerate(chips):
        chip(tmp_path, number, name, **files)
    found = meters(root=tmp_path)
    assert [m.name for m in found] == names
    if watts is not None:
        before = sum(m.joules() for m in found)
        clock.pass_by(0.02)
        assert sum(m.joules() for m in found) - before == pytest.approx(watts * 0.02, rel=1e-3)


def test_rapl_is_taken_before_hwmon_on_a_cpu(tmp_path: Path) -> None:
    chip(tmp_path, 0, "power_meter", power1_average=1e6)
    package(tmp_path)
    assert [m.name for m in meters(root=tmp_path)] == ["rapl package-0"]


def test_a_battery_is_no_meter(tmp_path: Path) -> None:
    battery = chip(tmp_path, 0, "BAT0", power1_input=9e6)
    (tmp_path / "class/power_supply").mkdir()
    (battery / "device").mkdir()
    (battery / "device/subsystem").symlink_to(tmp_path / "class/power_supply")
    assert "no chip" in unavailable(root=tmp_path)


# -- GPUs ----------------------------------------------------------------------------------------------------------


class Broken(Exception):
    """What pynvml raises."""


def nvml(**functions: Any) -> SimpleNamespace:
    def unsupported(handle: int) -> int:
        raise Broken("Not Supported")

    plain = {
        "NVMLError": Broken,
        "nvmlInit": lambda: None,
        "nvmlDeviceGetCount": lambda: 2,
        "nvmlDeviceGetHandleByIndex": lambda i: i,
        "nvmlDeviceGetTotalEnergyConsumption": unsupported,
        "nvmlDeviceGetPowerUsage": unsupported,
    }
    return SimpleNamespace(**{**plain, **functions})


def test_gpus_tell_energy_or_power(tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    def counter(handle: int) -> int:
        if handle:
            raise Broken("Not Supported")
        return int(clock.now * 70e3)

    monkeypatch.setitem(
        sys.modules,
        "pynvml",
        nvml(nvmlDeviceGetTotalEnergyConsumption=counter, nvmlDeviceGetPowerUsage=lambda handle: 30_000),
    )
    found = meters("cuda", tmp_path)
    assert [(m.name, type(m).__name__) for m in found] == [("nvml gpu 0", "Counter"), ("nvml gpu 1", "Power")]
    before = [m.joules() for m in found]
    clock.pass_by(0.05)
    assert (np.array([m.joules() for m in found]) - before) / 0.05 == pytest.approx([70, 30], rel=1e-3)
    package(tmp_path)
    assert [m.name for m in meters("cuda", tmp_path)][-1] == "rapl package-0", "the host's part too"
    assert [m.name for m in meters("cpu", tmp_path)] == ["rapl package-0"]


def test_a_gpus_meter_is_none_for_a_cpu_and_the_other_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", nvml(nvmlDeviceGetPowerUsage=lambda handle: 1))
    assert "NVML: it measures GPUs only" in unavailable("cpu", tmp_path)
    monkeypatch.setitem(sys.modules, "pynvml", nvml())
    package(tmp_path)
    said = unavailable("cuda", tmp_path)
    assert "RAPL: it measures the CPU only" in said and "GPU 0 tells no energy and no power" in said


# -- where there is none -------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("no_gpu")
def test_each_kind_says_why_it_is_absent(tmp_path: Path) -> None:
    said = unavailable(root=tmp_path)
    assert said.startswith("energy is unavailable here: ")
    assert f"no package in {tmp_path}/class/powercap" in said
    assert f"no {tmp_path}/class/hwmon" in said
    assert "pynvml is not installed" in said
    with pytest.raises(MeasureError, match="energy is unavailable here"):
        energy(lambda: None, root=tmp_path)


@pytest.mark.usefixtures("no_gpu")
def test_a_counter_that_may_not_be_read_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As root, every file may be read: the refusal is played."""
    zone, plain = package(tmp_path), Path.read_text

    def refused(self: Path, *args: Any, **named: Any) -> str:
        if self.name == "energy_uj":
            raise PermissionError(13, "Permission denied")
        return plain(self, *args, **named)

    monkeypatch.setattr(Path, "read_text", refused)
    said = unavailable(root=tmp_path)
    assert str(zone / "energy_uj") in said and "root" in said and "chmod a+r" in said
    chip(tmp_path, 0, "power_meter", power1_average=80e6)
    assert unavailable(root=tmp_path) == "", "another kind will do"


@pytest.mark.usefixtures("no_gpu")
def test_a_chip_that_cannot_be_read_leaves_the_others(tmp_path: Path) -> None:
    broken = chip(tmp_path, 0, "power_meter")
    (broken / "power1_average").mkdir()
    assert str(broken / "power1_average") in unavailable(root=tmp_path)
    chip(tmp_path, 1, "ina226", power1_input=1e6)
    assert [m.name for m in meters(root=tmp_path)] == ["hwmon ina226 power1"]


def test_a_counter_that_stands_still_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package(tmp_path)
    monkeypatch.setattr("netwright.measure.meters.base.time", Clock())
    with pytest.raises(MeasureError, match="rapl package-0 does not move"):
        energy(lambda: None, root=tmp_path)


@pytest.mark.skipif(Path("/sys/class/powercap").exists() or Path("/sys/class/hwmon").exists(), reason="has meters")
def test_here_it_is_unavailable_and_says_why() -> None:
    with pytest.raises(MeasureError) as caught:
        energy(lambda: None)
    assert str(caught.value) == unavailable()
    for reason in ("/sys/class/powercap", "/sys/class/hwmon", "NVML"):
        assert reason in unavailable()


# -- with a clock of our own ---------------------------------------------------------------------------------------


class Simulated:
    """A machine of known powers whose counter moves once a period, beside neighbours whose draw wanders.

    Args:
        each: mJ of an inference, which takes 1 ms.
        wander: standard deviation of the neighbours' power in W, which changes every 0.2 s.
    """

    def __init__(self, clock: Clock, each: float, wander: float, period: float, seed: int) -> None:
        self._clock, self._each, self._period = clock, each, period
        self._rng, self._wander = np.random.default_rng(seed), wander
        self._steps = [0.0]
        self._history: list[tuple[float, float]] = []  # when an inference ended, and the joules of all until then

    def run(self) -> None:
        self._clock.pass_by(1e-3)
        self._history.append((self._clock.now, self._each * 1e-3 * (len(self._history) + 1)))

    def read(self) -> int:
        at = np.floor(self._clock.perf_counter() / self._period) * self._period
        done = len(self._history)
        while done and self._history[done - 1][0] > at:
            done -= 1
        own = self._history[done - 1][1] if done else 0.0
        until = at - 100.0 + self._period
        while len(self._steps) * 0.2 < until + 0.4:
            self._steps.append(self._steps[-1] + 0.2 * (20.0 + self._wander * self._rng.normal()))
        shared = float(np.interp(until, np.arange(len(self._steps)) * 0.2, self._steps))
        return int((own + shared) * 1e6)


def simulated(monkeypatch: pytest.MonkeyPatch, each: float, wander: float, period: float, seed: int) -> Any:
    clock = Clock()
    monkeypatch.setattr(e, "time", clock)
    monkeypatch.setattr("netwright.measure.meters.base.time", clock)
    machine = Simulated(clock, each, wander, period, seed)
    monkeypatch.setattr(e, "meters", lambda device, root: [Counter("simulated", machine.read, 1e-6)])
    return energy(machine.run), clock


def test_the_interval_holds_the_truth_as_often_as_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    held = 0
    for seed in range(60):
        found, _ = simulated(monkeypatch, each=3.0, wander=1.0, period=0.001, seed=seed)
        held += abs(found.value - 3.0) <= found.ci95
        assert found.ci95 < 3.0
    assert 52 <= held <= 60  # of 60 at 95 %: fewer than 52 in one case of a hundred


def test_what_cannot_be_told_from_nothing_is_reported_with_its_spread(monkeypatch: pytest.MonkeyPatch) -> None:
    found, _ = simulated(monkeypatch, each=0.02, wander=5.0, period=0.001, seed=1)
    assert found.ci95 > abs(found.value - 0.02) and found.ci95 > abs(found.value)


@pytest.mark.parametrize("period", [0.001, 0.02, 0.1, 0.2])
def test_a_counter_that_moves_seldom_gets_longer_windows(monkeypatch: pytest.MonkeyPatch, period: float) -> None:
    found, clock = simulated(monkeypatch, each=3.0, wander=0.0, period=period, seed=0)
    assert found.value == pytest.approx(3.0, rel=0.02), "the ends of a window are changes of the counter"
    assert found.details["idle_w"] == pytest.approx(20, rel=0.01) and found.details["running_w"] == pytest.approx(
        23, rel=0.01
    )
    assert clock.now - 100 >= 2 * e.PAIRS * max(e.WINDOW_S, e.UPDATES * period)


def test_a_counter_that_moves_too_seldom_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MeasureError, match=r"simulated changes only every 0\.5 s"):
        simulated(monkeypatch, each=3.0, wander=0.0, period=0.5, seed=0)


def test_long_inferences_make_long_windows(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = [0]

    def run() -> None:
        clock.pass_by(3.0)
        drawn[0] += 6_000_000

    monkeypatch.setattr(
        e, "meters", lambda device, root: [Counter("c", lambda: drawn[0] + int((clock.now - 100) * 1e7), 1e-6)]
    )
    assert energy(run).value == pytest.approx(6000, rel=1e-3)


def test_above_idle_by_hand() -> None:
    idle = [Window(10.0 * s, s, 0) for s in (0.5, 0.6)]
    running = [Window(10.0 * s + n * 0.002, s, n) for s, n in ((0.5, 100), (0.4, 50))]
    found = above_idle("m", idle, running)
    assert (found.value, found.ci95) == (pytest.approx(2.0), pytest.approx(0.0, abs=1e-9))
    assert found.details == {"meter": "m", "idle_w": 10.0, "running_w": pytest.approx((10.4 + 10.25) / 2), "pairs": 2}


def test_a_counter_wraps_or_must_not_go_back() -> None:
    values: Iterator[int] = iter([90, 95, 3, 3, 50])
    counter = Counter("c", lambda: next(values), 0.5, wraps=100)
    assert [counter.joules() for _ in range(4)] == [2.5, 6.5, 6.5, 30.0]
    back: Iterator[int] = iter([90, 3])
    with pytest.raises(MeasureError, match="went back, from 90 to 3"):
        Counter("c", lambda: next(back), 1.0).joules()


# -- which one -----------------------------------------------------------------------------------------------------


def test_the_environment_names_the_meter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package(tmp_path)
    chip(tmp_path, 0, "power_meter", power1_average=80e6)
    monkeypatch.setenv("NETWRIGHT_METER", f"hwmon,root={tmp_path}")
    assert [m.name for m in meters(root=tmp_path)] == ["hwmon power_meter power1"]
    monkeypatch.setenv("NETWRIGHT_METER", "hwmn")
    assert "NETWRIGHT_METER is hwmn: there is no meter 'hwmn'; did you mean 'hwmon'?" in unavailable(root=tmp_path)
    monkeypatch.setenv("NETWRIGHT_METER", f"rapl,root={tmp_path / 'none'}")
    assert f"no package in {tmp_path}/none" in unavailable(root=tmp_path)
