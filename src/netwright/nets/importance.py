"""Importance first: channels in falling order of importance, and the cut that keeps most of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..core.candidate import Candidate
from ..core.errors import NetError, did_you_mean
from .axes import Width
from .axes.width import ChannelSlice
from .cut import ModuleIndex
from .inputs import call, evaluating, fresh, inputs_of, tensors_in
from .isolation import isolated
from .layers import CONVOLUTIONS, is_transposed_linear
from .permutation import expert_tensors, permute
from .supernet import SuperNet

Loss = Callable[[Any, Any], Tensor]
"""The loss of an output and the batch that it came from."""

KINDS = ("l1", "l2", "activation", "taylor")


def sort_channels(
    net: SuperNet,
    by: Literal["l1", "l2", "activation", "taylor"] = "l1",
    batches: Iterable[Any] | None = None,
    loss: Loss | None = None,
) -> dict[str, Tensor]:
    """Sort the channels, heads and experts of every :class:`Width` axis by importance, in place, the best first.

    The network computes what it computed: a channel moves in all tensors of its group at once. Each tensor's norms
    are scaled to their mean, so that large layers do not outvote small ones (Fang et al., "DepGraph", 2023, section
    3.4).

    Args:
        net: whose shared weights are sorted; once, after training or loading and before the search.
        by: how a channel's importance is found. ``l1``, ``l2``: the norm of all that the weights hold of it.
            ``activation``: the norm of its activations times that of the weights that read them (Sun et al. 2023,
            equation 1, for whole channels). ``taylor``: how much the outputs would change without it, to first order,
            squared and summed over examples; the gradient is that of a gate where the channel is read (Molchanov et
            al. 2019, section 3.1), of random projections of the outputs, since that of the loss is next to nothing in
            a trained network.
        batches: inputs, or tuples whose first entry is the input, for ``activation`` and ``taylor``; a few hundred
            examples are enough.
        loss: for ``taylor``: of an output and its batch, to be asked instead of the outputs.

    Returns:
        What the channels are worth, in their new order, by the width's name: what :func:`best_within` needs.
    """
    if by not in KINDS:
        raise NetError(f"there is no importance {by!r}; {did_you_mean(by, KINDS)}")
    given = list(batches) if batches is not None else []
    if by in ("activation", "taylor") and not given:
        raise NetError(f"importance by {by} needs batches=, a few batches of training data")
    widths = [part for axis in net.axes for part in axis.members() if isinstance(part, Width)]
    if by == "activation":
        scores = _activations(net, widths, given)
    elif by == "taylor":
        scores = _taylor(net, widths, given, loss)
    else:
        scores = [importance(net.index, width, 1 if by == "l1" else 2) for width in widths]
    worth = {}
    for width, score in zip(widths, scores, strict=True):
        order = torch.argsort(score, descending=True)
        permute(net.index, width, order)
        # Norms compare within a width, so that its total counts for nothing. Changes of the outputs compare between
        # widths too; but those of a width's channels add up to more than each says, and the more, the more are gone.
        total = score.sum().clamp_min(1e-30)
        worth[width.name] = score[order] / (total.sqrt() if by == "taylor" else total)
    return worth


def best_within(net: SuperNet, worth: Mapping[str, Tensor], macs: float) -> Candidate:
    """The candidate of at most ``macs`` multiply-accumulates whose widths keep most of what their channels are worth.

    From the whole network on, the step to a lower option is taken that gives up the least worth for the MACs that it
    saves. Axes that are not in ``worth`` stay whole.

    Args:
        net: the sorted super-network.
        worth: what :func:`sort_channels` returned.
        macs: the limit, for the example inputs.

    Raises :class:`NetError` when the narrowest widths cost more.
    """
    options = {axis.name: axis.options for axis in net.axes if axis.name in worth}
    best, now = net.largest, net.count(net.largest).macs
    while now > macs:
        steps: list[tuple[float, int, Candidate]] = []
        for name, own in options.items():
            at = own.index(best[name]) if name in best else 0  # a width within an expert goes with it
            if at:
                lower = net.space.candidate({**best, name: own[at - 1]})
                left = net.count(lower).macs
                given_up = float(worth[name][own[at - 1] : own[at]].sum())
                steps.append((given_up / max(now - left, 1), left, lower))
        if not steps:
            raise NetError(f"with its widths at their narrowest the network has {now:g} MACs, more than {macs:g}")
        _, now, best = min(steps, key=lambda step: step[0])
    return best


@torch.no_grad()
def importance(index: ModuleIndex, width: Width, power: int) -> Tensor:
    """The norm of what the weights hold of each channel, shape (channels,)."""
    total = torch.zeros(width.channels, dtype=torch.float64)
    for slot in width.slices:
        whole = index.tensor(slot.tensor)
        if slot.tensor not in index.parameters or whole.dim() < 2:
            continue  # statistics and biases say little of what a channel is worth
        total += _scaled(_by_channel(whole.detach().abs().double().pow(power), slot, width.channels).sum(dim=1))
    for members in expert_tensors(index, width):
        total += _scaled(torch.stack([index.tensor(m).detach().abs().double().pow(power).sum() for m in members]))
    return total


def _by_channel(whole: Tensor, slot: ChannelSlice, channels: int) -> Tensor:
    """The elements of a tensor that belong to each channel, shape (channels, elements)."""
    own = whole.movedim(slot.dim, 0)[slot.offset : slot.offset + channels * slot.block]
    return own.reshape(channels, -1)


def _scaled(score: Tensor) -> Tensor:
    """Scores of mean 1, on the CPU: a network's tensors may lie on several devices."""
    score = score.cpu().double()
    return score / score.mean().clamp_min(1e-12)


