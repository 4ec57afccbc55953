"""Where the outputs of an 8-bit ONNX file come to differ from those of float32: layer by layer, by its numbers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import log10
from typing import Any

import numpy as np

from ...core.errors import MeasureError
from ...formats.dequantised import rectifies
from ...formats.onnx_layers import OnnxLayer
from ..runtimes.base import Feeds
from .onnx_graph import OnnxGraph, results_of, session_of, turned
from .saturation import saturated

ALONE = 8
"""Inputs on which each layer is quantised alone: each takes a session of its own."""

SAME = 0.5
"""How far weights may be from those of float32, relative, to be the same layer's: 2 bits lose 0.3 to 0.4."""

SILENT = 200.0
"""What stands for no error at all, in dB: float32 itself has some 140."""


@dataclass(frozen=True)
class LayerErrors:
    """What quantisation does to one layer. None is what cannot be told.

    Args:
        sqnr: the ratio of its result to the error of that, with that of all layers before it, in dB.
        alone: the ratio of the network's outputs to their error where this layer alone is quantised, its weights and
            what it reads, and those of its results that no other layer reads at once, in dB.
        share: of the outputs' error, as far as layers alone make it.
        clipped: the largest share of what it reads or writes that lies beyond the ends of its range.
        saturated: the share of its sums in which two products in a row exceed 16 bits, which x86 CPUs without VNNI cut
            off.
    """

    sqnr: float | None = None
    alone: float | None = None
    share: float | None = None
    clipped: float | None = None
    saturated: float | None = None


def decibels(noise: float) -> float:
    """A ratio of powers in dB, from the power of the noise relative to the signal's."""
    return SILENT if noise <= 10 ** (-SILENT / 10) else -10 * log10(noise)


def relative_noise(got: Sequence[np.ndarray], wanted: Sequence[np.ndarray]) -> float:
    """The power of the difference relative to that of what is wanted, the mean over the outputs."""
    each = []
    for mine, theirs in zip(got, wanted, strict=True):
        signal = float(np.mean(np.square(theirs.astype(np.float64))))
        noise = float(np.mean(np.square(mine.astype(np.float64) - theirs)))
        each.append(noise / max(signal, 1e-24))
    return float(np.mean(each))


def onnx_errors(
    graph: OnnxGraph, whole: OnnxGraph, examples: Sequence[Feeds]
) -> tuple[float, Mapping[str, LayerErrors]]:
    """The ratio of the outputs to their error, in dB, and what quantisation does to each layer."""
    return decibels(output_noise(graph, whole, examples)), layer_errors(graph, whole, examples)


def output_noise(graph: OnnxGraph, whole: OnnxGraph, examples: Sequence[Feeds]) -> float:
    """The mean of :func:`relative_noise` over examples. Raises :class:`MeasureError` where outputs are not finite."""
    mine, theirs = graph.session(), whole.session()
    return mean_noise((mine.run(None, dict(e)), theirs.run(None, dict(e))) for e in examples)


def mean_noise(pairs: Iterable[tuple[Sequence[np.ndarray], Sequence[np.ndarray]]]) -> float:
    """The mean of :func:`relative_noise` over pairs of outputs, those of the file first.

    Raises :class:`MeasureError` where it is not finite.
    """
    noise = float(np.mean([relative_noise(got, wanted) for got, wanted in pairs]))
    if not np.isfinite(noise):
        raise MeasureError("outputs on these inputs are not finite, or empty: look for NaN and infinity in --inputs")
    return noise


