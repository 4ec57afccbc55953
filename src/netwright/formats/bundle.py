"""The bundle: a directory with everything that a chosen network needs to run and to be reproduced."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ..core.errors import BundleError, SpaceError, did_you_mean, format_error
from ..core.files import read_json, sha256, write_json
from ..core.provenance import versions
from ..core.space import Space
from ..nets.batch import Given, batch_dims_of, find_batch_dims
from ..nets.extract import copy_of
from ..nets.inputs import Inputs, call, fresh, shape_of, tensors_in
from ..nets.isolation import isolated, outputs_of
from ..nets.noise import other_inputs
from ..nets.state import state_of
from .compare import arrays_of, difference
from .onnx import feed, parts_of, write_onnx
from .plain import Plain, input_names
from .pt2 import write_pt2
from .readback import read_back
from .sizes import BATCH, Sizes, find_sizes
from .weights import load_weights, write_weights

TOLERANCE = 1e-4
"""How far an exported file's outputs may be from PyTorch's, relative to the largest of them."""


@dataclass(frozen=True)
class Format:
    """A file format.

    Args:
        file: its name in a bundle.
        write: writes a network for an example and its free sizes; what it returns is told in the manifest.
        run: all outputs of the network, with what is in the file, for inputs; None: the file is a network itself, and
            is run in a fresh process.
    """

    file: str
    write: Callable[[nn.Module, Inputs, Path, Sizes, bool], Mapping[str, Any]]
    run: Callable[[nn.Module, Path, Inputs], list[np.ndarray]] | None = None


def run_onnx(path: Path, inputs: Inputs) -> np.ndarray:
    """The first output of an ONNX file, computed by ONNX Runtime."""
    return onnx_runner(path)(inputs)


def onnx_runner(path: Path) -> Callable[[Inputs], np.ndarray]:
    """What computes the first output of an ONNX file for any inputs."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 3
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda inputs: np.asarray(session.run(None, feed(session, inputs))[0])


def _write_onnx(network: nn.Module, inputs: Inputs, path: Path, sizes: Sizes, apart: bool) -> Mapping[str, Any]:
    return write_onnx(network, inputs, path, external_data=apart, sizes=sizes)


def _write_pt2(network: nn.Module, inputs: Inputs, path: Path, sizes: Sizes, _: bool) -> Mapping[str, Any]:
    return write_pt2(network, inputs, path, sizes=sizes)


def _write_weights(network: nn.Module, _: Inputs, path: Path, __: Sizes, ___: bool) -> Mapping[str, Any]:
    write_weights(network, path)
    return {}


def _run_weights(network: nn.Module, path: Path, inputs: Inputs) -> list[np.ndarray]:
    again = copy_of(network)
    with torch.no_grad():
        for tensor in state_of(again).values():
            tensor.zero_()
    load_weights(again, path)
    return _outputs(again, inputs)


FORMATS: Mapping[str, Format] = {
    "onnx": Format("model.onnx", _write_onnx),
    "pt2": Format("model.pt2", _write_pt2),
    "safetensors": Format("weights.safetensors", _write_weights, _run_weights),
}


@dataclass(frozen=True)
class Bundle:
    """What was written.

    Args:
        path: the directory.
        files: name to path, without the manifest.
        differences: format to the largest difference between the file's outputs and PyTorch's, relative to the
            largest output.
    """

    path: Path
    files: Mapping[str, Path]
    differences: Mapping[str, float]


