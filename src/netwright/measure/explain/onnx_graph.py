"""What an ONNX file says of its layers, and of what quantises them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ...core.errors import MeasureError, format_error
from ...formats.dequantised import dequantise, dequantised
from ...formats.onnx_layers import CONVERSIONS, OnnxLayer, Tensors, layers_of, name_nodes
from ..runtimes.base import Feeds
from .graph import Graph


class OnnxGraph(Graph):
    """An ONNX file that is explained.

    Args:
        path: the path of the file.
        folder: where a copy is written if operators have no names, which a profile needs.
    """

    def __init__(self, path: Path, folder: Path) -> None:
        import onnx

        try:
            self.model = onnx.load(path)
        except Exception as error:  # protobuf's own
            raise MeasureError(f"{path} is no ONNX file: {format_error(error)[:300]}") from error
        self.path = self._given = path
        if name_nodes(self.model.graph):
            self.path = folder / f"named-{path.name}"
            onnx.save(self.model, self.path)
        self.tensors = Tensors(self.model.graph)
        self.nodes: Mapping[str, Any] = {node.name: node for node in self.model.graph.node}

    @cached_property
    def layers(self) -> list[OnnxLayer]:
        if not (found := layers_of(self.model.graph)):
            raise MeasureError(
                f"{self._given} has no convolution, no product of matrices and no other layer to explain"
            )
        return found

    @cached_property
    def places(self) -> dict[str, str]:
        found = super().places
        for node in self.model.graph.node:
            if node.op_type in CONVERSIONS and node.input[0] in found:
                found |= dict.fromkeys((node.name, *node.output), found[node.input[0]])
        return found

    @cached_property
    def constants(self) -> dict[str, np.ndarray]:
        """The values of all constants, by name."""
        from onnx import numpy_helper

        return {each.name: numpy_helper.to_array(each) for each in self.model.graph.initializer}

    @property
    def own(self) -> Collection[str]:
        return self.nodes.keys()

    @property
    def inputs(self) -> list[str]:
        return [each.name for each in self.model.graph.input if each.name not in self.tensors.constants]

    @property
    def outputs(self) -> list[str]:
        """The names of its outputs."""
        return [each.name for each in self.model.graph.output]

    def quantiser(self, name: str) -> Any | None:
        """The operator that quantises what an operator reads by this name; None where that is float32."""
        node = self.tensors.makers.get(name)
        if node is not None and node.op_type == "DequantizeLinear":
            node = self.tensors.makers.get(node.input[0])
        return node if node is not None and node.op_type in ("QuantizeLinear", "DynamicQuantizeLinear") else None

    def rounded(self, name: str) -> str:
        """The name of a result after it was rounded to 8 bits; as it is where it is not."""
        for node in self._readers(name, "QuantizeLinear"):
            for back in self._readers(node.output[0], "DequantizeLinear"):
                return str(back.output[0])
        return name

    def value_in(self, quantiser: Any, whole: OnnxGraph) -> str:
        """The name that the float32 network has for what a quantiser rounds; empty where it has none.

        Of an output it is the rounded value that has kept its name.
        """
        backs = [back.output[0] for back in self._readers(quantiser.output[0], "DequantizeLinear")]
        names = {*whole.tensors.makers, *whole.inputs}
        return next((name for name in (quantiser.input[0], *backs) if name in names), "")

    def _readers(self, name: str, kind: str) -> list[Any]:
        return [node for node in self.tensors.readers.get(name, []) if node.op_type == kind]

    def reads(self, layer: OnnxLayer) -> list[tuple[int, Any]]:
        """The quantisers of what a layer's own operator reads: which of its inputs, and the operator that quantises."""
        found = [(i, self.quantiser(name)) for i, name in enumerate(self.nodes[layer.node].input[:2])]
        return [(i, each) for i, each in found if each is not None]

    def writes(self, layer: OnnxLayer) -> list[Any]:
        """The quantisers of a layer's results that no layer's own operator reads, such as those of sums."""
        heads = {each.node for each in self.layers}
        found = []
        for node in (node for name in layer.results for node in self._readers(name, "QuantizeLinear")):
            backs = self._readers(node.output[0], "DequantizeLinear")
            if not any(user.name in heads for back in backs for user in self.tensors.readers.get(back.output[0], [])):
                found.append(node)
        return found

    def weights(self, layer: OnnxLayer) -> np.ndarray | None:
        """A layer's weights as the float32 numbers that they stand for; None where it has none."""
        node = self.nodes[layer.node]
        for name in node.input[:2]:
            maker = self.tensors.makers.get(name)
            if maker is not None and maker.op_type == "DequantizeLinear" and maker.input[0] in self.constants:
                return dequantised(maker, self.constants)
        if layer.weights not in self.constants:
            return None
        values = self.constants[layer.weights]
        return values if values.dtype == np.float32 else self._of_integers(node, values)

    def _of_integers(self, node: Any, values: np.ndarray) -> np.ndarray | None:
        """The weights of a MatMulInteger, whose scales are where its result is multiplied by them."""
        scales = self.constants.get(node.input[1].removesuffix("_quantized") + "_scale")
        zero = self.constants.get(node.input[3]) if len(node.input) > 3 else np.zeros((), np.int8)
        if node.op_type != "MatMulInteger" or scales is None or zero is None:
            return None
        return np.asarray((values.astype(np.float32) - zero.astype(np.float32)) * scales, np.float32)

    def keeps_apart(self, layer: OnnxLayer) -> bool:
        """Whether a layer's operator is that of float32, and what rounds stands beside it."""
        makers = [self.tensors.makers.get(name) for name in self.nodes[layer.node].input[:2]]
        return any(maker is not None and maker.op_type == "DequantizeLinear" for maker in makers)

    def twin(self, folder: Path) -> OnnxGraph:
        import onnx

        model = onnx.ModelProto()
        model.CopyFrom(self.model)
        dequantise(model)
        path = folder / "float32.onnx"
        onnx.save(model, path)
        return OnnxGraph(path, folder)

    def session(self, more: Sequence[str] = ()) -> Any:
        """A session on the CPU of this process, which gives these results as well as the outputs."""
        return session_of(self.model, more)


def turned(weights: np.ndarray, like: np.ndarray) -> np.ndarray | None:
    """A layer's weights as the same layer's in another file lie there, which may be turned; None where they fit neither
    way."""
    ways = [weights] + ([weights.T] if weights.ndim == 2 else [])
    fits = [each for each in ways if each.shape == like.shape]
    return min(fits, key=lambda each: float(np.linalg.norm(each - like)), default=None)


def session_of(model: Any, more: Sequence[str] = ()) -> Any:
    """A session of a model on the CPU of this process, which gives these results as well as its outputs.

    Raises :class:`MeasureError` where there can be none.
    """
    import onnx
    import onnxruntime as ort

    outputs = model.graph.output
    before, known = len(outputs), {each.name for each in outputs}
    outputs.extend(onnx.ValueInfoProto(name=name) for name in dict.fromkeys(more) if name not in known)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    try:
        return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises types of its own, without a common base
        raise MeasureError(f"onnxruntime cannot run the file: {format_error(error)[:500]}") from error
    finally:
        del outputs[before:]


def results_of(session: Any, feeds: Feeds) -> dict[str, np.ndarray]:
    """All that a session gives, by name."""
    names = [each.name for each in session.get_outputs()]
    return dict(zip(names, session.run(names, dict(feeds)), strict=True))
