"""What every store promises, and what the SQLite store refuses."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import netwright as nw
from netwright.core.errors import NetwrightError, StoreError
from netwright.core.limits import Limit
from netwright.core.metric import Measurement, Metric
from netwright.core.record import Record
from netwright.study.journal import read_journal
from netwright.study.stores.base import Store
from netwright.study.stores.memory import MemoryStore
from netwright.study.stores.sqlite import APPLICATION_ID, SqliteStore

SPACE = nw.Space(
    [nw.Choice("a", (1, 2, 3, 4)), nw.Choice("pair", ((1, 2), (3, (4, None)))), nw.Choice("b", (True, "x"))]
)
BODY = {"text": 'ü"\n\\ \x7f', "numbers": [1, -0.1, 1e300, 2**70], "nested": {"none": None, "yes": True}, "": []}


@pytest.fixture(params=["memory", "sqlite"])
def store(request: Any, tmp_path: Path) -> Store:
    return MemoryStore() if request.param == "memory" else SqliteStore(tmp_path / "new" / "study.db")


def test_entries_come_back_whole_and_in_order(store: Store) -> None:
    assert list(store.read()) == []
    written = [("study", BODY), ("ask", {}), ("record", {"i": 1}), ("record", {"i": 1}), ("ask", {"": 0.1})]
    for kind, body in written:
        store.append(kind, body)
    assert list(store.read()) == written == list(store.read())
    reading = store.read()
    next(reading)
    store.append("late", {})  # while someone reads
    assert [kind for kind, _ in store.read()][-1] == "late"


def test_an_entry_is_not_changed_afterwards(store: Store) -> None:
    body: dict[str, Any] = {"list": [1], "nested": {"a": 1}}
    store.append("record", body)
    body["list"].append(2)
    body["nested"]["a"] = 2
    body["more"] = 1
    next(iter(store.read()))[1]["nested"]["a"] = 3
    assert list(store.read()) == [("record", {"list": [1], "nested": {"a": 1}})]


def test_a_journal_is_replayed(store: Store) -> None:
    metric = Metric("q", "ms", "max")
    one, two, three = (SPACE.candidate({"a": a, "pair": (3, (4, None)), "b": True}) for a in (1, 2, 3))
    how = Measurement(1.5, "ms", 0.25, 7, "measured", {"p90": 2.0, "wall": {"median": 1.25}})
    first = Record(one, {"q": how}, "ok", "", (metric,), {"seed": 0})
    failed = Record(two, {}, "failed", "boom", (metric,))
    store.append("study", {"objectives": [["q", "ms", "max", False]]})
    store.append("limits", {"limits": [["q", "<=", 1.0, "ms"]]})
    asked = {"candidates": [dict(c) for c in (one, two, three)], "provenance": {"strategy": "x"}}
    store.append("ask", asked)
    store.append("record", first.to_json())
    store.append("record", failed.to_json())
    for journal in (read_journal(store, SPACE.candidate), read_journal(store)):
        assert list(journal.found.values()) == [first, failed]
        assert journal.asked == {three: {"strategy": "x"}}
        assert journal.limits == (Limit("q", "<=", 1.0, "ms"),)
        assert [r.status for r in journal.records] == ["infeasible", "failed"]
        assert list(journal.front) == []
    store.append("record", first.to_json())  # measured again: the last counts, in its new place
    assert list(read_journal(store).found) == [two, one]


@pytest.mark.parametrize(
    "kind, body",
    [
        ("record", {}),
        ("record", {"candidate": {"a": 99}, "measurements": {}, "status": "ok"}),
        ("record", {"candidate": [1], "measurements": {}, "status": "ok"}),
        ("record", {"candidate": {"a": 1, "pair": [1, 2], "b": True}, "measurements": {"q": {}}, "status": "ok"}),
        ("ask", {"candidates": 3}),
        ("limits", {"limits": [["q"]]}),
        ("unheard", {}),
    ],
)
def test_an_entry_that_cannot_be_understood_is_told(store: Store, kind: str, body: dict[str, Any]) -> None:
    store.append(kind, body)
    with pytest.raises(StoreError, match=kind):
        read_journal(store, SPACE.candidate)


def test_numbers_that_json_has_not_are_refused(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "study.db")
    with pytest.raises(StoreError, match="JSON"):
        store.append("record", {"value": float("nan")})
    assert list(store.read()) == []


# -- damage ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A study as bytes, of several pages."""
    path = tmp_path_factory.mktemp("whole") / "study.db"
    search(path)
    return path.read_bytes()


