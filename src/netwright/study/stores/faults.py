"""Whose fault it is that a study cannot be read or written: the file's, or that of what it lies on."""

from __future__ import annotations

import errno
import sqlite3
from pathlib import Path

from ...core.errors import StoreError
from ...core.faults import FIXES

KEPT = "the study is kept as it is"

FAULTS = {
    sqlite3.SQLITE_FULL: f"the disk of {{path}} is full ({{why}}): free some space and run this again; {KEPT}",
    sqlite3.SQLITE_READONLY: f"cannot write to {{path}} ({{why}}): make it and its directory writable and run this "
    f"again; {KEPT}",
    sqlite3.SQLITE_CANTOPEN: f"cannot open {{path}} ({{why}}): see that it is there, that it and its directory may be "
    f"read and written, and that not too many files are open; {KEPT}",
    sqlite3.SQLITE_PERM: f"cannot open {{path}} ({{why}}): make it and its directory writable; {KEPT}",
    sqlite3.SQLITE_IOERR: f"the disk of {{path}} could not read or write ({{why}}): see that it is there and has "
    f"space, and run this again; {KEPT}",
    sqlite3.SQLITE_BUSY: f"{{path}} is locked by another program; try again when it is done; {KEPT}",
    sqlite3.SQLITE_LOCKED: f"{{path}} is locked by another program; try again when it is done; {KEPT}",
    sqlite3.SQLITE_NOMEM: f"there is not enough memory to open {{path}}; {KEPT}",
    sqlite3.SQLITE_TOOBIG: f"what is to be written to {{path}} is too large for one entry; {KEPT}",
    sqlite3.SQLITE_INTERRUPT: f"reading {{path}} was interrupted; {KEPT}",
    sqlite3.SQLITE_NOLFS: f"{{path}} is larger than its disk can hold; {KEPT}",
}
"""SQLite's primary codes of faults that are not the file's own, and what is said of them."""

DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def database_error(path: Path, error: sqlite3.Error | UnicodeDecodeError) -> StoreError:
    """What is said of an error of SQLite's: what happened to which file, and what to do."""
    code = _code(error)
    name = getattr(error, "sqlite_errorname", "")
    why = f"{str(error)[:100]}{f', {name}' if name else ''}"
    if code in FAULTS:
        return StoreError(FAULTS[code].format(path=path, why=why))
    return damaged(path, str(error)) if is_damage(error) else no_study(path, str(error))


def is_damage(error: Exception) -> bool:
    """Whether an error is of the file's bytes, and of nothing else."""
    return isinstance(error, UnicodeDecodeError) or _code(error) in DAMAGE  # text of the file's that SQLite quotes


def _code(error: Exception) -> int:
    code: int = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
    return code & 0xFF  # the rest says which kind of it


def damaged(path: Path, why: str) -> StoreError:
    """The error of a file whose bytes are not those that were written."""
    return StoreError(f"{path} is damaged or no study ({why[:100]}); {mend(path)}")


def mend(path: Path) -> str:
    """What to do about a study that cannot be read whole."""
    return (
        f"it is left as it is: 'netwright repair {path}' writes a copy of all that can be read, or move it away to "
        "start anew"
    )


def no_study(path: Path, why: str) -> StoreError:
    """The error of a database that is none of ours."""
    return StoreError(
        f"{path} is no study that netwright can read ({why[:100]}); it is left as it is: move it away to start anew"
    )


def file_error(path: Path, error: OSError) -> StoreError:
    """What is said of a file or directory that the system does not give: which, why, and what to do."""
    if error.errno in FIXES:
        fix = f"{FIXES[error.errno]}, or choose another directory"
    elif error.errno in (errno.EACCES, errno.EPERM):
        fix = "make the directory writable, or choose another one"
    else:
        fix = "choose another directory"
    return StoreError(f"cannot write to {path}: {error.strerror or error}; {fix}")
