"""RAPL: processor packages, without the memory's own chips."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .base import SYS, Channel, Counter, Meter, MeterAbsent, needed, text_of, whole_of


@dataclass(frozen=True)
class Rapl(Meter):
    """Processor packages, Intel's and AMD's alike (``Documentation/power/powercap`` of Linux).

    Args:
        root: where sysfs is.
    """

    root: Path = SYS

    label = "RAPL"
    scope = "cpu"

    def channels(self) -> list[Channel]:
        folder = self.root / "class/powercap"
        packages = [zone for zone in _zones(folder) if (text_of(zone / "name") or "").startswith("package")]
        if not packages:
            raise MeterAbsent(f"there is no package in {folder}/intel-rapl:*")
        found = ((f"rapl {text_of(zone / 'name')}", zone) for zone in packages)
        return [Counter(name, whole_of(zone / "energy_uj"), 1e-6, _wraps(zone)) for name, zone in found]


def _zones(folder: Path) -> Iterator[Path]:
    """Power zones that are no part of another; the same ones by another way (``intel-rapl-mmio``) left out."""
    return (zone for zone in sorted(folder.glob("intel-rapl:*")) if zone.name.count(":") == 1)


def _wraps(zone: Path) -> int:
    return int(needed(zone / "max_energy_range_uj"))