def search(path: Path) -> list[Record]:
    return nw.search(
        SPACE, lambda c: {"q": c["a"] * 1.5}, {"q": "max"}, strategy=nw.Random(), evaluations=14, store=path
    )


def changed(whole: bytes, path: Path, statement: str) -> None:
    """The study (or, without one, a new database) after one statement."""
    if whole:
        path.write_bytes(whole)
    connection = sqlite3.connect(path)
    connection.execute(statement)
    connection.commit()
    connection.close()


SQL = {
    "another format": "PRAGMA user_version = 99",
    "no table": "DROP TABLE journal",
    "no json": "UPDATE journal SET body = '{'",
    "no object": "UPDATE journal SET body = '[1]'",
    "no text": "UPDATE journal SET body = x'ff00fe'",
    "no number": """UPDATE journal SET body = replace(body, '"value":', '"value":1e999,"x":')""",
    "unknown entry": "UPDATE journal SET kind = 'unheard' WHERE seq = 4",
}
NOISE = random.Random(0).randbytes(9000)
DAMAGE: dict[str, Callable[[bytes, Path], object]] = {
    "empty": lambda whole, path: path.write_bytes(b""),
    "header alone": lambda whole, path: path.write_bytes(whole[:100]),
    "half": lambda whole, path: path.write_bytes(whole[: len(whole) // 2]),
    "a byte short": lambda whole, path: path.write_bytes(whole[:-1]),
    "text": lambda whole, path: path.write_text("hello\n" * 5000),
    "noise": lambda whole, path: path.write_bytes(NOISE),
    "zeros at the start": lambda whole, path: path.write_bytes(bytes(4096) + whole[4096:]),
    "noise in a page": lambda whole, path: path.write_bytes(whole[:4100] + NOISE[:3000] + whole[7100:]),
    "another database": lambda whole, path: changed(b"", path, "CREATE TABLE journal (seq, kind, body)"),
    **{name: partial(changed, statement=sql) for name, sql in SQL.items()},
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_what_is_no_study_is_refused_and_left_as_it_is(damage: str, whole: bytes, tmp_path: Path) -> None:
    path = tmp_path / "study.db"
    DAMAGE[damage](whole, path)
    before = path.read_bytes()
    with pytest.raises(StoreError, match="study"):
        search(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["study.db"]


def test_no_byte_of_damage_escapes_as_another_error(whole: bytes, tmp_path: Path) -> None:
    draw = random.Random(3)
    path = tmp_path / "study.db"
    refused = 0
    text = whole.index(b'{"candidate') if b'{"candidate' in whole else 0
    for trial in range(400):
        damaged = bytearray(whole)
        at = draw.randrange(text, len(whole)) if trial % 2 else draw.randrange(len(whole))
        damaged[at] = draw.randrange(256)
        path.write_bytes(damaged)
        try:
            journal = read_journal(SqliteStore(path), SPACE.candidate)
            _ = journal.objectives, journal.records, journal.front
        except StoreError:
            refused += 1
        assert path.read_bytes() == bytes(damaged), trial
    assert refused > 50


def test_a_directory_and_a_path_below_a_file_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("mine")
    for path in (tmp_path, file / "study.db"):
        with pytest.raises(StoreError):
            search(path)
    assert file.read_text() == "mine" and list(tmp_path.iterdir()) == [file]


def test_must_exist(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="there is no study"):
        SqliteStore(tmp_path / "none" / "study.db", must_exist=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write to read-only files")
def test_a_read_only_study_is_told(whole: bytes, tmp_path: Path) -> None:
    path = tmp_path / "study.db"
    path.write_bytes(whole)
    path.chmod(0o444)
    with pytest.raises(StoreError):
        SqliteStore(path).append("record", {})
    assert path.read_bytes() == whole


def test_a_locked_study_is_told_and_kept(whole: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "study.db"
    path.write_bytes(whole)
    store = SqliteStore(path)
    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *args, **kw: connect(*args, **{**kw, "timeout": 0.05}))
    other = connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(NetwrightError, match="locked"):
        store.append("record", {})
    other.execute("ROLLBACK")
    other.close()
    assert path.read_bytes() == whole


KILLED_WHILE_MADE = """
import os, signal, sqlite3, sys
left = int(sys.argv[2])
class Deadly(sqlite3.Connection):
    def execute(self, *args):
        global left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().execute(*args)
connect = sqlite3.connect
sqlite3.connect = lambda *args, **kw: connect(*args, factory=Deadly, **kw)
from netwright.study.stores.sqlite import SqliteStore
SqliteStore(sys.argv[1])
"""


@pytest.mark.parametrize("statements", range(4))
def test_killed_while_it_is_made_leaves_nothing_that_is_refused(statements: int, tmp_path: Path) -> None:
    path = tmp_path / "study.db"
    done = subprocess.run([sys.executable, "-c", KILLED_WHILE_MADE, str(path), str(statements)], timeout=60)
    assert done.returncode == -9
    store = SqliteStore(path)
    store.append("study", {})
    assert list(store.read()) == [("study", {})]


def test_a_study_is_one_file_that_may_be_copied_and_has_a_mark(whole: bytes, tmp_path: Path) -> None:
    path = tmp_path / "with space # % ? ü.db"
    records = search(path)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    copy = tmp_path / "copy.db"
    shutil.copy(path, copy)
    assert [(r.candidate, r.values) for r in search(copy)] == [(r.candidate, r.values) for r in records]
    connection = sqlite3.connect(copy)
    assert connection.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
    connection.close()


def test_a_flipped_bit_changes_nothing_silently(whole: bytes, tmp_path: Path) -> None:
    path, draw = tmp_path / "study.db", random.Random(5)
    path.write_bytes(whole)
    written = list(SqliteStore(path).read())
    begin, named = whole.rindex(b"{", 0, whole.index(b'"candidate"')), 0
    for _ in range(600):
        flipped = bytearray(whole)
        flipped[draw.randrange(begin, len(whole))] ^= 1 << draw.randrange(8)
        path.write_bytes(flipped)
        try:
            assert list(SqliteStore(path).read()) == written
        except StoreError as error:
            named += "entry " in str(error)
    assert named > 100


def test_a_study_of_before_checksums_is_read_and_gone_on_with(whole: bytes, tmp_path: Path) -> None:
    path = tmp_path / "study.db"
    path.write_bytes(whole)
    connection = sqlite3.connect(path)
    connection.executescript("ALTER TABLE journal DROP COLUMN sum; PRAGMA user_version = 1")
    connection.close()
    assert len(search(path)) == 14
    SqliteStore(path).append("retry", {"candidates": []})
    assert list(SqliteStore(path).read())[-1] == ("retry", {"candidates": []})


@pytest.mark.parametrize("version", [0, 3, 99])
def test_a_study_of_a_later_netwright_is_refused_and_left_as_it_is(version: int, whole: bytes, tmp_path: Path) -> None:
    path = tmp_path / "study.db"
    path.write_bytes(whole)
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version = {version}")
    connection.close()
    before = path.read_bytes()
    for open_ in (SqliteStore, partial(SqliteStore, read_only=True)):
        with pytest.raises(StoreError, match=rf"has format {version}, this netwright reads up to 2: .* left as it is"):
            open_(path)
    assert path.read_bytes() == before
