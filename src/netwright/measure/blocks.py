"""A network as a sequence of blocks: what a lookup table has a row for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..core.candidate import digest
from ..nets.inputs import Inputs, call, each_tensor, evaluating, tensors_in
from .convert import shape_of

LISTS = (nn.Sequential, nn.ModuleList)
NOTHING = (nn.Identity, nn.Dropout, nn.Flatten)
"""Layers that cost nothing when a network is used."""


@dataclass(frozen=True)
class NetworkBlock:
    """A part of a network that runs by itself.

    Args:
        name: the path of its first module.
        network: takes the tensors among its arguments by position.
        inputs: those tensors, as they were when the whole network ran.
        key: the same for blocks that take the same time: equal structure, shapes and attributes, whatever the weights.
        moved: bytes of its inputs and outputs.
    """

    name: str
    network: nn.Module
    inputs: tuple[Tensor, ...]
    key: str
    moved: int


@dataclass(frozen=True)
class _Call:
    path: str
    module: nn.Module
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    output: Any


class _Bound(nn.Module):
    """A module whose arguments that are no tensors are bound to what they were."""

    def __init__(self, module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        super().__init__()
        self.module = module
        self._args, self._kwargs = each_tensor((args, dict(kwargs)), lambda t: _HOLE)

    def forward(self, *tensors: Tensor) -> Any:
        given = iter(tensors)
        args, kwargs = _filled((self._args, self._kwargs), given)
        return self.module(*args, **kwargs)


_HOLE: Any = object()


def _filled(value: Any, given: Iterator[Tensor]) -> Any:
    if value is _HOLE:
        return next(given)
    if isinstance(value, Mapping):
        return {k: _filled(v, given) for k, v in value.items()}
    if isinstance(value, tuple | list):
        return type(value)(_filled(v, given) for v in value)
    return value


def blocks(network: nn.Module, inputs: Inputs) -> list[NetworkBlock]:
    """The blocks of a network, in the order in which they run.

    A block is an element of the innermost list (``Sequential``, ``ModuleList``) of modules with layers of their own: a
    residual block, a transformer layer. Layers outside such lists that hand each other their results,
    such as the convolution, normalisation and activation of a stem, are a block together. What the network computes
    between its modules is in no block.

    Args:
        network: the network, in evaluation mode.
        inputs: what it is called with.
    """
    calls = _calls(network, inputs)
    chosen = _chosen(network, {c.path for c in calls})
    found: list[list[_Call]] = []
    for each in calls:
        if each.path not in chosen:
            continue
        before = found[-1][-1] if found else None
        if before is not None and not _height(each.module) and not _height(before.module) and _follows(before, each):
            found[-1].append(each)
        else:
            found.append([each])
    return [_block(group) for group in found]


def _calls(network: nn.Module, inputs: Inputs) -> list[_Call]:
    """Every call of a module with a tensor, in the order in which they end."""
    found: list[_Call] = []
    paths = {module: path for path, module in network.named_modules() if path}

    def watch(module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any], output: Any) -> None:
        if any(True for _ in tensors_in((args, kwargs))):
            found.append(_Call(paths[module], module, args, kwargs, output))

    handles = [m.register_forward_hook(watch, with_kwargs=True) for m in paths]
    try:
        with evaluating(network), torch.no_grad():
            call(network, inputs)
    finally:
        for handle in handles:
            handle.remove()
    return found


def _chosen(network: nn.Module, called: set[str]) -> set[str]:
    """The paths of the modules that are blocks, or layers outside of any."""
    chosen: set[str] = set()

    def visit(module: nn.Module, path: str) -> None:
        for name, child in module.named_children():
            at = f"{path}.{name}" if path else name
            if isinstance(child, NOTHING):
                continue
            if at in called and not any(_is_stage(part) for part in child.modules()):
                chosen.add(at)
            else:
                visit(child, at)

    visit(network, "")
    return chosen


def _is_stage(module: nn.Module) -> bool:
    """Whether a module lists blocks: several of one class that have layers, or lists of lists of layers."""
    if not isinstance(module, LISTS):
        return False
    kinds = Counter(type(part) for part in module if _height(part) and not isinstance(part, LISTS))
    return max(kinds.values(), default=0) > 1 or any(isinstance(part, LISTS) and _height(part) > 1 for part in module)


def _height(module: nn.Module) -> int:
    """Of a module over its layers: 0 for a layer, 1 for a convolution with its normalisation, 2 for such a block."""
    return max((1 + _height(child) for child in module.children()), default=0)


def _follows(before: _Call, after: _Call) -> bool:
    """Whether one takes just what the other gives."""
    given, taken = list(tensors_in(before.output)), list(tensors_in((after.args, after.kwargs)))
    return len(given) == len(taken) == 1 and given[0] is taken[0]


def _block(group: list[_Call]) -> NetworkBlock:
    first, last = group[0], group[-1]
    inputs = tuple(tensors_in((first.args, first.kwargs)))
    body: nn.Module = _Bound(first.module, first.args, first.kwargs)
    if len(group) > 1:
        body = nn.Sequential(body, *(c.module for c in group[1:]))
    moved = sum(t.numel() * t.element_size() for t in (*inputs, *tensors_in(last.output)))
    bound = [repr(each_tensor((c.args, dict(c.kwargs)), lambda t: t.new_empty(0))) for c in group]
    key = digest([shape_of(body), bound, [[str(t.dtype), list(t.shape)] for t in inputs]])
    return NetworkBlock(first.path, body.eval(), inputs, key, moved)
