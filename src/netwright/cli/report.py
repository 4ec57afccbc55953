"""``netwright report``: the page, anew."""

from __future__ import annotations

from collections.abc import Sequence

from .arguments import kept_job, read, verb_parser
from .display import Display

TEXT = "Write report.html anew from what the output directory holds."


def run(arguments: Sequence[str]) -> None:
    """Run the verb."""
    parser = verb_parser("report", TEXT)
    parser.add_argument("out", help="the output directory of 'netwright fit' or 'netwright search'")
    given = read(parser, arguments)
    with Display() as display:
        job = kept_job(given["out"], display)
        job.require_searched()
        path = job.report()
    display.say(f"report: {path}")
