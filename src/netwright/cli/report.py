"""``netwright report``: the page, anew."""

from __future__ import annotations

from collections.abc import Sequence

from ..core.text import printable
from ..pipeline.run_directory import RunDirectory
from ..pipeline.summary import write_report
from .arguments import read, verb_parser

TEXT = "Write report.html anew from what the output directory holds."


def run(arguments: Sequence[str]) -> None:
    """Run the verb."""
    parser = verb_parser("report", TEXT)
    parser.add_argument("out", help="the output directory of 'netwright fit' or 'netwright search'")
    print(printable(f"report: {write_report(RunDirectory(read(parser, arguments)['out']))}"))
