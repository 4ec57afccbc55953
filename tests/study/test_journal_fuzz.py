"""Journals that are not what was written: no traceback, no hang, and no record that differs silently."""

from __future__ import annotations

import contextlib
import io
import json
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fuzz import HOSTILE, mutations, swaps
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import netwright as nw
from netwright.cli.main import main
from netwright.core.candidate import Candidate
from netwright.core.errors import NetwrightError, StoreError
from netwright.core.files import parse_json
from netwright.core.metric import Measurement, Metric
from netwright.core.record import Record
from netwright.study.entries import check_record, choices_of
from netwright.study.journal import read_journal
from netwright.study.record_text import RecordReader
from netwright.study.repair import repair
from netwright.study.stores.base import BadEntry
from netwright.study.stores.sqlite import SqliteStore, checksum

FEW = settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
MANY = settings(FEW, max_examples=3000)

SPACE = nw.Space([nw.Choice("a", (1, 2, 3, 4)), nw.Choice("b", ("x", "y")), nw.Choice("k", ((1, 2), (3, 4)))])


def make(path: Path) -> list[tuple[str, dict[str, Any]]]:
    """A study with entries of every kind; returns them."""
    nw.search(
        SPACE, lambda c: {"good": c["a"] * 1.5, "cost": 3.0}, {"good": "max", "cost": "min"}, strategy="random",
        evaluations=11, limits=["cost <= 9"], store=path,
    )  # fmt: skip
    store = SqliteStore(path)
    left = dict(SPACE.smallest)
    how = {"p90": 2.5, "wall": {"median": 1e-07, "steps": [1, 2.5, None]}, "text": 'q"\\\n', "yes": True}
    about = {"strategy": "random", "seed": 0, "time": 1.7e9, "target": {"name": "x", "fingerprint": {"cpu": "y"}}}
    odd = Record(
        Candidate({"depth": 3, "wide": True, "none": None, "f": -0.5}),
        {
            "good": Measurement(1.5, "ms", 0.25, 7, "measured", how),
            "cost": Measurement(2, "", 0.0, 1, "exact"),
            "third": Measurement(2.0, "ms", 0.1, 5, "corrected", {}, None, 1.9),
            "part": Measurement(2.0, "%", 0.1, 5, "partial", {"of": 9}, 3.0),
        },
        "infeasible", 'it "was" \u00fc',
        provenance=about,
    )  # fmt: skip
    store.append("record", odd.to_json())
    store.append("record", {**odd.to_json(), "candidate": {"a": 1}, "id": "0" * 10, "measurements": {}})
    store.append("retry", {"candidates": [left]})
    store.append("attempt", {"candidate": left, "number": 1})
    store.append("ask", {"candidates": [left, {"a": 2}], "provenance": {"strategy": "random", "seed": 0}})
    return list(store.read())


class Whole:
    """A study as bytes, and its entries."""

    def __init__(self, path: Path) -> None:
        self.entries = make(path)
        self.content = path.read_bytes()

    def __repr__(self) -> str:
        return "Whole()"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    return Whole(tmp_path_factory.mktemp("whole") / "study.db")


@contextlib.contextmanager
def study_of(content: bytes) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        path = Path(folder) / "study.db"
        path.write_bytes(content)
        yield path


def verb(*arguments: object) -> tuple[int, str, str]:
    """Exit code, output and what is said of a command."""
    out, err = io.StringIO(), io.StringIO()
    code = 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main([str(each) for each in arguments])
        except SystemExit as stop:
            code = int(stop.code or 0)
    assert code in (0, 2), err.getvalue()
    assert "Traceback" not in err.getvalue()
    assert code == 0 or err.getvalue().splitlines()[-1].startswith("netwright: ")
    assert all(each.startswith("netwright: ") for each in err.getvalue().splitlines())
    return code, out.getvalue(), err.getvalue()


