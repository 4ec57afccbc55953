"""What an optimizer is before there are weights: something that makes a torch optimizer for a network."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn

from ...core.errors import CallError, TrainingError, format_error
from ...core.registry import settings_of, write_value

AUTO = "auto"
"""The learning rate of an optimizer whose rate is to be found by a range test."""


class Optimizer(ABC):
    """How the weights of a network change."""

    @abstractmethod
    def build(self, module: nn.Module) -> torch.optim.Optimizer:
        """The optimizer of the network's parameters that require gradients.

        Raises :class:`TrainingError` for a network that it cannot optimize, with the reason.
        """

    @abstractmethod
    def __str__(self) -> str:
        """The text that names it, such as ``adamw,lr=0.001``."""

    @property
    def automatic(self) -> bool:
        """Whether its learning rate is to be found by a range test."""
        return False

    def at(self, rate: float) -> Optimizer:
        """The same with another learning rate. Raises :class:`CallError` for one that takes none."""
        raise CallError(f"the optimizer {self} takes no learning rate, which a range test tries: name one by a text")


def trainable(module: nn.Module) -> list[nn.Parameter]:
    """The parameters that may move. Raises :class:`TrainingError` where there are none."""
    found = [p for p in module.parameters() if p.requires_grad]
    if not found:
        raise TrainingError(
            "there is nothing to train: no parameter of the network requires a gradient; "
            "call requires_grad_() on those that may move"
        )
    return found


@dataclass(frozen=True)
class TorchOptimizer(Optimizer):
    """An optimizer class in the manner of ``torch.optim``.

    Weight decay is for tensors of two or more dimensions: biases and the scales of normalisation layers are spared.

    Args:
        kind: takes parameter groups and the settings.
        settings: by name; the class's own defaults stand for the others.
        name: by which it is known.
    """

    kind: type[torch.optim.Optimizer]
    settings: Mapping[str, Any] = field(default_factory=dict)
    name: str = ""

    def build(self, module: nn.Module) -> torch.optim.Optimizer:
        parameters = trainable(module)
        try:
            settings = without_auto(self.settings)
            found = self.kind(parameters, **settings)
            if not found.defaults.get("weight_decay"):
                return found
            matrices = [p for p in parameters if p.dim() > 1]
            vectors = [p for p in parameters if p.dim() <= 1]
            groups: list[dict[str, Any]] = [{"params": matrices}, {"params": vectors, "weight_decay": 0.0}]
            return self.kind([group for group in groups if group["params"]], **settings)
        except (AssertionError, RuntimeError, TypeError, ValueError) as error:
            raise TrainingError(f"the optimizer {self} cannot optimize this network: {format_error(error)}") from error

    @property
    def automatic(self) -> bool:
        return self.settings.get("lr") == AUTO

    def at(self, rate: float) -> Optimizer:
        return replace(self, settings={**self.settings, "lr": rate})

    def __str__(self) -> str:
        return _text(self.name or f"{self.kind.__module__}:{self.kind.__qualname__}", self.settings)


@dataclass(frozen=True)
class OptimizerFactory(Optimizer):
    """A function of the network that gives a torch optimizer: parameter groups and rates of a person's own.

    Args:
        function: takes the network and the settings.
        settings: by name.
        name: ``module:function``, as a recipe names it.
    """

    function: Callable[..., Any]
    settings: Mapping[str, Any] = field(default_factory=dict)
    name: str = ""

    def build(self, module: nn.Module) -> torch.optim.Optimizer:
        try:
            found = self.function(module, **without_auto(self.settings))
        except Exception as error:  # a person's function may raise anything
            raise TrainingError(f"the optimizer {self} raised {format_error(error)}") from error
        if not isinstance(found, torch.optim.Optimizer):
            raise TrainingError(
                f"the optimizer {self} must give a torch.optim.Optimizer of the network's parameters, "
                f"but gave a {type(found).__name__}"
            )
        return found

    @property
    def automatic(self) -> bool:
        return self.settings.get("lr") == AUTO

    def at(self, rate: float) -> Optimizer:
        if "lr" not in settings_of(self.function):
            return super().at(rate)
        return replace(self, settings={**self.settings, "lr": rate})

    def __str__(self) -> str:
        name = getattr(self.function, "__qualname__", type(self.function).__qualname__)
        return _text(self.name or f"{self.function.__module__}:{name}", self.settings)


def without_auto(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings; a rate that is not known yet is that by default."""
    return {key: value for key, value in settings.items() if (key, value) != ("lr", AUTO)}


def _text(name: str, settings: Mapping[str, Any]) -> str:
    return ",".join([name, *(f"{key}={write_value(value)}" for key, value in settings.items())])
