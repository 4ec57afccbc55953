"""What there is to show: gathered and computed here, drawn elsewhere."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import floor, log10
from typing import Any

import numpy as np

from ..core.candidate import Candidate, Option
from ..core.front import Front, losses
from ..core.limits import Limit, broken
from ..core.metric import PRECISION, Measurement, Metric, label
from ..core.record import Record
from ..core.shape import Count, FilePath
from ..core.space import Space
from ..core.units import format_value
from ..strategies.predict.scores import Scores


@dataclass(frozen=True)
class ExportedNetwork:
    """An exported network.

    Args:
        id: of its candidate; also the name of its directory.
        role: why it was chosen, for example ``"most accurate"``.
        record: what the search knew of it.
        validation: measured again on the exported file, on the data that the search used; by metric name.
        test: the same on data that nothing was chosen by, and latency and the like; by metric name.
        files: path in the directory to size in bytes.
        run: a short Python snippet that runs the exported file without netwright.
        failed: why its file of lower precision does not stand for it; empty where it does.
    """

    id: str
    role: str
    record: Record
    validation: Mapping[str, Measurement]
    test: Mapping[str, Measurement]
    files: Mapping[str, int]
    run: str
    failed: str = ""

    @classmethod
    def of(cls, record: Record, manifest: Mapping[str, Any]) -> ExportedNetwork:
        """As its manifest says, read as :data:`EXPORTED`."""
        files = {name: entry["bytes"] for name, entry in manifest["files"].items()}
        validation, test = manifest["validation"], manifest["test"]
        run, failed = manifest["run"] or "", manifest.get("failed") or ""
        return cls(record.id, manifest["role"], record, validation, test, files, run, failed)


FILES: dict[Any, Any] = {FilePath: {"sha256": str, "bytes": Count}}
"""What a manifest says of the files beside it, as a kind of :mod:`netwright.core.shape`."""

EXPORTED: dict[str, Any] = {
    "role": str, "key": str, "validation": Mapping[str, Measurement], "test": Mapping[str, Measurement], "files": FILES,
    "run": str | None, "failed": str | None,
}  # fmt: skip
"""What the manifest of an exported network holds, as far as it is read."""


@dataclass(frozen=True)
class ReportData:
    """Everything that a page shows.

    Args:
        title: of the page, plain text.
        objectives: what the search asked for, the most important first.
        metrics: every known metric, the objectives first.
        limits: which every network of the front keeps.
        records: every record in the order of evaluation, whatever its status.
        front: the non-dominated feasible records.
        space: what the candidates are points of.
        space_size: number of candidates.
        largest: exact metrics of the largest candidate by name, such as ``macs`` (a count) or ``weight_bytes`` (B).
        given: the figures of the given model by metric name; nothing where none was given, or it came untrained.
        predicted: how well metrics that cost a run can be predicted from the other records, by name.
        networks: those that were exported.
        target: where things were measured: runtime, threads, batch, cpu, ...; nested mappings are allowed.
        versions: package name to version.
        facts: further lines, such as recipe, seed, training time and command.
        plain: candidate id to what it is in words, of the plain cuts of the given model.
    """

    title: str
    objectives: tuple[Metric, ...]
    metrics: tuple[Metric, ...]
    limits: tuple[Limit, ...]
    records: tuple[Record, ...]
    front: Front
    space: Space
    space_size: int
    largest: Mapping[str, float]
    given: Mapping[str, Measurement]
    predicted: Mapping[str, Scores]
    networks: tuple[ExportedNetwork, ...]
    target: Mapping[str, Any]
    versions: Mapping[str, str]
    facts: Mapping[str, str]
    plain: Mapping[str, str] = field(default_factory=dict)


GIVEN = "given model"
"""What the given model is called in tables."""


# -- shapes ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cell:
    """One choice of a network: the last part of its name, its options, and which was taken.

    ``position`` counts from the smallest option, and is None where the choice is not active.
    """

    name: str
    options: tuple[Option, ...]
    position: int | None

    @property
    def text(self) -> str:
        """The option taken as a person reads it; empty where the choice is not active."""
        return "" if self.position is None else str(self.options[self.position])

    @property
    def level(self) -> float:
        """How far up its options the choice stands: 1 at the largest, 0 where it is not active."""
        return 0.0 if self.position is None else (self.position + 1) / len(self.options)


@dataclass(frozen=True)
class Block:
    """The choices whose names share a prefix, and the blocks below it.

    ``name`` is relative to the block above; a block that would only hold one other is merged with it.
    """

    name: str
    cells: tuple[Cell, ...]
    blocks: tuple[Block, ...] = ()


def blocks(candidate: Candidate, space: Space) -> tuple[Block, ...]:
    """The candidate's choices, grouped by the dotted prefixes of their names, in the order of the space.

    Choices without a prefix come first, in a block without a name. Choices that are not active are present, without
    a position. Raises KeyError for an option that the space does not have.
    """
    cells: dict[tuple[str, ...], list[Cell]] = {(): []}
    for choice, position in zip(space, space.indices(candidate).tolist(), strict=True):
        *prefix, leaf = choice.name.split(".")
        for depth in range(len(prefix) + 1):
            cells.setdefault(tuple(prefix[:depth]), [])
        cells[tuple(prefix)].append(Cell(leaf, choice.options, position if position >= 0 else None))
    inside: dict[tuple[str, ...], list[tuple[str, ...]]] = {}
    for path in cells:
        if path:
            inside.setdefault(path[:-1], []).append(path)

    def block(path: tuple[str, ...]) -> Block:
        below = tuple(block(p) for p in inside.get(path, ()))
        if len(below) == 1 and not cells[path]:
            return Block(f"{path[-1]}.{below[0].name}", below[0].cells, below[0].blocks)
        return Block(path[-1], tuple(cells[path]), below)

    named = tuple(block(p) for p in inside.get((), ()))
    return (Block("", tuple(cells[()])), *named) if cells[()] else named


# -- progress --------------------------------------------------------------------------------------------------


def usable(records: Sequence[Record], objectives: Sequence[Metric]) -> list[int]:
    """Positions of the records that are ``ok`` and measured in every objective."""
    return [i for i, r in enumerate(records) if r.status == "ok" and all(m.name in r.values for m in objectives)]


def hypervolume_trace(records: Sequence[Record], objectives: Sequence[Metric]) -> np.ndarray:
    """How good the front was after 1, 2, ... records, float64 of shape (records,).

    Several objectives: the hypervolume of the feasible records so far, in percent of the box between the ideal point
    and the reference point. Those are the best value of each objective among all feasible records, and the worst
    plus 5 % of the range between. An objective in which all are equal takes no part. 0 before the first feasible
    record.

    One objective: the best value so far, in the metric's unit; NaN before the first feasible record.
    """
    import moocore

    where = usable(records, objectives)
    points = losses([records[i] for i in where], objectives)
    if len(objectives) == 1:
        best = np.full(len(records), np.inf)
        best[where] = points[:, 0]
        best = np.minimum.accumulate(best)
        return np.where(np.isinf(best), np.nan, -best if objectives[0].direction == "max" else best)

    trace = np.zeros(len(records))
    if not where:
        return trace
    low, high = points.min(axis=0), points.max(axis=0)
    scaled = (points - low) / np.where(high > low, high - low, 1.0)
    reference = np.full(len(objectives), 1.05)
    front = np.empty((0, len(objectives)))
    for i, point in zip(where, scaled, strict=True):
        if np.any(np.all(front <= point, axis=1)):
            continue
        front = np.vstack([front[~np.all(point <= front, axis=1)], point])
        trace[i] = 100 * moocore.hypervolume(front, ref=reference) / np.prod(reference)
    return np.maximum.accumulate(trace)


def why_not(data: ReportData) -> list[tuple[str, str, int]]:
    """Why records are not ``ok``: (status, reason, number), the most frequent first within each status.

    Infeasible records count once for each of the data's limits that they break, failed ones by their reason.
    """
    found: Counter[tuple[str, str]] = Counter()
    for record in data.records:
        if record.status != "ok":
            limits = broken(data.limits, record.values) if record.status == "infeasible" else []
            reasons = [f"breaks {limit_text(limit)}" for limit in limits] or [record.reason or "no reason was recorded"]
            found.update((record.status, reason) for reason in reasons)
    ranked = sorted(found.items(), key=lambda item: (item[0][0] == "failed", -item[1], item[0][1]))
    return [(status, reason, number) for (status, reason), number in ranked]


def nearest_miss(data: ReportData) -> Record | None:
    """The infeasible record that is beyond the limits by the least, summed over the limits; None without one."""

    def violation(record: Record) -> float:
        return sum(limit.violation(record.values[limit.metric]) for limit in broken(data.limits, record.values))

    return min((r for r in data.records if r.status == "infeasible"), key=violation, default=None)


def fewer_macs(data: ReportData, record: Record) -> float | None:
    """How many times fewer MACs than the largest network a record has; None where that is not known."""
    whole, own = data.largest.get("macs"), record.values.get("macs")
    return whole / own if whole and own else None


# -- words -----------------------------------------------------------------------------------------------------


def limit_text(limit: Limit) -> str:
    """A limit as a person reads it: ``weight bytes ≤ 150 kB``."""
    sign = {"<=": "≤", ">=": "≥"}.get(limit.op, limit.op)
    return f"{label(limit.metric)} {sign} {format_value(limit.bound, limit.unit)}"


def format_measurement(measurement: Measurement) -> str:
    """A measurement with its interval and unit, ``0.0213 ± 0.0004 ms``, whether it is no better than chance, and of
    which precision where that is not the target's."""
    precision = f" ({measurement.details[PRECISION]})" if PRECISION in measurement.details else ""
    return _with_interval(measurement) + (" (chance)" if measurement.at_chance else "") + precision


