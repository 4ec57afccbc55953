"""What is looked at as training goes on, and what is kept for it: what given weights could do, or the best so far."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from math import isnan
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ..nets.inputs import is_dense
from ..nets.state import copied_state, put_state, state_of
from .average import WeightAverage

SHARES = (0.75, 0.5, 0.25, 0.0)
"""Of what training has changed: which are tried, in turn."""


class Watch(ABC):
    """Looks at a network at the end of epochs, before the training is saved."""

    often: ClassVar[bool] = False
    """Whether after every epoch, or as often as a training is evaluated."""
    over: bool = False
    """Whether the training ends."""

    @abstractmethod
    def look(self, average: WeightAverage | None) -> None:
        """Look at the network as it would be handed back now.

        Args:
            average: of the weights, which the network holds in their place meanwhile.
        """

    def finish(self) -> None:  # noqa: B027  # most have changed what they change
        """The training is over: put into the network what is handed back."""

    def saved(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {}

    def load(self, saved: Mapping[str, Any]) -> None:  # noqa: B027
        """Go on from what was saved."""


class Keeping(Watch):
    """Holds trained weights to what the given ones could do.

    Where they no longer do, they are drawn back on the straight line to the given ones (Wortsman et al. 2022, "Robust
    fine-tuning of zero-shot models", section 3): at its end, what was given is kept whole.

    Args:
        module: with the given weights.
        holds: whether the module, as it is, still does what it must.
    """

    def __init__(self, module: nn.Module, holds: Callable[[], bool]) -> None:
        self.module, self.holds, self.given = module, holds, copied_state(module)

    def look(self, average: WeightAverage | None) -> None:
        """Draw the weights back, if they must be, and their average too."""
        if self.holds():
            return
        states = [state_of(self.module), *([average.tensors] if average else [])]
        trained = [{name: tensor.clone() for name, tensor in state.items()} for state in states]
        for share in SHARES:
            for state, own in zip(states, trained, strict=True):
                self._draw(state, own, share)
            if not share or self.holds():
                return

    @torch.no_grad()
    def _draw(self, state: dict[str, Tensor], trained: dict[str, Tensor], share: float) -> None:
        for name, tensor in state.items():
            if tensor.is_floating_point() and is_dense(tensor):
                tensor.copy_(torch.lerp(self.given[name].to(tensor), trained[name], share))


class Best(Watch):
    """Keeps the weights of the epoch that was best, and ends a training that gets no better (early stopping).

    Args:
        module: what is trained.
        loss: how badly it does as it is.
        patience: epochs without a lower loss after which the training ends.
    """

    often = True

    def __init__(self, module: nn.Module, loss: Callable[[], float], patience: int) -> None:
        self.module, self.loss, self.patience = module, loss, patience
        self._least: float | None = None
        self._since, self._kept = 0, dict[str, Tensor]()

    def look(self, average: WeightAverage | None) -> None:
        found = self.loss()
        if self._least is None or found < self._least or isnan(self._least):
            self._least, self._since, self._kept = found, 0, copied_state(self.module)
        else:
            self._since += 1
        self.over = self._since >= self.patience

    def finish(self) -> None:
        if self._kept:
            put_state(self.module, self._kept)

    def saved(self) -> dict[str, Any]:
        return {"least": self._least, "since": self._since, "kept": self._kept}

    def load(self, saved: Mapping[str, Any]) -> None:
        self._least, self._since, self._kept = saved["least"], saved["since"], dict(saved["kept"])
        self.over = self._since >= self.patience
