"""Menus: modules of which one runs at a place of a network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Any

import torch
from torch import Tensor, nn

from ..core.errors import NetError, format_error
from .inputs import each_tensor, shape_of, tensors_in
from .stand_ins import Computed, Instead, Scaled, Zeros


class Menu(nn.Module):
    """Modules of which one runs, the last until another is chosen; what :func:`oneof` makes.

    An axis chooses (:class:`netwright.nets.axes.OneOf`), and an extracted network holds the chosen module in the
    menu's place. Where nothing is chosen in a copy of the network that is made to be looked at (traced, verified), all
    options run, and the result is the mean of theirs: what must be alike in all of them shows at once.

    Args:
        options: the modules by name, the last of them the whole.

    Attributes:
        chosen: the name of the option that runs; None for all of them.
        place: its path in the network, for messages.
    """

    def __init__(self, options: Mapping[str, nn.Module]) -> None:
        super().__init__()
        for name, module in options.items():
            self.add_module(name, module)
        self.chosen: str | None = list(options)[-1]
        self.place = ""

    @property
    def options(self) -> tuple[str, ...]:
        """The names of the options, in their order."""
        return tuple(self._modules)

    def kind(self, option: str) -> str:
        """What an option is, in words."""
        module = self._modules[option]
        if isinstance(module, Menu):
            return "a menu"
        return repr(module.passthrough) if isinstance(module, Computed) else type(module).__name__

    def kinds(self) -> dict[str, str]:
        """What each option is, in words."""
        return {option: self.kind(option) for option in self.options}

    def run_all(self, place: str) -> None:
        """From now on all options run."""
        self.chosen, self.place = None, place

    def forward(self, *arguments: Any, **named: Any) -> Any:
        """What the chosen option gives.

        Raises :class:`NetError` where all run and one of them does not, or gives what the last one does not.
        """
        if self.chosen is not None:
            option: Any = self._modules[self.chosen]
            return option(*arguments, **named)
        given = [self._run(option, arguments, named) for option in self.options]
        parts = [leaves(each) for each in given]
        for option, own in zip(self.options, parts, strict=True):
            self._compare(option, own, parts[-1])
        alike = [[t for t in each if t is not None] for each in zip(*parts, strict=True) if each[-1] is not None]
        means = map(_mean, alike)
        return each_tensor(given[-1], lambda _: next(means))

    def _run(self, option: str, arguments: Sequence[Any], named: Mapping[str, Any]) -> Any:
        module: Any = self._modules[option]
        try:
            return module(*arguments, **named)
        except NetError:
            raise
        except Exception as error:
            raise NetError(
                f"option {option!r} ({self.kind(option)}) of {self._named()} raises on what the menu is called with: "
                f"{format_error(error)}; all options take the same arguments and give the same shapes (of several "
                "arguments, netwright.Instead(0) gives the first on)"
            ) from error

    def _compare(self, option: str, own: Sequence[Tensor | None], last: Sequence[Tensor | None]) -> None:
        differ = len(own) != len(last) or any(
            a is not None and b is not None and shape_of(a) != shape_of(b) for a, b in zip(own, last, strict=True)
        )
        if differ:
            whole = self.options[-1]
            raise NetError(
                f"options of {self._named()} give different shapes: {option!r} ({self.kind(option)}) gives "
                f"{_form(own)}, {whole!r} ({self.kind(whole)}) {_form(last)}; give all the same (a stride, a "
                "projection), or leave one out"
            )

    def _named(self) -> str:
        return f"the menu at {self.place}" if self.place else "a menu"


def oneof(*options: Any, **named: Any) -> Menu:
    """Modules of which one runs at a place of a network; :func:`netwright.wrap` finds it, and makes the choice an axis.

    Until then, and as the whole network, the last one runs: name them from the cheapest to the dearest. All take the
    same arguments and give results of the same shapes. They may have axes of their own, and share modules or tensors.

    Args:
        options: modules, or what is given in a module's place: ``nn.Identity()`` for what it takes,
            :class:`netwright.Zeros`, :class:`netwright.Scaled`, or :class:`netwright.Instead` for several results.
        named: the same with names, which the choice then has; others are named by their positions.

    Raises :class:`NetError` for fewer than two options, and for what is no module.
    """
    both = {**{str(at): option for at, option in enumerate(options)}, **named}
    modules: dict[str, nn.Module] = {}
    for name, option in both.items():
        if isinstance(option, Zeros | Scaled):
            option = Instead(option)
        module = Computed(option.passthrough) if isinstance(option, Instead) else option
        if not isinstance(module, nn.Module):
            given = f"the class {option.__name__}" if isinstance(option, type) else f"a {type(option).__name__}"
            raise NetError(
                f"option {name!r} of a menu is a torch.nn.Module, not {given}; give the module itself, or "
                "netwright.Zeros() for zeros like what it takes"
            )
        twin = next((other for other, known in modules.items() if known is module), None)
        if twin is not None:
            raise NetError(f"options {twin!r} and {name!r} of a menu are one module; give each network once")
        modules[name] = module
    if len(modules) < 2:
        raise NetError(
            f"a menu of {len(modules)} options leaves no choice; give two modules or more, or the module itself"
        )
    return Menu(modules)


def leaves(value: Any) -> list[Tensor | None]:
    """The tensors in a module's results, in order, and None where it stands for one."""
    if value is None:
        return [None]
    if isinstance(value, tuple | list):
        return [leaf for part in value for leaf in leaves(part)]
    if isinstance(value, Mapping):
        return [leaf for part in value.values() for leaf in leaves(part)]
    return list(tensors_in(value))


def _mean(tensors: Sequence[Tensor]) -> Tensor:
    """Of whole numbers, which may be categories, a copy of the last."""
    if not all(t.is_floating_point() or t.is_complex() for t in tensors):
        return tensors[-1].clone()
    return reduce(torch.add, tensors) * (1 / len(tensors))


def _form(own: Sequence[Tensor | None]) -> str:
    shapes = ["None" if t is None else str(shape_of(t)) for t in own]
    return f"a tensor of {shapes[0]}" if len(shapes) == 1 else f"{len(shapes)} values ({', '.join(shapes)})"
