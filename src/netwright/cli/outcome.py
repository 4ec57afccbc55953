"""How a command ends that does not end well: whose fault it is, what is said, and the exit code."""

from __future__ import annotations

import errno
import os
import sysconfig
import traceback
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from ..core.errors import NetwrightError, format_error
from ..core.faults import fix_of, machine_fault, no_memory
from ..core.interruption import exit_code, interruption
from ..core.text import printable

OURS, THEIRS = 1, 2
"""The exit codes of a fault of netwright's, and of what the person can mend."""

DEBUG = "--debug"
"""Anywhere among the arguments: the traceback of a fault is shown too."""

THREADS = "no more threads or processes can be started: close some programs, or raise the limit with 'ulimit -u'"

LIMITS = {
    "can't start new thread": THREADS,
    "Resource temporarily unavailable": THREADS,
}
"""What libraries say of the machine's limits, and what to do."""

PATHS = {
    errno.EACCES: "make it readable and writable for you, or choose another place",
    errno.EPERM: "make it readable and writable for you, or choose another place",
    errno.ENAMETOOLONG: "choose a shorter path",
    errno.ENOENT: "see that it is there",
    errno.ENOTDIR: "a part of its path is a file, not a directory",
    errno.EISDIR: "give a file, not a directory",
    errno.ELOOP: "a link leads to itself",
}
"""What to do about errors of a path."""


class Outcome(NamedTuple):
    """What is said, in one line, and the exit code."""

    words: str
    code: int


def outcome(error: BaseException, again: str) -> Outcome:
    """How a command ends.

    Args:
        error: that ended it.
        again: what the command has kept, and how to go on; a clause, or nothing.
    """
    further = f"; {again}" if again else ""
    if stop := interruption(error):
        return Outcome(f"interrupted{further}", exit_code(stop))
    place = own_place(error)
    if isinstance(error, NetwrightError):
        return Outcome(f"{error} ({place})" if place else str(error), THEIRS)
    if fix := _limit(error):
        return Outcome(f"{fix}{further}", THEIRS)
    if place:
        return Outcome(f"your own code raised {format_error(error)} ({place}){further}", THEIRS)
    if fix := _mistake(error):
        return Outcome(f"{fix}{further}", THEIRS)
    told = f"this is a fault of netwright: {format_error(error)}"
    return Outcome(f"{told}; {DEBUG} shows the rest; please report it", OURS)


def one_line(words: str) -> str:
    """Words of whatever origin as a line for the terminal."""
    return printable(" ".join(words.split()))


def _limit(error: BaseException) -> str:
    """What to do about a limit of the machine's that an error came of; empty where it came of none."""
    if fault := machine_fault(error):
        return fix_of(fault)
    return no_memory(error) or next((fix for words, fix in LIMITS.items() if words in str(error)), "")


def _mistake(error: BaseException) -> str:
    """What to do about a path, a file or an installation that an error came of; empty where it came of none."""
    if isinstance(error, ValueError) and "embedded null" in str(error):
        return "a path holds no NUL character: give another"
    if isinstance(error, UnicodeError):
        return f"a file or a name is not UTF-8 ({format_error(error)}): save or name it so"
    if isinstance(error, ImportError):
        return f"a package is missing or broken ({format_error(error)}): install netwright and what it needs anew"
    if not isinstance(error, OSError):
        return ""
    if error.filename is None and error.errno == errno.ENOENT:
        return "the directory that this command is run in is gone: change to another"
    about = f"{error.filename!s:.200}: " if error.filename is not None else ""
    return f"{about}{error.strerror or format_error(error)}; {PATHS.get(error.errno or 0, 'see what holds it up')}"


def own_place(error: BaseException) -> str:
    """Where a person's own code raised an error, or what it came of: ``mine.py, line 3``; empty where none did."""
    causes, each = list[BaseException](), error
    while each is not None and each not in causes:
        causes.append(each)
        each = each.__cause__  # type: ignore[assignment]
    return next((place for cause in reversed(causes) if (place := _own_frame(cause.__traceback__))), "")


def _own_frame(trace: TracebackType | None) -> str:
    """The last frame of a person's own code, unless it called netwright, which raised."""
    ours = f"{Path(__file__).parents[1]}{os.sep}"
    libraries = tuple(f"{sysconfig.get_path(each)}{os.sep}" for each in ("stdlib", "platstdlib", "platlib", "purelib"))
    for frame in reversed(traceback.extract_tb(trace)):
        if frame.filename.startswith(ours):
            return ""
        if os.path.isabs(frame.filename) and not frame.filename.startswith(libraries):
            return f"{frame.filename}, line {frame.lineno}"
    return ""