def layer_errors(graph: OnnxGraph, whole: OnnxGraph, examples: Sequence[Feeds]) -> dict[str, LayerErrors]:
    """What quantisation does to each layer, by its path.

    Args:
        graph: the quantised file.
        whole: the same network in float32.
        examples: inputs of both, by their names.
    """
    sqnr = results_sqnr(graph, whole, examples)
    clipped = clipped_shares(graph, whole, examples)
    sums = saturated(graph, examples[:1])
    alone = alone_noise(graph, whole, examples[:ALONE])
    total = sum(alone.values())
    return {
        layer.path: LayerErrors(
            sqnr.get(layer.path),
            decibels(alone[layer.path]) if layer.path in alone else None,
            alone[layer.path] / total if layer.path in alone and total > 0 else None,
            clipped.get(layer.path),
            sums.get(layer.path),
        )
        for layer in graph.layers
    }


def results_sqnr(graph: OnnxGraph, whole: OnnxGraph, examples: Sequence[Feeds]) -> dict[str, float]:
    """The ratio of each layer's last result to its error, in dB."""
    pairs: dict[str, tuple[str, str]] = {}
    for layer in whole.layers:
        result = next((each for each in reversed(layer.results) if each in graph.tensors.makers), None)
        if result is not None:
            pairs[layer.path] = (graph.rounded(result), result)
    mine, theirs = graph.session([a for a, _ in pairs.values()]), whole.session([b for _, b in pairs.values()])
    signal: dict[str, float] = defaultdict(float)
    noise: dict[str, float] = defaultdict(float)
    for feeds in examples:
        got, wanted = results_of(mine, feeds), results_of(theirs, feeds)
        for path, (a, b) in pairs.items():
            if got[a].dtype.kind == "f" and got[a].shape == wanted[b].shape:
                signal[path] += float(np.square(wanted[b], dtype=np.float64).sum())
                noise[path] += float(np.square(got[a] - wanted[b], dtype=np.float64).sum())
    known = {path: power for path, power in signal.items() if power > 0 and np.isfinite([power, noise[path]]).all()}
    return {path: decibels(noise[path] / power) for path, power in known.items()}


def clipped_shares(graph: OnnxGraph, whole: OnnxGraph, examples: Sequence[Feeds]) -> dict[str, float]:
    """The largest share of a layer's values that lies beyond the ends of their range, by those of float32."""
    ranges: dict[tuple[str, str], tuple[float, float]] = {}
    for layer in graph.layers:
        for node in (*(each for _, each in graph.reads(layer)), *graph.writes(layer)):
            ends = _ends(node, graph.constants) if node.op_type == "QuantizeLinear" else None
            if ends is not None and (name := graph.value_in(node, whole)):
                ranges[layer.path, name] = ends
    session = whole.session([name for _, name in ranges if name not in whole.inputs])
    beyond: dict[tuple[str, str], int] = defaultdict(int)
    count: dict[tuple[str, str], int] = defaultdict(int)
    for feeds in examples:
        values = {**feeds, **results_of(session, feeds)}
        for key, (low, high) in ranges.items():
            value = values[key[1]]
            beyond[key] += int(np.count_nonzero((value < low) | (value > high)))
            count[key] += value.size
    found: dict[str, float] = {}
    for (path, name), size in count.items():
        found[path] = max(found.get(path, 0.0), beyond[path, name] / max(1, size))
    return found


def _ends(node: Any, constants: Mapping[str, np.ndarray]) -> tuple[float, float] | None:
    """Values beyond which a QuantizeLinear cuts off. One that stands for a Relu has no lower end."""
    scale = constants.get(node.input[1])
    zero = constants.get(node.input[2]) if len(node.input) > 2 else np.zeros((), np.uint8)
    if scale is None or zero is None or scale.size != 1:
        return None
    least, most = np.iinfo(zero.dtype).min, np.iinfo(zero.dtype).max
    step, at = float(scale.item()), float(zero.item())
    low = -np.inf if rectifies(node, constants) else (least - at - 0.5) * step
    return float(low), (most - at + 0.5) * step


