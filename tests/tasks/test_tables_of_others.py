"""Tables that somebody else has made: of data, and of measured networks."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from fuzz import mutations
from hypothesis import given, settings
from hypothesis import strategies as st

from netwright.core.errors import NetwrightError, RecipeError
from netwright.core.rows import MOST_COLUMNS, read_rows
from netwright.sources.table import TabularBenchmark
from netwright.tasks import TASKS
from netwright.tasks.files import read_files

CLASSES, NUMBERS = TASKS.make("classification"), TASKS.make("regression")
DATA = "id,colour,size,kind\n" + "".join(f'{i},"{("red", "green")[i % 2]}",{i / 7:.3f},{i % 3}\n' for i in range(40))
NETWORKS = "depth,width,bits,acc,ms\n" + "".join(
    f"{d},{w},{b if d > 2 else ''},{80 + d + w / 10:.2f},{d * w / 9:.3f}\n"
    for d in (2, 3, 4)
    for w in (8, 16)
    for b in ((4, 8) if d > 2 else (4,))
)


def networks(path: Path) -> TabularBenchmark:
    return TabularBenchmark.read(path, choices=["depth", "width", "bits"], metrics={"acc": "max", "ms": "min"})


@pytest.mark.parametrize(
    "content, said",
    [
        ('a,b\n"1,2\n', "line 2: unexpected end of data"),
        ('a,b\n"1"x,2\n', "line 2: .* expected after"),
        ("a,b\n1,2\n3\n", "line 3: 1 cells, but the header has 2"),
        ("a,b\n1,\0\n", "line 2: a cell holds a NUL character"),
        ("a,b\n1," + "2" * 200_000, "line 2: field larger than field limit"),
        ("," * MOST_COLUMNS, "line 1: 10,001 cells; a table has at most 10,000 columns"),
        (b"a,b\n1,\xff\n", "line 1: .*can't decode byte 0xff"),
        (b"\xff\xfea\0", "line 1: .*can't decode"),
    ],
)
def test_rows_are_those_of_a_table(tmp_path: Path, content: str | bytes, said: str) -> None:
    (tmp_path / "t.csv").write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(ValueError, match=said):
        list(read_rows(tmp_path / "t.csv"))
    for read in (lambda: networks(tmp_path / "t.csv"), lambda: read_files("t.csv", CLASSES, tmp_path)):
        with pytest.raises(NetwrightError, match=f"t.csv, {said}"):
            read()


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "device.csv").symlink_to("/dev/zero")
    for name in ("pipe.csv", "device.csv"):
        with pytest.raises(RecipeError, match="no regular file"):
            read_files(name, CLASSES, tmp_path)
        with pytest.raises(NetwrightError, match="no regular file"):
            networks(tmp_path / name)


@pytest.mark.parametrize("value", ["nan", "inf", "-Infinity", "1e39", "1" + "0" * 400])
def test_numbers_are_such_as_networks_compute_with(tmp_path: Path, value: str) -> None:
    for name, place in (("input", f"7,red,{value},1"), ("target", f"{value},red,1,1")):
        (tmp_path / f"{name}.csv").write_text(f"{DATA}{place}\n")
    with pytest.raises(RecipeError, match=r"'size' holds .* no finite number of 32 bits: leave the cell"):
        read_files("input.csv", CLASSES, tmp_path)
    with pytest.raises(RecipeError, match=r"'id' holds .* no finite number"):
        read_files("target.csv,target=id", NUMBERS, tmp_path)


@pytest.mark.parametrize("value", ["-1", "16777216", "9007199254740993", "1e30"])
def test_classes_are_indices(tmp_path: Path, value: str) -> None:
    (tmp_path / "t.csv").write_text(f"{DATA}7,red,1,{value}\n")
    with pytest.raises(RecipeError, match="which is no index of a class"):
        read_files("t.csv", CLASSES, tmp_path)


def test_many_rows_with_conditions_take_no_longer_for_each(tmp_path: Path, work: Any) -> None:
    def lines(rows: int) -> Path:
        path = tmp_path / f"{rows}.csv"
        path.write_text("a,b,acc\n" + "".join(f"net{i},{i if i % 2 else ''},{i}\n" for i in range(rows)))
        return path

    def read(path: Path) -> TabularBenchmark:
        return TabularBenchmark.read(path, choices=["a", "b"], metrics={"acc": "max"})

    few, many = (work(partial(read, lines(rows))) for rows in (100, 1000))
    assert many < 11 * few


def check_data(path: Path) -> None:
    for settings_, task in (("", CLASSES), (",target=size", NUMBERS), (",target=colour", CLASSES)):
        try:
            data = read_files(f"{path.name}{settings_}", task, path.parent)
        except RecipeError as error:
            assert len(str(error)) < 3000
        else:
            for part in (data.train, data.validation, data.test):
                assert torch.isfinite(part.inputs).all() and torch.isfinite(part.targets.double()).all()


def check_networks(path: Path) -> None:
    try:
        found = networks(path)
    except NetwrightError as error:
        assert len(str(error)) < 3000
    else:
        assert len(found.fingerprint) > 10 and found.space.size == len(list(found.space.enumerate()))


def fuzz(path: Path, content: str, check: Callable[[Path], None], times: int) -> None:
    @settings(max_examples=times)
    @given(mutations(content.encode()))
    def one(changed: bytes) -> None:
        path.write_bytes(changed)
        check(path)

    one()


def test_whatever_a_table_holds_is_used_or_told(tmp_path: Path) -> None:
    fuzz(tmp_path / "d.csv", DATA, check_data, 60)
    fuzz(tmp_path / "n.csv", NETWORKS, check_networks, 60)


@pytest.mark.slow
def test_whatever_a_table_holds_is_used_or_told_whole(tmp_path: Path) -> None:
    fuzz(tmp_path / "d.csv", DATA, check_data, 2000)
    fuzz(tmp_path / "n.csv", NETWORKS, check_networks, 2000)


# -- Parquet


def parquet_of(columns: dict[str, Any]) -> bytes:
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    buffer = io.BytesIO()
    parquet.write_table(pa.table(columns), buffer)
    return buffer.getvalue()


COLUMNS: dict[str, Any] = {
    "id": list(range(40)), "colour": ["red", "green"] * 20, "size": [i / 7 for i in range(40)],
    "kind": [i % 3 for i in range(40)],
}  # fmt: skip


@pytest.mark.parametrize(
    "column, said",
    [
        ([[1, 2]] * 40, r"'size' of t.parquet holds a list"),
        ([{"a": 1}] * 40, r"'size' of t.parquet holds an object"),
        ([b"x"] * 40, "'size' of t.parquet holds a bytes"),
        ([float("nan")] * 40, "'size' holds nan, which is no finite number"),
    ],
)
def test_cells_are_numbers_or_texts(tmp_path: Path, column: list[Any], said: str) -> None:
    (tmp_path / "t.parquet").write_bytes(parquet_of({**COLUMNS, "size": column}))
    for reference in ("t.parquet", "t.parquet,target=size"):
        with pytest.raises(RecipeError, match=said):
            read_files(reference, CLASSES, tmp_path)


def test_a_small_file_may_not_stand_for_any_number_of_cells(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("netwright.tasks.files.tables.MOST_CELLS", 100)
    (tmp_path / "t.parquet").write_bytes(parquet_of(COLUMNS))
    with pytest.raises(RecipeError, match="has 160 cells, of which 100 can be read"):
        read_files("t.parquet", CLASSES, tmp_path)


def fuzz_parquet(path: Path, times: int) -> None:
    content = parquet_of(COLUMNS)

    @settings(max_examples=times)
    @given(mutations(content) | st.integers(0, len(content)).map(lambda at: content[:at] + b"\xff" + content[at + 1 :]))
    def check(changed: bytes) -> None:
        path.write_bytes(changed)
        check_data(path)

    check()


def test_whatever_a_parquet_file_holds_is_used_or_told(tmp_path: Path) -> None:
    fuzz_parquet(tmp_path / "t.parquet", 40)


@pytest.mark.slow
def test_whatever_a_parquet_file_holds_is_used_or_told_whole(tmp_path: Path) -> None:
    fuzz_parquet(tmp_path / "t.parquet", 2000)
