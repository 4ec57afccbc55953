"""ExecuTorch with XNNPACK, PyTorch's own runtime for phones and other small devices."""

from __future__ import annotations

import re
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...core.errors import MeasureError, format_error
from ...core.files import require_room, write_atomically
from ...core.quiet import quiet
from .base import Feeds, Runtime, Session
from .exported import export, positional, said_by_library

SCALAR_TYPES = {
    0: "uint8", 1: "int8", 2: "int16", 3: "int32", 4: "int64", 5: "float16", 6: "float32", 7: "float64", 11: "bool",
}  # fmt: skip
"""ExecuTorch's numbers for types, and NumPy's names."""


@dataclass(frozen=True)
class ExecuTorch(Runtime):
    """ExecuTorch: XNNPACK takes all operators that it can, portable kernels (slow) the rest.

    A network of which XNNPACK takes nothing is refused; the operators that it did not take are in the record.

    Args:
        threads: the threads that one inference may use.
        batch: how many inputs are run at once.
        precision: ``float32``, or ``int8``: weights and activations of 8 bits, weights per channel. Convolutions are
            quantised with constant ranges, found on the given inputs; networks without any, such as transformers,
            with the ranges of each input.
    """

    packages = ("executorch",)
    modules = ("executorch",)
    extra = "executorch"
    suffix = ".pte"
    reads = (".pte",)
    precisions = ("float32", "int8")

    def convert(
        self, network: Any, inputs: Any, path: Path, calibration: Sequence[Any] | None = None
    ) -> Mapping[str, Any]:
        module, tensors = positional(network, inputs)
        with quiet():
            from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
            from executorch.exir import to_edge_transform_and_lower

            how: dict[str, Any] = {"exporter": "torch.export, to_edge_transform_and_lower, XNNPACK"}
            program = export(module, tensors)
            if self.precision == "int8":
                samples = [positional(network, each)[1] for each in calibration or [inputs]]
                program, how["quantised"] = _quantised(program, samples)
            try:
                edge = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])
                taken, left = _operators(edge.exported_program().graph_module)
                data = edge.to_executorch().buffer if taken else b""
            except Exception as error:  # ExecuTorch raises many types
                require_room(Path(tempfile.gettempdir()))  # a program that it runs writes there
                raise MeasureError(f"executorch cannot convert this network: {format_error(error)[:500]}") from error
        if not taken:
            raise MeasureError(f"executorch: XNNPACK takes no operator of this network ({_listed(left)})")
        write_atomically(path, data)
        return {**how, "operators": {"xnnpack": taken, "portable": sum(left.values())}, "not_taken": dict(left)}

    def open(self, path: Path, feeds: Feeds) -> Session:
        lib = _library()
        if "XnnpackBackend" not in lib._get_registered_backend_names():
            raise MeasureError("this executorch was built without XNNPACK")
        lib._unsafe_reset_threadpool(self.threads)
        if (got := lib._threadpool_get_thread_count()) != self.threads:
            raise MeasureError(f"executorch uses {got} threads, and not the {self.threads} that were asked for")
        return _Session(lib, path, feeds)

    def signature(self, path: Path) -> Mapping[str, tuple[tuple[int, ...], str]]:
        _, _, method = _loaded(_library(), path)
        meta = method.method_meta()
        infos = [meta.input_tensor_meta(i) for i in range(meta.num_inputs())]
        return {f"input{i}": (tuple(info.sizes()), _dtype(info)) for i, info in enumerate(infos)}

    def usage(self, file: str) -> str:
        return (
            "from executorch.runtime import Runtime\n"
            "\n"
            f'network = Runtime.get().load_program("{file}").load_method("forward")\n'
        )

    def preload(self) -> None:
        _library()