def reading_is_sound(path: Path) -> None:
    """Whoever reads a study is told of what cannot be read, and whoever goes on with it is refused."""
    bad: list[BadEntry] = []
    refused = False
    try:
        strict = read_journal(SqliteStore(path))
    except StoreError:
        refused = True
    try:
        journal = read_journal(SqliteStore(path), bad=bad.append)
    except StoreError:
        assert refused
        assert verb("records", path)[0] == verb("repair", path)[0] == 2
        return
    assert refused == bool(bad)
    if not refused:
        assert strict.records == journal.records
    code, out, err = verb("records", path, "--json")
    assert code == 0 and len(out.splitlines()) == len(journal.records)
    assert [parse_json(line)["id"] for line in out.splitlines()] == [r.id for r in journal.records]
    assert len(err.splitlines()) >= min(len(bad), 20) and bool(err) == bool(bad)
    verb("records", path)
    verb("front", path)
    code, said, _ = verb("repair", path)
    if code == 0:
        again = read_journal(SqliteStore(path))  # refuses nothing any more
        assert again.records == journal.records and again.asked == journal.asked
        assert ("nothing to repair" in said) == (not bad) == (not path.with_name("study.db.damaged").exists())


# -- bodies that are none --------------------------------------------------------------------------------------


def rewritten(path: Path, number: int, kind: str, text: str) -> None:
    """Another entry in the place of one, with its right checksum."""
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        sql = "UPDATE journal SET kind = ?, body = ?, sum = ? WHERE seq = ?"
        connection.execute(sql, (kind, text, checksum(kind.encode(), text.encode()), number))


def bodies(data: st.DataObject, whole: Whole) -> None:
    content, entries = whole.content, whole.entries
    number = data.draw(st.integers(1, len(entries)))
    kind, body = entries[number - 1]
    text = data.draw(st.one_of(swaps(body).map(compact), swaps(body), st.sampled_from(HOSTILE).map(str.encode)))
    kind = data.draw(st.sampled_from((kind, kind, kind, kind, "record", "ask", "nothing", "study")))
    with study_of(content) as path:
        rewritten(path, number, kind, text.decode())
        reading_is_sound(path)


def compact(text: bytes) -> bytes:
    return text.replace(b'": ', b'":').replace(b", ", b",")


@FEW
@given(st.data())
def test_bodies_of_other_shapes(whole: Whole, data: st.DataObject) -> None:
    bodies(data, whole)


@pytest.mark.slow
@MANY
@given(st.data())
def test_many_bodies_of_other_shapes(whole: Whole, data: st.DataObject) -> None:
    bodies(data, whole)


# -- bytes that changed ----------------------------------------------------------------------------------------


def files(data: st.DataObject, whole: Whole) -> None:
    content, entries = whole.content, whole.entries
    with study_of(data.draw(mutations(content))) as path:
        before = path.read_bytes()
        try:
            found = list(SqliteStore(path).scan())
        except StoreError:
            pass
        else:
            read = [each for each in found if not isinstance(each, BadEntry)]
            rest = iter(entries)
            assert all(each in rest for each in read), "what is read was written, in that order"
            assert len(read) == len(entries) or len(found) > len(read), "what is missing is told"
        assert path.read_bytes() == before
        reading_is_sound(path)


@FEW
@given(st.data())
def test_bytes_that_changed(whole: Whole, data: st.DataObject) -> None:
    files(data, whole)


@pytest.mark.slow
@MANY
@given(st.data())
def test_many_bytes_that_changed(whole: Whole, data: st.DataObject) -> None:
    files(data, whole)


# -- the two ways to read a record -----------------------------------------------------------------------------

PLAIN = st.sampled_from(("q", "latency", "stage0.depth", "value", "unit", "a.b", " ,}", "e1"))
NAMES = PLAIN | PLAIN | PLAIN | st.text(st.characters(codec="utf-8"), max_size=6)
NUMBERS = st.integers(-(10**20), 10**20) | st.floats(allow_nan=False, allow_infinity=False)
SCALARS = st.none() | st.booleans() | NUMBERS | NAMES
VALUES = st.recursive(SCALARS, lambda x: st.lists(x, max_size=3) | st.dictionaries(NAMES, x, max_size=3), max_leaves=6)
OWN = {"value", "unit", "spread", "n", "kind", "best_case", "uncorrected"}
DETAILS = st.dictionaries(NAMES.filter(lambda name: name not in OWN), VALUES, max_size=3)
MEASUREMENTS = st.builds(
    Measurement, NUMBERS, st.sampled_from(("", "ms", "%")), st.floats(0, 1e300), st.integers(0, 10**9),
    st.sampled_from(("exact", "measured")), DETAILS,
) | st.builds(Measurement, NUMBERS, st.just("ms"), kind=st.just("corrected"), uncorrected=NUMBERS)  # fmt: skip
RECORDS = st.builds(
    Record,
    st.dictionaries(NAMES, SCALARS | st.tuples(SCALARS, SCALARS), max_size=4).map(Candidate),
    st.dictionaries(NAMES.filter(bool), MEASUREMENTS, max_size=4),
    st.sampled_from(("ok", "infeasible", "failed")),
    NAMES,
    provenance=st.dictionaries(NAMES, VALUES, max_size=3),
)
OBJECTIVES = (Metric("q"),)


