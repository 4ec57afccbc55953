"""Studies in PostgreSQL, on a server of the tests' own; skipped where there can be none."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import private_postgresql
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import netwright as nw
from netwright.cli.main import main
from netwright.core.errors import MissingExtra, NetwrightError, StoreError
from netwright.study.journal import read_journal
from netwright.study.stores import members, open_store, postgresql
from netwright.study.stores.base import Store
from netwright.study.stores.postgresql import ConnectionString, PostgresqlStore
from netwright.study.stores.recent import Recent
from netwright.testing import check_store

needs_server = pytest.mark.skipif(bool(private_postgresql.missing()), reason=private_postgresql.missing() or "-")

SEARCH = """
import os, sys, time
import netwright as nw

name, dsn, log = sys.argv[1:]

def evaluate(candidate):
    time.sleep(0.004)
    with open(log, "a") as file:
        file.write(candidate.key + "\\n")
    a, b = candidate["a"], candidate["b"]
    return {"q": float((a * 7919 + b * 31) % 101), "w": float(a + b)}

space = nw.Space([nw.Choice("a", tuple(range(20))), nw.Choice("b", tuple(range(20)))])
nw.search(space, evaluate, {"q": "max", "w": "min"}, strategy="random,batch=4", evaluations=120,
          store=f"postgresql,study={name},dsn={dsn}")
