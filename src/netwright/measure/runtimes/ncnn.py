"""ncnn, by way of pnnx."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from ...core.archives import opened_archive
from ...core.children import run_program
from ...core.errors import MeasureError, MissingExtra, format_error
from ...core.files import parse_json, replacing, require_room, write_atomically
from ...core.provenance import version_of
from ...core.quiet import quiet
from ...core.temporary import TemporaryFolder
from .base import Feeds, Runtime, Session, in_order
from .exported import positional

CONVERT_S = 600.0
"""Seconds that pnnx may take."""

MOST = 1 << 31
"""Of one size of an input or an output."""

PARTS = ("net.param", "net.bin")
"""Of ncnn's format; they and what follows are packed into one file."""

ABOUT = "about.json"
"""Shapes and types of the inputs by name, and shapes of the outputs: ncnn's format does not tell them."""


@dataclass(frozen=True)
class Ncnn(Runtime):
    """ncnn on the CPU. A network with an operator that it does not have is refused.

    Args:
        threads: the threads that one inference may use.
        batch: 1: networks that pnnx writes run on one input.
        precision: ``float32`` throughout, or ``bfloat16``: weights and activations are kept in it where a layer can.
    """

    packages = ("ncnn",)
    modules = ("ncnn",)
    extra = "ncnn"
    suffix = ".ncnn"
    reads = (".ncnn", ".param")
    beside = (".bin",)
    precisions = ("float32", "bfloat16")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.batch != 1:
            raise MeasureError(f"ncnn runs one input at a time, not {self.batch}; measure with batch=1")

    def convert(
        self, network: Any, inputs: Any, path: Path, calibration: Sequence[Any] | None = None
    ) -> Mapping[str, Any]:
        from ...formats.plain import input_names

        module, tensors = positional(network, inputs)
        with TemporaryFolder() as place:
            outputs = _traced(module, tensors, place)
            ignored = _pnnx(place, tensors)
            shapes = {
                name: [list(tensor.shape), str(tensor.dtype).removeprefix("torch.")]
                for name, tensor in zip(input_names(inputs), tensors, strict=True)
            }
            Path(place, ABOUT).write_text(json.dumps({"inputs": shapes, "outputs": outputs}))
            with replacing(path) as scratch, zipfile.ZipFile(scratch, "w", zipfile.ZIP_STORED) as packed:
                for part in (*PARTS, ABOUT):
                    packed.write(Path(place, part), part)
        return {"exporter": f"torch.jit.trace, pnnx {version_of('pnnx')}", **({"ignored": ignored} if ignored else {})}

    def open(self, path: Path, feeds: Feeds) -> Session:
        return _Session(self._net(path), self, path, feeds)

    def signature(self, path: Path) -> Mapping[str, tuple[tuple[int, ...], str]]:
        if path.suffix != self.suffix:
            return super().signature(path)
        return {name: (tuple(shape), dtype) for name, (shape, dtype) in _about(path)["inputs"].items()}

    def usage(self, file: str) -> str:
        return (
            "import zipfile, ncnn\n"
            "\n"
            f'zipfile.ZipFile("{file}").extractall("ncnn_files")\n'
            "network = ncnn.Net()\n"
            'network.load_param("ncnn_files/net.param")\n'
            'network.load_model("ncnn_files/net.bin")\n'
        )

    def _net(self, path: Path) -> Any:
        """The network, loaded with this runtime's settings."""
        import ncnn

        net = ncnn.Net()
        options = net.opt
        options.num_threads = self.threads
        options.openmp_blocktime = 0
        for use in ("fp16_packed", "fp16_storage", "fp16_arithmetic"):  # on by default
            setattr(options, f"use_{use}", False)
        for use in ("bf16_packed", "bf16_storage"):
            setattr(options, f"use_{use}", self.precision == "bfloat16")
        net.opt = options
        with TemporaryFolder() as place:
            param, weights = _parts(path, place)
            _known(param)
            if net.load_param(str(param)) or net.load_model(str(weights)):
                raise MeasureError(f"ncnn cannot load {path}")
        return net


class _Session(Session):
    """Inputs become ncnn's own once; each inference needs an extractor of its own."""

    def __init__(self, net: Any, runtime: Ncnn, path: Path, feeds: Feeds) -> None:
        self._net = net
        self._names = net.output_names()
        self._shapes = _about(path)["outputs"] if path.suffix == runtime.suffix else None
        self._path = path
        self.feed(feeds)
        if runtime.precision == "bfloat16":
            layers = [layer for layer in net.layers() if layer.type not in ("Input", "Split")]
            left = sorted({layer.type for layer in layers if not layer.support_bf16_storage})
            if all(layer.type in left for layer in layers):
                raise MeasureError(f"ncnn computes nothing of {path} in bfloat16 on this machine")
            self.notes = {"not_bfloat16": left}

    def feed(self, feeds: Feeds) -> None:
        import ncnn

        self._inputs = []
        for name, value in in_order(self._net.input_names(), feeds, self._path).items():
            if not value.ndim or len(value) != 1:
                raise MeasureError(f"ncnn runs one input at a time, not one of shape {value.shape}")
            if value.dtype.kind in "iub":
                value = value.astype(np.int32)
            # A copy: what is made of an array points into it.
            self._inputs.append((name, ncnn.Mat(np.ascontiguousarray(value), batch_index=0).clone()))

    def run(self) -> object:
        return self._extracted()

    def outputs(self) -> list[np.ndarray]:
        arrays = [np.array(mat.numpy(batch_index=0)) for mat in self._extracted()]
        if self._shapes is None:
            return arrays
        # ncnn's own shapes have no batch, and no dimensions above four.
        return [
            array.reshape(shape) if array.size == prod(shape) else array
            for array, shape in zip(arrays, self._shapes, strict=True)
        ]

    def _extracted(self) -> list[Any]:
        extractor = self._net.create_extractor()
        for name, mat in self._inputs:
            extractor.input(name, mat)
        found = []
        for name in self._names:
            failed, mat = extractor.extract(name)
            if failed:
                raise MeasureError(f"ncnn cannot compute the output {name} (code {failed})")
            found.append(mat)
        return found


