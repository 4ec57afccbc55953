"""ONNX."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..core.errors import BundleError, one_line
from ..core.quiet import quiet
from ..nets.inputs import Inputs, each_tensor


def write_onnx(network: nn.Module, example_inputs: Inputs, path: Path, *, quick: bool = False) -> None:
    """Write a network with a free batch dimension (the first of every input and output).

    Args:
        network: put into evaluation mode.
        example_inputs: see :class:`netwright.SuperNet`.
        path: of the ``.onnx`` file.
        quick: use torch's older exporter, which takes a tenth of the time and gives the same operators for plain
            networks; for files that only the search sees.
    """
    example_inputs = _in_order(network, example_inputs)
    names = input_names(example_inputs)
    args, kwargs = as_call(example_inputs)
    network.eval()
    log = torch._C._jit_onnx_log
    torch._C._jit_onnx_log = lambda *_: None  # prints the graph of what cannot be exported, whatever verbose= says
    try:
        with quiet():
            if quick:
                if kwargs:
                    network, args = _ByPosition(network, kwargs).eval(), tuple(filter(_is_tensor, kwargs.values()))
                axes = {name: {0: "batch"} for name in (*names, "output")}
                torch.onnx.export(
                    network, args, str(path), input_names=names, output_names=["output"],
                    dynamic_axes=axes, dynamo=False,
                )  # fmt: skip
            else:
                torch.onnx.export(
                    network, args, str(path), kwargs=kwargs, input_names=names, output_names=["output"],
                    dynamic_shapes=free_batch(example_inputs), dynamo=True, external_data=False, verbose=False,
                )  # fmt: skip
    except Exception as error:  # the exporters raise many types
        raise BundleError(f"torch cannot export this network to ONNX: {one_line(_root(error))[:500]}") from error
    finally:
        torch._C._jit_onnx_log = log


def _root(error: BaseException) -> BaseException:
    """What went wrong first: the exporters wrap it in advice."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def feed(session: Any, inputs: Inputs) -> dict[str, np.ndarray]:
    """An ONNX Runtime session's inputs, by its own names."""
    names = [i.name for i in session.get_inputs()]
    if isinstance(inputs, Mapping):
        return {name: inputs[name].numpy(force=True) for name in names}
    values = inputs if isinstance(inputs, tuple) else (inputs,)
    return {name: value.numpy(force=True) for name, value in zip(names, values, strict=True)}


def input_names(inputs: Inputs) -> list[str]:
    """``input``; ``input0``, ``input1``, ...; or the keys of tensors."""
    if isinstance(inputs, Mapping):
        return [name for name, value in inputs.items() if _is_tensor(value)]
    return [f"input{i}" for i in range(len(inputs))] if isinstance(inputs, tuple) else ["input"]


def _in_order(network: nn.Module, inputs: Inputs) -> Inputs:
    """Keyword inputs in the order of the network's parameters: exporters name them by position."""
    if not isinstance(inputs, Mapping):
        return inputs
    known = [name for name in inspect.signature(network.forward).parameters if name in inputs]
    return {name: inputs[name] for name in [*known, *(n for n in inputs if n not in known)]}


class _ByPosition(nn.Module):
    """A network that takes the tensors among its keyword inputs by position: the older exporter knows no others."""

    def __init__(self, network: nn.Module, inputs: Mapping[str, Any]) -> None:
        super().__init__()
        self.network, self._inputs = network, dict(inputs)

    def forward(self, *tensors: Tensor) -> Any:
        given = iter(tensors)
        return self.network(**{name: next(given) if _is_tensor(v) else v for name, v in self._inputs.items()})


def _is_tensor(value: Any) -> bool:
    return isinstance(value, Tensor)


def as_call(inputs: Inputs) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Positional and keyword arguments. The batch is doubled: exporters take a batch of one for a constant."""
    inputs = each_tensor(inputs, lambda t: torch.cat([t, t]) if t.dim() and len(t) == 1 else t)
    if isinstance(inputs, Mapping):
        return (), dict(inputs)
    return (inputs if isinstance(inputs, tuple) else (inputs,)), {}


def free_batch(inputs: Inputs) -> Any:
    """torch.export's description of inputs whose first dimension may vary together."""
    batch = torch.export.Dim("batch", min=1)

    def free(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {name: free(part) for name, part in value.items()}
        if isinstance(value, tuple | list):
            return type(value)(free(part) for part in value)
        return {0: batch} if isinstance(value, Tensor) and value.dim() else None

    return free(inputs) if isinstance(inputs, tuple | Mapping) else (free(inputs),)
