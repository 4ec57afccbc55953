"""Taylor: how much the result would change without a channel."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...core.errors import NetError, format_error
from ..axes import Width
from ..axes.width import ChannelSlice
from ..cut import ModuleIndex
from ..inputs import call, evaluating, fresh, tensors_in
from ..isolation import isolated
from ..permutation import expert_tensors
from ..recalibrate import calibration_inputs
from ..supernet import SuperNet
from .base import Criterion, by_channel, given_batches, reads_from

BatchLoss = Callable[[Any, Any], Tensor]
"""The loss of an output and the batch that it came from."""


class Taylor(Criterion):
    """How much the outputs would change without a channel, to first order, squared and summed over examples.

    The gradient is that of a gate where the channel is read (Molchanov et al. 2019, section 3.1), of random projections
    of the outputs, since that of the loss is next to nothing in a trained network.

    Args:
        batches: inputs, or tuples whose first entry is the input; a few hundred examples are enough.
        loss: of an output and its batch, to be asked instead of the outputs.
    """

    def __init__(self, batches: Iterable[Any], loss: BatchLoss | None = None) -> None:
        self.batches, self.loss = given_batches(batches, "Taylor"), loss

    def scores(self, net: SuperNet, widths: Sequence[Width]) -> list[Tensor]:
        return _taylor(net, widths, self.batches, self.loss)

    def worth(self, score: Tensor) -> Tensor:
        # Changes of the outputs compare between widths too; but those of a width's channels add up to more than each
        # says, and the more, the more are gone.
        return score / score.sum().clamp_min(1e-30).sqrt()


class _Gates:
    """A factor of 1 for every channel that a layer reads: its gradient is what the channel does to the result.

    All layers that read a width share its factors, one row for each example, so that what the channel does adds up.
    """

    def __init__(self, index: ModuleIndex, widths: Sequence[Width]) -> None:
        self.of: dict[tuple[int, int], Tensor] = {}
        """By the width's position and the number of examples, shape (examples, channels)."""
        self._reads: dict[str, list[tuple[int, int, ChannelSlice, int]]] = {}
        for at, width in enumerate(widths):
            for slot in width.slices:
                for path in index.owners[slot.tensor]:
                    dim = reads_from(index.modules[path], slot)
                    if dim is not None:
                        self._reads.setdefault(path, []).append((at, width.channels, slot, dim))
        self._handles = [index.modules[p].register_forward_pre_hook(self._hook(p)) for p in self._reads]

    def _hook(self, path: str) -> Callable[[nn.Module, Any], Any]:
        def hook(module: nn.Module, arguments: Any) -> Any:
            x, *others = arguments
            for at, channels, slot, dim in self._reads[path]:
                examples = x.shape[0] if x.dim() > 1 else 1
                if (at, examples) not in self.of:
                    self.of[at, examples] = x.new_ones(examples, channels, requires_grad=True)
                factor = self.of[at, examples].repeat_interleave(slot.block, 1)
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


@torch.enable_grad()
def _taylor(net: SuperNet, widths: Sequence[Width], batches: list[Any], loss: BatchLoss | None) -> list[Tensor]:
    index = net.index
    wholes = {name: t for name in index.parameters if (t := index.tensor(name)).is_floating_point()}
    wanted = {name: t.requires_grad for name, t in wholes.items()}
    scores = [torch.zeros(width.channels, dtype=torch.float64) for width in widths]
    generator = torch.Generator().manual_seed(0)
    gates = _Gates(index, widths)
    try:
        for t in wholes.values():
            t.requires_grad_(True)
        with isolated(net.module), evaluating(net.module):
            for batch in batches:
                gates.of.clear()
                output = call(net.module, fresh(calibration_inputs(net, batch)))
                value = _lost(loss, output, batch) if loss else _projected(output, generator)
                read = {at for at, _ in gates.of}
                others = [at for at in range(len(widths)) if at not in read]  # judged by their weights
                named = dict.fromkeys(n for at in others for n in _tensors(index, widths[at]))
                names = [n for n in named if n in wholes]
                asked = [*gates.of.values(), *(wholes[n] for n in names)]
                found = torch.autograd.grad(value, asked, allow_unused=True)
                for (at, _), gradient in zip(gates.of, found, strict=False):
                    if gradient is not None:
                        scores[at] += gradient.double().square().sum(0).cpu()
                gradients = dict(zip(names, found[len(gates.of) :], strict=True))
                for at in others:
                    scores[at] += _changes(index, widths[at], gradients).square()
    finally:
        gates.remove()
        for name, t in wholes.items():
            t.requires_grad_(wanted[name])
    return scores


def _lost(loss: BatchLoss, output: Any, batch: Any) -> Tensor:
    """A person's own loss. Raises :class:`NetError` where it raises."""
    try:
        return loss(output, batch)
    except Exception as error:
        raise NetError(
            f"loss= raised {format_error(error)}; it is a function of the outputs and the whole batch, such as "
            "lambda outputs, batch: cross_entropy(outputs, batch[1])"
        ) from error


def _projected(output: Any, generator: torch.Generator) -> Tensor:
    """The sum of the outputs times noise: its squared gradient is on average that of all outputs, summed."""
    total = torch.zeros(())
    for t in tensors_in(output):
        if t.is_floating_point() and t.requires_grad:
            noise = torch.randn(t.shape, generator=generator).to(t)
            total = total.to(t.device) + (t * noise).sum() / t.detach().double().std(correction=0).clamp_min(1e-12)
    return total


def _tensors(index: ModuleIndex, width: Width) -> Iterator[str]:
    yield from (slot.tensor for slot in width.slices)
    for members in expert_tensors(index, width):
        yield from members


@torch.no_grad()
def _changes(index: ModuleIndex, width: Width, gradients: Mapping[str, Tensor | None]) -> Tensor:
    """What the result would change by without each channel's weights, to first order."""
    total = torch.zeros(width.channels, dtype=torch.float64)
    for slot in width.slices:
        gradient = gradients.get(slot.tensor)
        if gradient is not None:
            change = (index.tensor(slot.tensor).detach() * gradient).double()
            total += by_channel(change, slot, width.channels).sum(1).cpu()
    for members in expert_tensors(index, width):
        for i, member in enumerate(members):
            gradient = gradients.get(member)
            if gradient is not None:
                total[i] += (index.tensor(member).detach() * gradient).double().sum().cpu()
    return total
