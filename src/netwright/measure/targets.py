"""Targets: places to run, and the fingerprint of this machine."""

from __future__ import annotations

import os
import platform
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..core.candidate import digest
from .runtimes.onnxruntime import OnnxRuntime

__all__ = ["OnnxRuntime", "machine"]


@lru_cache(maxsize=1)
def machine() -> dict[str, Any]:
    """What a run time on this machine depends on, as far as it can be read; ``fingerprint`` sums it up."""
    cpu = _cpuinfo()
    found: dict[str, Any] = {
        "cpu": cpu.get("model name") or platform.processor() or platform.machine(),
        "architecture": platform.machine(),
        "cores": os.cpu_count(),
        "features": digest(sorted((cpu.get("flags") or cpu.get("Features") or "").split())),
        "governor": _read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "cpu_quota": _read("/sys/fs/cgroup/cpu.max"),
        "system": f"{platform.system()} {platform.release()}",
    }
    found = {k: v for k, v in found.items() if v not in (None, "")}
    return {**found, "fingerprint": digest(found)}


def _cpuinfo() -> dict[str, str]:
    lines = (_read("/proc/cpuinfo") or "").split("\n\n")[0].splitlines()
    pairs = (line.partition(":") for line in lines)
    return {key.strip(): value.strip() for key, _, value in pairs}


def _read(path: str) -> str | None:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return None
