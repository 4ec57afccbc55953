"""The order of blocks: those that are worth least are left out first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from math import inf
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...core.errors import NetError
from ..axes import Depth
from ..cut import Cut, CutBuilder, applied
from ..importance.base import examples_in, given_batches
from ..inputs import call, evaluating, fresh, tensors_in
from ..isolation import isolated
from ..recalibrate import calibration_inputs
from ..stand_ins import Passthrough
from ..supernet import SuperNet
from .same import judged_rows

By = Literal["outputs", "influence"]


def block_importance(net: SuperNet, batches: Iterable[Any], by: By = "outputs") -> dict[str, float]:
    """What each block is worth, every other in its place.

    Args:
        net: a super-network with :class:`Depth` axes; its weights and buffers are left as they are.
        batches: inputs, or tuples whose first entry is the input; a few hundred examples are enough.
        by: ``outputs``, how far the network's outputs change without the block: the mean square, relative to their
            spread; a run for each block. ``influence``, how much the block changes what goes through it: 1 minus the
            cosine of what it takes and what it gives, the mean over all positions, or images; one run for all (Men et
            al. 2024, "ShortGPT: Layers in large language models are more redundant than you expect", section 2.2).

    Returns:
        The importance by the block's path. Blocks that give something else than they take, in another shape, cannot
        be left out, and are not among them.

    Raises :class:`NetError` where the network has no such axis.
    """
    blocks = {path: axis.given_on(path) for axis in net.axes if isinstance(axis, Depth) for path in axis.blocks}
    if not blocks:
        raise NetError("this super-network has no Depth axis, whose blocks could be put in order")
    given = given_batches(batches, "block_importance")
    influence = _influence(net, blocks, given)
    return influence if by == "influence" else _changes(net, {path: blocks[path] for path in influence}, given)


def sort_blocks(net: SuperNet, batches: Iterable[Any], by: By = "outputs") -> SuperNet:
    """The super-network with the blocks of each :class:`Depth` axis in falling order of their importance on data.

    An option then keeps the blocks that matter most (:func:`block_importance`), and before them those that cannot be
    left out, such as a stage's first. The module and all other axes are the same; a candidate means another network
    than before, so that what is measured before is not comparable.

    Args:
        net: the super-network; it stays as it is.
        batches, by: see :func:`block_importance`.
    """
    importance = block_importance(net, batches, by)
    axes = [
        replace(axis, order=tuple(sorted(axis.order, key=lambda path: -importance.get(path, inf))))
        if isinstance(axis, Depth)
        else axis
        for axis in net.axes
    ]
    return net.with_axes(axes)


@torch.no_grad()
def _changes(net: SuperNet, blocks: Mapping[str, Passthrough], batches: list[Any]) -> dict[str, float]:
    """How far the outputs change without each block."""
    whole, found = net.cut(net.largest), dict.fromkeys(blocks, 0.0)

    def run(cut: Cut, batch: Any) -> list[Tensor]:
        with applied(net.index, cut) as module, isolated(module), evaluating(module):
            output = call(module, fresh(calibration_inputs(net, batch)))
            return [t.detach().double() for t in tensors_in(output) if t.is_floating_point()]

    for batch in batches:
        outputs = run(whole, batch)
        scales = [t.std(correction=0).clamp_min(1e-12) for t in outputs]
        for path, passthrough in blocks.items():
            builder = CutBuilder()
            builder.skip(path, passthrough)
            without = run(replace(whole, replace=builder.finish(net.index).replace), batch)
            found[path] += sum(
                float(((after - before) / scale).square().mean())
                for before, after, scale in zip(outputs, without, scales, strict=True)
            ) / len(batches)
    return found


@torch.no_grad()
def _influence(net: SuperNet, blocks: Mapping[str, Passthrough], batches: list[Any]) -> dict[str, float]:
    totals, counts = dict.fromkeys(blocks, 0.0), dict.fromkeys(blocks, 0)
    taken: dict[str, list[Tensor | None]] = {}

    def take(path: str, module: nn.Module, args: Any, kwargs: Any) -> None:
        given = (_argument(key, args, kwargs) for key in _several(blocks[path]))
        taken[path] = [None if t is None else t.clone() for t in given]  # which the block may write into

    def compare(path: str, module: nn.Module, args: Any, output: Any) -> None:
        changes = [
            1 - F.cosine_similarity(judged_rows(before), judged_rows(after), dim=-1)
            for before, after in zip(taken[path], _several(output), strict=False)
            if isinstance(before, Tensor) and isinstance(after, Tensor) and before.shape == after.shape and after.dim()
        ]
        if changes:  # of several results some are only given on
            totals[path] += max(float(change.mean()) for change in changes) * examples_in(output)
            counts[path] += examples_in(output)

    with isolated(net.module), evaluating(net.module):  # which takes the hooks away again, too
        for path in blocks:
            net.index.modules[path].register_forward_pre_hook(partial(take, path), with_kwargs=True)
            net.index.modules[path].register_forward_hook(partial(compare, path))
        for batch in batches:
            call(net.module, fresh(calibration_inputs(net, batch)))
    return {path: totals[path] / counts[path] for path in blocks if counts[path]}


def _several(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, tuple | list) else (value,)


def _argument(key: Passthrough, args: Any, kwargs: Any) -> Tensor | None:
    """What a block would give if it were skipped: the first argument, however it was passed, or another."""
    if key == 0 and not args:
        key = next(iter(kwargs), None)
    found = args[key] if isinstance(key, int) and key < len(args) else kwargs.get(key)
    return found if isinstance(found, Tensor) else None
