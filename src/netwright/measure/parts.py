"""Files that consist of several: weights beside an ONNX file, an ``.xml`` and its ``.bin``."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ..core.errors import MeasureError, format_error
from ..core.files import read_bytes

MOST_BYTES = 2 << 30
"""Of an ONNX file; the format has no more."""


def parts_of(path: Path, beside: Sequence[str] = ()) -> dict[str, Path]:
    """All files that one consists of, itself first.

    Args:
        path: the path of the file.
        beside: suffixes of files of the same name that belong to it where they are there.

    Returns:
        By suffix for files of the file's own name, and by the name that it knows them by, relative to its folder, for
        others: those in which an ONNX file keeps its weights.

    Raises :class:`MeasureError` where one is missing or lies outside the folder.
    """
    found = {path.suffix: path}
    found |= {s: mate for s in beside if s != path.suffix and (mate := path.with_suffix(s)).exists()}
    for name in dict.fromkeys(_external(path)) if path.suffix == ".onnx" else ():
        place = posixpath.normpath(name)
        if posixpath.isabs(place) or place.split("/")[0] in ("..", ".") or "\\" in place:
            raise MeasureError(f"{path} keeps weights in {name!r}, which is not in its own folder; save it anew")
        if not (path.parent / place).is_file():
            raise MeasureError(f"{path} keeps weights in {name!r}, which is not there: it belongs beside it")
        folders = path.parent.resolve(), path.resolve().parent
        if not any((path.parent / place).resolve().is_relative_to(folder) for folder in folders):
            raise MeasureError(f"{path} keeps weights in {name!r}, a link to a file elsewhere; copy it beside it")
        found[place] = path.parent / place
    return found


def bytes_of(parts: dict[str, Path]) -> int:
    """The size of all of them."""
    return sum(part.stat().st_size for part in parts.values())


def _external(path: Path) -> Iterator[str]:
    """The names of the files in which an ONNX file keeps tensors."""
    try:
        content = read_bytes(path, MOST_BYTES)
    except OSError as error:
        raise MeasureError(f"{path} cannot be read: {format_error(error)}") from error
    if b"location" not in content:  # the key that every such entry has: most files are not read any further
        return
    import onnx

    try:
        model = onnx.ModelProto.FromString(content)
    except Exception:  # protobuf's own: no ONNX file, which opening it reports
        return
    for tensor in _tensors(model):
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            yield from (entry.value for entry in tensor.external_data if entry.key == "location")


def _tensors(model: Any) -> Iterator[Any]:
    """Every tensor of a model, those of its functions and of the graphs inside its operators too."""
    holders = [model.graph, *model.functions]
    while holders:
        holder = holders.pop()
        yield from getattr(holder, "initializer", ())
        for sparse in getattr(holder, "sparse_initializer", ()):
            yield from (sparse.values, sparse.indices)
        for node in holder.node:
            for attribute in node.attribute:
                yield from (attribute.t, *attribute.tensors)
                holders += [attribute.g, *attribute.graphs]
