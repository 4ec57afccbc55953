"""``netwright export``: stand-alone files of chosen networks."""

from __future__ import annotations

from collections.abc import Sequence

from ..picks import networks_by_id, roles
from .arguments import kept_job, read, verb_parser
from .display import Display

TEXT = """Fine-tune networks of a searched output directory, export them, and measure the files again.

Without --network, the best by the first objective, the best by the second within one point of it, and the knee.
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
        front = job.study.front()
        if "network" in given:
            chosen = networks_by_id(front, job.study.records, given["network"])
            paths = [job.export(record, role) for record, role in chosen.values()]
        else:
            job.export_picked(front)
            paths = [job.out / "networks" / id_ for id_ in roles(front)]
    for path in paths:
        display.say(f"exported: {path}")
