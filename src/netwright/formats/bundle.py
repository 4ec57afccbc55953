"""The bundle: a directory with everything that a chosen network needs to run and to be reproduced."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from ..core.arguments import shown
from ..core.errors import BundleError, NetError, SpaceError, format_error
from ..core.files import read_json, sha256, write_json
from ..core.provenance import versions
from ..core.space import Space
from ..nets.batch import Given, batch_dims_of, find_batch_dims
from ..nets.folding import FOLDED, fold
from ..nets.inputs import Inputs, shape_of, tensors_in
from ..nets.isolation import outputs_of
from ..nets.noise import other_inputs
from ..nets.rounding import inputs_unrounded
from . import FORMATS, STANDARD
from .base import Format
from .compare import TOLERANCE, arrays_of, difference
from .onnx import feed
from .plain import Plain, input_names
from .readback import read_back
from .safetensors import Safetensors, load_weights
from .sizes import BATCH, Sizes, find_sizes


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


@inputs_unrounded()
def export(
    network: nn.Module,
    out: str | Path,
    formats: Sequence[str | Format | type[Format]] = STANDARD,
    *,
    example_inputs: Inputs | None = None,
    check_inputs: Inputs | None = None,
    batch_dims: Given | None = None,
    about: Callable[[Bundle], Mapping[str, Any]] = lambda bundle: {},
    further: Mapping[str, Callable[[nn.Module, Inputs, Path], object]] | None = None,
) -> Bundle:
    """Write a network to a directory, read every file back in a fresh process, and compare all that it computes.

    What offers ``folded()`` is folded (:func:`netwright.fold`) but in ``safetensors``, from which training may go on.
    Inputs of layers of few bits (:class:`netwright.Bits`) are not rounded in these files, only weights: a target's own
    file has all of it. Files take tensors and give tensors, whatever structures the network has. Sizes that may be
    others (batch, length, height and width) are found by trying, kept free where the format can, and checked at a
    second value.

    Args:
        network: a stand-alone module; put into evaluation mode.
        out: the directory.
        formats: of ``onnx``, ``pt2``, ``safetensors``, ``transformers``, with settings as in
            ``onnx,external_data=true``; of one's own, ``module:Class``; or objects.
        example_inputs: by default the network's own attribute ``example_inputs``, which extraction sets.
        check_inputs: what the outputs are compared on; by default other values that the network accepts.
        batch_dims: which dimension of the inputs is the batch, where that is not to be found by trying: see
            :data:`netwright.nets.batch.Given`.
        about: called when the files are written and checked; what it returns goes into ``manifest.json``, which is
            written last: a directory without one is not done.
        further: files beside the formats: name to what writes it. They are not read back here: ``about`` may.

    Raises :class:`BundleError` when a file cannot be written or computes something else, and :class:`NetError` for a
    network that does not run on its example, or that a fold changes.
    """
    out = Path(out)
    example = _checked(network, formats, example_inputs)
    writers = _made(formats)
    network.eval()
    if batch_dims is not None:
        network.batch_dims = find_batch_dims(network, example, batch_dims)  # type: ignore[assignment]
    batch = batch_dims_of(network, example)
    _check_runs(network, example, "its example inputs")
    if check_inputs is not None:
        _check_runs(network, check_inputs, "check_inputs=")
    _begin(out)
    for form in writers.values():
        form.check(network, example)
    sizes = find_sizes(network, example)
    forms = {f: fold(network, example) if f else network for f in {form.folds for form in writers.values()}}
    written = {name: form.write(forms[form.folds], example, out / form.file, sizes) for name, form in writers.items()}
    differences = _differences(network, out, writers, sizes, written, check_inputs)
    parts = [part for form in writers.values() for part in form.parts(out / form.file)]
    files = {part.relative_to(out).as_posix(): part for part in parts}
    for name, write in (further or {}).items():
        files[name] = _beside(out, name, lambda path, write=write: write(network, example, path))  # type: ignore[misc]
    bundle = Bundle(out, files, differences)
    manifest = {
        "format": 1,
        **({"candidate": network.candidate} if hasattr(network, "candidate") else {}),
        **_further_entries(about, bundle),
        "differences": differences,
        **({"folded": folded} if (folded := getattr(forms.get(True), FOLDED, None)) else {}),
        "example": _told(batch.part(example, 0, 1)),
        "batch": str(batch),
        "written": {name: dict(how) for name, how in written.items() if how},
        "versions": versions(),
        "files": {name: {"sha256": sha256(path), "bytes": path.stat().st_size} for name, path in files.items()},
    }
    write_json(out / "manifest.json", manifest)
    return bundle


def _begin(out: Path) -> None:
    """Make the directory one that is not done."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / "manifest.json").unlink(missing_ok=True)
    except OSError as error:
        raise BundleError(f"cannot write to {out}: {format_error(error)}; choose another directory") from error


