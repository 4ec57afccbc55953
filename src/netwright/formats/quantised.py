"""8-bit networks."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from ..core.errors import BundleError, MeasureError, format_error
from ..core.files import require_room, write_atomically
from ..core.precision import FORMS
from ..core.quiet import quiet
from ..core.ranges.base import Ranges
from ..core.ranges.registry import RANGES
from ..core.temporary import TemporaryFolder
from .activations import ranges_of
from .mixed import AS_MATMUL, Plan, check_quantised, plan_of, to_4_bits

Feeds = Mapping[str, np.ndarray]

METADATA = "netwright.quantisation"
"""Key of a file's metadata, with the form and what it means, as JSON."""

NOISY = 4
NOISE = 0.05
PRODUCTS = ("MatMul", "Gemm")
CONVOLUTIONS = ("Conv", "ConvTranspose")


def noisy(feeds: Feeds) -> list[Feeds]:
    """Inputs from which ranges of activations are taken where there are no real ones: those given, and with noise.

    Enough to find out how fast an 8-bit network is; how good it is takes inputs of the task.
    """
    rng = np.random.default_rng(0)

    def beside(value: np.ndarray) -> np.ndarray:
        if value.dtype.kind != "f":
            return value
        return (value + NOISE * value.std() * rng.standard_normal(value.shape)).astype(value.dtype)

    return [dict(feeds), *({name: beside(value) for name, value in feeds.items()} for _ in range(NOISY - 1))]


def quantise_onnx(
    path: Path, samples: Sequence[Feeds], form: str, network: nn.Module | None = None, ranges: str = "minmax"
) -> str:
    """Quantise an ONNX file in place, weights with a scale per channel.

    Networks with more convolutions than products of matrices get constant ranges of activations, found of the values
    that the samples show, and all operators that ONNX Runtime has in 8 bits; others, such as
    transformers, ranges that are found for each input, and their products and tables of embeddings are quantised. The
    other kind of ranges runs slower than float32 on x86.

    Args:
        path: of the file.
        samples: inputs by the file's own names.
        form: one of :data:`netwright.core.precision.FORMS`. Ranges that are found for each input have no
            sign: ``s8s8`` becomes ``u8u8`` there.
        network: that the file was written of, whose layers may have precisions of their own: those in float32 stay in
            it, and so does what follows them alone. Where none is in 8 bits, the file stays as it is.
        ranges: how constant ranges are found; see :data:`netwright.core.ranges.RANGES`.

    Returns what was done, in words. Raises :class:`MeasureError` where there is nothing to quantise, and
    :class:`BundleError` where the file cannot be.
    """
    import onnx

    model = onnx.load(path)
    static = _is_static(model)
    form = "u8u8" if form == "s8s8" and not static else form
    tables = 0
    with TemporaryFolder() as folder, quiet():
        ready, done = folder / "ready.onnx", folder / "done.onnx"
        try:
            _prepared(model, ready)
            plan = plan_of(ready, network)
            left = plan.left
            if left is None:
                return _without_8_bits(path, ready, plan)
            if static:
                _quantise_static(ready, done, samples, form, left, RANGES.make(ranges))
            else:
                _quantise_dynamic(ready, done, form, left)
            model = onnx.load(done)
            check_quantised(model, plan)
            if not static and not left:
                tables = _quantise_tables(model.graph)
            if plan.few:
                onnx.save(model, done)
                to_4_bits(done, plan.few)
                model = onnx.load(done)
            onnx.helper.set_model_props(model, {METADATA: json.dumps({"form": form, "note": note(form)})})
            onnx.save(model, done)
        except BundleError:
            raise
        except Exception as error:  # ONNX, protobuf and ONNX Runtime raise many types
            require_room(folder)
            raise BundleError(f"onnxruntime cannot quantise this network: {format_error(error)[:500]}") from error
        kinds = Counter(node.op_type for node in model.graph.node)
        write_atomically(path, done.read_bytes())
    count = kinds["QuantizeLinear"] if static else kinds["MatMulInteger"]
    if not count:
        raise MeasureError("onnxruntime found nothing in this network that it can quantise")
    rest = f", {len(left) - len(plan.few)} operators left in float32" if left else ""
    rest += f", {len(plan.few)} products with weights of 4 bits" if plan.few else ""
    if static:
        found = f"ranges of {len(samples)} inputs" + ("" if ranges == "minmax" else f" by {ranges}")
        return f"{form}, static QDQ, {count} activations, weights per channel, {found}{rest}"
    also = f" and {tables} tables" if tables else ""
    return f"{form}, dynamic, {count} products{also}, weights per channel, ranges of each input{rest}"


