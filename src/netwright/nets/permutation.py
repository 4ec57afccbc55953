"""Permutation: the channels of a width in another order, in all tensors that they lie in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from .axes import Experts, Width
from .cut import ModuleIndex
from .transforms import Transform


@torch.no_grad()
def permute(
    index: ModuleIndex, width: Width, order: Tensor, transforms: Mapping[str, Iterable[Transform]] | None = None
) -> None:
    """Put channel ``order[i]`` in place ``i``, in every tensor of a group.

    Args:
        index: the module index of the network; its tensors are changed in place.
        width: the group.
        order: a permutation, shape (channels,).
        transforms: by tensor, what it may be made by: what is alike changes places with it.
    """
    alike = {tensor: {name for one in several for name in one.alike} for tensor, several in (transforms or {}).items()}
    slices = (
        replace(part, tensor=name)
        for part in width.slices
        for name in alike.get(part.tensor, ())
        if index.shapes[name][part.dim] == index.shapes[part.tensor][part.dim]  # what is the same for all stays
    )
    for part in dict.fromkeys((*width.slices, *slices)):
        whole = index.tensor(part.tensor)
        rows = torch.arange(whole.shape[part.dim])
        blocks = torch.arange(len(order) * part.block).reshape(len(order), part.block)
        rows[part.offset : part.offset + len(order) * part.block] = blocks[order].flatten() + part.offset
        whole.copy_(whole.index_select(part.dim, rows.to(whole.device)))
    for members in expert_tensors(index, width):
        before = [index.tensor(m).detach().clone() for m in members]
        for member, source in zip(members, order.tolist(), strict=True):
            index.tensor(member).copy_(before[source])


def expert_tensors(index: ModuleIndex, width: Width) -> list[list[str]]:
    """For experts that are modules of their own: the names of each of their tensors, expert by expert."""
    if not isinstance(width, Experts) or not width.modules:
        return []
    first = width.modules[0]
    inner = [name.removeprefix(first) for name in index.shapes if name.startswith(first + ".")]
    return [[path + own for path in width.modules] for own in inner]
