"""``torch.export``'s archive, ``.pt2``."""

from __future__ import annotations

import io
from collections.abc import Collection, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..core.errors import BundleError, format_error
from ..core.files import write_atomically
from ..core.quiet import quiet
from ..nets.inputs import Inputs, tensors_in
from ..nets.isolation import isolated
from .base import Format
from .compare import arrays_of, difference
from .plain import Plain
from .pt2_archive import refuse_programs, weights_only
from .sizes import BATCH, Sizes, find_sizes


@dataclass(frozen=True)
class Pt2(Format):
    """The archive of ``torch.export``."""

    file = "model.pt2"
    purpose = "for torch"
    usage = """
With torch:

```python
import torch

network = torch.export.load("model.pt2").module()
```
"""
    reader = Path(__file__).with_name("pt2_reader.py")

    def write(self, network: nn.Module, inputs: Inputs, path: Path, sizes: Sizes) -> Mapping[str, Any]:
        return write_pt2(network, inputs, path, sizes=sizes)


def write_pt2(network: nn.Module, example_inputs: Inputs, path: Path, *, sizes: Sizes | None = None) -> dict[str, Any]:
    """Write a network, with every size free that can be: batch, length, height and width.

    It takes tensors as the network does, by position or by name, and gives a tensor, a tuple or a dict of tensors.

    Args:
        network: put into evaluation mode.
        example_inputs: see :class:`netwright.SuperNet`.
        path: of the ``.pt2`` file.
        sizes: which are free, where that is known.

    Returns:
        ``free``: the names of the sizes that are free in the file.

    Raises :class:`BundleError` with the reason where torch cannot export it.
    """
    plain = Plain(network, example_inputs)
    sizes = sizes or find_sizes(network, example_inputs)
    with isolated(network), quiet(), torch.no_grad():
        try:
            program, free = _program(plain, sizes)
            archive = packed(program)
        except Exception as error:  # torch.export raises many types
            raise BundleError(f"torch.export cannot take this network: {format_error(error)[:500]}") from error
    write_atomically(path, archive)
    return {"free": list(free)}


def packed(program: Any, texts: Mapping[str, str] | None = None) -> memoryview:
    """The archive of an exported program, with texts in it by name. It is made in memory: where a disk is full torch
    ends the process."""
    archive = io.BytesIO()
    torch.export.save(program, archive, extra_files=dict(texts or {}))
    return archive.getbuffer()


def load_pt2(path: Path, *, trust: bool = False) -> Any:
    """The network as a callable.

    Args:
        path: the archive.
        trust: open it even if it is a program, which runs what its maker wrote.

    Raises :class:`BundleError` for an archive that is a program, or cannot be read.
    """
    if not trust:
        refuse_programs(path)
    try:
        with quiet(), nullcontext() if trust else weights_only():
            return torch.export.load(path).module()
    except Exception as error:  # zip, JSON and torch's own types
        raise BundleError(f"torch.export cannot load {path}: {format_error(error)[:500]}") from error


def _program(plain: Plain, sizes: Sizes) -> tuple[Any, Collection[str]]:
    """The exported program, and the sizes that are free in it: it is run at others, since torch may fix some."""
    wanted = tuple(sizes.names)
    batch = tuple(name for name in wanted if name == BATCH)
    first: Exception | None = None
    for free in dict.fromkeys((wanted, batch, ())):
        tensors = plain.tensors(sizes.example(free))
        dims = [dict.fromkeys(sizes.of(i, free), torch.export.Dim.AUTO) for i in range(len(tensors))]
        try:
            args, kwargs = _given(plain, tensors)
            shapes: Any = dict(zip(plain.names, dims, strict=True)) if kwargs else tuple(dims)
            program = torch.export.export(plain, args, kwargs, dynamic_shapes=shapes)
        except Exception as error:
            first = first or error
            continue
        held = [each for each in dict.fromkeys((free, batch, ())) if _holds(program, plain, sizes, each)]
        if held:
            return program, held[0]
    raise first or BundleError("its program computes something else than the network")


def _holds(program: Any, plain: Plain, sizes: Sizes, free: Collection[str]) -> bool:
    """Whether the program computes what the network does when these sizes are others."""
    tensors = plain.tensors(sizes.changed(free))
    try:
        args, kwargs = _given(plain, tensors)
        with isolated(plain.network):  # the program has its buffers
            got = arrays_of(tensors_in(program.module()(*args, **kwargs)))
        return difference(got, arrays_of(tensors_in(plain.outputs(sizes.changed(free))))) <= 1e-3
    except Exception:  # a guard of the program, or an operator that has one size in it
        return False


def _given(plain: Plain, tensors: tuple[Tensor, ...]) -> tuple[tuple[Tensor, ...], dict[str, Tensor]]:
    """The arguments of a call."""
    return ((), dict(zip(plain.names, tensors, strict=True))) if plain.by_name else (tensors, {})
