"""Optimizers: those of ``torch.optim`` by their names in lower case, Lion, and a person's own."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import MISSING
from functools import cache
from typing import Any, Literal

import torch
from torch import nn

from ...core.errors import RecipeError
from ...core.registry import Registry, settings_of
from .base import Optimizer, OptimizerFactory, TorchOptimizer, without_auto

CLOSURES = {"LBFGS"}
"""Optimizers of torch that need the loss of one batch several times in a step, which a rule does not give."""


class OptimizerRegistry(Registry[Optimizer]):
    """Optimizers by name and settings, such as ``adamw,lr=0.001,betas=(0.9,0.95)``.

    ``module:Class`` may name a torch optimizer, and ``module:function`` a function of the network that gives one.
    """

    def cls(self, name: str) -> Callable[..., Optimizer]:
        """What makes the optimizer of this name; its parameters are the settings that there are."""
        if name.upper() in CLOSURES:
            raise self.error(
                f"the optimizer {name!r} needs the loss of a batch several times in a step, which rules do not give; "
                "take another, such as 'adamw'"
            )
        return _maker(super().cls(name), name, name in self.ours)

    def make(self, what: Any, **at_hand: Any) -> Optimizer:
        """The optimizer that a text names, or that a function of the network makes."""
        if isinstance(what, torch.optim.Optimizer) or (
            isinstance(what, type) and issubclass(what, torch.optim.Optimizer)
        ):
            kind = what if isinstance(what, type) else type(what)
            raise self.error(
                f"an optimizer is a text such as 'adamw,lr=0.001' or a function of the network that makes one, such as "
                f"lambda module: torch.optim.{kind.__name__}(module.parameters(), lr=0.001), not {what!r}"
            )
        if callable(what) and not isinstance(what, Optimizer | type):
            return OptimizerFactory(what)
        return super().make(what, **at_hand)

    def text(self, made: Optimizer) -> str:
        """The text that names it."""
        return str(made)


@cache
def _maker(found: Any, name: str, ours: bool) -> Callable[..., Optimizer]:
    """Makes an optimizer of settings; its signature names and types them."""
    if isinstance(found, type) and issubclass(found, Optimizer):
        return found
    known = list(settings_of(found).items())[1:]  # without the parameters, or the network

    def make(**settings: Any) -> Optimizer:
        if isinstance(found, type) and issubclass(found, torch.optim.Optimizer):
            if ours:  # settings that it refuses are told before there is a network
                found([nn.Parameter(torch.zeros(1, 1))], **without_auto(settings))
            return TorchOptimizer(found, settings, name)
        return OptimizerFactory(found, settings, name)

    parameters = [
        inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, default=_default(default)) for key, (_, default) in known
    ]
    make.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    make.__annotations__ = {key: kind | Literal["auto"] if key == "lr" else kind for key, (kind, _) in known}
    make.__doc__ = found.__doc__
    return make


def _default(default: Any) -> Any:
    return inspect.Parameter.empty if default is MISSING else default


def _torch_names() -> dict[str, str]:
    found = {
        name: value
        for name, value in vars(torch.optim).items()
        if isinstance(value, type) and issubclass(value, torch.optim.Optimizer) and value is not torch.optim.Optimizer
    }
    return {name.lower(): f"torch.optim:{name}" for name in sorted(found) if name not in CLOSURES}


OPTIMIZERS = OptimizerRegistry(
    "optimizer", Optimizer, __name__, {**_torch_names(), "lion": "lion:Lion"}, error=RecipeError
)
"""Every optimizer by its name."""
