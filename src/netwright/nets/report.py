"""What is elastic in a super-network, what is not and why."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ..core.candidate import Option
from ..core.space import about
from ..core.units import format_value
from .axes import Axis
from .counts import Counts
from .cut import ModuleIndex
from .inputs import Inputs, shape_of, tensors_in
from .layers import CONVOLUTIONS, TRANSPOSED, is_transposed_linear

Dimension = tuple[str, int]
"""A tensor's name and one of its dimensions."""

Reasons = Mapping[str | Dimension, str]
"""Why something is rigid: a dimension of a tensor, or all that a module (its path) holds."""

UNKNOWN = "no axis was given for it"


@dataclass(frozen=True)
class Report:
    """What is elastic in a super-network, what is not, and how far it reaches.

    Args:
        elastic: axis name to its options.
        menus: for each axis that chooses of a menu, what its options are.
        fixed: axes that have one option alone, by what was given, and that option.
        rigid: layers with weights that no axis changes, and why.
        partly: layers of which axes change something and not all, and why the rest stays.
        space_size: the number of candidates.
        smallest, largest: counts of the two ends.
        counted_for: the example inputs that they are counted for: names and shapes.
    """

    elastic: Mapping[str, tuple[Option, ...]]
    menus: Mapping[str, Mapping[str, str]]
    fixed: Mapping[str, Option]
    rigid: Mapping[str, str]
    partly: Mapping[str, str]
    space_size: int
    smallest: Counts
    largest: Counts
    counted_for: str

    def __str__(self) -> str:
        small, large = self.smallest, self.largest
        lines = [
            f"{len(self.elastic)} axes, {about(self.space_size)} candidates, "
            f"{format_value(small.macs, '')} to {format_value(large.macs, '')} MACs, "
            f"{format_value(small.params, '')} to {format_value(large.params, '')} parameters",
            f"  counted for {self.counted_for}",
            *(f"  {name}: {', '.join(self._told(name, o) for o in options)}" for name, options in self.elastic.items()),
        ]
        if self.fixed:
            lines.append(f"  one option alone: {', '.join(f'{name} {option}' for name, option in self.fixed.items())}")
        for title, paths in (("rigid", self.rigid), ("partly rigid", self.partly)):
            if paths:
                lines.append(f"  {title}:")
                lines += [f"    {path}: {reason}" for path, reason in paths.items()]
        return "\n".join(lines)

    def _told(self, name: str, option: Option) -> str:
        kind = self.menus.get(name, {}).get(str(option))
        return f"{option} ({kind})" if kind else str(option)


def shapes_of(inputs: Inputs) -> str:
    """The names and shapes of example inputs: ``input_ids (1, 128)``."""
    named = inputs.items() if isinstance(inputs, Mapping) else [("", inputs)]
    return ", ".join(
        " ".join(filter(None, (str(name), *(str(shape_of(t)) for t in tensors_in(value)))))
        for name, value in named
        if any(True for _ in tensors_in(value))
    )


def rigidity(index: ModuleIndex, axes: Iterable[Axis], reasons: Reasons) -> tuple[dict[str, str], dict[str, str]]:
    """Modules whose weights no axis changes, and those of which some stays; each with the reasons."""
    claimed: dict[Dimension, set[int]] = {}
    fixed: dict[str | Dimension, str] = {}
    for axis in axes:
        for tensor, dim, start, stop in axis.regions(index):
            if len(axis.options) > 1:
                claimed.setdefault((tensor, dim), set()).update(range(start, stop))
            else:
                fixed[tensor, dim] = f"its axis {axis.name} was given one option alone, {axis.options[0]}"
    reasons = {**reasons, **fixed}
    rigid: dict[str, str] = {}
    partly: dict[str, str] = {}
    for path, module in index.modules.items():
        own = {o: t for o, t in index.tensors_of.get(path, {}).items() if t in index.parameters}
        name = path or "(the network itself)"
        told, touched = _told(index, path, own, claimed, reasons)
        other = "" if touched else _held_otherwise(module)
        if other or told:
            (partly if touched else rigid)[name] = other or told
    return rigid, partly


def _told(
    index: ModuleIndex, path: str, own: Mapping[str, str], claimed: Mapping[Dimension, set[int]], reasons: Reasons
) -> tuple[str, bool]:
    """Why some of a module's dimensions stay, or nothing; and whether any does not."""
    staying: dict[str, dict[str, None]] = {}  # reason to what stays for it
    touched = False
    for name, tensor in own.items():
        whole = index.shapes[tensor]
        touched |= any(claimed.get((tensor, dim)) for dim in range(len(whole)))
        for dim, role in _roles(index.modules[path], name, whole).items():
            cut = len(claimed.get((tensor, dim), ()))
            known = reasons.get((tensor, dim))
            if cut == whole[dim] or (role == "window" and (cut or not known)):
                continue
            number = str(whole[dim]) if not cut else f"{whole[dim] - cut} of its {whole[dim]}"
            what = "window" if role == "window" else role.format(number)
            staying.setdefault(known or reasons.get(path, UNKNOWN), {})[what] = None
    if len(staying) == 1 and not touched:
        return next(iter(staying)), False
    return "; ".join(f"{reason} ({', '.join(what)})" for reason, what in staying.items()), touched


def _roles(module: nn.Module, own: str, shape: tuple[int, ...]) -> dict[int, str]:
    """The dimensions of a parameter that count channels, and what they are in its layer, outputs first."""
    made, read = "its outputs, {}", "its inputs, {}"
    if isinstance(module, nn.Embedding | nn.EmbeddingBag):
        return {1: "its channels, {}"}  # rows are looked up by their numbers
    if own == "bias" and isinstance(module, (nn.Linear, *CONVOLUTIONS, *TRANSPOSED)):
        return {0: made}
    if isinstance(module, (nn.Linear, *CONVOLUTIONS, *TRANSPOSED)) and len(shape) > 1:
        turned = isinstance(module, TRANSPOSED)
        depthwise = shape[1] == 1 and getattr(module, "groups", 1) > 1
        roles = {1: made, 0: read} if turned else {0: made, 1: read}
        if depthwise:
            roles = {0: "its channels, {}"}
        return roles | dict.fromkeys(range(2, len(shape)), "window")
    if is_transposed_linear(module) and len(shape) == 2:
        return {1: made, 0: read}
    if len(shape) <= 1:
        return {0: "its channels, {}"} if shape and shape[0] > 1 else {}
    return {d: f"{own}, dimension {d}: {{}}" for d, n in enumerate(shape) if n > 1}


def _held_otherwise(module: nn.Module) -> str:
    """What is to be said of a module that holds weights which are neither parameters nor buffers: packed ones."""
    held: list[Any] = [value for value in vars(module).values() if isinstance(value, torch.ScriptObject)]
    if not held and not module._parameters and not module._buffers and not module._modules:
        saved: dict[str, Any] = {}
        with suppress(Exception):  # a module's own way of saving itself
            module._save_to_state_dict(saved, "", True)
        held = [value for value in saved.values() if any(True for _ in tensors_in(value))]
    if not held:
        return ""
    form, kind = (f"{c.__module__}.{c.__qualname__}".removeprefix("builtins.") for c in (type(held[0]), type(module)))
    return (
        f"it holds weights in a form of its own ({form} in {kind}), which is neither cut nor counted; wrap the network "
        "before it is quantised or packed"
    )
