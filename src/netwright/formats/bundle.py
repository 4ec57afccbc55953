"""The bundle: a directory with everything that a chosen network needs to run and to be reproduced."""

from __future__ import annotations

import copy
import importlib.metadata
import json
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ..core.errors import BundleError, SpaceError, nearest, one_line
from ..core.space import Space
from ..nets.inputs import Inputs, call, each_tensor, tensors_in
from ..nets.state import sha256, state_of, write_atomically
from .onnx import feed, write_onnx
from .pt2 import load_pt2, write_pt2
from .weights import load_weights, write_weights

TOLERANCE = 1e-4
"""How far an exported file's outputs may be from PyTorch's, relative to the largest of them."""


@dataclass(frozen=True)
class Format:
    """A file format: how it is written, and what the file computes when it is read back."""

    file: str
    write: Callable[[nn.Module, Inputs, Path], None]
    run: Callable[[nn.Module, Path, Inputs], np.ndarray]


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


def _run_weights(network: nn.Module, path: Path, inputs: Inputs) -> np.ndarray:
    fresh = copy.deepcopy(network)
    with torch.no_grad():
        for tensor in state_of(fresh).values():
            tensor.zero_()
    load_weights(fresh, path)
    return _first(fresh, inputs)


FORMATS: Mapping[str, Format] = {
    "onnx": Format("model.onnx", write_onnx, lambda _, path, inputs: run_onnx(path, inputs)),
    "pt2": Format("model.pt2", write_pt2, lambda _, path, inputs: _first(load_pt2(path), inputs)),
    "safetensors": Format("weights.safetensors", lambda net, _, path: write_weights(net, path), _run_weights),
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
    about: Callable[[Bundle], Mapping[str, Any]] = lambda bundle: {},
    further: Mapping[str, Callable[[nn.Module, Inputs, Path], object]] | None = None,
) -> Bundle:
    """Write a network to a directory, read every file back, and compare what it computes.

    Args:
        network: a stand-alone module; put into evaluation mode.
        out: the directory.
        formats: of ``onnx``, ``pt2``, ``safetensors``.
        example_inputs: by default the network's own attribute ``example_inputs``, which extraction sets.
        check_inputs: what the outputs are compared on; by default the example and noise of the same shapes.
        about: called when the files are written and checked; what it returns goes into ``manifest.json``, which is
            written last: a directory without one is not done.
        further: files beside the formats: name to what writes it. They are not read back here: ``about`` may.

    Raises :class:`BundleError` when a file cannot be written or computes something else.
    """
    out = Path(out)
    unknown = [name for name in formats if name not in FORMATS]
    if unknown:
        raise BundleError(f"there is no format {unknown[0]!r}; {nearest(unknown[0], FORMATS)}")
    example = example_inputs if example_inputs is not None else getattr(network, "example_inputs", None)
    if example is None:
        raise BundleError("export needs example_inputs=: what the network is called with")
    check = check_inputs if check_inputs is not None else _noise(example)
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / "manifest.json").unlink(missing_ok=True)
    except OSError as error:
        raise BundleError(f"cannot write to {out}: {one_line(error)}; choose another directory") from None
    network.eval()
    reference = _first(network, check)
    files: dict[str, Path] = {}
    differences: dict[str, float] = {}
    for name in formats:
        form = FORMATS[name]
        path = out / form.file
        form.write(network, example, path)
        got = form.run(network, path, check)
        if got.shape != reference.shape:
            raise BundleError(f"{path} computes an output of shape {got.shape}, PyTorch one of {reference.shape}")
        difference = float(np.abs(got - reference).max() / max(float(np.abs(reference).max()), 1e-12))
        if not difference <= TOLERANCE:
            raise BundleError(
                f"{path} differs from PyTorch by {difference:.2g} of the largest output; allowed {TOLERANCE}"
            )
        files[form.file], differences[name] = path, difference
    for name, write in (further or {}).items():
        write(network, example, out / name)
        files[name] = out / name
    bundle = Bundle(out, files, differences)
    manifest = {
        "format": 1,
        **({"candidate": network.candidate} if hasattr(network, "candidate") else {}),
        **about(bundle),
        "differences": differences,
        "versions": versions(),
        "files": {name: {"sha256": sha256(path), "bytes": path.stat().st_size} for name, path in files.items()},
    }
    write_json(out / "manifest.json", manifest)
    return bundle


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
        manifest = json.loads((folder / "manifest.json").read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise BundleError(f"{folder} is not a bundle: {one_line(error)}") from None
    told = manifest.get("candidate") if isinstance(manifest, dict) else None
    if not isinstance(told, dict):
        raise BundleError(f"{folder}/manifest.json names no candidate; was it extracted from a super-network?")
    try:
        candidate = net.space.candidate(told)
    except SpaceError as error:
        raise BundleError(f"{folder} is of another super-network: {one_line(error)}") from None
    if not weights.exists():
        raise BundleError(f"{folder} has no {weights.name}; export with 'safetensors' among the formats")
    network: nn.Module = net.extract(candidate)
    load_weights(network, weights)
    return network.eval()


def versions() -> dict[str, str]:
    """Of Python and of the packages that decide what a file holds."""
    found = {"python": platform.python_version()}
    for package in ("netwright", "torch", "onnx", "onnxscript", "onnxruntime", "numpy", "safetensors"):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def write_json(path: Path, value: Any) -> None:
    """Write JSON for people and programs, whole or not at all."""
    write_atomically(path, (json.dumps(value, indent=2, allow_nan=False) + "\n").encode())


def _first(network: Callable[..., Any], inputs: Inputs) -> np.ndarray:
    with torch.no_grad():
        output = call(network, inputs)
    first = next(tensors_in(output))
    return (first.float() if first.dtype == torch.bfloat16 else first).numpy(force=True)  # NumPy has no bfloat16


def _noise(example: Inputs) -> Inputs:
    generator = torch.Generator().manual_seed(0)

    def beside(tensor: torch.Tensor) -> torch.Tensor:
        if not tensor.dim():  # a number, of which a batch has one
            return tensor
        if not tensor.is_floating_point():
            return torch.cat([tensor, tensor])
        noise = torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype)
        return torch.cat([tensor, noise.to(tensor.device)])

    return each_tensor(example, beside)
