"""``netwright export``: stand-alone files of chosen networks."""

from __future__ import annotations

from collections.abc import Sequence

from ..pipeline.selection import records_by_id
from .arguments import kept_job, read, verb_parser
from .display import Display

TEXT = """Fine-tune networks of a searched output directory, export them, and measure the files again.

Without --network, the best by the first objective, the best by the second within one point of it, and the knee. Which
of them is what is told by the figures of the files.
"""


def run(arguments: Sequence[str]) -> None:
    """Run the verb."""
    parser = verb_parser("export", TEXT)
    parser.add_argument("out", help="the output directory of 'netwright fit' or 'netwright search'")
    parser.add_argument("--network", action="append", help="id of a network, or how it begins; may be given again")
    given = read(parser, arguments)
    with Display() as display:
        job = kept_job(given["out"], display)
        job.require_networks()
        job.require_searched()
        job.require_trained()
        if "network" in given:
            exported = job.export(records_by_id(job.study.records, given["network"]))
        else:
            exported = job.export_picked(job.study.front())
    for id_ in exported:
        display.say(f"exported: {job.out / 'networks' / id_}")