def _is_static(model: Any) -> bool:
    """Whether ranges are constant. Raises :class:`MeasureError` where there is nothing to quantise."""
    constants = {each.name for each in model.graph.initializer}
    constants |= {name for node in model.graph.node if node.op_type in ("Constant", "Identity") for name in node.output}
    kinds = Counter(n.op_type for n in model.graph.node if len(n.input) > 1 and constants & set(n.input[:2]))
    convolutions, products = (sum(kinds[each] for each in group) for group in (CONVOLUTIONS, PRODUCTS))
    if not convolutions and not products:
        raise MeasureError("there is nothing to quantise: the network has no convolution and no product with weights")
    return convolutions > products


def _without_8_bits(path: Path, ready: Path, plan: Plan) -> str:
    """What is done to a file of which nothing is in 8 bits, in words."""
    if not plan.few:
        return "nothing: every layer is in float32"
    to_4_bits(ready, plan.few)
    write_atomically(path, ready.read_bytes())
    return f"{len(plan.few)} products with weights of 4 bits, the rest in float32"


def _quantise_static(
    ready: Path, done: Path, samples: Sequence[Feeds], form: str, left: list[str], ranges: Ranges
) -> None:
    import onnx
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    activations, weights, reduced = FORMS[form]
    quantize_static(
        ready, done, _reader(samples[:1]), quant_format=QuantFormat.QDQ, per_channel=True, nodes_to_exclude=left,
        activation_type=QuantType[activations], weight_type=QuantType[weights], reduce_range=reduced,
        extra_options={"TensorQuantOverrides": ranges_of(onnx.load(ready), samples, ranges)},
    )  # fmt: skip


def _quantise_dynamic(ready: Path, done: Path, form: str, left: list[str]) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    both = [*left, *(f"{each}{AS_MATMUL}" for each in left)]
    quantize_dynamic(
        ready, done, op_types_to_quantize=list(PRODUCTS), per_channel=True, nodes_to_exclude=both,
        weight_type=QuantType[FORMS[form][1]], reduce_range=FORMS[form][2],
    )  # fmt: skip


def note(form: str) -> str:
    """What a form means for the CPUs that a file is run on."""
    if form == "u8s8":
        return "saturates on x86 CPUs without VNNI: its outputs are wrong there"
    return "exact on every CPU"


def _quantise_tables(graph: Any) -> int:
    """Tables of embeddings in 8 bits, a scale for each row: returns how many.

    ONNX Runtime's own way has one scale for a whole table, and rows of words differ by an order of magnitude.
    """
    from onnx import TensorProto, helper, numpy_helper

    tables = {each.name: each for each in graph.initializer if each.data_type == TensorProto.FLOAT}
    users: dict[str, list[Any]] = {}
    for node in graph.node:
        for name in node.input:
            users.setdefault(name, []).append(node)
    done = 0
    for name, table in tables.items():
        gathers = users.get(name, [])
        looked_up = all(n.op_type == "Gather" and n.input[0] == name and _axis(n) == 0 for n in gathers)
        if not gathers or not looked_up or len(table.dims) != 2 or table.dims[1] < 8:
            continue
        values = numpy_helper.to_array(table)
        scales = np.maximum(np.abs(values).max(axis=1, keepdims=True) / 127, np.finfo(np.float32).tiny)
        numbers = np.rint(values / scales).astype(np.int8)
        graph.initializer.remove(table)
        graph.initializer.append(numpy_helper.from_array(numbers, f"{name}_quantized"))
        graph.initializer.append(numpy_helper.from_array(scales.astype(np.float32), f"{name}_scales"))
        for gather in gathers:
            at, out, index = list(graph.node).index(gather), gather.output[0], gather.input[1]
            graph.node.remove(gather)
            for step, node in enumerate((
                helper.make_node("Gather", [f"{name}_quantized", index], [f"{out}_rows"]),
                helper.make_node("Cast", [f"{out}_rows"], [f"{out}_float"], to=TensorProto.FLOAT),
                helper.make_node("Gather", [f"{name}_scales", index], [f"{out}_scales"]),
                helper.make_node("Mul", [f"{out}_float", f"{out}_scales"], [out]),
            )):  # fmt: skip
                graph.node.insert(at + step, node)
        done += 1
    return done


def _axis(node: Any) -> int:
    return next((each.i for each in node.attribute if each.name == "axis"), 0)


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


def _reader(samples: Sequence[Feeds]) -> Any:
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):  # type: ignore[misc]  # its package has no types
        def __init__(self) -> None:
            self._left = iter(samples)

        def get_next(self) -> dict[str, np.ndarray] | None:
            found = next(self._left, None)
            return None if found is None else dict(found)

    return Reader()
