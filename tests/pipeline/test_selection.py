"""Which networks are handed back, and what they are among themselves: by the figures of their files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from netwright.core.candidate import Candidate
from netwright.core.front import front
from netwright.core.metric import CHANCE, Measurement, Metric
from netwright.core.record import Record
from netwright.pipeline.run_directory import RunDirectory
from netwright.pipeline.selection import assign_roles, roles, select_networks

ACCURACY = Metric("accuracy", "%", "max", superlative="most accurate")
LATENCY = Metric("latency", "ms", superlative="fastest")


def record(name: str, accuracy: float, latency: float, chance: float | None = None) -> Record:
    how = {} if chance is None else {CHANCE: chance}
    found = {"accuracy": Measurement(accuracy, "%", details=how), "latency": Measurement(latency, "ms")}
    return Record(Candidate({"name": name}), found, objectives=(ACCURACY, LATENCY))


def exported(out: Path, known: Record, validation: float, latency: float) -> None:
    """What an export leaves of a network."""
    folder = out / "networks" / known.id
    folder.mkdir(parents=True)
    again = {"accuracy": Measurement(validation, "%").to_json()}
    test = {"accuracy": Measurement(12.0, "%").to_json(), "latency": Measurement(latency, "ms").to_json()}
    about = {"key": "k", "role": "chosen", "validation": again, "test": test, "files": {}}
    (folder / "manifest.json").write_text(json.dumps(about))


def named(told: Mapping[str, str], *known: Record) -> list[str]:
    return [told.get(r.id, "") for r in known]


def test_roles_are_given_by_what_is_handed_back(tmp_path: Path) -> None:
    a, b, c = record("a", 90, 9.0), record("b", 89.5, 5.0), record("c", 80, 1.0)
    assert named(roles(front([a, b, c])), a, b) == ["most accurate", "fastest within one point, knee"]
    # Fine-tuning lifts b beyond a, and c to within a point of it; the file of c is a little slower than foretold.
    for known, validation, latency in ((a, 91.0, 9.1), (b, 93.0, 5.0), (c, 92.2, 1.5)):
        exported(tmp_path, known, validation, latency)
    handed = RunDirectory(tmp_path).read_networks([a, b, c, record("d", 99, 0.1)])
    assert [network.id for network in handed] == [a.id, b.id, c.id]
    given = assign_roles(handed, (ACCURACY, LATENCY))
    assert given[b.id].startswith("most accurate") and given[c.id].startswith("fastest within one point")
    assert given[a.id] == "chosen; another that is handed back dominates it"


def test_one_that_no_longer_keeps_the_limits_says_so(tmp_path: Path) -> None:
    a = record("a", 90, 9.0)
    exported(tmp_path, a, 91.0, 9.1)
    run = RunDirectory(tmp_path)
    handed = run.read_networks([Record(a.candidate, a.measurements, "infeasible", "latency 9 ms > 5 ms")])
    assert assign_roles(handed, (ACCURACY, LATENCY)) == {a.id: "chosen; latency 9 ms > 5 ms"}
    assert run.read_roles() == {a.id: "chosen"}


def test_roles_follow_direction_unit_and_scale() -> None:
    """Of a metric that is minimised, in a unit of its own, near is within 5 % of the best."""
    mae, size = Metric("mae", "kWh"), Metric("file_bytes", "B", superlative="smallest")

    def made(name: str, error: float, size_: float) -> Record:
        found = {"mae": Measurement(error, "kWh"), "file_bytes": Measurement(size_, "B")}
        return Record(Candidate({"name": name}), found, objectives=(mae, size))

    best, near, far, small = made("a", 2.0, 900), made("b", 2.09, 500), made("c", 2.2, 300), made("d", 9.0, 100)
    told = named(roles(front([best, near, far, small])), best, near, far, small)
    assert told == ["lowest MAE", "smallest within 5 % of the best", "knee", ""]
    assert Metric("top5", "%", "max").best == "highest top-5 accuracy"


def test_networks_at_chance_are_not_picked_where_others_are_not() -> None:
    good, fair, useless = record("a", 90, 9.0), record("b", 80, 5.0), record("c", 11, 0.5, chance=10.5)
    assert useless.id not in [r.id for r in select_networks(front([good, fair, useless]))]
    alone = front([useless, record("d", 10, 0.4, chance=10.5)])
    assert select_networks(alone) and all("no better than a constant answer" in role for role in roles(alone).values())
    assert next(iter(roles(alone).values())).count("constant") == 1
    assert select_networks(front([], (ACCURACY,))) == [] and roles(front([], (ACCURACY,))) == {}
