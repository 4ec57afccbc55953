"""Successive halving over networks that could be handed back: which of them gains most from fine-tuning is seen after a
part of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import hypot
from typing import Any

from ..core.candidate import digest
from ..core.errors import CheckpointError, ShapeError, format_error
from ..core.files import read_json, write_json
from ..core.metric import Measurement
from ..core.record import Record
from ..core.shape import expect
from ..report.data import format_measurement
from ..study.study import Study
from .context import Context
from .finetune import key_of, tune_in_part
from .run_directory import LEFT

SHARE = 0.25
"""Of the steps of fine-tuning, after which one network goes on: on MiniLM (docs/bert.md) an eighth chose
wrongly in two of three runs, and a quarter in none."""


def halved(context: Context, study: Study, records: Sequence[Record]) -> list[Record]:
    """The networks to hand back: where there are limits on what networks cost, the best that the search has found
    within them gives way to one that it cannot tell from it and that does better after a part of its fine-tuning.

    Each of them is fine-tuned for :data:`SHARE` of its steps, and the one that does best on the validation data goes on
    from there (Jamieson and Talwalkar, "Non-stochastic best arm identification and hyperparameter optimization", 2016);
    the others are left. What was found is kept, so that a job that goes on goes on with the same.

    Args:
        context: of the job.
        study: that has been searched.
        records: of the networks that the search would hand back, the best first.
    """
    rivals = _rivals(context, study, records)
    if not rivals:
        return list(records)
    winner = best_after_part(context, [records[0], *rivals])
    return [winner, *(record for record in records[1:] if record.id != winner.id)]


def best_after_part(context: Context, several: Sequence[Record]) -> Record:
    """Of several networks the one that does best on the validation data after :data:`SHARE` of its fine-tuning, which
    then goes on from there; the first where none can be judged. It is found once."""
    known = _read(context)
    key = digest([SHARE, *(key_of(context, record.candidate) for record in several)])
    if key not in known:
        known[key] = _found(context, several)
        write_json(context.run.halving, {each: found.to_json() for each, found in known.items()})
        for record in several:
            if record.id != known[key].kept:
                context.run.finetuning(record.id).unlink(missing_ok=True)
                with suppress(OSError):  # it holds files of an earlier export
                    context.run.network(record.id).rmdir()
    return next(record for record in several if record.id == known[key].kept)


def _rivals(context: Context, study: Study, records: Sequence[Record]) -> list[Record]:
    """The best that keep the limits and that the search cannot tell from the first of the records."""
    wish, first = context.recipe.export, study.objectives[0].name
    judged = [] if context.validation is None else [metric.name for metric in context.validation.metrics]
    costs = [limit for limit in study.limits if limit.metric not in judged]
    if not records or not costs or first not in judged or not wish.epochs or wish.candidates < 2:
        return []
    best = records[0].measurements[first]
    others = [
        record
        for record in study.records
        if record.status == "ok" and record.id != records[0].id and _is_told(record, first)
        if abs(record.values[first] - best.value) <= hypot(best.ci95, record.measurements[first].ci95)
    ]
    return sorted(others, key=lambda r: study.objectives[0].loss(r.values[first]))[: wish.candidates - 1]


def _is_told(record: Record, metric: str) -> bool:
    """Whether a record says how well its network does, and it does better than a constant answer."""
    found = record.measurements.get(metric)
    return found is not None and found.is_complete and not found.at_chance


@dataclass(frozen=True)
class Halving:
    """What was found of several networks.

    Args:
        kept: the id of the one that does best after a part of its fine-tuning.
        found: what each of them does then, by id, by the first metric.
    """

    kept: str
    found: Mapping[str, Measurement]

    def to_json(self) -> dict[str, Any]:
        """As the file holds it."""
        return {"kept": self.kept, "found": {id_: found.to_json() for id_, found in self.found.items()}}


def _found(context: Context, several: Sequence[Record]) -> Halving:
    """What each network does after a part of its fine-tuning."""
    assert context.validation is not None
    metric = context.validation.metrics[0]
    share = f"{SHARE:.0%}".replace("%", " %")
    context.callback.stage(
        f"fine-tuning {len(several)} networks for {share} of their steps, of which the best goes on (export.candidates)"
    )
    judged = {record.id: tune_in_part(context, record.candidate, SHARE) for record in several}
    figures = {id_: found for id_, found in judged.items() if found is not None}
    kept = min(figures, key=lambda id_: metric.loss(figures[id_].value), default=several[0].id)
    told = ", ".join(f"{id_} {format_measurement(found)}" for id_, found in figures.items())
    context.callback.stage(f"{kept} goes on: {metric.name} of {told}")
    return Halving(kept, figures)


def _read(context: Context) -> dict[str, Halving]:
    """What was found before, by a digest of what it depends on."""
    path = context.run.halving
    try:
        return dict(expect(read_json(path), Mapping[str, Halving]))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, ShapeError) as error:
        raise CheckpointError(
            f"{path} is not what netwright writes ({format_error(error)}); {LEFT} it away to find it anew"
        ) from None
