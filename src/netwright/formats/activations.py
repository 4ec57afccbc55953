"""Ranges of the activations of an ONNX file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ..core.ranges.base import BINS, Ranges


def ranges_of(model: Any, samples: Sequence[Mapping[str, np.ndarray]], way: Ranges) -> dict[str, list[dict[str, Any]]]:
    """The range of each activation, as ONNX Runtime's quantiser takes them.

    Its own search for the least and the greatest value adds two reductions to the graph for each tensor, which take
    five times as long.

    Args:
        model: the ONNX model; every activation becomes an output of it.
        samples: its inputs.
        way: how ranges are found.
    """
    least: dict[str, np.ndarray] = {}
    greatest: dict[str, np.ndarray] = {}
    activations = _Activations(model)
    for name, value in activations.of(samples):
        least[name] = np.minimum(least.get(name, value.min()), value.min())
        greatest[name] = np.maximum(greatest.get(name, value.max()), value.max())
    if way.whole:
        return {name: [{"rmin": least[name], "rmax": greatest[name]}] for name in least}
    counts = {name: np.zeros(BINS, np.int64) for name in least if least[name] < greatest[name]}
    edges = {name: np.linspace(least[name], greatest[name], BINS + 1) for name in counts}
    for name, value in activations.of(samples):
        if name in counts:
            counts[name] += np.histogram(value, edges[name])[0]
    found = {name: way.find(counts[name], edges[name]) if name in counts else (least[name],) * 2 for name in least}
    return {name: [{"rmin": np.float32(low), "rmax": np.float32(high)}] for name, (low, high) in found.items()}


class _Activations:
    """Runs a model for all that it computes."""

    def __init__(self, model: Any) -> None:
        import onnx
        import onnxruntime as ort

        known = {each.name for each in model.graph.output}
        for name in (name for node in model.graph.node for name in node.output if name and name not in known):
            model.graph.output.append(onnx.ValueInfoProto(name=name))
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        self._session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        self._names = [each.name for each in self._session.get_outputs()]

    def of(self, samples: Sequence[Mapping[str, np.ndarray]]) -> Iterator[tuple[str, np.ndarray]]:
        """Every activation of every sample, the inputs among them, by its name."""
        for feeds in samples:
            outputs = self._session.run(None, dict(feeds))
            for name, value in {**feeds, **dict(zip(self._names, outputs, strict=True))}.items():
                if isinstance(value, np.ndarray) and value.dtype == np.float32 and value.size:
                    yield name, value
