"""Checkpoints: everything that a training needs to go on as if it had not been interrupted, without pickles.

Values of any structure are told apart into tensors, which safetensors keeps, and a tree of JSON values that says where
each of them belongs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..core.errors import CheckpointError, NetwrightError, format_error
from ..nets.state import load_state, read_tensors, state_of, write_tensors

PLAIN = (bool, int, float, str, type(None))
"""Types of values that JSON keeps as they are."""


MOST_TOLD = 4
"""Choices that differ which a message names."""


def pack(value: Any, tensors: dict[str, Tensor], name: str) -> Any:
    """A value as a JSON tree; the tensors in it are added to ``tensors``, under names that begin with ``name``.

    Raises :class:`CheckpointError` for values of a type that a checkpoint does not keep.
    """
    if isinstance(value, Tensor):
        tensors[name] = value
        return {"tensor": name}
    if type(value) in PLAIN:
        return value
    if isinstance(value, Mapping):
        return {"dict": [[pack(k, tensors, name), pack(v, tensors, f"{name}/{k}")] for k, v in value.items()]}
    if isinstance(value, tuple | list):
        kind = "tuple" if isinstance(value, tuple) else "list"
        return {kind: [pack(part, tensors, f"{name}/{i}") for i, part in enumerate(value)]}
    raise CheckpointError(
        f"a checkpoint keeps tensors, numbers, texts, and dicts and lists of them, but {name} is a "
        f"{type(value).__name__}: train without a checkpoint, or with another optimizer"
    )


def unpack(tree: Any, tensors: Mapping[str, Tensor]) -> Any:
    """The value that :func:`pack` made a tree of."""
    if not isinstance(tree, dict):
        return tree
    ((kind, inside),) = tree.items()
    if kind == "tensor":
        return tensors[inside]
    if kind == "dict":
        return {unpack(key, tensors): unpack(value, tensors) for key, value in inside}
    return {"list": list, "tuple": tuple}[kind](unpack(part, tensors) for part in inside)


@dataclass(frozen=True)
class Checkpoint:
    """A file that holds a network and what its training needs to go on.

    Args:
        path: the file; replaced as a whole each time.
        key: names what is trained; a file with another key is refused.
        optimizer: the text that names the optimizer; a file with the state of another is refused.
        choices: of the super-network that is trained, with their options in words; a file with others is refused.
    """

    path: Path
    key: str
    optimizer: str
    choices: Mapping[str, str] = field(default_factory=dict)

    def write(self, module: nn.Module, optimizer: torch.optim.Optimizer, epochs: int, rest: Mapping[str, Any]) -> None:
        """Write the network, its optimizer, how many epochs are done, and what else there is to be kept."""
        tensors = {f"net:{name}": tensor for name, tensor in state_of(module).items()}
        tree = pack({**rest, "optimizer": optimizer.state_dict()}, tensors, "state")
        about = {"key": self.key, "optimizer": self.optimizer, "choices": dict(self.choices)}
        write_tensors(self.path, tensors, {**about, "epoch": epochs, "state": tree})

    def drop_other(self) -> None:
        """Remove the file where it is of another training. Raises :class:`CheckpointError` for one that is damaged."""
        if self.path.exists() and read_tensors(self.path)[1].get("key") != self.key:
            self.path.unlink()

    def read(self, module: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
        """Put the network and its optimizer back; returns the rest, with the number of epochs done as ``epoch``.

        Raises :class:`CheckpointError` for a file that is damaged, or of another training or network.
        """
        tensors, meta = read_tensors(self.path)
        if other := _differences(meta.get("choices", self.choices), self.choices):
            raise CheckpointError(
                f"{self.path} is of a super-network with other choices: {other}; make the super-network as it was, or "
                "use another directory for this one"
            )
        if meta.get("key") != self.key:
            raise CheckpointError(f"{self.path} is of another training; use another directory for this one")
        if meta.get("optimizer", self.optimizer) != self.optimizer:
            raise CheckpointError(
                f"{self.path} is of a training with the optimizer {meta['optimizer']}, not {self.optimizer}; "
                "use another directory for this one"
            )
        try:
            rest: dict[str, Any] = {**unpack(meta["state"], tensors), "epoch": int(meta["epoch"])}
            own = {name.removeprefix("net:"): t for name, t in tensors.items() if name.startswith("net:")}
            load_state(module, own, self.path)
            _load_optimizer(optimizer, rest.pop("optimizer"))
        except NetwrightError:
            raise
        except Exception as error:  # whatever an optimizer makes of another's state
            raise CheckpointError(
                f"{self.path} is damaged ({format_error(error)}); it is left as it is: move it away to start anew"
            ) from None
        return rest


def _differences(theirs: Mapping[str, str], own: Mapping[str, str]) -> str:
    """What choices differ, in words; nothing where none do."""
    found = [f"it lacks {name!r}" for name in own if name not in theirs]
    found += [f"it has {name!r}, which this one lacks" for name in theirs if name not in own]
    found += [
        f"its {name!r} is one of {theirs[name]}, and of this one {options}"
        for name, options in own.items()
        if theirs.get(name, options) != options
    ]
    return f"{'; '.join(found[:MOST_TOLD])}{f'; and {more} more' if (more := len(found) - MOST_TOLD) > 0 else ''}"


def _load_optimizer(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Put an optimizer's state back; tensors of a parameter's shape take its layout in memory, as they had it."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for at, entry in state["state"].items():
        for key, value in entry.items():
            if isinstance(value, Tensor) and value.shape == parameters[at].shape and value.dim():
                entry[key] = torch.empty_like(parameters[at], dtype=value.dtype).copy_(value)
    optimizer.load_state_dict(state)
