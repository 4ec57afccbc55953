"""What every store promises, and the ways to name one."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import Any, ClassVar

import pytest

import netwright as nw
from netwright.core.errors import StoreError
from netwright.study.journal import Journal, read_journal
from netwright.study.stores import STORES, open_store
from netwright.study.stores.base import BadEntry, Entry, Store, body_text
from netwright.study.stores.memory import MemoryStore
from netwright.study.stores.sqlite import SqliteStore
from netwright.testing import check_store


def test_the_memory_store_keeps_the_contract() -> None:
    check_store(MemoryStore)


def test_the_sqlite_store_keeps_the_contract(tmp_path: Path) -> None:
    paths = (tmp_path / f"new {i}" / "study.db" for i in count())
    check_store(lambda: SqliteStore(next(paths)), again=lambda store: SqliteStore(store.path))  # type: ignore[attr-defined]


class Forgetful(MemoryStore):
    """Right, but for one thing."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how, self.kept = how, list[Entry]()

    def append(self, kind: str, body: Mapping[str, Any]) -> None:
        if self.how == "shares what it was given":
            self.kept.append((kind, body))  # type: ignore[arg-type]
        elif self.how == "takes anything":
            super().append(
                kind, {k: v if isinstance(v, int | str | list | dict | float) else 0 for k, v in body.items()}
            )
        elif self.how == "is one behind" and self._entries:
            self.kept.append((kind, dict(body)))
        else:
            super().append(kind, body)

    def read(self, since: int = 0) -> Iterator[Entry]:
        if self.how == "shares what it was given":
            return iter(self.kept[since:])
        if self.how == "reads all":
            return super().read()
        if self.how == "is off by one":
            return super().read(max(0, since - 1))
        return super().read(since)

    def scan(self, since: int = 0) -> Iterator[Entry | BadEntry]:
        if self.how == "names what is whole":
            yield BadEntry(since + 1, "it cannot be read")
        yield from super().scan(since)

    def begin(self, kind: str, body: Mapping[str, Any]) -> None:
        if self.how == "begins again":
            return self.append(kind, body)
        return super().begin(kind, body)


@pytest.mark.parametrize(
    "how, complaint",
    [
        ("shares what it was given", "shares nothing"),
        ("takes anything", "not StoreError|cannot hold"),
        ("is one behind", "comes back"),
        ("reads all", "since=1"),
        ("is off by one", "since=1"),
        ("begins again", "begin"),
        ("names what is whole", "scan"),
    ],
)
def test_the_contract_finds_what_is_wrong(how: str, complaint: str) -> None:
    with pytest.raises(AssertionError, match=complaint):
        check_store(lambda: Forgetful(how))


def test_a_store_is_named_by_a_text_or_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert {"memory", "sqlite"} <= set(STORES.names())
    assert isinstance(open_store("memory"), MemoryStore)
    for what in ("a.db", Path("a.db"), "sqlite,path=a.db", str(tmp_path / "a.db")):
        store = open_store(what)
        assert isinstance(store, SqliteStore) and store.path.resolve() == (tmp_path / "a.db").resolve()
        assert open_store(store) is store
    assert STORES.text(SqliteStore("a.db")) == "sqlite,path=a.db"
    own = open_store("netwright.study.stores.memory:MemoryStore")
    assert type(own) is MemoryStore
    records = nw.search(
        nw.Space([nw.Choice("a", (1, 2))]), lambda c: {"q": c["a"]}, {"q": "max"}, store="sqlite,path=s.db"
    )
    assert len(records) == 2 and list(open_store("s.db").read())


class Following(MemoryStore):
    """A person's own, with a setting; it notes from where it was read."""

    kept: ClassVar[list[Following]] = []

    def __init__(self, times: int = 1) -> None:
        super().__init__()
        self.times, self.asked = times, list[int]()
        Following.kept.append(self)

    def read(self, since: int = 0) -> Iterator[Entry]:
        self.asked.append(since)
        return super().read(since)


def test_a_store_of_ones_own_is_named_and_followed() -> None:
    check_store(Following)
    space = nw.Space([nw.Choice("a", (1, 2, 3)), nw.Choice("b", (1, 2))])
    records = nw.search(
        space,
        lambda c: {"q": c["a"]},
        {"q": "max"},
        strategy="random",
        evaluations=6,
        store=f"{__name__}:Following,times=3",
    )
    own = Following.kept[-1]
    entries = list(MemoryStore.read(own))
    assert own.times == 3 and len(records) == 6 and [kind for kind, _ in entries].count("record") == 6
    assert own.asked[-1] == len(entries) - 1, "a study reads what is new in its journal, and no more"
    with pytest.raises(StoreError, match=r"no setting 'time'; did you mean 'times'"):
        open_store(f"{__name__}:Following,time=3")


