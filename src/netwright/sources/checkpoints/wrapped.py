"""Pre-trained models as sources: what is elastic in them, in words to act on."""

from __future__ import annotations

from typing import Any

from torch import nn

from ...core.errors import NetError, RecipeError, format_error
from ...core.space import about
from ...core.units import format_value
from ...nets.axes import Depth, Width
from ...nets.inputs import Inputs
from ...nets.supernet import SuperNet
from ...nets.wrap import wrap
from ..supernet import SuperNetSource

SHOWN = 5
"""Axes, and layers that stay whole, that a line names."""


LEAST = 0.5
"""The smallest share of a width or of a run of blocks: a short training does not reach networks that are much smaller,
and they take from the others."""


def wrapped(
    module: nn.Module,
    inputs: Inputs,
    reference: str,
    notes: tuple[str, ...] = (),
    new_head: bool = False,
    pretrained: bool = True,
    least: float = 0.0,
) -> SuperNetSource:
    """The source of a model of no family that is known: its axes are found by :func:`netwright.wrap`.

    Args:
        module: the model.
        inputs: what it is called with.
        reference: the recipe's model, for messages.
        notes: what is to be said before.
        new_head: whether its head has learned nothing yet.
        pretrained: whether it is known to come trained.
        least: the smallest share of a width, and of blocks that may be left out; 0 leaves all that was found.

    Raises :class:`RecipeError` where the model does not run, or nothing in it can be cut.
    """
    try:
        net = wrap(module, inputs)
        if least:
            net.keep_options({a.name: [n for n in a.options if n >= least * a.options[-1]] for a in _sized(net)})
    except NetError as error:
        raise RecipeError(f"model: {reference}: {format_error(error)}") from error
    kind = type(module).__name__
    found = f"model: {kind} is no architecture that netwright knows; what can be cut was found by tracing it"
    if least:
        found += f", down to {least:.0%} of a width or of blocks (least=... of the model)".replace("%", " %")
    return made(net, reference, (*notes, found, *whole(net)), new_head, pretrained=pretrained)


def _sized(net: SuperNet) -> list[Any]:
    """Its widths and depths."""
    return [axis for axis in net.axes if isinstance(axis, Width | Depth)]


def made(
    net: SuperNet,
    reference: str,
    notes: tuple[str, ...],
    new_head: bool,
    formats: tuple[str, ...] = (),
    pretrained: bool = True,
) -> SuperNetSource:
    """A source that says what is elastic. Raises :class:`RecipeError` where nothing is."""
    if net.space.size < 2:
        reasons = "; ".join(f"{path}: {why}" for path, why in list(net.report.rigid.items())[:SHOWN])
        raise RecipeError(f"model: nothing in {reference} can be cut ({reasons or 'it has no layers with weights'})")
    notes = (*notes, elastic(net))
    return SuperNetSource(net, reference, pretrained=pretrained, new_head=new_head, notes=notes, formats=formats)


def elastic(net: SuperNet) -> str:
    """What is elastic, in a line."""
    report = net.report
    axes = [f"{name} {options[0]} to {options[-1]}" for name, options in list(report.elastic.items())[:SHOWN]]
    more = f", and {len(report.elastic) - SHOWN} axes more" if len(report.elastic) > SHOWN else ""
    params = f"{format_value(report.smallest.params, '')} to {format_value(report.largest.params, '')} parameters"
    return f"model: elastic are {', '.join(axes)}{more}: {about(report.space_size)} networks of {params}"


def whole(net: SuperNet) -> tuple[str, ...]:
    """What stays as it is and why, in a line; nothing where all is elastic."""
    rigid = net.report.rigid
    if not rigid:
        return ()
    reasons: dict[str, list[str]] = {}
    for path, why in rigid.items():
        reasons.setdefault(why, []).append(path)
    told = [f"{', '.join(paths[:2])}{' ...' if len(paths) > 2 else ''} ({why})" for why, paths in reasons.items()]
    more = f"; and {len(told) - SHOWN} reasons more, see print(nw.wrap(...).report)" if len(told) > SHOWN else ""
    return (f"model: {len(rigid)} layers stay whole: {'; '.join(told[:SHOWN])}{more}",)