"""


@pytest.fixture(scope="module")
def server() -> Iterator[private_postgresql.Server]:
    with private_postgresql.server() as made:
        yield made


@pytest.fixture
def new(server: private_postgresql.Server, names: Iterator[str]) -> PostgresqlStore:
    return PostgresqlStore(next(names), server.dsn)


@pytest.fixture(scope="module")
def names() -> Iterator[str]:
    return (f"study {i}'\" é" for i in itertools.count())


def again(store: Store) -> PostgresqlStore:
    assert isinstance(store, PostgresqlStore)
    return PostgresqlStore(store.study, store.dsn, store.lease, must_exist=True)


@needs_server
def test_the_contract(server: private_postgresql.Server, names: Iterator[str]) -> None:
    check_store(lambda: PostgresqlStore(next(names), server.dsn), again)


@needs_server
def test_many_entries_are_read_in_parts(new: PostgresqlStore) -> None:
    entries = [("record", {"i": i}) for i in range(postgresql.PART + 5)]
    new.append_all(entries)
    assert list(again(new).read()) == entries
    assert list(new.read(postgresql.PART - 1)) == entries[postgresql.PART - 1 :]


def asked(store: PostgresqlStore, monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """Grows with each question that a store asks the server."""
    questions = list[None]()
    do = store._do

    def counted(work: Any) -> Any:
        questions.append(None)
        return do(work)

    monkeypatch.setattr(store, "_do", counted)
    return questions


@needs_server
def test_what_nobody_else_adds_to_is_added_with_one_question(
    new: PostgresqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    new.append_all([("record", {"i": i}) for i in range(3)])
    questions = asked(new, monkeypatch)
    new.add(lambda: [("record", {"i": sum(1 for _ in new.numbered(2)) + 2}), ("ask", {})])
    assert len(questions) == 1
    assert [(number, kind) for number, kind, _ in new.added(2)] == [(3, "record"), (4, "record"), (5, "ask")]
    assert len(questions) == 1, "what was just added is at hand"
    assert [body.get("i") for _, body in again(new).read()] == [0, 1, 2, 3, None]
    new.add(lambda: [])
    assert len(questions) == 2, "that there is nothing to add is decided by all there is"


@needs_server
@pytest.mark.parametrize("times", [1, 2, 5])
def test_who_is_outrun_decides_again_and_in_the_end_alone(new: PostgresqlStore, times: int) -> None:
    other, seen, threads = again(new), list[int](), list[threading.Thread]()

    def decide() -> list[tuple[str, dict[str, Any]]]:
        seen.append(sum(1 for _ in new.read()))
        if len(seen) <= min(times, postgresql.TRIES):
            other.append("ask", {})
        elif len(seen) <= times:  # it waits
            threads.append(threading.Thread(target=other.append, args=("ask", {})))
            threads[-1].start()
            time.sleep(0.05)
        return [("record", {"i": seen[-1]})]

    new.add(decide)
    for thread in threads:
        thread.join()
    calls = min(times, postgresql.TRIES) + 1
    assert seen == list(range(calls)), "each time what the other has added is known"
    entries = list(again(new).read())
    assert entries[calls - 1] == ("record", {"i": calls - 1})
    assert [kind for kind, _ in entries] == ["ask"] * (calls - 1) + ["record"] + ["ask"] * len(threads)
    assert list(new.read()) == entries


@needs_server
def test_nothing_is_added_to_a_study_that_somebody_has_deleted(new: PostgresqlStore) -> None:
    connection = new._connect()
    connection.execute("DELETE FROM netwright_study WHERE id = %s", (new._id,))
    connection.close()
    for add in (lambda: new.append("ask", {}), lambda: new.add(lambda: [("ask", {})])):
        with pytest.raises(StoreError, match="not there any more"):
            add()


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 5)), max_size=8), st.integers(0, 15))
def test_what_is_at_hand_is_what_is_there(notes: list[tuple[int, int]], since: int) -> None:
    journal = [(number, "record", str(number)) for number in range(1, 16)]
    recent = Recent()
    for start, count in notes:
        recent.note(start, journal[start : start + count])
        found = recent.after(since)
        assert found is None or found == journal[since : max(recent.last, since)]
        assert recent.after(recent.last) == []


@needs_server
def test_an_entry_that_is_missing_or_no_json_is_named(new: PostgresqlStore) -> None:
    new.append_all([("record", {"i": i}) for i in range(4)])
    connection = new._connect()
    connection.execute("DELETE FROM netwright_journal WHERE study = %s AND seq = 2", (new._id,))
    connection.execute("UPDATE netwright_journal SET body = 'x' WHERE study = %s AND seq = 4", (new._id,))
    connection.close()
    told = [str(each) for each in new.scan() if not isinstance(each, tuple)]
    assert [each[:22] for each in told] == ["entry 2 cannot be read", "entry 4 cannot be read"]
    with pytest.raises(StoreError, match=r"entry 2 cannot be read .nothing is there"):
        list(new.read())


def search(store: Any, evaluations: int, evaluate: Any, **more: Any) -> list[nw.Record]:
    space = nw.Space([nw.Choice("a", tuple(range(6))), nw.Choice("b", tuple(range(5)))])
    return nw.search(
        space, evaluate, {"q": "max"}, strategy="random,batch=2", evaluations=evaluations, store=store, **more
    )


def value(candidate: nw.Candidate) -> Mapping[str, float]:
    return {"q": float(candidate["a"] + candidate["b"])}  # type: ignore[operator]


@needs_server
def test_two_drivers_that_are_killed_measure_nothing_twice(server: private_postgresql.Server, tmp_path: Path) -> None:
    """Each of two is killed and begun again three times, and the server goes down once."""
    log = tmp_path / "log"
    command = [sys.executable, "-c", SEARCH, "killed", server.dsn, str(log)]
    begin = lambda: subprocess.Popen(command, stderr=subprocess.PIPE)  # noqa: E731
    drivers = [begin(), begin()]
    counts, known = (1, 15, 30, 45, 60, 75), list[dict[str, Any]]()
    for number, count in enumerate(counts):
        until(lambda count=count: len(lines(log)) >= count)
        if number == 3:
            server.end()
            server.start()
            continue
        driver = drivers.pop(0)
        driver.kill()
        driver.wait()
        found = records(PostgresqlStore("killed", server.dsn))
        assert found[: len(known)] == known, "what was measured stays as it is"
        known = found
        drivers.append(begin())
    for driver in drivers:
        _, said = driver.communicate(timeout=60)
        assert driver.returncode == 0, said.decode()
    found = records(PostgresqlStore("killed", server.dsn))
    assert len(found) == len({json.dumps(r["candidate"]) for r in found}) == 120
    evaluated = Counter(lines(log))
    assert len(evaluated) == 120 and sum(evaluated.values()) <= 120 + len(counts), "but for those killed on the way"
    front = {r.candidate for r in read_journal(PostgresqlStore("killed", server.dsn)).front}
    assert front == {r.candidate for r in nw.front(read_journal(PostgresqlStore("killed", server.dsn)).records)}


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def records(store: Store) -> list[dict[str, Any]]:
    return [body for kind, body in store.read() if kind == "record"]


def until(condition: Any) -> None:
    for _ in range(3000):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("it does not come about")


@needs_server
def test_what_is_measured_while_the_server_is_down_is_kept(
    server: private_postgresql.Server, new: PostgresqlStore
) -> None:
    calls = 0

    def restarts(candidate: nw.Candidate) -> Mapping[str, float]:
        nonlocal calls
        calls += 1
        if calls == 3:
            server.end()
            threading.Timer(0.5, server.start).start()
        return value(candidate)

    found = search(new, 6, restarts)
    assert calls == 6 and len(records(again(new))) == len(found) == 6


@needs_server
def test_a_server_that_stays_away_is_one_line(
    server: private_postgresql.Server, new: PostgresqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    new._pauses = (0.01, 0.02)
    measured = 0

    def goes(candidate: nw.Candidate) -> Mapping[str, float]:
        nonlocal measured
        measured += 1
        if measured == 3:
            server.end()
        return value(candidate)

    try:
        with pytest.raises(StoreError, match="see that the server runs") as told:
            search(new, 6, goes)
    finally:
        server.start()
    assert "\n" not in str(told.value) and new.study in str(told.value)
    assert len(records(again(new))) == 2
    assert len(search(again(new), 6, value)) == 6


@needs_server
def test_who_is_not_heard_of_any_more_is_stood_in_for_once(new: PostgresqlStore) -> None:
    new.begin("study", {})
    other = PostgresqlStore(new.study, new.dsn, lease=0.4)
    connection = new._connect()
    about = {"study": new._id, "name": "elsewhere:1:1:system:word", "lease": 0.4}
    connection.execute(postgresql.STAY, about)
    assert new.members() == {"elsewhere:1:1:system:word"}, "who is on another machine may live"
    with other.held():
        name = other.member
        time.sleep(1.0)
        assert new.members() == {name}, "who lives puts off the end of its lease"
    assert not new.members()
    connection.close()


@needs_server
def test_who_was_killed_on_this_machine_is_known_to_be_gone_at_once(new: PostgresqlStore) -> None:
    code = "import signal, sys; from netwright.study.stores.postgresql import PostgresqlStore as S\n"
    code += "with S(*sys.argv[1:]).held(): print('there', flush=True); signal.pause()"
    other = subprocess.Popen([sys.executable, "-c", code, new.study, new.dsn], stdout=subprocess.PIPE)
    assert other.stdout is not None and other.stdout.readline() == b"there\n"
    assert len(new.members()) == 1
    os.kill(other.pid, signal.SIGKILL)
    until(lambda: not new.members())
    other.communicate()
    assert not new.members()


def test_names_of_members_tell_who_has_ended() -> None:
    own = members.new_name()
    assert own != members.new_name() and not members.has_ended(own)
    host, number, started, teller, word = own.split(":")
    assert members.has_ended(f"{host}:{number}:{int(started) - 1}:{teller}:{word}"), "another had this number"
    gone = subprocess.Popen(["true"])
    gone.wait()
    assert members.has_ended(f"{host}:{gone.pid}:1:{teller}:{word}")
    assert not members.has_ended(f"{host}:{gone.pid}:1:another:{word}"), "of another system nothing is known"
    for name in ("", "x", ":::", f"a:b:c:{teller}:d", f"a:{10**30}:1:{teller}:d"):
        assert members.has_ended(name) is False


@needs_server
def test_who_comes_while_the_server_starts_waits(server: private_postgresql.Server, new: PostgresqlStore) -> None:
    server.end()
    threading.Timer(0.2, server.start).start()
    assert list(again(new).read()) == []


@needs_server
def test_what_cannot_be_opened_is_said(
    server: private_postgresql.Server, new: PostgresqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgresql, "FIRST_PAUSES", (0.0,))
    with pytest.raises(StoreError, match=r"there is no study at .*nothing"):
        PostgresqlStore("nothing", server.dsn, must_exist=True)
    with pytest.raises(StoreError, match="make the database with createdb"):
        PostgresqlStore("a", server.dsn.replace("dbname=postgres", "dbname=none"))
    with pytest.raises(StoreError, match="see that the server runs"):
        PostgresqlStore("a", "host=/nowhere")
    with pytest.raises(StoreError, match="no connection string"):
        PostgresqlStore("a", "nonsense")


@needs_server
@pytest.mark.parametrize("version", [0, 2, 99])
def test_a_study_of_a_later_netwright_in_postgresql_is_refused_and_left_as_it_is(
    version: int, new: PostgresqlStore
) -> None:
    new.append("retry", {"candidates": []})
    connection = new._connect()
    try:
        connection.execute("UPDATE netwright_study SET format = %s WHERE id = %s", (version, new._id))

        def kept() -> list[Any]:
            tables = ("netwright_study", "netwright_journal", "netwright_member")
            return [connection.execute(f"SELECT * FROM {table} ORDER BY 1, 2").fetchall() for table in tables]

        before = kept()
        for must_exist in (False, True):
            with pytest.raises(
                StoreError, match=rf"has format {version}, this netwright reads up to 1: .* left as it is"
            ):
                PostgresqlStore(new.study, new.dsn, must_exist=must_exist)
        assert kept() == before
        connection.execute("UPDATE netwright_study SET format = %s WHERE id = %s", (postgresql.FORMAT, new._id))
    finally:
        connection.close()
    assert list(again(new).read()) == [("retry", {"candidates": []})]


@needs_server
def test_a_study_of_another_search_is_refused(new: PostgresqlStore) -> None:
    search(new, 2, value)
    with pytest.raises(StoreError, match="holds another study: its seed is 0, here it is 1"):
        search(again(new), 2, value, seed=1)


SECRETS = [
    "postgresql://me:s3cret@host/db",
    "postgres://me:s3cret@host",
    "host=h password=s3cret",
    "host=h Password = 's3cret'",
    "postgresql://me@host/db?password=s3cret",
    "postgresql://me@host/db?sslpassword=s3cret",
    "postgresql://:s3cret@host:5432/db",
]


@pytest.mark.parametrize("dsn", SECRETS)
def test_a_password_is_not_taken_nor_repeated(dsn: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(StoreError, match="give it by the variable PGPASSWORD") as told:
        open_store(f"postgresql,study=a,dsn={dsn}")
    assert "s3cret" not in str(told.value)
    with pytest.raises(SystemExit) as end:
        main(["search", "digits", "--out", str(tmp_path / "out"), "--store", f"postgresql,study=a,dsn={dsn}"])
    said = capsys.readouterr()
    assert end.value.code == 2 and "PGPASSWORD" in said.err and "s3cret" not in said.err + said.out
    assert not any("s3cret" in p.read_text(errors="replace") for p in tmp_path.rglob("*") if p.is_file())


@pytest.mark.parametrize(
    "dsn", ["", "postgresql://me@host:5432/db", "postgresql:///db", "host=h dbname=d", "service=s"]
)
def test_connection_strings_without_one_are_taken(dsn: str) -> None:
    assert ConnectionString(dsn) == dsn


def test_without_psycopg_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(MissingExtra, match=r"netwright\[postgresql\]"):
        open_store("postgresql,study=a")


@pytest.mark.parametrize("text", ["postgresql", "postgresql,study=a,lease=0", "postgresql,dsn=x", "postgresql,study="])
def test_settings_that_are_wrong_are_said(text: str) -> None:
    if private_postgresql.missing():
        pytest.importorskip("psycopg")
    with pytest.raises(NetwrightError, match="study"):
        open_store(text)
