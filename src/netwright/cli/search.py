"""``netwright search``: measure networks of a trained super-network."""

from __future__ import annotations

from collections.abc import Sequence

from ..pipeline.selection import roles_told
from .arguments import read, recipe_job, search_parser
from .display import Display

TEXT = """Search a trained super-network and write the front.

Every measured network is kept in study.db. The same command again continues; 'netwright export' is next.
"""


def run(arguments: Sequence[str]) -> None:
    """Run the verb."""
    given = read(search_parser("search", TEXT), arguments)
    with Display() as display:
        job = recipe_job(given, display)
        job.check()
        job.require_trained()
        study = job.search(given.get("retry", ""))
    display.front(study.front(), study.metrics, roles_told(job.out))
