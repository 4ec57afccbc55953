"""Flags that take lists."""

import json

import pytest

from netwright.cli.recipes import _lists


@pytest.mark.parametrize(
    "typed, read",
    [
        ("accuracy,latency", ["accuracy", "latency"]),
        ("onnx", ["onnx"]),
        ("onnx,external_data=true,pt2", ["onnx,external_data=true", "pt2"]),
        ("mine:Format,sizes=(1,2),digits=3", ["mine:Format,sizes=(1,2),digits=3"]),
    ],
)
def test_settings_stay_with_what_they_are_of(typed: str, read: list[str]) -> None:
    flag, value = _lists(["--export.formats", typed])
    assert flag == "--export.formats" and json.loads(value) == read
    (both,) = _lists([f"--export.formats={typed}"])
    assert json.loads(both.removeprefix("--export.formats=")) == read