def alone_noise(graph: OnnxGraph, whole: OnnxGraph, examples: Sequence[Feeds]) -> dict[str, float]:
    """The error of the network's outputs where one layer alone is quantised, its weights and what it reads."""
    session = whole.session()
    wanted = [session.run(None, dict(feeds)) for feeds in examples]
    partner = {layer.path: layer for layer in whole.layers}
    found: dict[str, float] = {}
    for layer in graph.layers:
        mate = partner.get(layer.path)
        touched = layer.bits < 16 or graph.reads(layer) or graph.writes(layer)
        if mate is None or not touched:
            continue
        rounded = _rounded_weights(graph.weights(layer), whole.weights(mate))
        if rounded is None and layer.weights:
            continue
        only = session_of(_with_one_quantised(whole, mate, rounded, graph, layer))
        found[layer.path] = mean_noise((only.run(None, dict(f)), w) for f, w in zip(examples, wanted, strict=True))
    return found


def _rounded_weights(mine: np.ndarray | None, theirs: np.ndarray | None) -> np.ndarray | None:
    """The rounded weights in the form of those in float32; None where they are another layer's."""
    if mine is None or theirs is None:
        return None
    best, size = turned(mine, theirs), float(np.linalg.norm(theirs)) or 1.0
    return best if best is not None and float(np.linalg.norm(best - theirs)) <= SAME * size else None


def _with_one_quantised(
    whole: OnnxGraph, mate: OnnxLayer, rounded: np.ndarray | None, graph: OnnxGraph, layer: OnnxLayer
) -> Any:
    """The float32 model with one layer quantised as another model has it."""
    from onnx import ModelProto, numpy_helper

    model = ModelProto()
    model.CopyFrom(whole.model)
    at, head = next((i, node) for i, node in enumerate(model.graph.node) if node.name == mate.node)
    for constant in model.graph.initializer:
        if constant.name == mate.weights and rounded is not None:
            constant.CopyFrom(numpy_helper.from_array(rounded.astype(np.float32), mate.weights))
    for i, quantiser in graph.reads(layer):
        if i < len(head.input):
            added = _rounding(quantiser, graph, head.input[i], f"{mate.node}_{i}")
            head.input[i] = added[-1].output[0]
            _insert(model.graph.node, at, added)
    for quantiser in graph.writes(layer):
        name = graph.value_in(quantiser, whole)
        for i, node in [(i, node) for i, node in enumerate(model.graph.node) if name in node.output]:
            node.output[list(node.output).index(name)] = f"{name}_unrounded"
            added = _rounding(quantiser, graph, f"{name}_unrounded", f"{name}_of")
            added[-1].output[0] = name
            _insert(model.graph.node, i + 1, added)
    return model


def _insert(nodes: Any, at: int, added: Sequence[Any]) -> None:
    for each in reversed(added):
        nodes.insert(at, each)


def _rounding(quantiser: Any, graph: OnnxGraph, name: str, prefix: str) -> list[Any]:
    """Operators that round a result as a quantiser of another model does."""
    from onnx import helper, numpy_helper

    if quantiser.op_type == "DynamicQuantizeLinear":
        names = [f"{prefix}_{part}" for part in ("q", "scale", "zero")]
        first = [helper.make_node("DynamicQuantizeLinear", [name], names, name=f"{prefix}_quantise")]
        return [*first, helper.make_node("DequantizeLinear", names, [f"{prefix}_dq"], name=f"{prefix}_dequantise")]
    made, names = [], []
    for part in quantiser.input[1:]:
        names.append(f"{prefix}_{len(names)}")
        value = numpy_helper.from_array(graph.constants[part])
        made.append(helper.make_node("Constant", [], [names[-1]], name=names[-1], value=value))
    settings = {each.name: helper.get_attribute_value(each) for each in quantiser.attribute}
    quantise = helper.make_node(
        "QuantizeLinear", [name, *names], [f"{prefix}_q"], name=f"{prefix}_quantise", **settings
    )
    back = helper.make_node(
        "DequantizeLinear", [f"{prefix}_q", *names], [f"{prefix}_dq"], name=f"{prefix}_dequantise", **settings
    )
    return [*made, quantise, back]
