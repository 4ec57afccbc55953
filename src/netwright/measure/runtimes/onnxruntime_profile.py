"""The times of single operators, by ONNX Runtime's profiler."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ...core.errors import MeasureError
from ...core.temporary import TemporaryFolder
from .base import Operator
from .profiling import mean_times, run_repeatedly

KERNEL = "_kernel_time"
"""End of the name of an event that is an operator's."""
ADDED = re.compile(r"(_nchwc|_token_\d+|_quant|_QuantizeLinear|_DequantizeLinear|_fp32|_transformed|_\d+_fused)$")
"""What ONNX Runtime and its quantiser put behind the name of an operator or a result that they make another one of."""
EIGHT_BITS = ("int8", "uint8")
MOST_RUNS = 300
"""A run writes some hundred bytes for each operator."""


class Profiled(Protocol):
    """A session that writes a profile."""

    def run(self) -> object:
        """One inference."""

    def end_profiling(self) -> Path:
        """The path of the profile."""


def profile(opened: Callable[[Callable[[Any], None]], Any], seconds: float) -> list[Operator]:
    """The operators of a session, each with its mean time in the faster half of the runs.

    Args:
        opened: opens the session, given what changes its options.
        seconds: how long it is run.
    """
    with TemporaryFolder() as folder:
        optimised = folder / "optimised.onnx"

        def prepare(options: Any, keep: bool = True) -> None:
            options.enable_profiling = True
            options.profile_file_prefix = str(folder / "profile")
            if keep:
                options.optimized_model_filepath = str(optimised)

        try:
            session: Profiled = opened(prepare)
        except MeasureError:  # some optimised networks cannot be written; then names alone tell what belongs together
            session = opened(lambda options: prepare(options, keep=False))
        run_repeatedly(session.run, seconds, MOST_RUNS)
        events = json.loads(session.end_profiling().read_bytes())
        return _operators(events, _edges(optimised))


def _operators(events: Sequence[Mapping[str, Any]], edges: Mapping[str, tuple[list[str], list[str]]]) -> list[Operator]:
    runs = sum(event["name"] == "model_run" for event in events)
    times: dict[str, list[float]] = defaultdict(list)
    about: dict[str, Mapping[str, Any]] = {}
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith(KERNEL):
            name = event["name"].removesuffix(KERNEL)
            times[name].append(event["dur"] / 1e3)
            about.setdefault(name, event["args"])
    # One that is in a loop, or shares its name, is there several times in a run.
    table = [np.reshape(each[: len(each) // runs * runs], (runs, -1)).sum(1) for each in times.values()]
    return [
        Operator(
            name,
            about[name]["op_name"],
            _precision(about[name]),
            float(ms),
            *edges.get(name, ([], [])),
            origins=_origins(name),
        )
        for name, ms in zip(times, mean_times(np.stack(table, axis=1)), strict=True)
    ]


def _precision(about: Mapping[str, Any]) -> str:
    """What an operator computes in: 8 bits where one of its inputs has them."""
    kinds = [kind for each in about.get("input_type_shape", ()) for kind in each]
    if any(kind in EIGHT_BITS for kind in kinds):
        return "int8"
    return "float32" if "float" in kinds else kinds[0] if kinds else ""


def _origins(name: str) -> list[str]:
    """The names that an operator's own may have been made of."""
    found = [name]
    while (shorter := ADDED.sub("", found[-1])) != found[-1]:
        found.append(shorter)
    return found


def _edges(path: Path) -> dict[str, tuple[list[str], list[str]]]:
    """What each operator of the optimised network reads and writes; nothing where that cannot be read: a device need
    not have the package onnx."""
    with suppress(Exception):
        import onnx

        graph = onnx.load(path, load_external_data=False).graph
        constants = {each.name for each in graph.initializer}
        return {
            node.name: ([i for i in node.input if i and i not in constants], [o for o in node.output if o])
            for node in graph.node
        }
    return {}
