"""What a model of the zoo is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import nn

from netwright.nets.inputs import Inputs
from netwright.nets.supernet import SuperNet

Made = tuple[nn.Module, Inputs]


@dataclass(frozen=True)
class Case:
    """A model, and what of it must be elastic.

    Args:
        name: of the model.
        make: makes the module and its example inputs.
        axes: the least number of axes.
        cuts: patterns ``tensor:dimension``; an axis must cut this dimension of every tensor that matches.
        skips: patterns of module paths; an axis must be able to skip every module that matches.
        rigid: pattern of module paths to a pattern of the reasons that the report must give for them.
        options: of :func:`netwright.nets.wrap.wrap`.
        onnx: why torch cannot export the whole model to ONNX, where it cannot.
        tolerance: of the comparison of outputs.
        trains: whether the model learns from its outputs as they are.
    """

    name: str
    make: Callable[[], Made]
    axes: int
    cuts: tuple[str, ...] = ()
    skips: tuple[str, ...] = ()
    rigid: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    onnx: str = ""
    tolerance: float = 1e-5
    trains: bool = True

    def build(self) -> Made:
        """The module in evaluation mode and its inputs, the same every time."""
        torch.manual_seed(0)
        module, inputs = self.make()
        return lively(module).eval(), inputs

    def missing(self, net: SuperNet) -> list[str]:
        """What must be elastic in the model's super-network and is not."""
        index = net.index
        cut = {f"{tensor}:{dim}" for axis in net.axes for tensor, dim, *_ in axis.regions(index)}
        dimensions = [f"{tensor}:{dim}" for tensor, shape in index.shapes.items() for dim in range(len(shape))]
        skipped = {path for axis in net.axes for path in axis.skipped_modules()}
        found = [*unmet(self.cuts, dimensions, cut), *unmet(self.skips, index.modules, skipped)]
        return found + ([f"{self.axes - len(net.axes)} axes more"] if len(net.axes) < self.axes else [])


def unmet(patterns: Iterable[str], known: Iterable[str], found: set[str]) -> Iterator[str]:
    """The names that match a pattern and are not among those found. ``*`` may stand for several parts of a tensor's
    name; a module's path has as many parts as its pattern."""
    known = list(known)
    for pattern in patterns:
        matching = [name for name in known if fnmatchcase(name, pattern)]
        if ":" not in pattern:
            matching = [name for name in matching if name.count(".") == pattern.count(".")]
        yield from [name for name in matching if name not in found] if matching else [f"{pattern}: no such name"]


class Zoo(dict[str, Case]):
    """Cases by name; a decorator for the functions that make them."""

    def __call__(self, axes: int, *cuts: str, **more: Any) -> Callable[[Callable[[], Made]], Callable[[], Made]]:
        """The function's name is the model's; see :class:`Case`."""

        def add(make: Callable[[], Made]) -> Callable[[], Made]:
            assert make.__name__ not in self, f"two models are called {make.__name__}"
            self[make.__name__] = Case(make.__name__, make, axes, cuts, **more)
            return make

        return add


@torch.no_grad()
def lively(module: nn.Module) -> nn.Module:
    """The module with noise where a fresh one has zeros and ones: statistics, biases, scales."""
    generator = torch.Generator().manual_seed(0)
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        fresh = tensor.is_floating_point() and tensor.numel() > 0 and bool((tensor == tensor.flatten()[0]).all())
        if not fresh:
            continue
        noise = torch.rand(tensor.shape, generator=generator).to(tensor.dtype)
        if name.endswith("running_var"):
            tensor.add_(noise)
        elif tensor.numel() > 1:
            tensor.add_(0.2 * noise - 0.1)
    return module