def export(
    network: nn.Module,
    out: str | Path,
    formats: Sequence[str] = tuple(FORMATS),
    *,
    example_inputs: Inputs | None = None,
    check_inputs: Inputs | None = None,
    batch_dims: Given | None = None,
    external_data: bool = False,
    about: Callable[[Bundle], Mapping[str, Any]] = lambda bundle: {},
    further: Mapping[str, Callable[[nn.Module, Inputs, Path], object]] | None = None,
) -> Bundle:
    """Write a network to a directory, read every file back in a fresh process, and compare all that it computes.

    Files take tensors and give tensors, whatever structures the network has. Sizes that may be others (batch, length,
    height and width) are found by trying, kept free where the format can, and checked at a second value.

    Args:
        network: a stand-alone module; put into evaluation mode.
        out: the directory.
        formats: of ``onnx``, ``pt2``, ``safetensors``.
        example_inputs: by default the network's own attribute ``example_inputs``, which extraction sets.
        check_inputs: what the outputs are compared on; by default other values that the network accepts.
        batch_dims: which dimension of the inputs is the batch, where that is not to be found by trying: see
            :data:`netwright.nets.batch.Given`.
        external_data: put the weights of an ONNX file into one of their own, ``model.onnx.data``, as is done in any
            case beyond 2 GB.
        about: called when the files are written and checked; what it returns goes into ``manifest.json``, which is
            written last: a directory without one is not done.
        further: files beside the formats: name to what writes it. They are not read back here: ``about`` may.

    Raises :class:`BundleError` when a file cannot be written or computes something else, and :class:`NetError` for a
    network that does not run on its example.
    """
    out = Path(out)
    example = _checked(network, formats, example_inputs)
    network.eval()
    if batch_dims is not None:
        network.batch_dims = find_batch_dims(network, example, batch_dims)  # type: ignore[assignment]
    batch = batch_dims_of(network, example)
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / "manifest.json").unlink(missing_ok=True)
    except OSError as error:
        raise BundleError(f"cannot write to {out}: {format_error(error)}; choose another directory") from None
    if "onnx" in formats:
        _check_forgets(network, example)
    sizes = find_sizes(network, example)
    paths = {name: out / FORMATS[name].file for name in formats}
    written = {name: FORMATS[name].write(network, example, paths[name], sizes, external_data) for name in formats}
    differences = _differences(network, paths, sizes, written, check_inputs)
    files = {part.name: part for path in paths.values() for part in parts_of(path)}
    for name, write in (further or {}).items():
        write(network, example, out / name)
        files[name] = out / name
    bundle = Bundle(out, files, differences)
    manifest = {
        "format": 1,
        **({"candidate": network.candidate} if hasattr(network, "candidate") else {}),
        **about(bundle),
        "differences": differences,
        "example": _told(batch.part(example, 0, 1)),
        "batch": str(batch),
        "written": {name: dict(how) for name, how in written.items() if how},
        "versions": versions(),
        "files": {name: {"sha256": sha256(path), "bytes": path.stat().st_size} for name, path in files.items()},
    }
    write_json(out / "manifest.json", manifest)
    return bundle


def _told(inputs: Inputs) -> dict[str, Any]:
    """Shapes and types of inputs, by the names that they have in files."""
    return {
        name: {"shape": list(shape_of(tensor)), "dtype": str(tensor.dtype).removeprefix("torch.")}
        for name, tensor in zip(input_names(inputs), tensors_in(inputs), strict=True)
    }


def _checked(network: Any, formats: Any, example_inputs: Inputs | None) -> Inputs:
    """The example. Raises :class:`BundleError` for what cannot be exported."""
    if callable(getattr(network, "extract", None)) and isinstance(getattr(network, "space", None), Space):
        raise BundleError(
            "export takes one network, not a super-network: extract one first, as in "
            "export(net.extract(net.smallest), out)"
        )
    if not isinstance(network, nn.Module):
        raise BundleError(f"export takes a torch.nn.Module, not a {type(network).__name__}")
    if isinstance(formats, str):
        raise BundleError(f"formats is a list, such as [{formats!r}], not {formats!r}")
    unknown = [name for name in formats if name not in FORMATS]
    if unknown:
        raise BundleError(f"there is no format {unknown[0]!r}; {did_you_mean(str(unknown[0]), FORMATS)}")
    example = example_inputs if example_inputs is not None else getattr(network, "example_inputs", None)
    if example is None:
        raise BundleError("export needs example_inputs=: what the network is called with")
    return example


