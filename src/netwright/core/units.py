"""Units that limits may be written in, and the most that some numbers may be."""

from __future__ import annotations

import re

MOST_INT = 2**31 - 1
"""What C calls an int holds no more."""
MOST_THREADS = 4096
"""More than any machine has."""
DAY_S = 86_400
"""Seconds of a day: nothing is measured for longer."""

UNITS: dict[str, dict[str, float]] = {
    "ms": {"ms": 1.0, "s": 1e3, "us": 1e-3, "µs": 1e-3, "μs": 1e-3, "ns": 1e-6},
    "B": {"B": 1.0, "kB": 1e3, "KB": 1e3, "MB": 1e6, "GB": 1e9, "KiB": 2.0**10, "MiB": 2.0**20, "GiB": 2.0**30},
    "%": {"%": 1.0},
    "mJ": {"mJ": 1.0, "J": 1e3, "uJ": 1e-3, "µJ": 1e-3, "nJ": 1e-6},
    "/s": {"/s": 1.0, "k/s": 1e3, "M/s": 1e6},
    "": {"": 1.0, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9, "B": 1e9},
}
"""Units by dimension, each as a factor to the dimension's first. ``B`` is bytes for a metric in bytes and 10^9 for a
plain count. Keys are the units that metrics are stored in."""

BARE = ("", "B", "/s")
"""Metrics in these units take a limit without a unit; a bare number of milliseconds or percent is too easy to get
wrong (is 0.97 a share or a percentage?)."""


_SIZE = re.compile(r"\s*(\d+\.?\d*|\.\d+)\s*([A-Za-z]+)\s*")


def parse_bytes(text: str) -> float:
    """The bytes of a text such as ``2 GB``.

    Raises ValueError for what is none.
    """
    match = _SIZE.fullmatch(text)
    if match is None or match[2] not in UNITS["B"] or not float(match[1]):
        raise ValueError(f"a size such as '2 GB', in one of {', '.join(UNITS['B'])}")
    return float(match[1]) * UNITS["B"][match[2]]


def format_value(value: float, unit: str, digits: int = 3) -> str:
    """A value with its unit as a person reads it: ``0.123 ms``, ``1.25 M``, ``97.5 %``, ``24.1 kB``."""
    if digits > 3:
        return f"{value:.{digits}g} {unit}".rstrip()
    if unit in BARE:
        for factor, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
            if abs(value) >= factor:
                return f"{value / factor:.3g} {prefix}{unit}" if value < 1e12 else f"{value:.3g} {unit}".rstrip()
        return f"{value:.4g} {unit}".rstrip()
    if unit == "%":
        return f"{value:.2f} %"
    return f"{value:.3g} {unit}"