def _traced(module: Any, tensors: tuple[Any, ...], place: Path) -> list[list[int]]:
    """Write ``net.pt``; returns the shapes of the outputs. Raises :class:`MeasureError` with the reason."""
    import torch

    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # it is one operator of PyTorch's own
    try:
        with quiet(), torch.no_grad():
            program = io.BytesIO()  # where a disk is full torch ends the process
            torch.jit.save(torch.jit.trace(module, tensors, check_trace=False), program)
            shapes = [list(output.shape) for output in module(*tensors)]
    except Exception as error:  # the tracer raises many types
        raise MeasureError(f"torch.jit.trace cannot take this network: {format_error(error)[:500]}") from error
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    write_atomically(place / "net.pt", program.getbuffer())
    return shapes


def _about(path: Path) -> dict[str, Any]:
    """What was packed beside ncnn's own files. Raises :class:`MeasureError` where it is not what was written."""
    try:
        with opened_archive(path) as packed:
            about = parse_json(packed.read(ABOUT))
        inputs = {name: (_sizes(shape), np.dtype(str(kind)).name) for name, (shape, kind) in about["inputs"].items()}
        return {"inputs": inputs, "outputs": [_sizes(shape) for shape in about["outputs"]]}
    except (OSError, ValueError, TypeError, LookupError, AttributeError) as error:
        raise MeasureError(f"{path} is no file that netwright packed for ncnn: {format_error(error)}") from error


def _sizes(shape: Any) -> list[int]:
    if not isinstance(shape, list) or not all(isinstance(size, int) and 0 <= size <= MOST for size in shape):
        raise ValueError(f"{str(shape)[:80]} is no shape")
    return shape


def _pnnx(place: Path, tensors: tuple[Any, ...]) -> list[str]:
    """Write the parts of ncnn's format from ``net.pt``; returns what pnnx says that it ignored.

    Raises :class:`MeasureError` where it fails, or where ncnn does not have an operator: pnnx ends as if all were
    well in both cases.
    """
    try:
        import pnnx
    except ImportError:
        raise MissingExtra("pnnx", "ncnn", "converting for ncnn") from None

    kinds = {"float32": "f32", "int64": "i64", "int32": "i32", "bool": "i32"}
    shapes = []
    for tensor in tensors:
        dtype = str(tensor.dtype).removeprefix("torch.")
        if dtype not in kinds:
            raise MeasureError(f"ncnn takes inputs of {', '.join(kinds)}, not {dtype}")
        shapes.append(f"[{','.join(map(str, tensor.shape))}]{kinds[dtype]}")
    # fp16=0: it writes the weights in 16 bits otherwise.
    files = [f"{option}={name}" for option, name in zip(("ncnnparam", "ncnnbin"), PARTS, strict=True)]
    command = [pnnx.EXEC_PATH, "net.pt", f"inputshape={','.join(shapes)}", "fp16=0", *files]
    ended = run_program(command, CONVERT_S, cwd=place)
    require_room(place)
    said = [line.strip() for line in (ended.out + ended.err).splitlines() if line.strip()]
    if ended.failure or not all((place / part).exists() for part in PARTS):
        why = ended.failure or f"it said: {said[-1][:500] if said else 'nothing'}"
        raise MeasureError(f"pnnx cannot convert this network: {why}")
    _known(place / PARTS[0])
    return [line for line in said if line.startswith("ignore ")]


def _known(param: Path) -> None:
    """Raise :class:`MeasureError` where ncnn does not have an operator of the network."""
    import ncnn

    lines = param.read_text(errors="replace").splitlines()
    if not lines or lines[0].strip() != "7767517":
        raise MeasureError(f"{param.name} is not of ncnn's format")
    kinds = {line.split()[0] for line in lines[2:] if line.strip()}
    if unknown := sorted(kind for kind in kinds if ncnn.layer_to_index(kind) < 0):
        raise MeasureError(f"ncnn has no operator {', '.join(unknown)}, which this network needs")


def _parts(path: Path, place: Path) -> tuple[Path, Path]:
    """The files of ncnn's format: those packed into one, unpacked, or a ``.param`` with the ``.bin`` beside it."""
    if path.suffix == ".param":
        weights = path.with_suffix(".bin")
        if not weights.exists():
            raise MeasureError(f"{path} needs its weights beside it, in {weights.name}")
        return path, weights
    try:
        with opened_archive(path) as packed:
            for part in PARTS:
                packed.extract(part, place)
    except (OSError, ValueError, KeyError) as error:
        raise MeasureError(f"{path} is no file that netwright packed for ncnn: {format_error(error)}") from error
    return place / PARTS[0], place / PARTS[1]
