"""``netwright space``: the part of a space that pays on a target."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from ..core.errors import NetwrightError
from ..core.units import DAY_S
from ..pipeline.device_space import DeviceSpace
from ..pipeline.space import find_space
from ..pipeline.space_page import KINDS, OPTIONS, kinds_table, options_table, sentences
from .display import Display
from .recipes import asked, read, recipe_parser
from .terminal import Terminal

TEXT = """Measure on a target which options of a space pay there, and write a recipe of these.

Of widths, depths and windows those stay that make the blocks they change faster; layers have 8 bits as an option where
that makes layers of their kind faster. Nothing is trained. It takes what 'netwright fit' takes, and writes recipe.yaml
into the output directory, or NAME-space.yaml beside a recipe of your own: 'netwright fit' takes it as it is.
"""

WIDTH = 200
"""Letters that a row may have."""


def run(arguments: Sequence[str]) -> None:
    """Run the verb."""
    parser = recipe_parser("space", TEXT)
    parser.add_argument("--seconds", type=float, help="after which no further option is measured (default: 300)")
    given = read(parser, arguments)
    seconds = given.pop("seconds", 300.0)
    if not 0 < seconds <= DAY_S:
        raise NetwrightError(f"--seconds must be more than 0, and at most {DAY_S:,}")
    recipe, out, overrides = asked(given)
    out = given.get("out", f"{out}-space")
    with Display() as display:
        found = find_space(recipe, out, seconds=seconds, overrides=overrides, callback=display)
    _show(found)
    display.say(f"recipe: {found.path}")
    display.say(f"page:   {found.page}")


def _show(found: DeviceSpace) -> None:
    out = Terminal(soft_wrap=True, width=WIDTH)
    for titles, rows in ((KINDS, kinds_table(found)), (OPTIONS, options_table(found))):
        if rows:
            table = Table(box=None, header_style="bold")
            for title in titles:
                table.add_column(title, no_wrap=True)
            for row in rows:
                table.add_row(*row)
            out.print(table)
    for sentence in sentences(found):
        out.print(f"* {sentence}", markup=False)