# -- activations -----------------------------------------------------------------------------------------------


def _reads_from(layer: nn.Module, slot: ChannelSlice) -> int | None:
    """The dimension of a layer's input that a dimension of its weight reads, or None."""
    if isinstance(layer, nn.Linear) and slot.dim == 1:
        return -1
    if isinstance(layer, CONVOLUTIONS) and slot.dim == 1 and layer.groups == 1:
        return 1
    return -1 if is_transposed_linear(layer) and slot.dim == 0 else None


@torch.no_grad()
def _activations(net: SuperNet, widths: list[Width], batches: list[Any]) -> list[Tensor]:
    index = net.index
    squares: dict[str, Tensor] = {}
    dims: dict[str, int] = {}
    for width in widths:
        for slot in width.slices:
            for path in index.owners[slot.tensor]:
                dim = _reads_from(index.modules[path], slot)
                if dim is not None:
                    dims[path] = dim

    def watch(path: str) -> Callable[[nn.Module, Any], None]:
        def hook(module: nn.Module, arguments: Any) -> None:
            activity = next(tensors_in(arguments)).detach().double().movedim(dims[path], 0).flatten(1).square().sum(1)
            squares[path] = squares.get(path, 0) + activity.cpu()

        return hook

    with isolated(net.module), evaluating(net.module):  # which takes the hooks away again, too
        for path in dims:
            index.modules[path].register_forward_pre_hook(watch(path))
        for batch in batches:
            call(net.module, fresh(inputs_of(batch)))
    scores = []
    for width in widths:
        total = torch.zeros(width.channels, dtype=torch.float64)
        for slot in width.slices:
            for path in index.owners[slot.tensor]:
                if path in squares and _reads_from(index.modules[path], slot) is not None:
                    columns = index.tensor(slot.tensor).detach().double().movedim(slot.dim, 0).flatten(1).square()
                    each = squares[path] * columns.sum(1).cpu()
                    total += _scaled(
                        _by_channel(each, ChannelSlice(slot.tensor, 0, slot.offset, slot.block), width.channels).sum(1)
                    )
        scores.append(total if total.any() else importance(index, width, 2))
    return scores


# -- Taylor ----------------------------------------------------------------------------------------------------


class _Gates:
    """A factor of 1 for every channel that a layer reads: its gradient is what the channel does to the result.

    All layers that read a width share its factors, one row for each example, so that what the channel does adds up.
    """

    def __init__(self, index: ModuleIndex, widths: list[Width]) -> None:
        self.of: dict[tuple[int, int], Tensor] = {}
        """By the width's position and the number of examples, shape (examples, channels)."""
        self._reads: dict[str, list[tuple[int, int, ChannelSlice, int]]] = {}
        for at, width in enumerate(widths):
            for slot in width.slices:
                for path in index.owners[slot.tensor]:
                    dim = _reads_from(index.modules[path], slot)
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
def _taylor(net: SuperNet, widths: list[Width], batches: list[Any], loss: Loss | None) -> list[Tensor]:
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
                output = call(net.module, fresh(inputs_of(batch)))
                value = loss(output, batch) if loss else _projected(output, generator)
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
            total += _by_channel(change, slot, width.channels).sum(1).cpu()
    for members in expert_tensors(index, width):
        for i, member in enumerate(members):
            gradient = gradients.get(member)
            if gradient is not None:
                total[i] += (index.tensor(member).detach() * gradient).double().sum().cpu()
    return total
