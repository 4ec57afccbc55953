"""The order of parts: the least important is left out first."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...core.errors import NetError
from ..axes import Parts
from ..importance.base import given_batches
from ..inputs import call, evaluating, fresh, tensors_in
from ..isolation import isolated
from ..recalibrate import calibration_inputs
from ..supernet import SuperNet
from .parts import FoundPart, Place, find_parts
from .same import judged_rows, trained


def part_importance(net: SuperNet, batches: Iterable[Any]) -> dict[str, float]:
    """How much each part changes what it is added to: 1 minus the cosine of it before and after, from 0 to 2.

    The mean over all positions of all batches, with every part in its place (He et al. 2024, "What matters in
    Transformers? Not all attention is needed", the importance score of a layer).

    Args:
        net: a super-network with :class:`Parts` axes; its weights and buffers are left as they are.
        batches: inputs, or tuples whose first entry is the input; a few hundred examples are enough.

    Returns:
        The importance by the part's name.

    Raises :class:`NetError` where the network has no such axis, or one whose parts are not to be seen in its trace.
    """
    wanted = [part.name for axis in net.axes if isinstance(axis, Parts) for part in axis.parts]
    if not wanted:
        raise NetError("this super-network has no parts to put in order; wrap(..., axes=['parts']) looks for them")
    found = {each.part.name: each for each in find_parts(net.index, trained(net.index, net.example_inputs))}
    unseen = [name for name in wanted if name not in found or not (found[name].after or found[name].own)]
    if unseen:
        raise NetError(
            f"{unseen[0]} is no part whose result is added to what it reads, or no module gives what is added as it "
            "is, so that its importance is unknown; give the Parts axis its order yourself"
        )
    given = given_batches(batches, "part_importance")
    return _importance(net, {name: found[name] for name in wanted}, given)


def sort_parts(net: SuperNet, batches: Iterable[Any]) -> SuperNet:
    """The super-network with the parts of each :class:`Parts` axis in falling order of their importance on data.

    An option then keeps the parts that matter most (:func:`part_importance`). The module and all other axes are the
    same; a candidate means another network than before, so that what is measured before is not comparable.

    Args:
        net: the super-network; it stays as it is.
        batches: see :func:`part_importance`.
    """
    importance = part_importance(net, batches)
    axes = [
        replace(axis, parts=tuple(sorted(axis.parts, key=lambda part: -importance[part.name])))
        if isinstance(axis, Parts)
        else axis
        for axis in net.axes
    ]
    return net.with_axes(axes)


def _watch(module: nn.Module, place: Place, seen: dict[Place, Tensor]) -> None:
    """From now on, what a run has at a place of the module is noted."""

    def argument(module: nn.Module, args: Any, kwargs: Any) -> None:
        given = kwargs[place.key] if isinstance(place.key, str) else args[place.key]
        seen[place] = given.detach().clone()

    def result(module: nn.Module, args: Any, output: Any) -> None:
        seen[place] = next(tensors_in(output)).detach().clone()

    if place.key is None:
        module.register_forward_hook(result)
    else:
        module.register_forward_pre_hook(argument, with_kwargs=True)


@torch.no_grad()
def _importance(net: SuperNet, found: dict[str, FoundPart], batches: list[Any]) -> dict[str, float]:
    places = [p for each in found.values() for p in (each.stream, each.after or each.own) if p]
    totals, counts = dict.fromkeys(found, 0.0), dict.fromkeys(found, 0)
    seen: dict[Place, Tensor] = {}
    with isolated(net.module), evaluating(net.module):  # which takes the hooks away again, too
        for place in dict.fromkeys(places):
            _watch(net.index.modules[place.module], place, seen)
        for batch in batches:
            call(net.module, fresh(calibration_inputs(net, batch)))
            for name, each in found.items():
                before = seen[each.stream]
                after = seen[each.after] if each.after else before + seen[each.own]  # type: ignore[index]
                alike = F.cosine_similarity(judged_rows(before), judged_rows(after), dim=-1)
                totals[name] += float((1 - alike).sum())
                counts[name] += alike.numel()
    return {name: totals[name] / counts[name] for name in found}
