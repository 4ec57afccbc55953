"""hwmon: what a board's own sensors say, which may be the whole machine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .base import POWER_PERIOD_S, SYS, Channel, Counter, Meter, MeterAbsent, Power, needed, text_of, whole_of

GPUS = frozenset({"amdgpu", "radeon", "nouveau", "i915", "xe"})
"""hwmon chips that measure a GPU that no runtime here computes on."""
WHOLE = ("vdd_in", "pom_5v_in", "total", "system")
"""Beginnings of labels of what feeds all else that a chip measures."""


@dataclass(frozen=True)
class Hwmon(Meter):
    """What feeds the whole machine if a chip measures that, else the sum of all that chips measure
    (``Documentation/hwmon/sysfs-interface`` of Linux).

    Args:
        root: where sysfs is.
    """

    root: Path = SYS

    label = "hwmon"
    scope = "machine"

    def channels(self) -> list[Channel]:
        folder = self.root / "class/hwmon"
        if not folder.is_dir():
            raise MeterAbsent(f"there is no {folder}")
        whole: list[Channel] = []
        parts: list[Channel] = []
        reasons = []
        for chip in sorted(folder.iterdir()):
            name = text_of(chip / "name") or chip.name
            # A battery's power is that of charging it too.
            if name in GPUS or (chip / "device/subsystem").resolve().name == "power_supply":
                continue
            try:
                measured = _read(chip, name)
            except MeterAbsent as reason:
                reasons.append(str(reason))
                continue
            all_of_it = [m for label, m in measured.items() if label.lower().startswith(WHOLE) or name == "power_meter"]
            whole += all_of_it[:1]
            sockets = [m for label, m in measured.items() if label.startswith("Esocket")]  # of which cores are parts
            parts += sockets or list(measured.values())
        if not parts:
            raise MeterAbsent(", ".join(reasons) or f"no chip in {folder} measures energy or power")
        return whole[:1] or parts


def _read(chip: Path, name: str) -> dict[str, Channel]:
    """What a chip measures, by label: energies, else powers, else voltages times currents."""
    update = text_of(chip / "update_interval")
    period = int(update) / 1e3 if update else POWER_PERIOD_S
    found: dict[str, Channel] = {}
    for path in sorted(chip.glob("energy*_input")):
        label = text_of(chip / path.name.replace("_input", "_label")) or path.name.removesuffix("_input")
        found[label] = Counter(f"hwmon {name} {label}", whole_of(path), 1e-6)
    if found:
        return found
    for number in sorted({path.name.split("_")[0] for path in chip.glob("power*_*")}):
        paths = [path for kind in ("input", "average") if (path := chip / f"{number}_{kind}").exists()]
        if paths:
            label = text_of(chip / f"{number}_label") or number
            own = text_of(chip / f"{number}_average_interval")
            found[label] = Power(f"hwmon {name} {label}", _product(paths[:1]), int(own) / 1e3 if own else period)
    if found or not name.startswith("ina3221"):
        return found
    for i in (1, 2, 3):  # its further channels are voltages across shunts, and sums
        paths = [chip / f"in{i}_input", chip / f"curr{i}_input"]
        if all(path.exists() for path in paths):
            label = text_of(chip / f"in{i}_label") or f"in{i}"
            found[label] = Power(f"hwmon {name} {label}", _product(paths), period)
    return found


def _product(paths: Sequence[Path]) -> Callable[[], float]:
    """Microwatts, or millivolts times milliamperes, as watts."""
    return lambda: float(np.prod([float(needed(path)) for path in paths])) / 1e6
