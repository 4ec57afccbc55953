"""A benchmark with the code of this checkout and of another in turn, each time in a process of its own."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parents[1]


def parser_of(doc: str | None) -> argparse.ArgumentParser:
    """What takes ``--against`` and ``--rounds``."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", type=Path, metavar="DIR", help="a checkout of another commit, to compare with")
    parser.add_argument("--rounds", type=int, default=2, help="processes of each, in turn (default: 2)")
    parser.add_argument("--json", action="store_true", help=argparse.SUPPRESS)
    return parser


def in_turn(parser: argparse.ArgumentParser, args: argparse.Namespace, script: str, *more: str) -> dict[str, list[Any]]:
    """What a script prints with ``--json`` and its own arguments in each round, with the code of ``this`` checkout and,
    where one is given, of the ``other``."""
    if args.against and not (args.against / "src" / "netwright").is_dir():
        parser.error(f"{args.against} is no checkout of netwright: it has no src/netwright")
    checkouts = {"this": HERE} | ({"other": args.against.resolve()} if args.against else {})
    found: dict[str, list[Any]] = {which: [] for which in checkouts}
    for _ in range(args.rounds):
        for which, checkout in checkouts.items():
            threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
            env = {**os.environ, "PYTHONPATH": str(checkout / "src"), **threads}
            told = subprocess.check_output([sys.executable, script, "--json", *more], env=env, text=True)
            found[which].append(json.loads(told.splitlines()[-1]))
    return found
