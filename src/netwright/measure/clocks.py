"""Reading the clocks."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Literal

Run = Callable[[], object]
Clock = Literal["cpu", "wall", "device"]


def timed(run: Run, calls: int) -> dict[Clock, float]:
    """CPU time of this process and wall time per call, in ms.

    All threads of the process are counted: a runtime may compute in threads of its own. Nothing else runs in it.
    """
    wall, cpu = time.perf_counter_ns(), time.process_time_ns()
    for _ in range(calls):
        run()
    cpu, wall = time.process_time_ns() - cpu, time.perf_counter_ns() - wall
    return {"cpu": cpu / calls / 1e6, "wall": wall / calls / 1e6}
