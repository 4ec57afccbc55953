"""``netwright fit``: the whole job."""

from __future__ import annotations

from collections.abc import Sequence

from ..pipeline.fit import fit
from .display import Display
from .recipes import asked, read, search_parser

TEXT = """Train a super-network, search it, export the best networks and write a report.

RECIPE names a built-in recipe or a .yaml file of your own. The output directory keeps everything; the same command
again continues where it stopped, and a larger --evaluations goes on searching. Defaults below hold where the recipe
says nothing else.
"""


def run(arguments: Sequence[str]) -> None:
    """Run the verb."""
    given = read(search_parser("fit", TEXT), arguments)
    recipe, out, overrides = asked(given)
    with Display() as display:
        fitted = fit(recipe, out, overrides=overrides, callback=display, retry=given.get("retry", ""))
    display.front(fitted.front, {network.id: network.role for network in fitted.networks}, fitted.given)
    display.done(fitted)
