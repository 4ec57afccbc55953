"""OpenVINO."""

from __future__ import annotations

import contextlib
import logging
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self

import numpy as np

from ...core.archives import opened_archive
from ...core.errors import BundleError, MeasureError, MissingExtra, did_you_mean, format_error
from ...core.files import replacing, require_room
from ...core.quiet import quiet
from ...core.temporary import TemporaryFolder
from .base import Feeds, Operator, Runtime, Session, Trial, in_order

HINTS = {"float32": "f32", "bfloat16": "bf16", "int8": "f32"}
"""What is not quantised computes in this; without it the plugin chooses bfloat16 on CPUs that have it."""
FIXES = {"u8s8": "DISABLE", "u8s7": "ENABLE"}
"""Forms of 8-bit products, and what nncf calls them: whether the range of weights is reduced."""
UNKNOWN = "u8s7"
"""The form for a device that nobody asked: exact on every CPU."""
UNROUNDED = "float32"
"""In the place of the form, where every layer of a network has this precision for itself."""
VALUES = ("Constant", "Parameter", "Result")
"""Operators that compute nothing."""
CONVOLUTIONS = ("Convolution", "GroupConvolution", "ConvolutionBackpropData", "GroupConvolutionBackpropData")
DEPTH = 64
MODEL = "model.xml"
WEIGHTS = "model.bin"


