"""What an importance criterion is, and what several of them need."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any

from torch import Tensor, nn

from ...core.errors import NetError
from ...core.registry import Registry
from ..axes import Width
from ..axes.width import ChannelSlice
from ..layers import CONVOLUTIONS, is_transposed_linear
from ..supernet import SuperNet


class Criterion(ABC):
    """Says what the channels, heads and experts of a :class:`Width` axis are worth."""

    @abstractmethod
    def scores(self, net: SuperNet, widths: Sequence[Width]) -> list[Tensor]:
        """The score of every channel, for each of the widths float64 of shape (channels,), on the CPU; more is better.

        Args:
            net: the super-network; its weights and buffers are left as they are.
            widths: its axes.
        """

    def worth(self, score: Tensor) -> Tensor:
        """Scores of one width, so that they compare with those of others: what :func:`prune_to_budget` adds up.

        By default the share of the width's total: scores compare within a width alone.
        """
        return score / score.sum().clamp_min(1e-30)


def given_batches(batches: Iterable[Any], criterion: str) -> list[Any]:
    """The batches as a list. Raises :class:`NetError` where there are none."""
    if isinstance(batches, Tensor | str) or not isinstance(batches, Iterable):
        raise NetError(f"{criterion} takes batches, a list such as [inputs], not a {type(batches).__name__}")
    found = list(batches)
    if not found:
        raise NetError(f"{criterion} needs batches, a few of the training data; the list is empty")
    return found


def by_channel(whole: Tensor, slot: ChannelSlice, channels: int) -> Tensor:
    """The elements of a tensor that belong to each channel, shape (channels, elements)."""
    own = whole.movedim(slot.dim, 0)[slot.offset : slot.offset + channels * slot.block]
    return own.reshape(channels, -1)


def scaled(score: Tensor) -> Tensor:
    """Scores of mean 1, on the CPU: a network's tensors may lie on several devices."""
    score = score.cpu().double()
    return score / score.mean().clamp_min(1e-12)


def reads_from(layer: nn.Module, slot: ChannelSlice) -> int | None:
    """The dimension of a layer's input that a dimension of its weight reads, or None."""
    if isinstance(layer, nn.Linear) and slot.dim == 1:
        return -1
    if isinstance(layer, CONVOLUTIONS) and slot.dim == 1 and layer.groups == 1:
        return 1
    return -1 if is_transposed_linear(layer) and slot.dim == 0 else None


CRITERIA: Registry[Criterion] = Registry(
    "importance criterion",
    Criterion,
    __package__ or "",
    {"l1": "magnitude:L1", "l2": "magnitude:L2", "activation": "activation:Activation", "taylor": "taylor:Taylor"},
    error=NetError,
    plural="importance_criteria",
)