@pytest.mark.parametrize(
    "what, words",
    [
        ("sqlite", "needs 'path'"),
        ("sqlite,pth=a.db", "no setting 'pth'; did you mean 'path'"),
        ("nowhere_at_all:Store", "nowhere_at_all"),
        (3, "a file, by its path, .*not in a int"),
    ],
)
def test_what_is_no_store_is_told(what: Any, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(nw.core.errors.NetwrightError, match=words):  # type: ignore[attr-defined]
        open_store(what)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("make", [lambda folder: MemoryStore(), lambda folder: SqliteStore(folder / "s.db")])
def test_a_journal_that_is_followed_reads_each_entry_once(make: Callable[[Path], Store], tmp_path: Path) -> None:
    store, seen = make(tmp_path), list[str]()
    for i in range(5):
        store.append("record", {"i": i})
        seen += [kind for kind, _ in store.read(since=len(seen))]
    assert seen == ["record"] * 5
    with pytest.raises(StoreError, match="JSON"):
        store.append("record", {"i": float("nan")})


class Lines(Store):
    """A person's own, which raises for what it cannot read, and knows nothing of scan."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def append(self, kind: str, body: Mapping[str, Any]) -> None:
        self.lines.append(f"{kind} {body_text(body)}")

    def read(self, since: int = 0) -> Iterator[Entry]:
        for line in self.lines[since:]:
            kind, _, body = line.partition(" ")
            yield kind, json.loads(body)


def test_of_a_store_of_ones_own_what_can_be_read_is_read() -> None:
    check_store(Lines)
    store = Lines()
    space = nw.Space([nw.Choice("a", (1, 2, 3)), nw.Choice("b", (1, 2))])

    def search(evaluations: int) -> list[nw.Record]:
        return nw.search(
            space, lambda c: {"q": c["a"]}, {"q": "max"}, strategy="random", evaluations=evaluations, store=store
        )

    records = search(4)
    at = [i for i, line in enumerate(store.lines) if line.startswith("record")]
    whole = list(store.lines)
    store.lines[at[0]], store.lines[at[2]] = "record {", 'record {"candidate": 3}'
    found = list(store.scan())
    assert [i for i, each in enumerate(found) if isinstance(each, BadEntry)] == [at[0]] and found[at[0]].number == at[
        0
    ] + 1
    bad: list[BadEntry] = []
    journal = read_journal(store, bad=bad.append)
    assert [each.number for each in bad] == [at[0] + 1, at[2] + 1]
    assert [r.candidate for r in journal.records] == [records[1].candidate, records[3].candidate]
    with pytest.raises(json.JSONDecodeError):
        read_journal(store)
    store.lines[at[0]] = whole[at[0]]
    with pytest.raises(StoreError, match=rf"entry {at[2] + 1} cannot be read .*candidate"):
        search(5)
    assert len(store.lines) == len(whole), "nothing is added to a study with a bad entry"
    store.lines[:] = whole
    assert len(search(5)) == 5


def test_a_store_that_cannot_be_read_at_all_is_no_list_of_bad_entries() -> None:
    class Gone(Lines):
        def read(self, since: int = 0) -> Iterator[Entry]:
            raise ConnectionError("the server is gone")

    with pytest.raises(ConnectionError):
        list(Gone().scan())


def test_who_follows_is_refused_again_at_a_bad_entry() -> None:
    store, journal = MemoryStore(), Journal()
    store.append("limits", {"limits": []})
    store.append("record", {"candidate": {}})
    store.append("limits", {"limits": [["q", "<=", 1.0, ""]]})
    for _ in range(2):
        with pytest.raises(StoreError, match="entry 2 cannot be read"):
            journal.follow(store)
    assert journal.entries == 1 and journal.limits == ()


@pytest.mark.parametrize(
    "kind, body, words",
    [
        ("study", {"objectives": [["q", "ms", "up", False]]}, "one of 'max', 'min'"),
        ("study", {"objectives": []}, "one or more"),
        ("study", {"objectives": [["q", "", "max", False]] * 2}, "different names"),
        ("study", {"objectives": [["q", "", "max", False]], "choices": {"a": 3}}, "choices"),
        ("study", {"objectives": [["q", "", "max", False]], "target": "cpu"}, "target"),
        ("limits", {"limits": [["q", "<>", 1, ""]]}, "one of"),
        ("limits", {"limits": [["q", "<=", None, ""]]}, "finite number"),
        ("ask", {"candidates": [{"a": {}}], "provenance": {}}, "options"),
        ("ask", {"candidates": [{"a": 1}]}, "provenance is missing"),
        ("attempt", {"candidate": {"a": 1}, "number": -1}, "0 or more"),
        ("retry", {"candidates": "all"}, "candidates"),
        ("record", {"candidate": {"a": 1}, "measurements": {}, "status": "fine"}, "status"),
        ("record", {"candidate": {"a": 1}, "measurements": [], "status": "ok"}, "measurements"),
        ("record", {"candidate": {"a": 1}, "measurements": {}, "status": "ok", "reason": 3}, "reason"),
        ("record", {"candidate": {"a": 1}, "measurements": {}, "status": "ok", "provenance": {"time": "now"}}, "time"),
        ("record", {"candidate": {"a": 1}, "measurements": {}, "status": "ok", "provenance": {"target": []}}, "target"),
    ],
)
def test_bodies_of_other_shapes_are_told(kind: str, body: dict[str, Any], words: str) -> None:
    store = MemoryStore()
    store.append(kind, body)
    with pytest.raises(StoreError, match=f"entry 1 cannot be read .*{kind}.*{words}"):
        read_journal(store)