def _differences(
    network: nn.Module,
    paths: Mapping[str, Path],
    sizes: Sizes,
    written: Mapping[str, Mapping[str, Any]],
    check_inputs: Inputs | None,
) -> dict[str, float]:
    """How far each file's outputs are from PyTorch's. Raises :class:`BundleError` where it is too far."""
    several = {name: list(_checks(network, sizes, how.get("free", ()), check_inputs)) for name, how in written.items()}
    files = {name: path for name, path in paths.items() if FORMATS[name].run is None}
    found = read_back(files, Plain(network, sizes.inputs), several) if files else {}
    differences = {}
    for name, path in paths.items():
        run = FORMATS[name].run
        got = found[name] if run is None else [run(network, path, inputs) for inputs in several[name]]
        try:
            worst = max(
                difference(each, _outputs(network, inputs)) for each, inputs in zip(got, several[name], strict=True)
            )
        except BundleError as error:
            raise BundleError(f"{path}: {error}") from None
        if not worst <= TOLERANCE:
            raise BundleError(f"{path} differs from PyTorch by {worst:.2g} of the largest output; allowed {TOLERANCE}")
        differences[name] = worst
    return differences


def _checks(network: nn.Module, sizes: Sizes, free: Sequence[str], given: Inputs | None) -> Iterator[Inputs]:
    """What a file is run on: inputs that were given, where it takes their batch, else others; and other sizes."""
    fits = given is not None and (BATCH in free or not sizes.batch)
    yield given if fits else other_inputs(network, sizes.example(free))
    if free:
        yield other_inputs(network, sizes.changed(free))


def load(folder: str | Path, net: Any) -> nn.Module:
    """The network of a bundle, as the module that it was extracted as.

    Args:
        folder: that :func:`export` wrote, ``safetensors`` among its formats.
        net: the super-network that it comes from, or one built the same way; its weights do not matter.

    Raises :class:`BundleError` when the folder is no bundle, or of another super-network, and
    :class:`CheckpointError` when its weights are damaged or do not fit.
    """
    folder = Path(folder)
    weights = folder / FORMATS["safetensors"].file
    if not isinstance(getattr(net, "space", None), Space):
        raise BundleError(f"load needs the super-network that {folder} comes from, not a {type(net).__name__}")
    try:
        manifest = read_json(folder / "manifest.json")
    except (OSError, ValueError) as error:
        raise BundleError(f"{folder} is not a bundle: {format_error(error)}") from None
    told = manifest.get("candidate") if isinstance(manifest, dict) else None
    if not isinstance(told, dict):
        raise BundleError(f"{folder}/manifest.json names no candidate; was it extracted from a super-network?")
    try:
        candidate = net.space.candidate(told)
    except SpaceError as error:
        raise BundleError(f"{folder} is of another super-network: {format_error(error)}") from None
    if not weights.exists():
        raise BundleError(f"{folder} has no {weights.name}; export with 'safetensors' among the formats")
    network: nn.Module = net.extract(candidate)
    load_weights(network, weights)
    return network.eval()


def _outputs(network: nn.Module, inputs: Inputs) -> list[np.ndarray]:
    """All outputs of a network."""
    return arrays_of(outputs_of(network, inputs))


def _check_forgets(network: nn.Module, inputs: Inputs) -> None:
    """Refuse a network that an ONNX file cannot be: each run of it is the first."""
    with isolated(network), torch.no_grad():
        first, second = (arrays_of(tensors_in(call(network, fresh(inputs)))) for _ in range(2))
        if not all(
            a.shape == b.shape and np.allclose(a, b, TOLERANCE, 0, True) for a, b in zip(first, second, strict=True)
        ):
            raise BundleError(
                "called twice with the same inputs the network gives different outputs: it keeps values from one call "
                "to the next, or draws them, which an ONNX file does not; make them an input and an output, or "
                "export with formats=['pt2']"
            )
