"""What is said of a job: in its directory, and on its report, which is written from the directory alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..core.metric import Metric, label
from ..core.record import Record
from ..core.registry import make_importable
from ..core.space import Choice, Space
from ..core.units import format_value
from ..report.data import ReportData
from ..report.sections import SECTIONS, STANDARD
from ..study.journal import Journal
from ..study.stores.base import Bad
from .run_directory import RunDirectory, RunInfo, Training


def write_report(run: RunDirectory, bad: Bad | None = None, trust: bool = False) -> Path:
    """Write ``report.html`` from what the directory holds; returns its path.

    Args:
        run: the directory.
        bad: is told of each entry of the study that cannot be read; without it such a one raises.
        trust: let its recipe name code that is run: a store, and sections, which are left out otherwise.
    """
    from ..report.page import write_page

    info = run.read_info()
    left_out = [] if trust else own_sections(info)
    if trust:
        make_importable(info.folder)  # a section of one's own may lie beside the recipe
    write_page(summarise(run, bad, trust), run.report, [each for each in _sections(info) if each not in left_out])
    return run.report


def own_sections(info: RunInfo) -> list[str]:
    """The sections of a job's report that are code of whoever made its directory, and not of an installed package."""
    return [each for each in _sections(info) if not SECTIONS.is_installed(each)]


def _sections(info: RunInfo) -> list[str]:
    wanted = info.recipe["report"]
    return [*(STANDARD if wanted.get("sections") is None else wanted["sections"]), *(wanted.get("more") or [])]


def summarise(run: RunDirectory, bad: Bad | None = None, trust: bool = False) -> ReportData:
    """What the report shows; see :func:`write_report`."""
    info, journal = run.read_info(), run.journal(bad, trust)
    front, records = journal.front, journal.records
    best = {record.id for record in front}
    found = {name for record in records for name in record.values}
    return ReportData(
        title=info.name,
        objectives=journal.objectives,
        metrics=tuple(m for m in _metrics(info, journal) if m.name in found or m in journal.objectives),
        limits=journal.limits,
        records=tuple(records),
        front=front,
        space=_choices(journal),
        space_size=info.space_size,
        largest=info.largest,
        given=info.given,
        predicted=info.predictability if info.judged == len(records) else {},
        networks=tuple(run.read_networks([*front, *(r for r in records if r.id not in best)])),
        target=_target(records),
        versions=info.versions,
        facts=_facts(info, run.read_training()),
        plain=info.plain,
    )


def _target(records: Sequence[Record]) -> dict[str, Any]:
    """What was last measured on, entry by entry; of several targets each by its name."""
    for record in reversed(records):
        found = {key: value for key, value in record.provenance.items() if key.partition("@")[0] == "target"}
        if "target" in found:
            return dict(found["target"])
        if found:
            return {f"{k} ({key.partition('@')[2]})": v for key, each in found.items() for k, v in each.items()}
    return {}


def _metrics(info: RunInfo, journal: Journal) -> tuple[Metric, ...]:
    """The objectives, and all else that can be known."""
    return tuple({m.name: m for m in (*journal.objectives, *info.metrics)}.values())


def _choices(journal: Journal) -> Space:
    """The choices alone, to draw networks with: when they exist is not kept."""
    choices = (journal.header or {}).get("choices", {})
    return Space(Choice(name, tuple(options)) for name, options in choices.items())


def _facts(info: RunInfo, training: Training | None) -> dict[str, str]:
    recipe = info.recipe
    facts = {
        "recipe": info.name,
        "command": info.command,
        "strategy": recipe["search"]["strategy"],
        "seed": str(recipe["seed"]),
        "training": f"none: {info.untrained}" if info.untrained else f"{recipe['train']['epochs']} epochs",
    }
    if training:
        unit = next((m.unit for m in info.metrics if m.name == training.metric), "")
        told = (f"{name} {format_value(value, unit)}" for name, value in training.validation.items())
        facts["shared weights"] = f"{label(training.metric)}: {', '.join(told)}"
        if training.warning:
            facts["warning"] = training.warning
    return {**facts, **({"git": info.commit} if info.commit else {})}
