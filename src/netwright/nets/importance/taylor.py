"""Taylor: how much the result would change without a channel."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ...core.candidate import Option
from ...core.errors import NetError, format_error
from ..axes import Width
from ..cut import ModuleIndex
from ..inputs import call, evaluating, fresh, requiring_grad, tensors_in
from ..isolation import isolated
from ..permutation import expert_tensors
from ..recalibrate import calibration_inputs
from ..supernet import SuperNet
from .base import Effects, Gates, by_channel, examples_in, given_batches, in_turns

BatchLoss = Callable[[Any, Any], Tensor]
"""The loss of an output and the batch that it came from."""


class Taylor(Effects):
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
        return _taylor(net, widths, self.batches, self.loss) if widths else []

    def change(self, net: SuperNet, options: Mapping[str, Option]) -> float | None:
        # Not to first order but whole: a block or a window is there or not.
        return _change(net, options, self.batches, self.loss)


@torch.enable_grad()
def _taylor(net: SuperNet, widths: Sequence[Width], batches: list[Any], loss: BatchLoss | None) -> list[Tensor]:
    index = net.index
    wholes = {name: t for name in index.parameters if (t := index.tensor(name)).is_floating_point()}
    scores = [torch.zeros(width.channels, dtype=torch.float64) for width in widths]
    generator = torch.Generator().manual_seed(0)
    of: dict[tuple[int, int], Tensor] = {}

    def factor(at: int, examples: int, x: Tensor) -> Tensor:
        # One row for each example, so that what a channel does in all layers that read it adds up.
        if (at, examples) not in of:
            of[at, examples] = x.new_ones(examples, widths[at].channels, requires_grad=True)
        return of[at, examples]

    gates, runs = Gates(index, widths, factor), [0] * len(widths)
    try:
        with requiring_grad(wholes.values()), isolated(net.module), evaluating(net.module):
            for batch, module in in_turns(net, batches):
                of.clear()
                output = call(module, fresh(calibration_inputs(net, batch)))
                value = loss_of(loss, output, batch) if loss else projected(output, generator)
                read = {at for at, _ in of}
                others = [at for at in range(len(widths)) if at not in read]  # judged by their weights
                named = dict.fromkeys(n for at in others for n in _tensors(index, widths[at]))
                names = [n for n in named if n in wholes]
                asked = [*of.values(), *(wholes[n] for n in names)]
                found = torch.autograd.grad(value, asked, allow_unused=True)
                for (at, _), gradient in zip(of, found, strict=False):
                    runs[at] += 1
                    if gradient is not None:
                        scores[at] += gradient.double().square().sum(0).cpu()
                gradients = dict(zip(names, found[len(of) :], strict=True))
                for at in others:
                    scores[at] += _changes(index, widths[at], gradients).square()
    finally:
        gates.remove()
    # What lies outside of menus has run in all turns, what lies in an option in those that chose it.
    times = [n / len(batches) or len(net.turns) for n in runs]
    return [score / n for score, n in zip(scores, times, strict=True)]


@torch.no_grad()
def _change(net: SuperNet, options: Mapping[str, Option], batches: list[Any], loss: BatchLoss | None) -> float | None:
    """What the first-order changes add up to where a part of the network goes: of all outputs, or of the loss."""
    total = 0.0
    for batch in batches:
        inputs = calibration_inputs(net, batch)
        with isolated(net.module), evaluating(net.module):
            whole = call(net.module, fresh(inputs))
        candidate = net.largest_with(options)
        with net.active(candidate) as module, isolated(module), evaluating(module):
            part = call(module, fresh(inputs))
        if loss:
            change = float(loss_of(loss, part, batch) - loss_of(loss, whole, batch))
            total += change**2 / max(examples_in(inputs), 1)
            continue
        for before, after in zip(tensors_in(whole), tensors_in(part), strict=False):
            if before.shape != after.shape:
                return None
            if before.is_floating_point():
                scale = before.double().std(correction=0).clamp_min(1e-12)
                total += float(((after.double() - before.double()) / scale).square().sum())
    return total


def loss_of(loss: BatchLoss, output: Any, batch: Any) -> Tensor:
    """A person's own loss. Raises :class:`NetError` where it raises, and where it gives no number to differentiate."""
    such = "it is a function of the outputs and the whole batch, such as "
    such += "lambda outputs, batch: cross_entropy(outputs, batch[1])"
    try:
        value = loss(output, batch)
    except Exception as error:
        raise NetError(f"loss= raised {format_error(error)}; {such}") from error
    if not isinstance(value, Tensor) or value.numel() != 1:
        got = f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
        raise NetError(f"loss= gives {got} and no tensor of one number; {such}")
    if torch.is_grad_enabled() and not value.requires_grad:
        raise NetError(f"loss= gives a number that does not depend on the weights, or is detached; {such}")
    return value


def projected(output: Any, generator: torch.Generator) -> Tensor:
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
