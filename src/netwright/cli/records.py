"""``netwright records``: every record of a study."""

from __future__ import annotations

import json
from collections.abc import Sequence

from ..study.record_files import write_records
from .arguments import add_trust, journal_of, read, verb_parser
from .display import Display

TEXT = "Print every record of a study, in the order of measuring."


def run(arguments: Sequence[str]) -> None:
    """Run the verb."""
    parser = verb_parser("records", TEXT)
    parser.add_argument("study", help="a study.db, or the output directory that holds it")
    parser.add_argument("--json", action="store_true", help="one JSON object a line, in the form of front.json")
    parser.add_argument("--out", help="a .jsonl, .csv or .parquet file that they are written to, and nothing printed")
    add_trust(parser)
    given = read(parser, arguments)
    journal = journal_of(given["study"], given.get("trust", False))
    if "out" in given:
        write_records(journal.records, given["out"])
    elif given.get("json"):
        for record in journal.records:
            print(json.dumps(record.to_json()))
    else:
        Display().records(journal.records, journal.objectives)