def by_text(text: str) -> Record | None:
    reader = RecordReader()
    parts = reader.parts(text)
    choices = reader.choices(parts[0][0]) if parts else None
    return None if parts is None or choices is None else reader.record(parts, Candidate(choices), OBJECTIVES)


def alike(text: str) -> bool:
    """Whether a record can be read by its text alone; then it is what is read whole."""
    found = by_text(text)
    if found is not None:
        try:
            body = parse_json(text)
        except ValueError as error:  # of two in what is not looked at, the last counts
            assert "stands there twice" in str(error)
            body = json.loads(text)
        whole = Record.from_json(body, OBJECTIVES, lambda choices: Candidate(choices_of(choices)))
        check_record(whole)
        assert found.values == whole.values and found.best_cases == whole.best_cases
        assert [type(v) for v in found.values.values()] == [type(v) for v in whole.values.values()]
        assert found == whole and found.to_json() == whole.to_json() and found.candidate.key == whole.candidate.key
    return found is not None


@settings(FEW, max_examples=300)
@given(RECORDS, st.data())
def test_a_record_is_the_same_by_its_text_and_read_whole(record: Record, data: st.DataObject) -> None:
    body = record.to_json()
    alike(json.dumps(body, separators=(",", ":")))
    alike(compact(data.draw(swaps(body))).decode())


@pytest.mark.slow
@settings(FEW, max_examples=6000)
@given(RECORDS, st.data())
def test_many_records_are_the_same_by_their_texts_and_read_whole(record: Record, data: st.DataObject) -> None:
    body = record.to_json()
    alike(json.dumps(body, separators=(",", ":")))
    alike(compact(data.draw(swaps(body))).decode())


def test_what_is_written_as_usual_is_not_read_whole(whole: Whole) -> None:
    records = [body for kind, body in whole.entries if kind == "record"]
    flat = [{**body, "candidate": {"a": 1, "b": "x"}, "id": "0" * 10} for body in records]
    usual = [alike(json.dumps(body, separators=(",", ":"))) for body in flat]
    assert usual == ["part" not in body["measurements"] for body in flat] and usual.count(True) == len(flat) - 1


def test_digits_of_other_scripts_are_no_numbers() -> None:
    text = json.dumps(Record(Candidate({"a": 1}), {"q": Measurement(12.5)}).to_json(), separators=(",", ":"))
    assert alike(text)
    for old, new in (("12.5", "1\u0662.5"), ('"a":1', '"a":\u0661'), ('"n":1', '"n":\u0661')):
        assert by_text(text.replace(old, new)) is None


def test_a_damaged_page_leaves_the_others_readable(tmp_path: Path) -> None:
    path = tmp_path / "study.db"
    space = nw.Space([nw.Choice(f"k{i}", tuple(range(9))) for i in range(9)])
    nw.search(space, lambda c: {"q": sum(c.values())}, {"q": "max"}, strategy="random", evaluations=300, store=path)
    entries, content = list(SqliteStore(path).read()), path.read_bytes()
    pages = len(content) // 4096
    assert pages > 20
    for page in range(2, pages, 5):
        path.write_bytes(content[: 4096 * page] + bytes(4096) + content[4096 * (page + 1) :])
        with pytest.raises(NetwrightError, match="netwright repair"):
            list(SqliteStore(path).read())
        found = list(SqliteStore(path).scan())
        read = [each for each in found if not isinstance(each, BadEntry)]
        rest = iter(entries)
        assert all(each in rest for each in read)
        assert len(read) > len(entries) * 0.8 or page < 4, f"page {page}: {len(read)} of {len(entries)}"
    done = repair(SqliteStore(path))
    assert done.kept == len(read) and done.original is not None and list(SqliteStore(path).read()) == read
