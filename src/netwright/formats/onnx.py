"""ONNX."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from ..core.errors import BundleError, format_error
from ..core.files import replacing, require_room
from ..core.quiet import quiet
from ..core.temporary import TemporaryFolder
from ..nets.inputs import Inputs, call, fresh, tensors_in
from ..nets.isolation import isolated
from .base import Format
from .compare import TOLERANCE, arrays_of, difference
from .plain import Plain, input_names, output_names
from .sizes import BATCH, Sizes, find_sizes

LARGEST = 2 * 10**9
"""Bytes of weights from which they lie in a file of their own: the format ends at 2 GiB."""
BAKED = 1e-3
"""How far outputs may be from PyTorch's, relative to the largest, before another exporter is tried."""


@dataclass(frozen=True)
class Onnx(Format):
    """ONNX, by torch's own exporters.

    Args:
        external_data: put the weights into a file of their own, ``model.onnx.data``; done in any case beyond 2 GB.
    """

    external_data: bool = False

    file = "model.onnx"
    purpose = "for ONNX Runtime and whatever reads ONNX (beyond 2 GB its weights are in `model.onnx.data`)"
    reader = Path(__file__).with_name("onnx_reader.py")

    def check(self, network: nn.Module, inputs: Inputs) -> None:
        """Refuse a network that an ONNX file cannot be: each run of it is the first."""
        with isolated(network), torch.no_grad():
            first, second = (arrays_of(tensors_in(call(network, fresh(inputs)))) for _ in range(2))
            if not all(
                a.shape == b.shape and np.allclose(a, b, TOLERANCE, 0, True) for a, b in zip(first, second, strict=True)
            ):
                raise BundleError(
                    "called twice with the same inputs the network gives different outputs: it keeps values from one "
                    "call to the next, or draws them, which an ONNX file does not; make them an input and an output, "
                    "or export with formats=['pt2']"
                )

    def write(self, network: nn.Module, inputs: Inputs, path: Path, sizes: Sizes) -> Mapping[str, Any]:
        return write_onnx(network, inputs, path, external_data=self.external_data, sizes=sizes)

    def parts(self, path: Path) -> Sequence[Path]:
        return parts_of(path)


def write_onnx(
    network: nn.Module, example_inputs: Inputs, path: Path, *, external_data: bool = False, sizes: Sizes | None = None
) -> dict[str, Any]:
    """Write a network, with every size free that can be: batch, length, height and width.

    torch has two exporters. The older one takes a tenth of the time and writes loops where the newer unrolls them, but
    may take a size of the example for a constant, and does not have some operators: its file is run at other sizes,
    and where it fails or differs the newer one's is tried; then both with the batch alone free. Names, texts and traces
    that they leave in the file are taken out.

    Args:
        network: put into evaluation mode.
        example_inputs: see :class:`netwright.SuperNet`.
        path: of the ``.onnx`` file.
        external_data: put the weights into a file of their own beside it, ``path`` with ``.data`` behind; done in any
            case where they are more than 2 GB.
        sizes: which are free, where that is known.

    Returns:
        ``exporter``, and ``free``: the names of the sizes that are free in the file.

    Raises :class:`BundleError` with the reason where neither can.
    """
    import onnx

    plain = Plain(network, example_inputs)
    sizes = sizes or find_sizes(network, example_inputs)
    first: Exception | None = None
    for free in dict.fromkeys((tuple(sizes.names), tuple(n for n in sizes.names if n == BATCH), ())):
        for name, exporter in EXPORTERS.items():
            with TemporaryFolder() as folder, isolated(network), _as_exporters_need():
                file = folder / "model.onnx"
                try:
                    exporter(plain, sizes, free, file)
                    model = _stripped(onnx.load(file))
                    _check(plain, sizes, free, file)
                except Exception as error:  # the exporters and ONNX Runtime raise many types
                    require_room(folder)
                    first = first or error
                    continue
            _save(model, path, external_data)
            return {"exporter": name, "free": list(free)}
    assert first is not None
    raise BundleError(f"torch cannot export this network to ONNX: {format_error(_root(first))[:500]}") from first


def parts_of(path: Path) -> list[Path]:
    """An ONNX file, and the files beside it that hold its weights."""
    beside = _data_of(path)
    return [path, *([beside] if beside.exists() else [])]


def feed(session: Any, inputs: Inputs) -> dict[str, np.ndarray]:
    """An ONNX Runtime session's inputs, by its own names."""
    named = dict(zip(input_names(inputs), arrays_of(tensors_in(inputs)), strict=True))
    return {i.name: named[i.name] for i in session.get_inputs()}


