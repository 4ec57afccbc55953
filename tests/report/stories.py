"""Small stories to test with: made-up networks whose figures follow from their choices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from netwright.core.front import front
from netwright.core.limits import Limit
from netwright.core.metric import Measurement, Metric
from netwright.core.record import Record
from netwright.core.space import Choice, Space
from netwright.report.data import ExportedNetwork, ReportData
from netwright.strategies.predict.scores import Scores

ACCURACY = Metric("accuracy", "%", "max")
LATENCY = Metric("latency", "ms", "min")
BYTES = Metric("weight_bytes", "B", "min", exact=True)
MACS = Metric("macs", "", "min", exact=True)
METRICS = (ACCURACY, LATENCY, BYTES, MACS)
LIMITS = (Limit("latency", "<=", 0.9, "ms"),)


def space() -> Space:
    choices = []
    for stage in range(2):
        choices += [Choice(f"stage{stage}.depth", (1, 2)), Choice(f"stage{stage}.width", (8, 12, 16))]
        for block in range(2):
            when = {f"stage{stage}.depth": 2} if block else None
            choices.append(Choice(f"stage{stage}.block{block}.kernel", (3, 5), when))
    return Space(choices)


def records(
    number: int, objectives: Sequence[Metric] = METRICS[:2], limits: Sequence[Limit] = LIMITS, seed: int = 0
) -> tuple[Record, ...]:
    """Distinct random networks, each eighth of them failed."""
    rng, made = np.random.default_rng(seed), []
    for i, candidate in enumerate(dict.fromkeys(space().sample(rng) for _ in range(4 * number))):
        size = float(sum(o for o in candidate.values() if isinstance(o, int)))
        exact = {"macs": Measurement(1e3 * size), "weight_bytes": Measurement(40 * size, "B")}
        if i % 8 == 7:
            made.append(Record(candidate, exact, "failed", "<script>alert(1)</script>", tuple(objectives)))
            continue
        found = {
            "accuracy": Measurement(99 - 300 / size + rng.normal(), "%", 0.4, 360),
            "latency": Measurement(size / 60 + abs(rng.normal()) / 10, "ms", 0.01, 50),
            **exact,
        }
        made.append(Record(candidate, found, objectives=tuple(objectives)).judged(limits))
    return tuple(made[:number])


def network(record: Record, role: str) -> ExportedNetwork:
    again = {"accuracy": Measurement(97.25, "%", 0.5, 360)}
    return ExportedNetwork(record.id, role, record, again, again, {"model.onnx": 23_456}, "print('<hello>')\n")


def story(
    found: Sequence[Record],
    objectives: Sequence[Metric] = METRICS[:2],
    roles: Sequence[str] = (),
    limits: Sequence[Limit] = LIMITS,
    facts: Mapping[str, str] | None = None,
    given: Mapping[str, Measurement] | None = None,
) -> ReportData:
    """A story of these records in which the first networks of the front were exported under the given roles."""
    best = front(found, objectives)
    return ReportData(
        title="digits",
        objectives=tuple(objectives),
        metrics=tuple(dict.fromkeys((*objectives, *METRICS))),
        limits=tuple(limits),
        records=tuple(found),
        front=best,
        space=space(),
        space_size=space().size,
        largest={"macs": 84e3},
        given=given or {},
        predicted={"accuracy": Scores(0.81, 0.93, 0.42, 0.88, 1.4)} if found else {},
        networks=tuple(network(record, role) for record, role in zip(best, roles, strict=False)),
        target={"runtime": "onnxruntime", "threads": 1, "cpu": {"model": "a & b"}},
        versions={"torch": "2.13.0"},
        facts=facts or {"seed": "0"},
    )
