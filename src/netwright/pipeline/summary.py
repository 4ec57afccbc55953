"""What is said of a job: in its directory, and on its report, which is written from the directory alone."""

from __future__ import annotations

from pathlib import Path

from ..core.metric import Metric, label
from ..core.registry import make_importable
from ..core.space import Choice, Space
from ..core.units import format_value
from ..report.data import ReportData
from ..report.sections import STANDARD
from ..study.journal import Journal
from ..study.stores.base import Bad
from .run_directory import RunDirectory, RunInfo, Training


def write_report(run: RunDirectory, bad: Bad | None = None) -> Path:
    """Write ``report.html`` from what the directory holds; returns its path.

    Raises :class:`StoreError` for an entry of the study that cannot be read; with ``bad`` this is told of each.
    """
    from ..report.page import write_page

    info = run.read_info()
    make_importable(info.folder)  # a section of one's own may lie beside the recipe
    report = info.recipe.get("report", {})
    sections = [*report.get("sections", STANDARD), *report.get("more", [])]
    write_page(summarise(run, bad), run.report, sections)
    return run.report


def summarise(run: RunDirectory, bad: Bad | None = None) -> ReportData:
    """What the report shows."""
    info, journal = run.read_info(), run.journal(bad)
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
        target=next((r.provenance["target"] for r in reversed(records) if "target" in r.provenance), {}),
        versions=info.versions,
        facts=_facts(info, run.read_training()),
    )


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
