"""The arguments of a verb, without what a recipe brings."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from ..core.errors import NetwrightError, did_you_mean
from ..core.text import printable
from ..pipeline.run_directory import RunDirectory
from ..study.journal import Journal, read_journal
from ..study.stores.base import Bad, BadEntry, Store
from ..study.stores.sqlite import SqliteStore
from .outcome import one_line

MOST_BAD = 20
"""Entries that cannot be read, of which each is told."""

UNKNOWN = "unrecognized arguments: "


class Parser(argparse.ArgumentParser):
    """Raises :class:`NetwrightError` for what it does not take."""

    def error(self, message: str) -> NoReturn:
        raise NetwrightError(mistake(message, self))


def verb_parser(verb: str, description: str) -> argparse.ArgumentParser:
    """A parser of a verb that takes only what is added to it."""
    return Parser(
        prog=f"netwright {verb}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )


def read(parser: argparse.ArgumentParser, arguments: Sequence[str]) -> dict[str, Any]:
    """What was given, by name. Raises with the nearest flag for one that is unknown."""
    return vars(parser.parse_args(arguments))


def mistake(message: str, parser: argparse.ArgumentParser) -> str:
    """What a parser says of arguments, with the nearest flag for one that is unknown."""
    if UNKNOWN not in message:
        return message
    flag = message[message.index(UNKNOWN) + len(UNKNOWN) :].split()[0]
    if not flag.startswith("-"):
        return (
            f"{flag!r} is one argument too many; a directory follows --out, each limit its own --limit, and a "
            "list is written with commas: accuracy,latency"
        )
    flags = [s for action in parser._actions for s in action.option_strings if s.startswith("--")]
    name = flag.split("=")[0]
    inner = [f for f in flags if name.startswith("--") and f.endswith(f".{name[2:]}")]
    known = f"did you mean {' or '.join(map(repr, inner))}?" if inner else did_you_mean(name, flags)
    return f"there is no {flag!r}; {known if 'did you' in known else 'its --help lists what there is'}"


def add_trust(parser: argparse.ArgumentParser) -> None:
    """Let a verb that only reads run what the directory names, where its reader wants that."""
    parser.add_argument(
        "--trust",
        action="store_true",
        help="run the code that the directory's recipe names: a store or report sections of a person's own",
    )


def add_file_inputs(parser: argparse.ArgumentParser) -> None:
    """Let a verb that runs files of networks be told what they are fed with, and which of them it may open."""
    parser.add_argument("--inputs", help="an .npz file of the arrays that a file is fed with (default: noise)")
    parser.add_argument(
        "--shape",
        action="append",
        help="of an input that a file leaves open, such as input=3x224x224; the batch may be left out",
    )
    parser.add_argument(
        "--trust",
        action="store_true",
        help="open a file even if it is a program, such as a .pt2 with pickles or machine code, which can do whatever "
        "you can; agents open none",
    )


def store_of(path: str | Path, trust: bool = False) -> Store:
    """The store of a study: the path of a ``study.db`` or of the directory that holds it.

    Args:
        path: of either.
        trust: let the directory name code that is run: a store of a person's own.
    """
    path = Path(path)
    return RunDirectory(path).known_store(trust) if path.is_dir() else SqliteStore(path, must_exist=True)


def journal_of(path: str | Path, trust: bool = False) -> Journal:
    """The journal of a study, of which each entry that cannot be read is told; see :func:`store_of`."""
    with told_bad(path) as bad:
        return read_journal(store_of(path, trust), bad=bad)


@contextmanager
def told_bad(path: str | Path) -> Iterator[Bad]:
    """What tells of each entry of a study that cannot be read, in one line."""
    found = 0

    def tell(bad: BadEntry) -> None:
        nonlocal found
        found += 1
        if found <= MOST_BAD:
            print(f"netwright: {one_line(f'{path}: {bad}; it is left out here')}{hint}", file=sys.stderr)

    hint = f"; 'netwright repair {printable(str(path))}' writes a study without it"
    yield tell
    if found > MOST_BAD:
        print(f"netwright: {found - MOST_BAD} entries more cannot be read{hint}", file=sys.stderr)