class _Session(Session):
    """The file's bytes and the program are kept: the method points into them, and crashes where they are gone."""

    def __init__(self, lib: Any, path: Path, feeds: Feeds) -> None:
        import torch

        torch.set_num_threads(1)
        self._kept = _loaded(lib, path)
        self._method = self._kept[-1]
        meta = self._method.method_meta()
        if (count := meta.num_inputs()) != len(feeds):
            raise MeasureError(f"{path} takes {count} inputs, but {len(feeds)} were given")
        self.feed(feeds)
        for i, given in enumerate(self._inputs):
            info = meta.input_tensor_meta(i)
            if tuple(info.sizes()) != tuple(given.shape) or _dtype(info) != str(given.dtype).removeprefix("torch."):
                raise MeasureError(
                    f"{path} takes {_dtype(info)} {tuple(info.sizes())} as input {i}, not {given.dtype} "
                    f"{tuple(given.shape)}"
                )

    def feed(self, feeds: Feeds) -> None:
        import torch

        self._inputs = [torch.from_numpy(np.ascontiguousarray(value)) for value in feeds.values()]

    def run(self) -> object:
        # Inputs are given each time: their memory is reused for what comes after them.
        return self._method.call(self._inputs, clone_outputs=False)

    def outputs(self) -> list[np.ndarray]:
        return [output.float().numpy(force=True) for output in self._method.call(self._inputs, clone_outputs=True)]


def _library() -> Any:
    """ExecuTorch's library; importing it imports torch."""
    with quiet():
        from executorch.extension.pybindings import portable_lib

    return portable_lib


def _loaded(lib: Any, path: Path) -> tuple[bytes, Any, Any]:
    """The bytes, the program and its method: the latter are only good as long as the former."""
    data = path.read_bytes()
    with said_by_library() as said:
        try:
            program = lib._load_program_from_buffer(data, program_verification=lib.Verification.InternalConsistency)
            return data, program, program.load_method("forward")
        except RuntimeError as error:
            raise MeasureError(f"executorch cannot load {path}: {format_error(error)}{_missing(said())}") from error


def _missing(said: str) -> str:
    """What a library that cannot load a file wrote about operators that it does not have."""
    names = sorted(set(re.findall(r"Missing operator: \[\d+\] (\S+)", said)))
    return f": it has no {', '.join(names)}" if names else ""


def _dtype(info: Any) -> str:
    """The NumPy name of a tensor's type."""
    return SCALAR_TYPES.get(info.dtype(), f"type {info.dtype()}")


def _operators(graph_module: Any) -> tuple[int, Counter[str]]:
    """How many operators XNNPACK took, and those that it did not, by name."""
    left: Counter[str] = Counter()
    taken = 0
    for node in graph_module.graph.nodes:
        if node.op != "call_function" or "getitem" in str(node.target):
            continue
        if "executorch_call_delegate" in str(node.target):
            inside = getattr(graph_module, node.args[0].target).original_module.graph_module
            taken += sum(each.op == "call_function" for each in inside.graph.nodes)
        else:
            # Functions of PyTorch's own library may have no name.
            op = getattr(node.target, "_op", None)
            left[str(op) if op is not None else node.name.rstrip("_0123456789")] += 1
    return taken, left


def _listed(left: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in left.most_common(5)) or "it has none"


def _quantised(program: Any, samples: Sequence[tuple[Any, ...]]) -> tuple[Any, str]:
    """The program in 8 bits, and how it was done."""
    import torch
    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
        XNNPACKQuantizer,
        get_symmetric_quantization_config,
    )
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    dynamic = not any("conv" in str(node.target) for node in program.graph.nodes if node.op == "call_function")
    config = get_symmetric_quantization_config(is_per_channel=True, is_dynamic=dynamic)
    try:
        prepared = prepare_pt2e(program.module(), XNNPACKQuantizer().set_global(config))
        with torch.no_grad():
            for tensors in samples:
                prepared(*tensors)
        quantised = convert_pt2e(prepared)
    except Exception as error:  # torchao raises many types
        raise MeasureError(f"executorch: this network cannot be quantised: {format_error(error)[:500]}") from error
    count = sum("dequantize" in str(node.target) for node in quantised.graph.nodes)
    if not count:
        raise MeasureError("executorch: nothing in this network can be quantised")
    return export(quantised, samples[0]), "dynamic" if dynamic else "static"
