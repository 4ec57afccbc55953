"""The whole job as one readable function."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core.front import Front
from ..core.interruption import ending
from ..core.launch import launched
from ..core.metric import Measurement
from ..core.record import Record
from ..recipe.load import folder_of, load, name_of
from ..recipe.schema import Recipe
from ..report.data import ExportedNetwork
from ..study.failures import check_retry
from ..training.processes import alone
from .callback import Callback
from .context import open_run
from .export import export
from .halving import halved
from .search import check, open_study, search, with_all_limits
from .selection import select_networks
from .summary import write_report
from .train import train, train_along
from .whole import with_whole


@dataclass(frozen=True)
class Fitted:
    """What the job gave.

    Args:
        records: of all networks, in the order of measuring.
        front: the non-dominated networks that keep the limits.
        networks: those that were exported.
        given: the figures of the given model by metric name; nothing where none was given, or it came untrained.
        report: path of the page.
    """

    records: list[Record]
    front: Front
    networks: list[ExportedNetwork]
    given: Mapping[str, Measurement]
    report: Path


def fit(
    recipe: Recipe | Mapping[str, Any] | str | Path,
    out: str | Path,
    *,
    overrides: Mapping[str, Any] | None = None,
    callback: Callback | None = None,
    retry: str = "",
) -> Fitted:
    """From a recipe to files that run without netwright. The same job again continues where it stopped.

    Processes that ``torchrun`` has started train together; the first does all else, and the others end with that.

    Args:
        recipe: the path of a YAML file, the name of a built-in one, or a :class:`netwright.Recipe`, or a
            dict of its keys as they stand in a file.
        out: the directory that keeps everything; made if it is missing.
        overrides: keys of the recipe that are to be others, such as ``{"train.epochs": 3}``.
        callback: is told how the job goes on.
        retry: ``"failed"`` measures again what could not be measured.
    """
    check_retry(retry)
    job = load(recipe, overrides), out, name_of(recipe), folder_of(recipe)
    if launched().rank:
        train_along(*job)
        raise SystemExit(0)
    opened = open_run(*job, callback)
    with ending("the same call continues from here"), opened as context:
        check(context, open_study(context))
        context = with_whole(context)
        study = open_study(context)
        train(context)
        with alone():
            study = with_all_limits(context, study)
            front = search(context, study, retry)
            networks = export(context, study, halved(context, study, select_networks(front)))
            context.callback.stage("writing the report")
            report = write_report(context.run, trust=True)
        return Fitted(study.records, front, networks, context.run.read_given(), report)
