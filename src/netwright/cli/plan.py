"""``netwright plan``: what a job would be, before anything costly."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rich.table import Table

from ..core.metric import Measurement, label
from ..core.space import about
from ..core.units import format_value
from ..pipeline.plan import Plan, plan
from ..report.data import format_measurement
from .display import Display, duration
from .recipes import asked, read, recipe_parser
from .terminal import Terminal

TEXT = """Say what a job would be, and keep nothing: sizes, what can be cut and what not and why, what the limits ask
for, and how long the parts of the job take, by a few measured steps.

It takes what 'netwright fit' takes.
"""

SHOWN = ("params", "weight_bytes", "macs", "peak_activation_bytes")
"""Shown of the whole and the smallest network, before what is measured."""
LINES = 8
"""Kinds of layers that stay whole of which each is told."""


def run(arguments: Sequence[str]) -> None:
    """Run the verb."""
    recipe, _, overrides = asked(read(recipe_parser("plan", TEXT), arguments))
    with Display() as display:
        found = plan(recipe, overrides=overrides, callback=display)
    out = Terminal(soft_wrap=True)
    out.print(_sizes(found))
    for line in (*_elastic(found), *_limits(found), *_costs(found)):
        out.print(line, markup=False)


def _sizes(found: Plan) -> Table:
    table = Table(box=None, header_style="bold")
    for title in ("", "whole", "smallest"):
        table.add_column(title, justify="right" if title else "left")
    names = [*(name for name in SHOWN if name in found.whole), *(n for n in found.whole if n not in _COUNTS)]
    for name in names:
        table.add_row(label(name), *(_cell(side.get(name)) for side in (found.whole, found.smallest)))
    return table


_COUNTS = (*SHOWN, "moved_bytes", "bit_ops")


def _cell(found: Measurement | None) -> str:
    if found is None:
        return "after training"
    return format_value(found.value, found.unit) if found.kind == "exact" else format_measurement(found)


def _elastic(found: Plan) -> list[str]:
    lines = [f"networks: {about(found.space_size)}"]
    if found.report is None:
        return lines
    lines += [
        f"  {name}: {', '.join(map(str, options))}" for name, options in list(found.report.elastic.items())[:LINES]
    ]
    if (more := len(found.report.elastic) - LINES) > 0:
        lines.append(f"  and {more} choices more")
    for title, paths in (("stays whole", found.report.rigid), ("stays in part", found.report.partly)):
        alike = dict.fromkeys((re.sub(r"\b\d+\b", "*", path), why) for path, why in paths.items())
        lines += [f"  {title}: {path}: {why}" for path, why in list(alike)[:LINES]]
        if (more := len(alike) - LINES) > 0:
            lines.append(f"  {title}: and {more} kinds of layers more")
    return lines


def _limits(found: Plan) -> list[str]:
    broken = dict(found.broken())
    lines = []
    for limit in found.limits:
        near = broken.get(limit)
        kept = found.smallest.get(limit.metric)
        if near is not None:
            lines.append(f"limit {limit}: the smallest network does not keep it; the nearest has {_cell(near)}")
        elif kept is not None:
            lines.append(f"limit {limit}: the smallest network keeps it with {_cell(kept)}")
        else:
            lines.append(f"limit {limit}: it is known of a network once it is trained")
    return [*lines, *(f"limit {text}: its bound is known once the model is trained" for text in found.unknown)]


def _costs(found: Plan) -> list[str]:
    lines = [
        f"{cost.what}: {cost.count:,} {cost.unit} of {cost.seconds:.2g} s, about {duration(cost.count * cost.seconds)}"
        for cost in found.costs
    ]
    return [
        *lines,
        f"in all: about {duration(found.seconds)}; memory: {format_value(found.memory, 'B')} at most so far",
    ]
