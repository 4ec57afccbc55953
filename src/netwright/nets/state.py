"""Weights on disk: safetensors with a JSON manifest, written whole or not at all."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import save
from torch import Tensor, nn

from ..core.errors import CheckpointError, format_error
from ..core.faults import machine_fault
from ..core.files import open_regular, write_atomically
from .inputs import is_dense, parts_of, put, sparse_of
from .rounding import INPUTS


def write_tensors(path: Path, tensors: Mapping[str, Tensor], meta: Mapping[str, Any] | None = None) -> None:
    """Tensors, and JSON values in the header of the same file."""
    whole = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in _dense(tensors).items()}
    about = dict(meta or {})
    # One entry alone: safetensors writes several in an order that differs from run to run.
    write_atomically(path, save(whole, {"netwright": json.dumps({**about, "sha256": _digest(whole, about)})}))


def _dense(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors, with the parts of sparse ones in their places: ``adj.indices`` and ``adj.values`` for ``adj``."""
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        found |= {name: tensor} if is_dense(tensor) else {f"{name}.{k}": v for k, v in parts_of(tensor).items()}
    return found


def _sparse(tensors: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors, with the parts of those that are sparse in ``own`` put together."""
    found = dict(tensors)
    for name, tensor in own.items():
        parts = {} if is_dense(tensor) else {part: found.pop(f"{name}.{part}", None) for part in parts_of(tensor)}
        if parts and all(part is not None for part in parts.values()):
            found[name] = sparse_of({part: value for part, value in parts.items() if value is not None}, tensor)
    return found


def _digest(tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> str:
    """Of names, shapes, contents and JSON values: safetensors itself notices only a file that is cut short."""
    found = hashlib.sha256(json.dumps(meta, sort_keys=True).encode())
    for name in sorted(tensors):
        found.update(f"{name} {list(tensors[name].shape)} {tensors[name].dtype}".encode())
        found.update(tensors[name].reshape(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What :func:`write_tensors` wrote. Raises :class:`CheckpointError` for a file that is damaged or another's."""
    try:
        open_regular(path).close()  # safetensors would wait for a pipe
        with safetensors.safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
            meta = json.loads((file.metadata() or {}).get("netwright", "{}"))
        if not isinstance(meta, dict):
            raise ValueError("its entry 'netwright' is no JSON object")
        if meta.pop("sha256", None) not in (None, _digest(tensors, meta)):
            raise ValueError("its tensors are not those that were written")
        return tensors, meta
    except Exception as error:  # safetensors, torch and JSON raise many types
        if machine_fault(error):
            raise
        raise CheckpointError(
            f"{path} cannot be read ({format_error(error)}); it is left as it is: move it away to start anew"
        ) from None


def state_of(network: nn.Module) -> dict[str, Tensor]:
    """Parameters and persistent buffers by name, each tied tensor once."""
    seen: set[int] = set()
    state: dict[str, Tensor] = {}
    for name, tensor in network.state_dict(keep_vars=True).items():
        if id(tensor) not in seen:
            seen.add(id(tensor))
            state[name] = tensor
    return state


def copied_state(network: nn.Module) -> dict[str, Tensor]:
    """Copies of the same, which :func:`put_state` puts back."""
    return {name: tensor.detach().clone() for name, tensor in state_of(network).items()}


@torch.no_grad()
def put_state(network: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Copy what :func:`copied_state` gave of the same network into it, in place."""
    for name, tensor in state_of(network).items():
        put(tensor, tensors[name])


OPTIONAL = ("num_batches_tracked", f".{INPUTS}.low", f".{INPUTS}.high")
"""Ends of the names of what weights may lack: counts of batches are of no use to a trained network, and many published
weights have none; ranges of rounded inputs are found for each candidate, and what was trained in float32 has none."""


def load_state(network: nn.Module, tensors: Mapping[str, Tensor], source: Path) -> None:
    """Copy tensors into a network of the same shapes, in place; they take the precision that the network has.

    Args:
        network: keeps its tensors; nothing is copied unless all fit.
        tensors: the tensors by their names in the network's state dict.
        source: where they come from, for the error.

    Raises :class:`CheckpointError` that tells all that is missing, of another shape or kind, or too much.
    """
    tensors = _sparse(tensors, state_of(network))
    own = {k: v for k, v in state_of(network).items() if k in tensors or not k.endswith(OPTIONAL)}
    missing = [f"{k} {_shape(v)}" for k, v in own.items() if k not in tensors]
    other = [
        f"{k} is {_kind(tensors[k], v)} and should be {_kind(v, tensors[k])}"
        for k, v in own.items()
        if k in tensors and _kind(tensors[k], v) != _kind(v, tensors[k])
    ]
    extra = [f"{k} {_shape(v)}" for k, v in tensors.items() if k not in own]
    faults = [f"it lacks {_some(missing)}"] if missing else []
    faults += [_some(other)] if other else []
    faults += [f"it holds {_some(extra)}, which the network does not have"] if extra else []
    if faults:
        raise CheckpointError(f"{source} belongs to another network: {'; '.join(faults)}")
    with torch.no_grad():
        for name, tensor in own.items():
            put(tensor, tensors[name])


def _shape(tensor: Tensor) -> str:
    return str(list(tensor.shape))


def _kind(tensor: Tensor, beside: Tensor) -> str:
    """Its shape, and its type where that cannot stand for the other's: float16 can for float32, int8 cannot."""
    same = tensor.is_floating_point() == beside.is_floating_point()
    return _shape(tensor) if same else f"{_shape(tensor)} of {str(tensor.dtype).removeprefix('torch.')}"


def _some(things: Sequence[str], most: int = 5) -> str:
    """The first of some things, and how many more there are."""
    more = len(things) - most
    return ", ".join(things[:most]) + (f" and {more} more" if more > 0 else "")
