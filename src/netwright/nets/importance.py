"""Importance first: channels in falling order of importance, so that every cut of a width keeps the best."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..core.errors import NetError, nearest
from .axes import Experts, Width
from .axes.width import Slot
from .cut import Anatomy
from .inputs import call, inputs_of, tensors_in
from .layers import CONVOLUTIONS, is_transposed_linear
from .supernet import SuperNet

Loss = Callable[[Any, Any], Tensor]
"""The loss of an output and the batch that it came from."""

KINDS = ("l1", "l2", "activation", "taylor")


def sort_channels(
    net: SuperNet,
    by: Literal["l1", "l2", "activation", "taylor"] = "l1",
    batches: Iterable[Any] | None = None,
    loss: Loss | None = None,
) -> None:
    """Sort the channels, heads and experts of every :class:`Width` axis by importance, in place, the best first.

    The network computes what it computed: a channel moves in all tensors of its group at once. Each tensor's scores
    are scaled to their mean, so that large layers do not outvote small ones (Fang et al., "DepGraph", 2023, section
    3.4).

    Args:
        net: whose shared weights are sorted; once, after training or loading and before the search.
        by: how a channel's importance is found. ``l1``, ``l2``: the norm of all that the weights hold of it.
            ``activation``: the norm of its activations times that of the weights that read them (Sun et al. 2023,
            equation 1, for whole channels). ``taylor``: how much the loss would change without it, to first order
            (Molchanov et al. 2019, equation 8).
        batches: inputs, or (inputs, labels), for ``activation`` and ``taylor``; a few hundred examples are enough.
        loss: for ``taylor``: of an output and its batch; by default cross-entropy against the batch's labels.
    """
    if by not in KINDS:
        raise NetError(f"there is no importance {by!r}; {nearest(by, KINDS)}")
    given = list(batches) if batches is not None else []
    if by in ("activation", "taylor") and not given:
        raise NetError(f"importance by {by} needs batches=, a few batches of training data")
    widths = [part for axis in net.axes for part in axis.parts() if isinstance(part, Width)]
    if by == "activation":
        scores = _activations(net, widths, given)
    elif by == "taylor":
        gradients = _gradients(net, given, loss or _cross_entropy)
        scores = [_taylor(net.anatomy, width, gradients) for width in widths]
    else:
        scores = [importance(net.anatomy, width, 1 if by == "l1" else 2) for width in widths]
    for width, score in zip(widths, scores, strict=True):
        permute(net.anatomy, width, torch.argsort(score, descending=True))


@torch.no_grad()
def importance(anatomy: Anatomy, width: Width, power: int) -> Tensor:
    """The norm of what the weights hold of each channel, shape (channels,)."""
    total = torch.zeros(width.channels, dtype=torch.float64)
    for slot in width.slots:
        whole = anatomy.tensor(slot.tensor)
        if slot.tensor not in anatomy.parameters or whole.dim() < 2:
            continue  # statistics and biases say little of what a channel is worth
        total += _scaled(_by_channel(whole.detach().abs().double().pow(power), slot, width.channels).sum(dim=1))
    for members in _expert_tensors(anatomy, width):
        total += _scaled(torch.stack([anatomy.tensor(m).detach().abs().double().pow(power).sum() for m in members]))
    return total


def _by_channel(whole: Tensor, slot: Slot, channels: int) -> Tensor:
    """The elements of a tensor that belong to each channel, shape (channels, elements)."""
    own = whole.movedim(slot.dim, 0)[slot.offset : slot.offset + channels * slot.block]
    return own.reshape(channels, -1)


def _scaled(score: Tensor) -> Tensor:
    return score.double() / score.double().mean().clamp_min(1e-12)


def _expert_tensors(anatomy: Anatomy, width: Width) -> list[list[str]]:
    """For experts that are modules of their own: the names of each of their tensors, expert by expert."""
    if not isinstance(width, Experts) or not width.modules:
        return []
    first = width.modules[0]
    inner = [name.removeprefix(first) for name in anatomy.shapes if name.startswith(first + ".")]
    return [[path + own for path in width.modules] for own in inner]


# -- activations -----------------------------------------------------------------------------------------------


def _reads_from(layer: nn.Module, slot: Slot) -> int | None:
    """The dimension of a layer's input that a dimension of its weight reads, or None."""
    if isinstance(layer, nn.Linear) and slot.dim == 1:
        return -1
    if isinstance(layer, CONVOLUTIONS) and slot.dim == 1 and layer.groups == 1:
        return 1
    return -1 if is_transposed_linear(layer) and slot.dim == 0 else None


