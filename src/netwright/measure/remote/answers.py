"""What an agent may answer: the form of each answer, checked where it arrives."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np

from ...core.errors import NetwrightError, ShapeError
from ...core.files import parse_json
from ...core.metric import Measurement
from ...core.shape import Count, NotNegative, Positive, Rule, expect, told
from ..feeds import read_feeds

MOST_TOLD = 1000
"""Letters of an agent's own words that a message holds."""

UNITS = {"latency": "ms", "throughput": "/s", "memory": "B", "energy": "mJ"}
"""What is measured on a target, and in what."""

DETAIL_BYTES = 1 << 18
"""The most JSON of a description of a target, and of what was measured there: it is kept with each record."""

INPUT_BYTES = 4 << 30
"""The most bytes of the inputs that a file may name: they are made here."""


def _is_type(text: str) -> bool:
    try:
        return np.dtype(text).kind in "biufc"
    except (TypeError, ValueError, SyntaxError):
        return False


_Type = Annotated[str, Rule("NumPy's name of a type of numbers", _is_type)]
_Text = Annotated[str, Rule("a text of 10,000 letters at most", lambda text: len(text) <= 10_000)]
_Percentiles = {"median": float, "p90": float, "p99": float}

JOBS: Mapping[str, Any] = {
    "describe": {"target": {"runtime": _Text, "device": _Text}, "no_energy": _Text, "netwright": _Text},
    "inputs": {"inputs": dict[str, tuple[list[Count], _Type]], "free": dict[str, list[tuple[Count, str]]]},
    "runs": {},
    "measure": {"measurements": dict[str, dict[str, Any]]},
    "compare": {"ratios": Annotated[list[Positive], Rule("a list that is not empty", bool)]},
    "outputs": {"outputs": str},
    "probe": {"ms": list[NotNegative], "errors": list[list[NotNegative]]},
    "profile": {
        "operators": [
            {
                **dict.fromkeys(("name", "kind", "precision"), _Text),
                "ms": NotNegative,
                **dict.fromkeys(("inputs", "outputs", "origins"), list[_Text]),
            }
        ]
    },
}
"""By job, the form of an answer to it (see :mod:`netwright.core.shape`)."""


@dataclass(frozen=True)
class Failure:
    """That there is no answer to a job.

    Args:
        failed: the reason.
        errno: the number of the operating system's error where the machine is to blame.
    """

    failed: str
    errno: int | None = None


def parse_answer(text: bytes) -> dict[str, Any]:
    """The object of JSON that an answer is. Raises ValueError that says why it is none."""
    found = parse_json(text)
    if not isinstance(found, dict):
        raise ValueError("its answer is no object of JSON")
    if rb"\ud" in text.lower():
        json.dumps(found, ensure_ascii=False).encode()  # halves of characters could be written nowhere
    return found


def job_state(value: Any) -> tuple[str, Any]:
    """The state of a job, and its answer where it is done, which is not looked into. Raises :class:`ShapeError`."""
    found = expect(value, {"state": Literal["queued", "running", "done"], "answer": Any})
    return found["state"], found["answer"] if found["state"] == "done" else None


def missing_files(value: Any) -> list[str]:
    """The hashes of files that an agent asks for; they may be anybody's. Raises :class:`ShapeError`."""
    return list(expect(value, {"missing": list[str]})["missing"])


def words(value: Any) -> str:
    """What an agent says, on one line and no longer than a message may be; empty where it says nothing."""
    return " ".join(value.split())[:MOST_TOLD] if isinstance(value, str) else ""


def answer_to(job: Mapping[str, Any], value: Any) -> dict[str, Any] | Failure:
    """The answer to a job of :mod:`netwright.measure.worker`, as that gives it.

    Raises :class:`ShapeError` that says what of it is wrong.
    """
    if isinstance(value, Mapping) and "failed" in value:
        found = expect(value, {"failed": str, "errno": Count | None})
        return Failure(words(found["failed"]) or "without a word", found["errno"])
    found = expect(value, JOBS[job["job"]])
    check = _CHECKS.get(job["job"])
    if check is not None:
        check(job, found)
    return dict(found)


def _check_description(job: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    _check_size(found["target"], (".target",))
    asked, answered = job["runtime"]["runtime"], found["target"]["runtime"]
    if answered != asked:
        raise ShapeError(f"must be {asked!r}, not {told(answered)}", (".target", ".runtime"))


def _check_inputs(job: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    inputs, free = found["inputs"], found["free"]
    _check_size(found, ())
    size = sum(prod(shape) * np.dtype(kind).itemsize for shape, kind in inputs.values())
    if size > INPUT_BYTES:
        raise ShapeError(f"must have {INPUT_BYTES:,} bytes at most, not {size:,}", (".inputs",))
    for name, dims in free.items():
        if name not in inputs or not all(dim < len(inputs[name][0]) for dim, _ in dims):
            raise ShapeError("must be dimensions of the inputs", (".free", f".{told(name)}"))


def _check_measurements(job: Mapping[str, Any], found: dict[str, Any]) -> None:
    figures = found["measurements"]
    wanted = {"latency", "throughput", *job.get("wanted", [])}
    if missing := sorted(wanted - set(figures)):
        raise ShapeError("is missing", (".measurements", f".{missing[0]}"))
    for name, value in figures.items():
        if name not in UNITS:
            raise ShapeError(f"must be of {', '.join(UNITS)}, not {told(name)}", (".measurements",))
        place = (".measurements", f".{name}")
        _check_size(value, place)
        try:
            figure = Measurement.from_json(value)
        except NetwrightError as error:
            raise ShapeError(f"is none: {words(str(error))}", place) from None
        _check_figure(figure, UNITS[name], place)
    latency = figures["latency"]
    expect(latency, {"wall": _Percentiles, "clock": Literal["cpu", "wall"], "warning": str | None}, "latency")
    if latency.get("kind") == "corrected":
        expect(latency, {"memory_drift": float}, "latency")


def _check_figure(figure: Measurement, unit: str, place: tuple[str, ...]) -> None:
    if figure.unit != unit:
        raise ShapeError(f"must be {unit!r}, not {told(figure.unit)}", (*place, ".unit"))
    if figure.kind not in ("measured", "corrected"):
        raise ShapeError(f"must be measured or corrected, not {figure.kind}", (*place, ".kind"))
    if unit in ("ms", "/s"):
        expect({"value": figure.value}, {"value": Positive}, "".join(place)[1:])


def _check_probe(job: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    for key in ("ms", "errors"):
        if len(found[key]) != len(job["files"]):
            raise ShapeError(f"must have {len(job['files'])} entries, not {len(found[key])}", (f".{key}",))
    outputs = len(read_feeds(Path(job["expected"])))
    if any(len(each) != outputs for each in found["errors"]):
        raise ShapeError(f"must have {outputs} entries for each file", (".errors",))


def _check_size(value: Any, place: tuple[str, ...]) -> None:
    size = len(json.dumps(value))
    if size > DETAIL_BYTES:
        raise ShapeError(f"must be {DETAIL_BYTES:,} bytes of JSON at most, not {size:,}", place)


_CHECKS: Mapping[str, Callable[[Mapping[str, Any], dict[str, Any]], None]] = {
    "describe": _check_description,
    "inputs": _check_inputs,
    "measure": _check_measurements,
    "probe": _check_probe,
}
