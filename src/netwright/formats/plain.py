"""Networks as files know them: tensors with names go in, tensors with names come out."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..core.errors import BundleError
from ..nets.inputs import Inputs, arguments, call, each_tensor, is_dense, tensors_in
from ..nets.isolation import State


class Plain(nn.Module):
    """A network that takes tensors and gives a tensor, a tuple of tensors, or a dict of tensors.

    What else a person's network takes (None, numbers, nested structures) stays as in the example; what else it gives
    (None, numbers) is left out, and the classes of its outputs are gone. Tensors are taken by position, or by name
    where the example is a mapping.

    Args:
        network: put into evaluation mode.
        inputs: the example.

    Raises :class:`BundleError` for inputs that files cannot take.
    """

    def __init__(self, network: nn.Module, inputs: Inputs) -> None:
        super().__init__()
        self.network = network.eval()
        self._inputs = in_order(network, inputs)
        self.names = input_names(self._inputs)
        if not self.names:
            raise BundleError("there is no tensor among the example inputs: nothing that a file could be called with")
        if not all(is_dense(t) for t in tensors_in(inputs)):
            raise BundleError(
                "sparse and nested tensors cannot be the inputs of an .onnx or .pt2 file; give dense ones, or export "
                "with formats=['safetensors']"
            )
        self.by_name = isinstance(inputs, Mapping)
        self.forward = self._signed()
        self._state = State(network)
        self.eval()

    @property
    def fixed(self) -> dict[str, Any]:
        """What stays as in the example, of a mapping and as far as JSON has it."""
        given = self._inputs.items() if self.by_name else ()
        return {name: value for name, value in given if isinstance(value, bool | int | float | str)}

    def tensors(self, inputs: Inputs) -> tuple[Tensor, ...]:
        """The tensors of inputs, in the order in which they are taken."""
        return tuple(tensors_in(in_order(self.network, inputs)))

    def outputs(self, inputs: Inputs) -> Tensor | tuple[Tensor, ...] | dict[str, Tensor]:
        """What it gives for inputs; whatever its run changes is put back."""
        with self._state.kept(), torch.no_grad():
            given = self(*(tensor.detach().clone() for tensor in self.tensors(inputs)))
            return each_tensor(given, lambda tensor: tensor.detach().clone())

    def _signed(self) -> Callable[..., Any]:
        """What is called, with the inputs' names for parameters: exporters look at these."""

        def forward(*tensors: Tensor, **named: Tensor) -> Tensor | tuple[Tensor, ...] | dict[str, Tensor]:
            given = iter([*tensors, *(named[name] for name in self.names[len(tensors) :])])
            return flat(call(self.network, each_tensor(self._inputs, lambda _: next(given))))

        either = inspect.Parameter.POSITIONAL_OR_KEYWORD
        parameters = [inspect.Parameter(name, either) for name in self.names]
        forward.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        return forward


def input_names(inputs: Inputs) -> list[str]:
    """The names of the tensors in inputs: ``input``; ``input0``, ``input1``, ...; or the keys of a mapping.

    Where a key holds several tensors they are ``key_0``, ``key_1``, ...
    """
    args, kwargs = arguments(inputs)
    if kwargs:
        return [name for name, _ in _named(kwargs)]
    count = sum(1 for _ in tensors_in(args))
    return ["input"] if count == 1 and not isinstance(inputs, tuple) else [f"input{i}" for i in range(count)]


def output_names(outputs: Tensor | tuple[Tensor, ...] | dict[str, Tensor], taken: list[str]) -> list[str]:
    """``output``; ``output0``, ``output1``, ...; or the keys of a dict, with ``_out`` where an input is called so."""
    if isinstance(outputs, Tensor):
        return ["output"]
    names = list(outputs) if isinstance(outputs, dict) else [f"output{i}" for i in range(len(outputs))]
    return [f"{name}_out" if name in taken else name for name in names]


def in_order(network: nn.Module, inputs: Inputs) -> Inputs:
    """Keyword inputs in the order of the network's parameters."""
    if not isinstance(inputs, Mapping):
        return inputs
    known = [name for name in inspect.signature(network.forward).parameters if name in inputs]
    return {name: inputs[name] for name in [*known, *(n for n in inputs if n not in known)]}


def flat(value: Any) -> Tensor | tuple[Tensor, ...] | dict[str, Tensor]:
    """A structure of tensors as one tensor, a tuple of them, or a dict of those that it has names for."""
    if isinstance(value, Tensor):
        return value
    if isinstance(value, Mapping):
        return dict(_named(value))
    if is_dataclass(value) and not isinstance(value, type):
        return dict(_named({field.name: getattr(value, field.name) for field in fields(value)}))
    return tuple(tensors_in(value))


def _named(values: Mapping[Any, Any]) -> Iterator[tuple[str, Tensor]]:
    for name, value in values.items():
        tensors = list(tensors_in(value))
        alone = isinstance(value, Tensor)
        yield from ((str(name) if alone else f"{name}_{i}", tensor) for i, tensor in enumerate(tensors))
