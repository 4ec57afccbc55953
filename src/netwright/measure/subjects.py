"""What a person names to have it measured: a file of any runtime, or ``module:function`` that gives a network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..core.errors import MeasureError
from .convert import converted, example, feeds_of, outputs_of
from .runtimes import names, runtime_class
from .runtimes.base import Feeds
from .targets import Target

SUFFIXES = {
    ".onnx": "onnxruntime", ".pt2": "torch", ".pte": "executorch", ".tflite": "litert", ".ncnn": "ncnn",
    ".param": "ncnn", ".ovir": "openvino", ".xml": "openvino",
}  # fmt: skip
"""The runtime that a file is measured with where none is named."""


@dataclass(frozen=True)
class Named:
    """A network ready for a target.

    Args:
        path: of the target's file.
        feeds: its inputs.
        expected: what PyTorch computes of them, where that is known.
    """

    path: Path
    feeds: Feeds
    expected: list[np.ndarray] | None = None


def from_file(path: Path, target: Target, feeds: Feeds | None, shapes: Mapping[str, Sequence[int]]) -> Named:
    """A file as it is.

    Args:
        path: of the file.
        target: that reads such files.
        feeds: its inputs, of the target's batch size; None: noise in the shapes that the file names.
        shapes: of inputs that the file leaves open, without the batch, by their names.

    Raises :class:`MeasureError` where the file or its inputs cannot be used.
    """
    if not path.is_file():
        raise MeasureError(f"there is no file {path}; a network of your own code is named as module:function")
    if path.suffix not in target.runtime.reads:
        readers = [n for n in names() if path.suffix in runtime_class(n).reads]
        those = f"it is read by {' and '.join(readers)}" if readers else "no runtime here reads it"
        raise MeasureError(f"{target.runtime.name} reads {' and '.join(target.runtime.reads)}, not {path}; {those}")
    if feeds is None:
        feeds = _noise(path, target, shapes)
    wrong = {len(value) for value in feeds.values() if value.ndim} - {target.runtime.batch}
    if wrong:
        raise MeasureError(
            f"the inputs have a batch of {wrong.pop()}, the target one of {target.runtime.batch}; give the target "
            "batch=..., or other inputs"
        )
    return Named(path, feeds)


def from_network(network: Any, inputs: Any, target: Target, folder: Path) -> Named:
    """A ``torch.nn.Module``, converted for the target into a folder, with what PyTorch computes."""
    network = network.eval()
    inputs = example(inputs, target.runtime.batch)
    path = folder / f"network{target.runtime.suffix}"
    converted(target.runtime, network, inputs, path)
    return Named(path, feeds_of(inputs), outputs_of(network, inputs))


def parse_shape(text: str) -> tuple[str, tuple[int, ...]]:
    """``input=3x224x224`` or ``3x224x224``, whose name is empty."""
    name, _, sizes = text.rpartition("=")
    try:
        shape = tuple(int(size) for size in sizes.lower().replace(",", "x").split("x"))
    except ValueError:
        shape = ()
    if not shape or min(shape) < 1:
        raise MeasureError(f"a shape is written as 3x224x224 or input=3x224x224, without the batch, not {text!r}")
    return name, shape


def _noise(path: Path, target: Target, shapes: Mapping[str, Sequence[int]]) -> Feeds:
    """Noise in the shapes that a file names; ones where it wants whole numbers."""
    rng = np.random.default_rng(0)
    found = target.ask({"job": "inputs", "seconds": target.runtime.slowest_s, "files": [str(path.resolve())]})["inputs"]
    unknown = [name for name in shapes if name and name not in found]
    if unknown:
        raise MeasureError(f"{path} has no input {unknown[0]!r}, it has {', '.join(found)}")
    feeds = {}
    for name, (shape, kind) in found.items():
        given = shapes.get(name) or (shapes.get("") if len(found) == 1 else None)
        sizes = (target.runtime.batch, *(given if given is not None else shape[1:])) if shape else ()
        whole = not np.issubdtype(np.dtype(kind), np.floating)
        feeds[name] = (np.ones(sizes) if whole else rng.standard_normal(sizes)).astype(kind)
    return feeds
