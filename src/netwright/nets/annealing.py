"""Modules that change over a training: what they begin with is trained away, so that they can be folded in the end."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..core.errors import NetError

WHOLE = 1000
"""Progress is counted in thousandths: whole numbers are neither averaged over steps nor rounded to a precision."""


class Annealed(nn.Module):
    """A module whose function changes over a training.

    Whatever trains here says how far it has got, see :func:`anneal`; it never goes back, so that fine-tuning has the
    final form. Until the change is complete, ``folded()`` gives the module itself.

    Args:
        until: the share of the training after which the change is complete; the rest trains what is folded.

    Attributes:
        progress: how far the change has got, from 0 to 1000; kept with the weights.
    """

    progress: Tensor

    def __init__(self, until: float = 0.8) -> None:
        super().__init__()
        if not 0 < until <= 1:
            raise NetError(f"until is a share of the training, above 0 and up to 1, not {until!r}")
        self.until = until
        self.register_buffer("progress", torch.zeros((), dtype=torch.int64))

    @property
    def share(self) -> Tensor:
        """How far the change has got, from 0 to 1: a tensor without dimensions."""
        return self.progress / WHOLE

    @property
    def complete(self) -> bool:
        """Whether the change is over; also where there are no data, for counts are those of the final form."""
        return self.progress.is_meta or int(self.progress) >= WHOLE

    def reach(self, share: float) -> None:
        """The training has got this far, from 0 to 1."""
        with torch.no_grad():
            self.progress.clamp_(min=min(WHOLE, round(WHOLE * share / self.until)))


def anneal(network: nn.Module, share: float) -> None:
    """Tell every :class:`Annealed` module of a network how far its training has got.

    Args:
        network: that is trained.
        share: of the training's steps that are done, from 0 to 1.
    """
    for module in network.modules():
        if isinstance(module, Annealed):
            module.reach(share)