@torch.no_grad()
def _activations(net: SuperNet, widths: list[Width], batches: list[Any]) -> list[Tensor]:
    anatomy = net.anatomy
    squares: dict[str, Tensor] = {}
    dims: dict[str, int] = {}
    for width in widths:
        for slot in width.slots:
            for path in anatomy.owners[slot.tensor]:
                dim = _reads_from(anatomy.modules[path], slot)
                if dim is not None:
                    dims[path] = dim

    def watch(path: str) -> Callable[[nn.Module, Any], None]:
        def hook(module: nn.Module, arguments: Any) -> None:
            activity = next(tensors_in(arguments)).detach().double().movedim(dims[path], 0).flatten(1).square().sum(1)
            squares[path] = squares.get(path, 0) + activity.cpu()

        return hook

    handles = [anatomy.modules[path].register_forward_pre_hook(watch(path)) for path in dims]
    mode = {m: m.training for m in net.module.modules()}
    net.module.eval()
    try:
        for batch in batches:
            call(net.module, inputs_of(batch))
    finally:
        for handle in handles:
            handle.remove()
        for module, training in mode.items():
            module.training = training
    scores = []
    for width in widths:
        total = torch.zeros(width.channels, dtype=torch.float64)
        for slot in width.slots:
            for path in anatomy.owners[slot.tensor]:
                if path in squares and _reads_from(anatomy.modules[path], slot) is not None:
                    columns = anatomy.tensor(slot.tensor).detach().double().movedim(slot.dim, 0).flatten(1).square()
                    each = squares[path] * columns.sum(1)
                    total += _scaled(
                        _by_channel(each, Slot(slot.tensor, 0, slot.offset, slot.block), width.channels).sum(1)
                    )
        scores.append(total if total.any() else importance(anatomy, width, 2))
    return scores


# -- Taylor ----------------------------------------------------------------------------------------------------


def _cross_entropy(output: Any, batch: Any) -> Tensor:
    return F.cross_entropy(next(tensors_in(output)), batch[1])


def _gradients(net: SuperNet, batches: list[Any], loss: Loss) -> dict[str, Tensor]:
    """The mean gradient of every parameter over the batches; the parameters' own are left as they are."""
    module, anatomy = net.module, net.anatomy
    wholes = {name: anatomy.tensor(name) for name in anatomy.parameters}
    wanted = {name: t.requires_grad for name, t in wholes.items()}
    mode = {m: m.training for m in module.modules()}
    module.eval()
    total: dict[str, Tensor] = {}
    try:
        for t in wholes.values():
            t.requires_grad_(True)
        for batch in batches:
            value = loss(call(module, inputs_of(batch)), batch)
            found = torch.autograd.grad(value, list(wholes.values()), allow_unused=True)
            for name, gradient in zip(wholes, found, strict=True):
                if gradient is not None:
                    total[name] = total.get(name, 0) + gradient / len(batches)
    finally:
        for name, t in wholes.items():
            t.requires_grad_(wanted[name])
        for part, training in mode.items():
            part.training = training
    return total


@torch.no_grad()
def _taylor(anatomy: Anatomy, width: Width, gradients: dict[str, Tensor]) -> Tensor:
    total = torch.zeros(width.channels, dtype=torch.float64)
    for slot in width.slots:
        if slot.tensor in gradients:
            change = anatomy.tensor(slot.tensor).detach() * gradients[slot.tensor]
            total += _scaled(_by_channel(change, slot, width.channels).double().sum(1).square())
    for members in _expert_tensors(anatomy, width):
        if all(m in gradients for m in members):
            changes = [(anatomy.tensor(m).detach() * gradients[m]).double().sum().square() for m in members]
            total += _scaled(torch.stack(changes))
    return total


# -- order -----------------------------------------------------------------------------------------------------


@torch.no_grad()
def permute(anatomy: Anatomy, width: Width, order: Tensor) -> None:
    """Put channel ``order[i]`` in place ``i``, in every slot of a group.

    Args:
        anatomy: of the network; its tensors are changed in place.
        width: the group.
        order: a permutation, shape (channels,).
    """
    for slot in width.slots:
        whole = anatomy.tensor(slot.tensor)
        index = torch.arange(whole.shape[slot.dim])
        blocks = torch.arange(len(order) * slot.block).reshape(len(order), slot.block)
        index[slot.offset : slot.offset + len(order) * slot.block] = blocks[order].flatten() + slot.offset
        whole.copy_(whole.index_select(slot.dim, index.to(whole.device)))
    for members in _expert_tensors(anatomy, width):
        before = [anatomy.tensor(m).detach().clone() for m in members]
        for member, source in zip(members, order.tolist(), strict=True):
            anatomy.tensor(member).copy_(before[source])
