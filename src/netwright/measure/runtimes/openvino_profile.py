"""The times of single operators, by OpenVINO's performance counters."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from .base import Operator
from .profiling import WARM_UP, mean_times, run_repeatedly

ADDED = re.compile(r"(/WithoutBiases|/DequantizationMultiply|/fq_output_\d+|/fq_input_\d+|/fq_weights_\d+|_original)$")
"""What OpenVINO and nncf put behind the name of an operator that they make another one of."""
QUANTISES = re.compile(r"(/fq_(output|input)_\d+|_QuantizeLinear|_DequantizeLinear)$|^FakeQuantize_\d+$")
PRECISIONS = {"i8": "int8", "u8": "int8", "f32": "float32", "f16": "float16", "bf16": "bfloat16"}


def profile(compiled: Any, request: Any, seconds: float) -> list[Operator]:
    """The operators of a compiled model, each with its mean time in the faster half of the runs.

    Args:
        compiled: with performance counters.
        request: with its inputs set.
        seconds: how long it is run.
    """
    runs: list[list[float]] = []

    def run() -> None:
        request.infer(share_outputs=True)
        runs.append([each.real_time.total_seconds() * 1e3 for each in request.get_profiling_info()])

    run_repeatedly(run, seconds)
    times = np.array(runs)
    about = {node.get_friendly_name(): node for node in compiled.get_runtime_model().get_ops()}
    # The counters tell of one that took no microsecond that it did not run: what never took any is left out.
    return [
        _operator(info, float(ms), about.get(info.node_name))
        for info, ms, most in zip(request.get_profiling_info(), mean_times(times), times[WARM_UP:].max(0), strict=True)
        if most > 0
    ]


def _operator(info: Any, ms: float, node: Any) -> Operator:
    told: Mapping[str, str] = {} if node is None else {k: str(v.astype(str)) for k, v in node.get_rt_info().items()}
    names = [name for name in (*told.get("originalLayersNames", "").split(","), info.node_name) if name]
    reads = [] if node is None else [i.get_source_output().get_node().get_friendly_name() for i in node.inputs()]
    quantises = info.node_type == "Subgraph" and all(QUANTISES.search(name) for name in names)
    kind = "FakeQuantize" if quantises else info.node_type
    precision = info.exec_type.rpartition("_")[2].lower()
    return Operator(
        info.node_name, kind, PRECISIONS.get(precision, precision), ms, reads, [info.node_name], _origins(names)
    )


def _origins(names: list[str]) -> list[str]:
    """The names of what an operator was made of, and what they were themselves made of."""
    found = list(names)
    for name in found:
        if (shorter := ADDED.sub("", name)) not in found:
            found.append(shorter)
    return found
