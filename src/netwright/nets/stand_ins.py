"""Stand-ins: what runs in the place of a module, as plain data, and the one function that makes it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..core.errors import NetError, format_error
from .inputs import shape_of


@dataclass(frozen=True)
class Zeros:
    """Zeros like an argument, in its shape and type: for a module whose result is added outside of it.

    Args:
        like: the argument, by its position or its name.
    """

    like: int | str = 0


@dataclass(frozen=True)
class Scaled:
    """An argument times a number.

    Args:
        factor: the number.
        of: the argument, by its position or its name.
    """

    factor: float
    of: int | str = 0


Passthrough = int | str | None | Zeros | Scaled | tuple["Passthrough", ...]
"""What is given in the place of a module's results: an argument, by its position or its name; None; :class:`Zeros` or
:class:`Scaled` of one; or a tuple of these."""


@dataclass(frozen=True)
class Instead:
    """Nothing of the module runs, and no sub-network holds its weights.

    Args:
        passthrough: what is given; see :data:`Passthrough`. Argument 0 is the first, however it was passed.
        in_chain: whether modules before it are left out with it, so that what it is given has another shape than in
            the whole network, in which what it gives is then not compared with what the module gives.
    """

    passthrough: Passthrough = 0
    in_chain: bool = False


@dataclass(frozen=True)
class Around:
    """The module runs with another before it, which takes its first argument, or after it, which takes its
    first result.

    Args:
        before, after: paths of modules of the network. They are the network's own, wherever it holds them: trained,
            counted and cut as all others are. An axis that does without them skips them.
    """

    before: str | None = None
    after: str | None = None


StandIn = Instead | Around
"""What runs in the place of a module."""


def passes_on(passthrough: Passthrough) -> bool:
    """Whether only arguments are given, as they are."""
    if isinstance(passthrough, tuple):
        return all(map(passes_on, passthrough))
    return not isinstance(passthrough, Zeros | Scaled)


def results(passthrough: Passthrough, arguments: Sequence[Any], named: Mapping[str, Any]) -> Any:
    """What is given for the arguments of a call. A missing argument is None."""
    if isinstance(passthrough, tuple):
        return tuple(results(part, arguments, named) for part in passthrough)
    if isinstance(passthrough, Zeros):
        return torch.zeros_like(results(passthrough.like, arguments, named))
    if isinstance(passthrough, Scaled):
        return results(passthrough.of, arguments, named) * passthrough.factor
    if isinstance(passthrough, str):
        return named.get(passthrough)
    if passthrough is None:
        return None
    first = next(iter(named.values())) if passthrough == 0 and named else None
    return arguments[passthrough] if passthrough < len(arguments) else first


class Computed(nn.Module):
    """Stands in for a module that is left out, and gives what is computed of its arguments.

    Args:
        passthrough: what it gives; see :data:`Passthrough`. A negative position is not used, a missing argument is
            None.
    """

    def __init__(self, passthrough: Passthrough = 0) -> None:
        super().__init__()
        self.passthrough = passthrough

    def forward(self, *arguments: Any, **named: Any) -> Any:
        """What ``passthrough`` says of the call's arguments; argument 0 is the first, however it was passed."""
        return results(self.passthrough, arguments, named)

    def extra_repr(self) -> str:
        """What it gives."""
        return repr(self.passthrough)


class Skip(Computed):
    """Stands in for a module that is left out and takes more than one argument or gives more than one value: it gives
    arguments as they are."""


class Wrapped(nn.Module):
    """A module with others before or after it; see :class:`Around`."""

    def __init__(self, before: nn.Module | None, module: nn.Module, after: nn.Module | None) -> None:
        super().__init__()
        self.before, self.module, self.after = before, module, after

    def forward(self, *arguments: Any, **named: Any) -> Any:
        """What the module gives, its first argument and its first result changed."""
        if self.before is not None:
            if arguments:
                arguments = (self.before(arguments[0]), *arguments[1:])
            else:
                name = next(iter(named))
                named = {**named, name: self.before(named[name])}
        given = self.module(*arguments, **named)
        if self.after is None:
            return given
        return (self.after(given[0]), *given[1:]) if isinstance(given, tuple) else self.after(given)


HOOKS = tuple(
    f"_forward_{kind}"
    for kind in ("hooks", "hooks_with_kwargs", "hooks_always_called", "pre_hooks", "pre_hooks_with_kwargs")
)
"""The tables of a module's hooks."""


def made(stand_in: StandIn, module: nn.Module, module_at: Callable[[str], nn.Module]) -> nn.Module:
    """What runs in the place of a module: ``nn.Identity`` where it takes one argument, which is given.

    The hooks of a module that is left out are called for what takes its place, so that what watches the module sees
    that.

    Args:
        stand_in: what it is.
        module: in whose place.
        module_at: finds other modules by their paths.
    """
    if isinstance(stand_in, Around):
        before, after = (None if path is None else module_at(path) for path in (stand_in.before, stand_in.after))
        return Wrapped(before, module, after).train(module.training)
    passthrough = stand_in.passthrough
    parameters = list(inspect.signature(module.forward).parameters.values())
    alone = len(parameters) == 1 and parameters[0].kind is not inspect.Parameter.VAR_POSITIONAL
    if alone and passthrough == 0:
        other: nn.Module = nn.Identity()
    else:
        other = Skip(passthrough) if passes_on(passthrough) else Computed(passthrough)
    vars(other.train(module.training)).update((name, vars(module)[name]) for name in HOOKS)
    return other


def unlike(passthrough: Passthrough, given: Any, arguments: Sequence[Any], named: Mapping[str, Any]) -> str | None:
    """How results differ in shape from those that the module gave, in words; None may stand for any."""
    try:
        instead = results(passthrough, arguments, named)
    except Exception as error:
        return f"the stand-in raises: {format_error(error)}"
    for other, own in _pairs(instead, given):
        if other is not None and _form(other) != _form(own):
            return f"it gives {_form(own)}, the stand-in {_form(other)}"
    return None


def _pairs(instead: Any, given: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(instead, tuple) and isinstance(given, tuple) and len(instead) == len(given):
        for parts in zip(instead, given, strict=True):
            yield from _pairs(*parts)
    else:
        yield instead, given


def _form(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"a tensor of {shape_of(value)}"
    return f"{len(value)} values" if isinstance(value, tuple) else f"a {type(value).__name__}"


def checked(stand_in: object, path: str) -> StandIn:
    """The stand-in, if it is one. Raises :class:`NetError`."""
    if isinstance(stand_in, Instead | Around) and stand_in != Around():
        return stand_in
    raise NetError(
        f"{stand_in!r} cannot stand in for {path}: give netwright.Instead(what is given) or "
        "netwright.Around(before=, after=) with the path of a module"
    )
