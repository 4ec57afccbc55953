"""``netwright repair``: a damaged study, without what cannot be read of it."""

from __future__ import annotations

from collections.abc import Sequence

from ..core.errors import NetwrightError
from ..core.text import printable
from ..study.repair import repair
from ..study.stores.sqlite import SqliteStore
from .arguments import read, store_of, verb_parser
from .outcome import one_line

TEXT = """Have a study of all entries that can be read in the place of a damaged one.

The file as it was stays beside it, under another name; what is left out is said. A study of which everything can be
read is left as it is."""

MOST = 50
"""Entries that are left out, of which each is said."""


def run(arguments: Sequence[str]) -> None:
    """Run the verb."""
    parser = verb_parser("repair", TEXT)
    parser.add_argument("study", help="a study.db, or the output directory that holds it")
    store = store_of(read(parser, arguments)["study"])
    if not isinstance(store, SqliteStore):
        raise NetwrightError(f"repair mends SQLite files; the store of this study is a {type(store).__name__}")
    done = repair(store)
    path = printable(str(store.path))
    if done.original is None:
        print(f"{path}: all of its {done.kept} entries can be read; there is nothing to repair")
        return
    for bad in done.left_out[:MOST]:
        print(f"left out: {one_line(str(bad))}")
    if len(done.left_out) > MOST:
        print(f"left out: {len(done.left_out) - MOST} more")
    print(f"kept: {done.kept} entries, {done.records} of them records, in {path}")
    if not done.resumable:
        print("what the study is of was left out: its records can be read, but no search can go on with it")
    print(f"the file as it was: {printable(str(done.original))}")
