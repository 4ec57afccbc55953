"""This machine: its fingerprint, its cores, and the memory of this process."""

from __future__ import annotations

import contextlib
import os
import platform
import time
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..core.candidate import digest
from ..core.cores import CPUS, max_khz, twins


@lru_cache(maxsize=1)
def machine() -> dict[str, Any]:
    """What a run time on this machine depends on, as far as it can be read; ``fingerprint`` sums it up.

    Keys: ``cpu``, ``architecture``, ``cores``, ``features`` (a digest of the CPU's), ``governor``, ``max_mhz``,
    ``boost``, ``cpu_quota`` and ``memory_limit`` (of the control group), ``container``, ``memory`` (bytes),
    ``system``. What cannot be read is left out.
    """
    cpu = _cpuinfo()
    highest = _read(CPUS / "cpu0/cpufreq/cpuinfo_max_freq")
    found: dict[str, Any] = {
        "cpu": cpu.get("model name") or platform.processor() or platform.machine(),
        "architecture": platform.machine(),
        "cores": os.cpu_count(),
        "features": digest(sorted((cpu.get("flags") or cpu.get("Features") or "").split())),
        "governor": _read(CPUS / "cpu0/cpufreq/scaling_governor"),
        "max_mhz": int(highest) // 1000 if highest else None,
        "boost": _read(CPUS / "cpufreq/boost"),
        "cpu_quota": _read("/sys/fs/cgroup/cpu.max"),
        "memory_limit": _read("/sys/fs/cgroup/memory.max"),
        "container": _container(),
        "memory": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "system": f"{platform.system()} {platform.release()}",
    }
    found = {k: v for k, v in found.items() if v not in (None, "")}
    return {**found, "fingerprint": digest(found)}


def clock_mhz() -> int | None:
    """The first core's clock at this moment, where it can be read."""
    now = _read(CPUS / "cpu0/cpufreq/scaling_cur_freq")
    return int(now) // 1000 if now else None


def pin(threads: int) -> list[int]:
    """Keep this process on its ``threads`` least busy cores, the fastest first where they differ; returns them.

    Fewer where it has fewer; none are chosen on systems that do not let a process choose.
    """
    if not hasattr(os, "sched_setaffinity"):
        return []
    allowed = os.sched_getaffinity(0)
    if threads >= len(allowed):
        return sorted(allowed)
    busy = _busy(0.01)
    order = sorted(allowed, key=lambda core: (-max_khz(core), busy.get(core, 0.0), -core))
    whole: dict[str, list[int]] = {}
    for core in order:
        whole.setdefault(twins(core), []).append(core)
    # One hardware thread of each core first: two of one core share it.
    ranks = {core: rank for those in whole.values() for rank, core in enumerate(those)}
    chosen = sorted(order, key=lambda core: ranks[core])[:threads]
    os.sched_setaffinity(0, chosen)
    return sorted(chosen)


@contextlib.contextmanager
def pinned() -> Iterator[None]:
    """One core of its own, the one that :func:`pin` chooses, while the block lasts."""
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_setaffinity") else set()
    pin(1)
    try:
        yield
    finally:
        if allowed:
            os.sched_setaffinity(0, allowed)


def memory(key: str) -> int:
    """Bytes of this process by a key of ``/proc/self/status``: ``VmRSS`` now, ``VmHWM`` at most so far.

    Raises OSError where the system has no such file.
    """
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"/proc/self/status has no {key}")


def reset_peak() -> None:
    """Let ``VmHWM`` begin anew at what is resident now (``proc(5)``, ``clear_refs``)."""
    Path("/proc/self/clear_refs").write_text("5")


def machine_kind() -> str:
    """What makes two machines unlike for a run time, whatever else they are, in words: the processor and how many
    cores it has."""
    found = machine()
    return f"{found['cpu']}, {found['architecture']}, {found['cores']} cores"


def _busy(seconds: float) -> dict[int, float]:
    """The share of the last moments that each core was busy."""

    def ticks() -> dict[int, tuple[int, int]]:
        found = {}
        for line in (_read("/proc/stat") or "").splitlines():
            name, *counts = line.split()
            if name.startswith("cpu") and name != "cpu":
                numbers = [int(c) for c in counts]
                found[int(name[3:])] = (sum(numbers[:8]) - numbers[3] - numbers[4], sum(numbers[:8]))
        return found

    before = ticks()
    time.sleep(seconds)
    after = ticks()
    return {
        core: (busy - before[core][0]) / max(1, whole - before[core][1])
        for core, (busy, whole) in after.items()
        if core in before
    }


def _cpuinfo() -> dict[str, str]:
    lines = (_read("/proc/cpuinfo") or "").split("\n\n")[0].splitlines()
    pairs = (line.partition(":") for line in lines)
    return {key.strip(): value.strip() for key, _, value in pairs}


def _container() -> str | None:
    """What kind of container this runs in, by the marks that container engines leave."""
    marks = {"/.dockerenv": "docker", "/run/.containerenv": "podman"}
    named = os.environ.get("container")  # noqa: SIM112  # systemd writes it so
    named = named or ("kubernetes" if "KUBERNETES_SERVICE_HOST" in os.environ else None)
    return named or next((kind for path, kind in marks.items() if Path(path).exists()), None)


def _read(path: str | Path) -> str | None:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return None