@dataclass(frozen=True)
class OpenVino(Runtime):
    """OpenVINO on the CPU: one stream, its own pinning of threads off, the precision never left to it.

    Its two files, ``model.xml`` and ``model.bin``, are kept as one zip archive, ``.ovir``. It also opens ONNX, and
    an ``.xml`` with its ``.bin`` beside it.

    Args:
        threads: the threads that one inference may use.
        batch: how many inputs are run at once.
        precision: ``float32``, ``bfloat16`` on CPUs that compute it, or ``int8``: quantised by nncf.
        form: the form of the 8-bit products: ``u8s8``, which saturates on x86 CPUs without VNNI, or ``u8s7``: the range
            of weights reduced to 7 bits. Empty: the former where the device computes it exactly.
    """

    form: str = ""

    packages = ("openvino",)
    modules = ("openvino",)
    extra = "openvino"
    suffix = ".ovir"
    reads = (".ovir", ".onnx", ".xml")
    beside = (".bin",)
    precisions = ("float32", "bfloat16", "int8")
    mixes = {"int8": ("int8",)}  # noqa: RUF012

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.form not in ("", *FIXES):
            raise MeasureError(f"openvino has no form {self.form!r}; {did_you_mean(self.form, FIXES)}")
        if self.form and self.precision != "int8":
            raise MeasureError("openvino: form is of 8-bit products; it needs precision=int8")

    @property
    def in_float32(self) -> Self:
        return replace(self, precision="float32", form="")

    def suited(self, trial: Trial) -> tuple[Self, Mapping[str, Any]]:
        if self.precision != "int8" or find_spec("openvino") is None:  # a file can be measured elsewhere without it
            return self, {}
        with TemporaryFolder() as folder:
            path = folder / f"extremes{self.suffix}"
            feeds, expected = _write_extremes(path)
            exact = trial([path], feeds, [expected])["errors"][0][0] == 0
        form = self.form or ("u8s8" if exact else "u8s7")
        said = "u8s8 is exact on this CPU" if exact else "u8s8 saturates on this CPU"
        return replace(self, form=form), {"form": form, "why": said, "exact": {"u8s8": exact, "u8s7": True}}

    def warning(self, path: Path, found: Mapping[str, Any], trial: Trial) -> str:
        if found.get("exact", {}).get("u8s8", True) or not _may_saturate(path):
            return ""
        return (
            "the file's 8-bit products (u8s8) saturate on this CPU, which has no VNNI: its outputs are wrong here; "
            "quantise it for this CPU (form=u8s7)"
        )

    def convert(
        self, network: Any, inputs: Any, path: Path, calibration: Sequence[Any] | None = None
    ) -> Mapping[str, Any]:
        self.require()
        from ...formats.quantised import noisy
        from ..convert import feeds_of
        from ..examples import check_calibration

        feeds = feeds_of(inputs)
        with TemporaryFolder() as folder, quiet():
            model, exporter = _converted(network, inputs, folder)
            how: dict[str, Any] = {"exporter": exporter}
            form = ""
            names = [i.any_name for i in model.inputs]
            mine = in_order(names, feeds, path)
            model.reshape({name: list(value.shape) for name, value in mine.items()})
            if self.precision == "int8":
                samples = [in_order(names, feeds_of(each), path) for each in calibration or ()] or noisy(mine)
                if calibration:
                    check_calibration(samples, {name: value.shape for name, value in mine.items()})
                left = _left_in_float32(model, network)
                if left is None:
                    form, how["quantised"] = UNROUNDED, "nothing: every layer is in float32"
                else:
                    form = self.form or UNKNOWN
                    model, how["quantised"] = _quantised(model, samples, form, left)
            _pack(model, folder, path, form)
        return how

    def open(self, path: Path, feeds: Feeds) -> Session:
        compiled, mine = self._compiled(path, feeds, {})
        return _Session(compiled, path, mine, self._checked(compiled, _form_of(path) == UNROUNDED))

    def _compiled(self, path: Path, feeds: Feeds, more: Mapping[str, Any]) -> tuple[Any, Feeds]:
        """The compiled model, and its inputs by its own names."""
        import openvino as ov

        core = ov.Core()
        self._check(core)
        with unpacked(path) as file:
            model = _read(core, file)
            mine = in_order([i.any_name for i in model.inputs], feeds, path)
            try:
                model.reshape({name: list(value.shape) for name, value in mine.items()})
                return core.compile_model(model, "CPU", {**self._options(), **more}), mine
            except RuntimeError as error:
                raise MeasureError(
                    f"openvino cannot take {path} with these inputs: {format_error(error)[:500]}"
                ) from error

    def profile(self, path: Path, feeds: Feeds, seconds: float) -> list[Operator]:
        from .openvino_profile import profile

        compiled, mine = self._compiled(path, feeds, {"PERF_COUNT": True})
        return profile(compiled, _Session(compiled, path, mine, {}).request, seconds)

    def signature(self, path: Path) -> Mapping[str, tuple[tuple[int, ...], str]]:
        import openvino as ov

        with unpacked(path) as file:
            model = _read(ov.Core(), file)
        return {
            i.any_name: (
                tuple(d.get_length() if d.is_static else 1 for d in i.partial_shape),
                np.dtype(i.element_type.to_dtype()).name,
            )
            for i in model.inputs
        }

    def free(self, path: Path) -> Mapping[str, Mapping[int, str]]:
        import openvino as ov

        with unpacked(path) as file:
            model = _read(ov.Core(), file)
        return {i.any_name: {d: "" for d, n in enumerate(i.partial_shape) if not n.is_static} for i in model.inputs}

    def usage(self, file: str) -> str:
        return (
            "import zipfile, openvino\n"
            "\n"
            f'zipfile.ZipFile("{file}").extractall("openvino")\n'
            'network = openvino.compile_model("openvino/model.xml", "CPU")\n'
        )

    def _check(self, core: Any) -> None:
        """Raise :class:`MeasureError` where the CPU does not compute in the precision that is asked for."""
        has = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        if self.precision == "bfloat16" and "BF16" not in has:
            raise MeasureError(f"openvino does not compute bfloat16 on this CPU, it has {', '.join(has)}")

    def _options(self) -> dict[str, Any]:
        return {
            "INFERENCE_PRECISION_HINT": HINTS[self.precision],
            "INFERENCE_NUM_THREADS": self.threads,
            "NUM_STREAMS": 1,
            "ENABLE_CPU_PINNING": False,  # the measuring process has chosen its cores
        }

    def _checked(self, compiled: Any, unrounded: bool) -> dict[str, Any]:
        """Layers by the precision that they run in, and the threads. Raises :class:`MeasureError` where the precision
        that was asked for is not among them."""
        ran = Counter(
            precision.lower()
            for node in compiled.get_runtime_model().get_ops()
            if (precision := _told(node, "runtimePrecision")) and _told(node, "layerType") not in ("Const", "Reorder")
        )
        wanted = {"float32": {"f32"}, "bfloat16": {"bf16"}, "int8": {"i8", "u8"}}[self.precision]
        if not wanted & set(ran) and not unrounded:
            raise MeasureError(f"openvino runs no layer of this network in {self.precision}, but in {', '.join(ran)}")
        threads = compiled.get_property("INFERENCE_NUM_THREADS")
        few = {} if threads == self.threads else {"threads": threads}
        return {"layers": dict(ran.most_common()), **few}


