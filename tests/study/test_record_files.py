"""Records as files that other programs read."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

import netwright as nw
from netwright.cli.main import main
from netwright.core.errors import CallError, StoreError

RECORDS = [
    nw.Record(
        nw.Candidate({"a": 1, "b": (1, 2), "c": "x"}),
        {
            "latency": nw.Measurement(1.5, "ms", 0.25, 7, "measured", {"p90": 2.0}),
            "macs": nw.Measurement(3, kind="exact"),
        },
        provenance={"seed": 0},
    ),
    nw.Record(nw.Candidate({"a": 2, "c": 4}), {"macs": nw.Measurement(9, kind="exact")}, "infeasible", 'too "slow", é'),
    nw.Record(nw.Candidate({"a": 3, "c": True}), {}, "failed", "boom"),
]
COLUMNS = [
    "id", "status", "reason", "candidate.a", "candidate.b", "candidate.c",
    *(f"measurements.{m}.{part}" for m in ("latency", "macs") for part in ("value", "unit", "spread", "n", "kind")),
    "provenance",
]  # fmt: skip


def test_a_csv_file_has_a_row_for_each(tmp_path: Path) -> None:
    nw.write_records(RECORDS, tmp_path / "r.csv")
    with open(tmp_path / "r.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == COLUMNS and [row["id"] for row in rows] == [r.id for r in RECORDS]
    assert rows[0]["candidate.b"] == "[1, 2]" and rows[1]["candidate.b"] == rows[2]["measurements.macs.value"] == ""
    assert rows[0]["measurements.latency.value"] == "1.5" and rows[0]["measurements.latency.spread"] == "0.25"
    assert rows[1]["reason"] == 'too "slow", é' and json.loads(rows[0]["provenance"]) == {"seed": 0}


def test_a_parquet_file_has_a_column_of_each_kind(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    nw.write_records(RECORDS, tmp_path / "r.parquet")
    table = parquet.read_table(tmp_path / "r.parquet")
    assert table.column_names == COLUMNS and table.num_rows == 3
    assert table["candidate.a"].to_pylist() == [1, 2, 3]
    assert table["candidate.c"].to_pylist() == ["x", "4", "True"], "options of several kinds are texts"
    assert table["measurements.latency.value"].to_pylist() == [1.5, None, None]


def test_json_lines_have_all_that_is_known(tmp_path: Path) -> None:
    nw.write_records(RECORDS, tmp_path / "r.jsonl")
    lines = (tmp_path / "r.jsonl").read_text(encoding="utf-8").splitlines()
    assert [nw.Record.from_json(json.loads(line)) for line in lines] == RECORDS


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_no_records_are_a_file_too(ending: str, tmp_path: Path) -> None:
    if ending == "parquet":
        pytest.importorskip("pyarrow")
    nw.write_records([], tmp_path / f"r.{ending}")
    assert (tmp_path / f"r.{ending}").exists()


def test_what_cannot_be_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(CallError, match=r"\.jsonl, \.csv or \.parquet, by the file's ending, not to 'r.txt'"):
        nw.write_records(RECORDS, tmp_path / "r.txt")
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot write to"):
        nw.write_records(RECORDS, tmp_path / "file" / "r.csv")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_the_command_writes_what_the_study_holds(tmp_path: Path, capsys: Any) -> None:
    study = tmp_path / "study.db"
    records = nw.search({"a": (1, 2, 3)}, lambda c: {"q": float(c["a"])}, {"q": "max"}, evaluations=3, store=study)
    main(["records", str(study), "--out", str(tmp_path / "r.csv")])
    assert capsys.readouterr().out == ""
    found = nw.read_warm_start(str(tmp_path / "r.csv"), nw.Space([nw.Choice("a", (1, 2, 3))]))
    assert [(r.candidate, r.values) for r in found] == [(r.candidate, r.values) for r in records]
    with pytest.raises(SystemExit) as end:
        main(["records", str(study), "--out", str(tmp_path / "r.xls")])
    assert end.value.code == 2 and "by the file's ending" in capsys.readouterr().err
