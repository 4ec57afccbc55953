"""``netwright trim``: a network within limits, without a search."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from ..core.metric import label
from ..core.units import format_value
from ..pipeline.trim import Trimmed, trim
from ..report.data import format_measurement
from .display import Display
from .recipes import asked, read, recipe_parser
from .terminal import Terminal

TEXT = """Cut a trained network to limits without a search, in about a minute, and export it.

RECIPE names a built-in recipe or a .yaml file of your own; or it is module:function, which gives a super-network, and
--data names data as a recipe does. What every channel, head and block is worth is judged on
training data (--train.importance), and what is worth least for what it saves is given up until each --limit is kept: on
macs, params, weight_bytes, peak_activation_bytes, moved_bytes, or on latency or energy by a table of measured blocks.
With --trim.rounds a few proposals are tuned for a short while and judged on the way. A network that is not trained is
trained first: 'netwright train', then --train.weights with its output directory.
"""

SHOWN = ("macs", "params", "weight_bytes", "file_bytes", "latency", "energy")
"""Shown beside what the network is judged by."""


def run(arguments: Sequence[str]) -> None:
    """Run the verb."""
    given = read(recipe_parser("trim", TEXT), arguments)
    recipe, out, overrides = asked(given)
    out = given.get("out", f"{out.replace(':', '-')}-trim")
    if isinstance(recipe, str) and ":" in recipe and not Path(recipe).exists():
        recipe, overrides = {}, {**overrides, "model": recipe}
    if not recipe and "data" not in overrides:  # nothing is known but what it costs
        overrides.setdefault("objectives", ["latency", "macs"])
    with Display() as display:
        done = trim(recipe, out, overrides=overrides, callback=display)
    _show(done)
    display.say(f"exported: {done.folder}")
    display.say(f"report:   {done.report}")


def _show(done: Trimmed) -> None:
    """Before and after, metric by metric."""
    table = Table(box=None, header_style="bold")
    for title in ("", "whole", "trimmed", ""):
        table.add_column(title, justify="left" if not title else "right")
    quality = [name for name in done.network.validation if name in done.before]
    for name in (*quality, *SHOWN):
        if name in done.before and name in done.after:
            table.add_row(label(name), *_cells(done.before[name], done.after[name]))
    Terminal(soft_wrap=True).print(table)


def _cells(before: Any, after: Any) -> tuple[str, str, str]:
    change = f"{after.value / before.value - 1:+.0%}" if before.value and before.unit != "%" else ""
    if before.unit == "%":
        change = f"{after.value - before.value:+.2f} points"
    told = [format_value(m.value, m.unit) if m.kind == "exact" else format_measurement(m) for m in (before, after)]
    return told[0], told[1], change
