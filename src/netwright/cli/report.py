"""``netwright report``: the page, anew."""

from __future__ import annotations

from collections.abc import Sequence

from ..core.text import printable
from ..pipeline.run_directory import RunDirectory
from ..pipeline.summary import own_sections, write_report
from .arguments import add_trust, read, told_bad, verb_parser

TEXT = "Write report.html anew from what the output directory holds."


def run(arguments: Sequence[str]) -> None:
    """Run the verb."""
    parser = verb_parser("report", TEXT)
    parser.add_argument("out", help="the output directory of 'netwright fit' or 'netwright search'")
    add_trust(parser)
    given = read(parser, arguments)
    run, trust = RunDirectory(given["out"]), given.get("trust", False)
    with told_bad(run.path) as bad:
        page = write_report(run, bad, trust)
    if not trust and (own := own_sections(run.read_info())):
        print(printable(f"left out: {', '.join(own)}: code of whoever made the directory; --trust runs it"))
    print(printable(f"report: {page}"))
