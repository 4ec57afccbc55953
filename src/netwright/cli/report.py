"""``netwright report``: the page, anew."""

from __future__ import annotations

from collections.abc import Sequence

from ..core.text import printable
from ..pipeline.run_directory import RunDirectory
from ..pipeline.summary import write_report
from .arguments import read, told_bad, verb_parser

TEXT = "Write report.html anew from what the output directory holds."


def run(arguments: Sequence[str]) -> None:
    """Run the verb."""
    parser = verb_parser("report", TEXT)
    parser.add_argument("out", help="the output directory of 'netwright fit' or 'netwright search'")
    out = read(parser, arguments)["out"]
    with told_bad(out) as bad:
        page = write_report(RunDirectory(out), bad)
    print(printable(f"report: {page}"))
