"""A damaged study is written anew without what cannot be read, and nothing of it is lost."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import netwright as nw
from netwright.core.errors import StoreError
from netwright.study.journal import read_journal
from netwright.study.repair import repair
from netwright.study.stores.sqlite import SqliteStore

SPACE = nw.Space([nw.Choice("a", (1, 2, 3, 4)), nw.Choice("b", (1, 2, 3))])


def search(path: Path, evaluations: int = 6) -> list[nw.Record]:
    return nw.search(
        SPACE, lambda c: {"q": c["a"] * c["b"]}, {"q": "max"}, strategy="random", evaluations=evaluations, store=path
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "study.db"
    search(path)
    return path


def change(path: Path, statement: str, *values: Any) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(statement, values)


def records_of(path: Path) -> list[int]:
    with closing(sqlite3.connect(path)) as connection:
        return [seq for (seq,) in connection.execute("SELECT seq FROM journal WHERE kind = 'record' ORDER BY seq")]


def test_a_whole_study_is_left_as_it_is(path: Path) -> None:
    before = path.read_bytes()
    done = repair(SqliteStore(path))
    assert done.original is None and not done.left_out and done.records == 6 and done.resumable
    assert path.read_bytes() == before and os.listdir(path.parent) == ["study.db"]


def test_a_search_goes_on_with_what_was_kept(path: Path) -> None:
    whole = search(path)
    bad = records_of(path)[2]
    change(path, "UPDATE journal SET body = replace(body, '\"value\":', '\"value\":1') WHERE seq = ?", bad)
    damaged = path.read_bytes()
    with pytest.raises(StoreError, match=rf"entry {bad} cannot be read \(its checksum .* 'netwright repair {path}'"):
        search(path, 8)
    done = repair(SqliteStore(path))
    assert [each.number for each in done.left_out] == [bad] and done.records == 5
    assert done.original is not None and done.original.read_bytes() == damaged
    assert sorted(os.listdir(path.parent)) == ["study.db", "study.db.damaged"]
    assert [r.candidate for r in read_journal(SqliteStore(path)).records] == [
        r.candidate for i, r in enumerate(whole) if i != 2
    ]
    assert len(search(path, 8)) == 8


def test_earlier_originals_are_kept(path: Path) -> None:
    for name in ("study.db.damaged", "study.db.damaged-2"):
        for _ in range(2):
            change(path, "UPDATE journal SET sum = sum + 1 WHERE seq = ?", records_of(path)[-1])
        done = repair(SqliteStore(path))
        assert done.original == path.with_name(name)
    assert sorted(os.listdir(path.parent)) == ["study.db", "study.db.damaged", "study.db.damaged-2"]


def test_entries_that_somebody_deleted_are_told(path: Path) -> None:
    first, second, *_ = records_of(path)
    change(path, "DELETE FROM journal WHERE seq IN (?, ?)", first, second)
    with pytest.raises(StoreError, match=rf"entries {first} to {second} cannot be read \(nothing is there\)"):
        search(path)
    done = repair(SqliteStore(path))
    assert [(each.number, each.end) for each in done.left_out] == [(first, second)] and done.records == 4
    assert len(search(path)) == 6


def test_of_a_study_that_nobody_knows_the_networks_are_kept(path: Path) -> None:
    change(path, "UPDATE journal SET sum = 0 WHERE kind = 'study'")
    done = repair(SqliteStore(path))
    assert done.records == 6 and not done.resumable
    journal = read_journal(SqliteStore(path))
    assert len(journal.records) == 6
    with pytest.raises(StoreError, match="nobody knows which networks are best"):
        _ = journal.front
    with pytest.raises(StoreError, match="what the study is of cannot be read"):
        search(path)


NOTHING: dict[str, Callable[[bytes], bytes]] = {
    "zeros at the start": lambda whole: bytes(100) + whole[100:],
    "text": lambda whole: b"hello\n" * 1000,
    "nothing": lambda whole: b"",
    "its schema alone": lambda whole: whole[:4096] + bytes(len(whole) - 4096),
}


@pytest.mark.parametrize("how", NOTHING)
def test_what_holds_nothing_is_left_as_it_is(how: str, path: Path) -> None:
    path.write_bytes(NOTHING[how](path.read_bytes()))
    before = path.read_bytes()
    with pytest.raises(StoreError, match="left as it is"):
        repair(SqliteStore(path))
    assert path.read_bytes() == before and os.listdir(path.parent) == ["study.db"]


def test_a_study_that_is_being_searched_is_not_repaired(path: Path) -> None:
    change(path, "UPDATE journal SET sum = 0 WHERE seq = 3")
    store = SqliteStore(path)
    with store.held(), pytest.raises(StoreError, match="being searched"):
        repair(SqliteStore(path))
    assert repair(store).original is not None


def test_a_link_stays_one_and_what_it_leads_to_is_repaired(path: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    link = tmp_path / "elsewhere" / "mine.db"
    link.symlink_to(path)
    change(path, "UPDATE journal SET sum = 0 WHERE seq = 3")
    done = repair(SqliteStore(link))
    assert link.is_symlink() and done.original == path.with_name("study.db.damaged")
    read_journal(SqliteStore(link))


def test_without_links_the_original_is_copied(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*args: Any, **kw: Any) -> None:
        raise PermissionError("no links here")

    change(path, "UPDATE journal SET sum = 0 WHERE seq = 3")
    damaged = path.read_bytes()
    monkeypatch.setattr(os, "link", no_links)
    done = repair(SqliteStore(path))
    assert done.original is not None and done.original.read_bytes() == damaged
    read_journal(SqliteStore(path))
