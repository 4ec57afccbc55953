"""8-bit networks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from ..core.errors import BundleError, MeasureError, one_line
from ..core.quiet import quiet
from ..nets.inputs import Inputs

SAMPLES = 4
NOISE = 0.05
PRODUCTS = ("MatMul", "Gemm")
CONVOLUTIONS = ("Conv", "ConvTranspose")


def calibration(feeds: Mapping[str, np.ndarray]) -> list[dict[str, np.ndarray]]:
    """Inputs from which ranges of activations are taken: those given, and the same with some noise.

    Enough to find out how fast an 8-bit network is; how good it is takes inputs of the task.
    """
    rng = np.random.default_rng(0)

    def noisy(value: np.ndarray) -> np.ndarray:
        if value.dtype.kind != "f":
            return value
        return (value + NOISE * value.std() * rng.standard_normal(value.shape)).astype(value.dtype)

    return [dict(feeds), *({name: noisy(value) for name, value in feeds.items()} for _ in range(SAMPLES - 1))]


def quantise_onnx(path: Path, inputs: Inputs) -> str:
    """Quantise an ONNX file in place: weights with a sign, a scale per channel, activations without a sign.

    Networks with more convolutions than products of matrices get constant ranges of activations, from
    :func:`calibration`, and all operators that ONNX Runtime has in 8 bits; others, such as transformers, ranges
    that are found for each input, and only their products are quantised. Activations with a sign, or the other kind of
    ranges, run slower than float32 on x86.

    Returns what was done, in words. Raises :class:`MeasureError` where there is nothing to quantise, and
    :class:`BundleError` where the file cannot be.
    """
    import onnx
    import onnxruntime as ort
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_dynamic, quantize_static

    from .onnx import feed

    model = onnx.load(path)
    constants = {each.name for each in model.graph.initializer}
    constants |= {name for node in model.graph.node if node.op_type in ("Constant", "Identity") for name in node.output}
    kinds = Counter(n.op_type for n in model.graph.node if len(n.input) > 1 and constants & set(n.input[:2]))
    convolutions, products = (sum(kinds[each] for each in group) for group in (CONVOLUTIONS, PRODUCTS))
    if not convolutions and not products:
        raise MeasureError("there is nothing to quantise: the network has no convolution and no product with weights")
    with TemporaryDirectory(prefix="netwright-") as folder, quiet():
        ready, done = Path(folder) / "ready.onnx", Path(folder) / "done.onnx"
        try:
            _prepared(model, ready)
            if convolutions > products:
                session = ort.InferenceSession(str(ready), _few_threads(ort), providers=["CPUExecutionProvider"])
                quantize_static(
                    ready, done, _reader(calibration(feed(session, inputs))), quant_format=QuantFormat.QDQ,
                    per_channel=True, activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
                )  # fmt: skip
            else:
                quantize_dynamic(
                    ready, done, op_types_to_quantize=list(PRODUCTS), per_channel=True, weight_type=QuantType.QInt8
                )
        except Exception as error:  # ONNX, protobuf and ONNX Runtime raise many types
            raise BundleError(f"onnxruntime cannot quantise this network: {one_line(error)[:500]}") from error
        found = Counter(node.op_type for node in onnx.load(done).graph.node)
        path.write_bytes(done.read_bytes())
    count = found["QuantizeLinear"] if convolutions > products else found["MatMulInteger"]
    if not count:
        raise MeasureError("onnxruntime found nothing in this network that it can quantise")
    if convolutions > products:
        return f"static QDQ, {count} activations U8, weights S8 per channel, ranges of {SAMPLES} inputs"
    return f"dynamic, {count} products, activations U8, weights S8 per channel"


def _prepared(model: Any, path: Path) -> None:
    """Write the model as the quantiser can take it: constants folded, normalisation merged, shapes found anew."""
    import onnx
    from onnxruntime.quantization.shape_inference import quant_pre_process

    del model.graph.value_info[:]  # shapes that an exporter left are held against those of the rewritten graph
    _unshare(model.graph)
    whole = path.with_name("whole.onnx")
    onnx.save(model, whole)
    try:
        quant_pre_process(whole, path, skip_symbolic_shape=True)
        model = onnx.load(path)
        del model.graph.value_info[:]
        _unshare(model.graph)  # constants that are alike are shared by it
    except Exception:  # it is a help, not a need; the quantiser tells what is wrong with a file
        pass
    onnx.save(model, path)


def _unshare(graph: Any) -> None:
    """Give each Gemm weights of its own: the quantiser turns them round once for each use, all in the same place."""
    tensors = {each.name: each for each in graph.initializer}
    used = Counter(name for node in graph.node for name in node.input)
    for i, node in enumerate(graph.node):
        if node.op_type == "Gemm" and node.input[1] in tensors and used[node.input[1]] > 1:
            own = graph.initializer.add()
            own.CopyFrom(tensors[node.input[1]])
            own.name = f"{node.input[1]}_of_{i}"
            node.input[1] = own.name


def _reader(samples: list[dict[str, np.ndarray]]) -> Any:
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):  # type: ignore[misc]  # its package has no types
        def __init__(self) -> None:
            self._left = iter(samples)

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(self._left, None)

    return Reader()


def _few_threads(ort: Any) -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return options
