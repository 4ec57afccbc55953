"""What goes wrong around a study is told as what it is, and no healthy study is called damaged."""

from __future__ import annotations

import errno
import os
import resource
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import netwright as nw
from netwright.core.errors import StoreError
from netwright.study.stores import sqlite as module
from netwright.study.stores.faults import DAMAGE, FAULTS, database_error, file_error
from netwright.study.stores.sqlite import SqliteStore


@pytest.fixture
def store(tmp_path: Path) -> SqliteStore:
    store = SqliteStore(tmp_path / "study.db")
    store.append("study", {"text": "x" * 100})
    return store


def every_connection(monkeypatch: pytest.MonkeyPatch, *statements: str) -> None:
    """Every connection begins with statements."""
    connect = sqlite3.connect

    def connected(*args: Any, **kw: Any) -> sqlite3.Connection:
        connection = connect(*args, **kw)
        for statement in statements:
            connection.execute(statement)
        return connection

    monkeypatch.setattr(sqlite3, "connect", connected)


@pytest.mark.parametrize(
    "statement, size, words",
    [
        ("PRAGMA max_page_count = 2", 100_000, "disk .* is full.*free some space"),
        ("PRAGMA query_only = 1", 10, "cannot write to .*writable"),
    ],
)
def test_a_full_or_read_only_disk_is_told_and_nothing_is_lost(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch, statement: str, size: int, words: str
) -> None:
    before = store.path.read_bytes()
    with monkeypatch.context() as patched:
        every_connection(patched, statement)
        with pytest.raises(StoreError, match=words) as told:
            store.append("record", {"text": "x" * size})
    assert str(store.path) in str(told.value)
    assert "damaged" not in str(told.value) and "move it away" not in str(told.value)
    assert store.path.read_bytes() == before
    store.append("record", {"late": True})
    assert [kind for kind, _ in store.read()] == ["study", "record"]


def test_a_file_that_went_away_and_too_many_open_files_are_told(store: SqliteStore, tmp_path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    os.close(lowest := os.dup(0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, limits[1]))
    try:
        with pytest.raises(StoreError, match=r"cannot open .*not too many files"):
            store.append("record", {})
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    store.append("record", {})
    store.path.rename(tmp_path / "elsewhere")
    with pytest.raises(StoreError, match=r"cannot open .*see that it is there"):
        store.append("record", {})
    assert not store.path.exists()


FULL = """
import resource, sys
import netwright as nw
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
space = nw.Space([nw.Choice(f"k{i}", (1, 2, 3)) for i in range(5)])
try:
    nw.search(space, lambda c: {"q": sum(c.values())}, {"q": "max"}, evaluations=200, strategy="random",
              store=sys.argv[1])
except nw.NetwrightError as error:
    print(error)
"""


def test_a_search_whose_file_may_not_grow_says_so_and_goes_on_afterwards(tmp_path: Path) -> None:
    path = tmp_path / "study.db"
    done = subprocess.run([sys.executable, "-c", FULL, str(path)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "study.db" in done.stdout and "study is kept" in done.stdout, done.stderr
    assert "damaged" not in done.stdout
    before = sum(kind == "record" for kind, _ in SqliteStore(path).read())
    assert 5 < before < 200
    space = nw.Space([nw.Choice(f"k{i}", (1, 2, 3)) for i in range(5)])
    records = nw.search(
        space, lambda c: {"q": sum(c.values())}, {"q": "max"}, evaluations=200, strategy="random", store=path  # type: ignore[arg-type, misc]
    )  # fmt: skip
    assert len(records) == 200


ENVIRONMENT = ("FULL", "IOERR", "READONLY", "CANTOPEN", "LOCKED", "BUSY")
CODES = [code for code in dir(sqlite3) if code.startswith(tuple(f"SQLITE_{name}" for name in ENVIRONMENT))]


@pytest.mark.parametrize("code", CODES)
def test_each_fault_of_the_environment_names_the_file_and_what_to_do(code: str) -> None:
    error = sqlite3.OperationalError("what SQLite says")
    error.sqlite_errorcode, error.sqlite_errorname = getattr(sqlite3, code), code
    said = str(database_error(Path("runs/study.db"), error))
    assert "runs/study.db" in said and "kept as it is" in said
    assert "damaged" not in said and "move it away" not in said


def test_only_corrupt_files_are_damaged() -> None:
    assert not set(DAMAGE) & FAULTS.keys()
    for code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR):
        error = sqlite3.DatabaseError("what SQLite says")
        error.sqlite_errorcode = code
        assert ("damaged" in str(database_error(Path("a.db"), error))) is (code in DAMAGE)


@pytest.mark.parametrize(
    "code, words",
    [
        (errno.ENOSPC, "the disk is full"),
        (errno.EROFS, "the disk is read-only"),
        (errno.EMFILE, "ulimit"),
        (errno.ENAMETOOLONG, "another directory"),
    ],
)
def test_a_study_that_cannot_be_made_says_why(
    code: int, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: Any, **kw: Any) -> None:
        raise OSError(code, os.strerror(code))

    assert words in str(file_error(tmp_path, OSError(code, "what the system says")))
    monkeypatch.setattr(module.os, "link", refuse)
    monkeypatch.setattr(module.os, "replace", refuse)
    with pytest.raises(StoreError, match=words):
        SqliteStore(tmp_path / "study.db")
    assert list(tmp_path.iterdir()) == [], "nothing half-made is left"


STRANGE: dict[str, Callable[[Path], str]] = {
    "NUL": lambda folder: f"{folder}/a\0b.db",
    "overlong": lambda folder: str(folder / ("x" * 300)),
    "a pipe": lambda folder: os.mkfifo(folder / "pipe") or str(folder / "pipe"),  # type: ignore[func-returns-value]
    "a device": lambda folder: "/dev/zero",
    "a directory": lambda folder: str(folder),
}


@pytest.mark.parametrize("what", STRANGE)
def test_paths_that_can_hold_no_study_are_told(what: str, tmp_path: Path) -> None:
    path = STRANGE[what](tmp_path)
    before = os.listdir(tmp_path)
    with pytest.raises(StoreError):
        SqliteStore(path)
    assert os.listdir(tmp_path) == before


def test_a_link_in_the_locks_place_is_not_followed(store: SqliteStore, tmp_path: Path) -> None:
    mine = tmp_path / "mine.txt"
    mine.write_text("mine")
    (tmp_path / ".study.db.lock").symlink_to(mine)
    with pytest.raises(StoreError, match="cannot write to"), store.held():
        pass
    assert mine.read_text() == "mine"


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_disk_that_cannot_lock_files_is_told_before_anything_is_measured(
    number: int, store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As network disks may not."""

    def lockf(*_: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("netwright.study.stores.lock.fcntl.lockf", lockf)
    told = r"lies where files cannot be locked .* keep the study on another disk"
    with pytest.raises(StoreError, match=told), store.held():
        raise AssertionError("nobody measures there")
    assert list(SqliteStore(store.path, read_only=True).read()) == list(store.read()), "who reads needs no such lock"
