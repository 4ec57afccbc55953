"""``netwright fit``: the whole job."""

from __future__ import annotations

from collections.abc import Sequence

from ..pipeline.fit import fit
from .arguments import read, recipe_job, search_parser
from .display import Display

TEXT = """Train a super-network, search it, export the best networks and write a report.

RECIPE names a built-in recipe or a .yaml file of your own. The output directory keeps everything; the same command
again continues where it stopped, and a larger --evaluations goes on searching. Defaults below hold where the recipe
says nothing else.
"""


def run(arguments: Sequence[str]) -> None:
    """Run the verb."""
    given = read(search_parser("fit", TEXT), arguments)
    with Display() as display:
        fitted = fit(recipe_job(given, display), given.get("retry", ""))
    display.front(fitted.front, fitted.study.metrics, fitted.picked)
    display.done(fitted)
