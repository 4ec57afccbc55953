"""Tables of latencies that somebody else may have made."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fuzz import mutations, swaps
from hypothesis import given, settings

from netwright.core.errors import MeasureError
from netwright.measure.latency import Latency
from netwright.measure.lookup import LEAST, LookupTable

TARGET = {"runtime": "onnxruntime", "threads": 1, "fingerprint": "f"}


class Somewhere(Latency):
    """A latency on another device, which is not asked."""

    target: Any = TARGET


LATENCY = Somewhere("onnxruntime")
TABLE = {
    "format": 2,
    "metric": "latency",
    "target": TARGET,
    "rows": {"k": {"name": "block", "inputs": [[1, 3, 8, 8], [1]], "value": 1.5, "spread": 0.1}},
    "whole": [
        {"value": 1.5 + i, "blocks": 1 + i, "moved": 0.1 * i, "spread": 0.1, "measured": 1.7 + i, "key": f"k{i}"}
        for i in range(LEAST)
    ],
}


def read(path: Path) -> LookupTable:
    table = LookupTable(LATENCY, path)
    assert all(row.value >= 0 and row.spread >= 0 and isinstance(row.inputs, tuple) for row in table.rows.values())
    if len(table.whole) >= LEAST:
        weights, error = table.overhead()
        assert np.isfinite(weights).all() and np.isfinite(error)
    return table


@pytest.mark.parametrize(
    "place, value, said",
    [
        (("rows", "k", "value"), "1.5", "rows.k.value must be a finite number, not '1.5'"),
        (("rows", "k", "value"), -1, "rows.k.value must be from 0 to 1e12, not -1"),
        (("rows", "k", "inputs"), [1], r"rows.k.inputs\[0\] must be a list"),
        (("rows", "k"), {}, "rows.k.name is missing"),
        (("whole",), {}, r"whole must be a list \[...\]"),
        (("whole", 3, "measured"), 0, r"whole\[3\].measured must be from 1e-9 to 1e12, not 0"),
        (("whole", 3, "blocks"), 1.5, r"whole\[3\].blocks must be a whole number"),
        (("target",), {}, "target.fingerprint is missing"),
        (("format",), 1, "format must be one of 2, not 1"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(tmp_path: Path, place: tuple[Any, ...], value: Any, said: str) -> None:
    table = json.loads(json.dumps(TABLE))
    at = table
    for key in place[:-1]:
        at = at[key]
    at[place[-1]] = value
    (tmp_path / "table.json").write_text(json.dumps(table))
    with pytest.raises(MeasureError, match=rf"table\.json is not a lookup table: {said}"):
        read(tmp_path / "table.json")


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero"), tmp_path):
        with pytest.raises(MeasureError, match="is not a lookup table"):
            read(path)


def fuzz(path: Path, times: int) -> None:
    path.write_text(json.dumps(TABLE))
    assert len(read(path).whole) == LEAST

    def check(content: bytes) -> None:
        path.write_bytes(content)
        try:
            read(path)
        except MeasureError as error:
            assert len(str(error)) < 600 and "\n" not in str(error)

    some = settings(max_examples=times)
    some(given(mutations(json.dumps(TABLE).encode()))(check))()
    some(given(swaps(TABLE))(check))()


def test_whatever_a_table_holds_is_used_or_told(tmp_path: Path) -> None:
    fuzz(tmp_path / "table.json", 50)


@pytest.mark.slow
def test_whatever_a_table_holds_is_used_or_told_whole(tmp_path: Path) -> None:
    fuzz(tmp_path / "table.json", 2000)