class _Session(Session):
    """Inputs are bound once; outputs stay where they are computed."""

    def __init__(self, compiled: Any, path: Path, feeds: Feeds, notes: Mapping[str, Any]) -> None:
        self.notes, self._path, self._names = notes, path, list(feeds)
        self.request = compiled.create_infer_request()
        self.feed(feeds)
        self._outputs = range(len(compiled.outputs))

    def feed(self, feeds: Feeds) -> None:
        import openvino as ov

        for name, value in in_order(self._names, feeds, self._path).items():
            self.request.set_tensor(name, ov.Tensor(np.ascontiguousarray(value)))

    def run(self) -> object:
        return self.request.infer(share_outputs=True)

    def outputs(self) -> list[np.ndarray]:
        self.run()
        return [np.array(self.request.get_output_tensor(i).data) for i in self._outputs]


def _converted(network: Any, inputs: Any, folder: Path) -> tuple[Any, str]:
    """A network as OpenVINO's model: by ONNX, which takes a fraction of the time, else by torch.export."""
    import openvino as ov
    import torch

    from ...formats.onnx import write_onnx
    from .exported import positional

    try:
        file = folder / "network.onnx"
        how = write_onnx(network, inputs, file)
        return ov.Core().read_model(file), how["exporter"]
    except (BundleError, RuntimeError) as error:
        first = error
    try:
        with torch.no_grad():
            return ov.convert_model(torch.export.export(*positional(network, inputs))), "torch.export"
    except Exception as error:  # torch.export and OpenVINO raise many types
        raise BundleError(
            f"openvino can take this network neither by ONNX ({format_error(first)[:300]}) nor by torch.export "
            f"({format_error(error)[:300]})"
        ) from error


def _pack(model: Any, folder: Path, path: Path, form: str) -> None:
    """Write a model as one file; the form of its 8-bit products, if it has any, is the archive's comment."""
    import openvino as ov

    try:
        ov.save_model(model, folder / MODEL, compress_to_fp16=False)
    finally:
        require_room(folder)
    with replacing(path) as scratch, zipfile.ZipFile(scratch, "w", zipfile.ZIP_STORED) as archive:
        archive.comment = form.encode()
        for name in (MODEL, WEIGHTS):
            archive.write(folder / name, name)


def _may_saturate(path: Path) -> bool:
    """Whether a file's 8-bit products saturate on CPUs without VNNI, as far as it is known."""
    if path.suffix != ".onnx":
        return _form_of(path) == "u8s8"
    from ...formats.saturation import may_saturate

    return may_saturate(path)


def _form_of(path: Path) -> str:
    """The form of an archive's 8-bit products; empty for other files. Asked where it runs, which may have no more than
    this package's ``core`` and ``measure``."""
    if path.suffix != OpenVino.suffix:
        return ""
    try:
        with opened_archive(path) as archive:
            return archive.comment.decode(errors="replace")
    except (OSError, ValueError):
        return ""


def _write_extremes(path: Path) -> tuple[Feeds, np.ndarray]:
    """A product of the largest activations without a sign and weights with one, in float32 until it is compiled; its
    inputs, and its exact outputs, which float32 holds."""
    import openvino as ov
    from openvino import opset13 as ops

    rows, columns = np.full((2, DEPTH), 255, np.float32), np.full((DEPTH, 2), 127, np.float32) * [1, -1]

    def rounded(value: Any, low: float, high: float) -> Any:
        limits = [ops.constant(np.float32(each)) for each in (low, high)]
        return ops.fake_quantize(value, *limits, *limits, int(high - low) + 1)

    given = ops.parameter(rows.shape, np.float32, name="input")
    weights = rounded(ops.constant(columns.astype(np.float32)), -127, 127)
    product = ops.matmul(rounded(given, 0, 255), weights, False, False)
    with TemporaryFolder() as folder:
        _pack(ov.Model([product], [given], "extremes"), folder, path, "")
    return {"input": rows}, rows @ columns


def _left_in_float32(model: Any, network: Any) -> list[str] | None:
    """The names of the operators that are not quantised; see :func:`netwright.formats.layers.left_in_float32`."""
    from ...formats.layers import left_in_float32, precisions_in
    from ...nets.rounding import roundings

    if not roundings(network):
        return []
    operators = [node for node in model.get_ordered_ops() if node.get_type_name() not in VALUES]
    weights = {n.get_friendly_name(): w for n in operators if (w := _weights(n)) is not None}

    def names(ports: Sequence[Any]) -> list[str]:
        return [f"{port.get_node().get_friendly_name()}:{port.get_index()}" for port in ports]

    wired = ((n.get_friendly_name(), names(n.input_values()), names(n.outputs())) for n in operators)
    return left_in_float32(wired, precisions_in(network, weights))