def _older(plain: Plain, sizes: Sizes, free: Collection[str], path: Path) -> None:
    tensors, outputs = plain.tensors(sizes.example(free)), plain.outputs(sizes.example(free))
    names = output_names(outputs, plain.names)
    axes = {name: sizes.of(i, free) for i, name in enumerate(plain.names)}
    axes |= dict(zip(names, _free_outputs(plain, sizes, free, list(tensors_in(outputs))), strict=True))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        torch.onnx.export(
            plain, tensors, str(path), input_names=plain.names, output_names=names, dynamic_axes=axes, dynamo=False
        )
    traced = torch.jit.TracerWarning  # type: ignore[attr-defined]
    if any(issubclass(each.category, traced) for each in said) and _looks_at_values(plain, tensors):
        raise BundleError("the network decides by the values of its inputs, of which a file would hold one case alone")


def _looks_at_values(plain: Plain, tensors: tuple[Tensor, ...]) -> bool:
    """Whether a network makes a number or a truth value of a tensor's values, as for an ``if``: tensors without data
    tell."""
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        try:
            plain(*(mode.from_tensor(tensor) for tensor in tensors))
        except DataDependentOutputException:
            return True
        except Exception:  # operators that know no tensors without data
            return False
    return False


def _newer(plain: Plain, sizes: Sizes, free: Collection[str], path: Path) -> None:
    tensors, outputs = plain.tensors(sizes.example(free)), plain.outputs(sizes.example(free))
    torch.onnx.export(
        plain, tensors, str(path), input_names=plain.names, output_names=output_names(outputs, plain.names),
        dynamic_shapes=tuple(sizes.of(i, free) for i in range(len(tensors))),
        dynamo=True, external_data=True, verbose=False,
    )  # fmt: skip


EXPORTERS: Mapping[str, Callable[[Plain, Sizes, Collection[str], Path], None]] = {
    "torch.onnx, dynamo=False": _older,
    "torch.onnx, dynamo=True": _newer,
}


def _free_outputs(plain: Plain, sizes: Sizes, free: Collection[str], outputs: list[Tensor]) -> list[dict[int, str]]:
    """The dimensions of every output that change with the free sizes, and their names."""
    found: list[dict[int, str]] = [{} for _ in outputs]
    for name in free:
        size = sizes.size(name, sizes.example(free))
        changed = tensors_in(plain.outputs(sizes.changed(free, only=name)))
        for i, (before, after) in enumerate(zip(outputs, changed, strict=True)):
            for dim, (a, b) in enumerate(zip(before.shape, after.shape, strict=True)):
                if a != b:
                    same = a == size and name not in found[i].values()
                    found[i][dim] = name if same else f"output{i}_{dim}"
    return found


def _check(plain: Plain, sizes: Sizes, free: Collection[str], path: Path) -> None:
    """Raise where the file does not compute what the network does, at these sizes or at others."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    taken = [i.name for i in session.get_inputs()]
    for inputs in (sizes.example(free), *([sizes.changed(free)] if free else [])):
        named = dict(zip(plain.names, arrays_of(plain.tensors(inputs)), strict=True))
        got = [np.asarray(each) for each in session.run(None, {name: named[name] for name in taken})]
        found = difference(got, arrays_of(tensors_in(plain.outputs(inputs))))
        if not found <= BAKED:
            raise BundleError(f"the file differs from PyTorch by {found:.2g} of the largest output")


@contextmanager
def _as_exporters_need() -> Iterator[None]:
    """Quiet, without gradients, and without the fused attention that the older exporter has no operator for."""
    log = torch._C._jit_onnx_log
    torch._C._jit_onnx_log = lambda *_: None  # prints the graph of what cannot be exported, whatever verbose= says
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with quiet(), torch.no_grad():
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
        torch._C._jit_onnx_log = log


def _root(error: BaseException) -> BaseException:
    """What went wrong first: the exporters wrap it in advice."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def _stripped(model: Any) -> Any:
    """The model without what only its exporter wrote for people: texts, traces, shapes that any runtime finds."""
    for holder in (model, model.graph, *model.functions):
        holder.doc_string = ""
        del holder.metadata_props[:]
    del model.graph.value_info[:]
    for each in (*model.graph.node, *model.graph.initializer, *model.graph.input, *model.graph.output):
        each.doc_string = ""
        del each.metadata_props[:]
    for function in model.functions:
        for node in function.node:
            node.doc_string = ""
            del node.metadata_props[:]
    return model


def _save(model: Any, path: Path, external_data: bool) -> None:
    import onnx

    beside = _data_of(path)
    with replacing(path) as scratch:
        if external_data or sum(len(each.raw_data) for each in model.graph.initializer) > LARGEST:
            onnx.save_model(model, scratch, save_as_external_data=True, location=beside.name, size_threshold=0)
            os.replace(_data_of(scratch), beside)
        else:
            onnx.save_model(model, scratch)
            beside.unlink(missing_ok=True)


def _data_of(path: Path) -> Path:
    return path.with_name(path.name + ".data")