def _with_interval(measurement: Measurement) -> str:
    value = format_value(measurement.value, measurement.unit)
    if not measurement.ci95 > 0:
        return value
    half = format_value(float(f"{measurement.ci95:.1g}"), measurement.unit)
    if "e-" in half:  # nobody reads 2.8e-05 beside 0.0122
        small, _, rest = half.partition(" ")
        half = f"{np.format_float_positional(float(small))} {rest}"
    number, _, unit = value.partition(" ")
    return f"{number} ± {half}" if half.partition(" ")[2] == unit else f"{value} ± {half}"


def big(number: int) -> str:
    """A count of any size: ``1,296`` or ``4.3 x 10^12`` with a raised exponent."""
    if number < 10**6:
        return f"{number:,}"
    exponent = floor(log10(number))
    mantissa = f"{10 ** (log10(number) - exponent):.1f}"
    if mantissa == "10.0":
        mantissa, exponent = "1.0", exponent + 1
    return f"{mantissa} × 10{str(exponent).translate(str.maketrans('0123456789', '⁰¹²³⁴⁵⁶⁷⁸⁹'))}"  # noqa: RUF001


def headline(data: ReportData) -> str:
    """The result in one plain sentence."""
    if not data.front:
        return _no_front(data)
    front, objectives = data.front, data.objectives

    def point(record: Record, named: bool) -> str:
        parts = []
        for metric in objectives[:2]:
            value = format_value(record.values[metric.name], metric.unit)
            parts.append(f"{value} {label(metric.name)}" if named or not metric.unit else value)
        return " at ".join(parts)

    if len(objectives) == 1:
        return f"The best of {len(data.records):,} networks: {point(front[0], named=True)}"
    if len(front) == 1:
        return f"One network on the front: {point(front[0], named=True)}"
    first, last = front.pick(objectives[0].name), front.pick(objectives[1].name)
    return f"{len(front)} networks on the front: from {point(first, named=True)} to {point(last, named=False)}"


def _no_front(data: ReportData) -> str:
    statuses = {record.status for record in data.records}
    number = f"{len(data.records):,}"
    if not statuses:
        return "No network has been evaluated yet"
    if statuses == {"failed"}:
        return f"None of the {number} networks tried could be measured"
    if "ok" in statuses:
        return f"None of the {number} networks tried was measured in every objective"
    return f"None of the {number} networks tried keeps the limits"