def _weights(node: Any) -> np.ndarray | None:
    """The weights that an operator multiplies with, the output channels first; None where it does not."""
    from ...formats.layers import channels_first

    kind = node.get_type_name()
    if kind not in ("MatMul", *CONVOLUTIONS):
        return None
    given = node.input_value(1).get_node()
    while given.get_type_name() in ("Convert", "Reshape", "Transpose"):
        if given.get_type_name() == "Transpose":
            return None
        given = given.input_value(0).get_node()
    if given.get_type_name() != "Constant":
        return None
    weight = np.array(given.data)
    if kind == "MatMul":
        turned = node.get_attributes()["transpose_b"]
        return None if weight.ndim != 2 else weight if turned else weight.T
    shape = node.input_value(1).get_partial_shape().to_shape()
    grouped = kind.startswith("Group")  # groups are a dimension of their own there, unless the constant is ONNX's
    merged = weight.reshape(-1, *weight.shape[2:]) if grouped and weight.ndim == len(shape) else weight
    return channels_first(merged, shape[0] if grouped else 1) if kind.endswith("BackpropData") else merged


def _quantised(model: Any, samples: Sequence[Feeds], form: str, left: list[str]) -> tuple[Any, str]:
    """The model with 8-bit weights and activations but for the operators that are left, and what was done in words."""
    if find_spec("nncf") is None:
        raise MissingExtra("nncf", "openvino", "the runtime openvino with precision=int8")
    import nncf
    from nncf.quantization.range_estimator import RangeEstimatorParameters, RangeEstimatorParametersSet

    kinds = {node.get_type_name() for node in model.get_ops()}
    attends = bool(kinds & {"Softmax", "ScaledDotProductAttention"})
    # By default nncf takes the mean of the extremes of all inputs, which cuts off what half of them have: of ResNet-20
    # with real images that is most of the error, and not what the same network gives in PyTorch.
    ranges = RangeEstimatorParameters() if attends else RangeEstimatorParametersSet.MINMAX
    nncf.set_log_level(logging.ERROR)
    try:
        model = nncf.quantize(
            model,
            nncf.Dataset(samples),
            subset_size=len(samples),
            model_type=nncf.ModelType.TRANSFORMER if attends else None,
            advanced_parameters=nncf.AdvancedQuantizationParameters(
                overflow_fix=getattr(nncf.OverflowFix, FIXES[form]), activations_range_estimator_params=ranges
            ),
            ignored_scope=nncf.IgnoredScope(names=left) if left else None,
        )
    except Exception as error:  # nncf raises many types
        raise BundleError(f"nncf cannot quantise this network: {format_error(error)[:500]}") from error
    done = sum(node.get_type_name() == "FakeQuantize" for node in model.get_ops())
    if not done:
        raise MeasureError("openvino: nncf found nothing in this network that it can quantise")
    kind = "with smoothing for transformers" if attends else "for convolutions"
    rest = f", {len(left)} operators left in float32" if left else ""
    return model, f"{form}, nncf {kind}, {done} quantisers, ranges of {len(samples)} inputs{rest}"


def _read(core: Any, path: Path) -> Any:
    try:
        return core.read_model(path)
    except RuntimeError as error:
        raise MeasureError(f"openvino cannot read {path}: {format_error(error)[:500]}") from error


def _told(node: Any, key: str) -> str:
    """What a layer of a compiled model tells of itself; empty where it does not."""
    told = node.get_rt_info()
    return str(told[key].astype(str)) if key in told else ""


@contextlib.contextmanager
def unpacked(path: Path) -> Iterator[Path]:
    """A file that OpenVINO reads itself: the model of an archive, in a folder that lasts as long as the block."""
    if path.suffix != OpenVino.suffix:
        yield path
        return
    with TemporaryFolder() as folder:
        try:
            with opened_archive(path) as archive:
                for name in (MODEL, WEIGHTS):
                    archive.extract(name, folder)
        except (OSError, KeyError, ValueError) as error:
            raise MeasureError(f"openvino cannot read {path}: {format_error(error)}") from error
        yield folder / MODEL
