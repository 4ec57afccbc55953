"""How a network is called: with a tensor, a tuple of tensors, or a dict of keyword tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from typing import Any

from torch import Tensor, nn

Inputs = Tensor | tuple[Any, ...] | Mapping[str, Any]
"""A tensor, positional arguments, or keyword arguments."""


def call(network: nn.Module | Callable[..., Any], inputs: Inputs) -> Any:
    """The network's output for its inputs."""
    if isinstance(inputs, Mapping):
        return network(**inputs)
    return network(*inputs) if isinstance(inputs, tuple) else network(inputs)


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """The network in evaluation mode while the block lasts; afterwards each module in the mode that it was in."""
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def inputs_of(batch: Any) -> Inputs:
    """The inputs of a batch: the first entry of an (inputs, labels) pair, else the batch itself."""
    return batch[0] if isinstance(batch, tuple | list) else batch


def each_tensor(inputs: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """The inputs with every tensor in them replaced."""
    if isinstance(inputs, Tensor):
        return change(inputs)
    if isinstance(inputs, Mapping):
        return {k: each_tensor(v, change) for k, v in inputs.items()}
    if isinstance(inputs, tuple | list):
        changed = [each_tensor(v, change) for v in inputs]
        return type(inputs)(*changed) if hasattr(inputs, "_fields") else type(inputs)(changed)  # a named tuple
    return inputs


def tensors_in(value: Any) -> Iterator[Tensor]:
    """Every tensor in inputs or outputs, in order."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, tuple | list):
        for part in value:
            yield from tensors_in(part)
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from tensors_in(part)
    elif is_dataclass(value) and not isinstance(value, type):
        for field in fields(value):
            yield from tensors_in(getattr(value, field.name))
