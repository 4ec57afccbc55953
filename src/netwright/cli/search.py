"""``netwright search``: measure networks of a trained super-network."""

from __future__ import annotations

from collections.abc import Sequence

from ..pipeline.search import check, open_study, search, with_all_limits
from ..pipeline.train import require_trained
from .display import Display
from .recipes import opened, read, search_parser

TEXT = """Search a trained super-network and write the front.

Every measured network is kept in study.db. The same command again continues; 'netwright export' is next.
"""


def run(arguments: Sequence[str]) -> None:
    """Run the verb."""
    given = read(search_parser("search", TEXT), arguments)
    with Display() as display, opened(given, display) as context:
        study = open_study(context)
        check(context, study)
        require_trained(context)
        study = with_all_limits(context, study)
        front = search(context, study, given.get("retry", ""))
    display.front(front, context.run.read_roles(), context.run.read_given())
