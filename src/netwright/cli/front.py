"""``netwright front``: the best networks of a study."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from ..pipeline.run_directory import RunDirectory
from .arguments import add_trust, journal_of, read, verb_parser
from .display import Display

TEXT = "Print the networks of a study that no other beats in every objective, under the limits last given."


def run(arguments: Sequence[str]) -> None:
    """Run the verb."""
    parser = verb_parser("front", TEXT)
    parser.add_argument("study", help="a study.db, or the output directory that holds it")
    parser.add_argument("--json", action="store_true", help="a JSON list, in the form of front.json")
    add_trust(parser)
    given = read(parser, arguments)
    front = journal_of(given["study"], given.get("trust", False)).front
    if given.get("json"):
        print(json.dumps([record.to_json() for record in front], indent=2))
    else:
        path = Path(given["study"])
        run = RunDirectory(path if path.is_dir() else path.parent)
        Display().front(front, run.read_roles(), run.read_given())