def _beside(out: Path, name: str, write: Callable[[Path], object]) -> Path:
    """The path of a further file, written by a person's own function."""
    path = out / name
    if Path(name).name != name:
        raise BundleError(f"further: {name!r} is no name of a file within {out}")
    write(path)
    if not path.exists():
        raise BundleError(f"further: what writes {name!r} left no file at the path that it is given, {path}")
    return path


def _further_entries(about: Callable[[Bundle], Mapping[str, Any]], bundle: Bundle) -> Mapping[str, Any]:
    """What a person's own function has the manifest say."""
    told = about(bundle)
    try:
        json.dumps(told, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise BundleError(f"about is a function that returns a dict of JSON values: {format_error(error)}") from None
    if not isinstance(told, Mapping):
        raise BundleError(f"about is a function that returns a dict of JSON values, not {shown(told)}")
    return told


def _check_runs(network: nn.Module, inputs: Inputs, what: str) -> None:
    """Raise :class:`NetError` where the network cannot be called with inputs."""
    try:
        outputs_of(network, inputs)
    except NetError:
        raise
    except Exception as error:  # a person's network
        raise NetError(f"the network raises on {what}: {format_error(error)}") from error


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
    example = example_inputs if example_inputs is not None else getattr(network, "example_inputs", None)
    if example is None:
        raise BundleError("export needs example_inputs=: what the network is called with")
    return example


def _made(formats: Sequence[str | Format | type[Format]]) -> dict[str, Format]:
    """The formats by name. Raises :class:`BundleError` for what there is not, and for two of one file."""
    made = [FORMATS.make(each) for each in dict.fromkeys(formats)]
    for i, form in enumerate(made):
        if form.file in [other.file for other in made[:i]]:
            raise BundleError(f"two of the formats write {form.file}; choose one of them")
    return {FORMATS.name_of(type(form)): form for form in made}


def _differences(
    network: nn.Module,
    out: Path,
    writers: Mapping[str, Format],
    sizes: Sizes,
    written: Mapping[str, Mapping[str, Any]],
    check_inputs: Inputs | None,
) -> dict[str, float]:
    """How far each file's outputs are from PyTorch's. Raises :class:`BundleError` where it is too far."""
    several = {name: list(_checks(network, sizes, how.get("free", ()), check_inputs)) for name, how in written.items()}
    files = {name: (out / form.file, form.reader) for name, form in writers.items() if form.reader is not None}
    found = read_back(files, Plain(network, sizes.inputs), several) if files else {}
    differences = {}
    for name, form in writers.items():
        path = out / form.file
        got = found[name] if name in found else [form.run(network, path, inputs) for inputs in several[name]]
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
    weights = folder / Safetensors.file
    if not isinstance(getattr(net, "space", None), Space):
        raise BundleError(f"load needs the super-network that {folder} comes from, not a {type(net).__name__}")
    try:
        manifest = read_json(folder / "manifest.json")
    except (OSError, ValueError) as error:
        raise BundleError(f"{folder} is not a bundle: {format_error(error)}") from None
    if not isinstance(manifest, dict) or not isinstance(manifest.get("candidate"), dict):
        raise BundleError(f"{folder}/manifest.json names no candidate; was it extracted from a super-network?")
    try:
        candidate = net.space.candidate(manifest["candidate"])
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
