"""What an importance criterion is, and what several of them need."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from ...core.candidate import Option
from ...core.errors import NetError
from ...core.registry import Registry
from ..axes import Width
from ..axes.width import ChannelSlice
from ..cut import ModuleIndex
from ..inputs import Inputs, tensors_in
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

    def change(self, net: SuperNet, options: Mapping[str, Option]) -> float | None:
        """How much a network changes that takes these options and is whole otherwise, in the unit of :meth:`scores`.

        Asked for the options of axes that keep or drop no channels, such as :class:`Depth`. None, as by default, where
        that is not known: such axes stay whole in :func:`prune_to_budget`.
        """
        return None


class Effects(Criterion):
    """A criterion of what happens to the network's results, to the square: it compares between axes."""

    def worth(self, score: Tensor) -> Tensor:
        # Changes of the outputs compare between widths too; but those of a width's channels add up to more than each
        # says, and the more, the more are gone.
        return score / score.sum().clamp_min(1e-30).sqrt()


def given_batches(batches: Iterable[Any], criterion: str) -> list[Any]:
    """The batches as a list. Raises :class:`NetError` where there are none."""
    if isinstance(batches, Tensor | str) or not isinstance(batches, Iterable):
        raise NetError(f"{criterion} takes batches, a list such as [inputs], not a {type(batches).__name__}")
    found = list(batches)
    if not found:
        raise NetError(f"{criterion} needs batches, a few of the training data; the list is empty")
    return found


def examples_in(inputs: Inputs) -> int:
    """How many examples a batch has: the first dimension of its first tensor."""
    first = next(tensors_in(inputs))
    return first.shape[0] if first.dim() else 1


def in_turns(net: SuperNet, batches: Sequence[Any]) -> Iterator[tuple[Any, nn.Module]]:
    """Every batch with the whole network; where it has menus, so often that each of their options runs (see
    :attr:`SuperNet.turns`)."""
    for turn in net.turns:
        with net.active(turn) as module:
            for batch in batches:
                yield batch, module


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


def readers(index: ModuleIndex, width: Width) -> Iterator[tuple[str, ChannelSlice, int]]:
    """Who reads a width's channels: the path of each layer, where they lie in its weight, and the dimension of its
    input."""
    for slot in width.slices:
        for path in index.owners[slot.tensor]:
            dim = reads_from(index.modules[path], slot)
            if dim is not None:
                yield path, slot, dim


Factor = Callable[[int, int, Tensor], Tensor | None]
"""Of a width's position, a number of examples and what is read: a factor for each channel of each example, of shape
(examples, channels); None leaves what is read as it is."""


class Gates:
    """A factor for every channel that a layer reads; all layers that read a width are given the same.

    Args:
        index: the module index of the network, whose layers get hooks until :meth:`remove`.
        widths: whose channels.
        factor: the factors.
    """

    def __init__(self, index: ModuleIndex, widths: Sequence[Width], factor: Factor) -> None:
        self._factor = factor
        self.reads: dict[str, list[tuple[int, ChannelSlice, int]]] = {}
        """By the path of a layer: positions of widths, where the channels lie in its weight, and the dimension of its
        input."""
        for at, width in enumerate(widths):
            for path, slot, dim in readers(index, width):
                self.reads.setdefault(path, []).append((at, slot, dim))
        self._handles = [index.modules[p].register_forward_pre_hook(self._hook(p)) for p in self.reads]

    def _hook(self, path: str) -> Callable[[nn.Module, Any], Any]:
        def hook(module: nn.Module, arguments: Any) -> Any:
            x, *others = arguments
            for at, slot, dim in self.reads[path]:
                examples = x.shape[0] if x.dim() > 1 else 1
                factor = self._factor(at, examples, x)
                if factor is None:
                    continue
                factor = factor.repeat_interleave(slot.block, 1)
                factor = F.pad(factor, (slot.offset, x.shape[dim] - slot.offset - factor.shape[1]), value=1.0)
                shape = [1] * x.dim()
                shape[0], shape[dim] = examples, x.shape[dim]
                x = x * factor.reshape(shape)
            return (x, *others)

        return hook

    def remove(self) -> None:
        """Take the factors out of the network."""
        for handle in self._handles:
            handle.remove()


CRITERIA: Registry[Criterion] = Registry(
    "importance criterion",
    Criterion,
    __package__ or "",
    {
        "l1": "magnitude:L1",
        "l2": "magnitude:L2",
        "activation": "activation:Activation",
        "taylor": "taylor:Taylor",
        "trajectory": "trajectory:Trajectory",
    },
    error=NetError,
    plural="importance_criteria",
)
