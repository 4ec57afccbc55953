"""Trimming: the network within limits that keeps most of what is worth something, without a search."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from ..core.candidate import Candidate
from ..core.errors import InfeasibleConstraints, NetwrightError, RecipeError
from ..core.interruption import ending
from ..core.limits import Limit, apart, broken, limited
from ..core.metric import Measurement
from ..core.record import Record
from ..measure.base import EvaluationContext, Measurer
from ..measure.counts import METRICS
from ..measure.latency import Energy
from ..measure.lookup import LookupTable
from ..nets.importance import Importance, importance_of, prune_to_budget
from ..nets.supernet import SuperNet
from ..recipe.load import folder_of, load, name_of
from ..recipe.schema import Recipe
from ..report.data import ExportedNetwork, format_measurement
from ..strategies.base import Problem, Strategy
from ..study.study import Study
from ..training import loop
from ..training.defaults import default_optimizer
from ..training.rules import SinglePath
from .callback import Callback
from .context import Context, open_run
from .export import export
from .judgement import judge_given
from .limits import limits_of
from .search import counts_of_largest, describe, fill_tables, open_study
from .summary import write_report
from .train import criterion_of, keep_weights, train

BY_DATA, BY_WEIGHTS = "taylor", "l2"
"""By what is judged where the recipe does not say, with data and without."""

TRIES = 4
"""How often a network is cut that is measured beyond a limit which a table said that it keeps."""

TABLE = "{}_table.json"
"""Where a table is kept in the output directory, by the metric's name."""


@dataclass(frozen=True)
class Trimmed:
    """What trimming gave.

    Args:
        network: that was handed back.
        before, after: the figures of the whole network, and those of the file that is handed back, by metric name.
        folder: of its files.
        report: path of the page.
    """

    network: ExportedNetwork
    before: Mapping[str, Measurement]
    after: Mapping[str, Measurement]
    folder: Path
    report: Path


def trim(
    recipe: Recipe | Mapping[str, Any] | str | Path,
    out: str | Path,
    *,
    overrides: Mapping[str, Any] | None = None,
    callback: Callback | None = None,
) -> Trimmed:
    """From a recipe with limits to one network that keeps them, in files that run without netwright.

    Args: see :func:`netwright.fit`. ``train.epochs`` and what is of a search are not used.
    """
    wish = _for_trimming(load(recipe, overrides))
    opened = open_run(wish, out, name_of(recipe), folder_of(recipe), callback)
    with ending("the same call continues from here"), opened as context:
        net = _require(context)
        importance = train(context) or importance_of(net, criterion_of(context))
        candidate = _cut(context, net, importance)
        study = open_study(context)
        before = _whole(context)
        record = _evaluated(context, study, candidate)
        context.run.write_info(describe(context, study))
        (network,) = export(context, study, [record])
        after = {**record.measurements, **network.test, **network.validation}
        context.callback.stage("writing the report")
        report = write_report(context.run, trust=True)
        return Trimmed(network, before, after, context.run.network(record.id), report)


def _for_trimming(recipe: Recipe) -> Recipe:
    """The recipe whose weights are sorted and not trained."""
    if not recipe.limits:
        raise RecipeError("trimming needs a limit to keep, such as --limit 'macs <= 30M'; without one nothing is cut")
    if recipe.trim.rounds and not recipe.data:
        raise RecipeError("trim.rounds tunes and judges, which takes data; name some, or leave the key out")
    by = recipe.train.importance or (BY_DATA if recipe.data else BY_WEIGHTS)
    return replace(recipe, train=replace(recipe.train, epochs=0, importance=by))


def _require(context: Context) -> SuperNet:
    """The super-network. Raises :class:`RecipeError` for what cannot be trimmed, before anything costly begins."""
    source, recipe = context.source, context.recipe
    if len(context.latencies) > 1:
        raise RecipeError("netwright trim goes down to the limits of one target, and the recipe has several: give one")
    try:
        net = source.supernet()
    except NetwrightError as error:
        raise RecipeError(
            f"{error}: what its parts are worth cannot be judged; give a netwright.SuperNet "
            "(nw.wrap(model, example_inputs) makes one of any model), or search"
        ) from None
    own = [x.name for m in source.measurers if not m.depends_on_weights for x in m.metrics]
    known = list(dict.fromkeys([*METRICS, "latency", "energy", *own]))
    for text in recipe.limits:
        if (name := limited(text, (*context.metrics, *context.task.metrics))) not in known:
            raise RecipeError(
                f"the limit {text!r}: {name} is not known before a network is made; trim to what can be computed or "
                f"predicted ({', '.join(known)}), or search with 'netwright fit'"
            )
    if context.data is not None and not recipe.train.weights and context.run.read_training() is None:
        given, pretrained, _ = judge_given(context)
        if pretrained is False:
            found = next(iter(given.values()))
            raise RecipeError(
                f"the model comes untrained ({next(iter(given))} {format_measurement(found)} on the validation data), "
                "and what its parts are worth cannot be judged: run 'netwright train' with this recipe first, and give "
                "its output directory as --train.weights"
            )
    return net


# -- the cut -------------------------------------------------------------------------------------------------------


def _cut(context: Context, net: SuperNet, importance: Importance) -> Candidate:
    """The candidate that keeps the limits, also those on what a table predicts as it is measured whole."""
    recipe, asked = context.recipe, limits_of(context, trained=True)
    known = open_study(context).records if recipe.trim.rounds and context.run.study.exists() else []
    if tuned := [record.candidate for record in known if record.status == "ok"]:
        return tuned[-1]  # the weights are tuned for it
    prices = _prices(context, [limit.metric for limit in asked])
    tables = [price for price in prices if isinstance(price, LookupTable)]
    fill_tables(context, tables)
    by, rounds = recipe.train.importance, recipe.trim.rounds
    context.callback.stage(f"cutting by {by}" + (f", in {rounds} rounds of tuning" if rounds else ""))
    for name, why in importance.unjudged.items():
        context.callback.stage(f"{name} stays whole: {why}")
    tuning: dict[str, Any] = {}
    if rounds:
        tuning = {"tune": _Tuning(context), "rounds": rounds, "proposals": recipe.trim.proposals}
    limits = asked
    for left in reversed(range(1 if rounds else TRIES)):
        candidate = prune_to_budget(net, importance, limits, prices, **tuning)
        if rounds:
            keep_weights(context, net)
        tighter = [_tightened(context, *both, candidate, tables, left) for both in zip(asked, limits, strict=True)]
        if tighter == limits:
            break
        limits = tighter
    return candidate


def _prices(context: Context, wanted: Sequence[str]) -> list[Measurer]:
    """What tells of limits that the network does not count: the model's own measurers, and tables."""
    found: list[Measurer] = [m for m in context.source.measurers if not m.depends_on_weights]
    found += [m for m in context.on_target if isinstance(m, LookupTable) and m.metric.name in wanted]
    own = {x.name for m in found for x in m.metrics}
    for measurer in (context.latency, Energy(context.target, context.latency.plan)):
        name = measurer.metrics[0].name
        if name in wanted and name not in own:
            found.append(LookupTable(measurer, context.run.path / TABLE.format(name)))
    return found


def _tightened(
    context: Context, asked: Limit, limit: Limit, candidate: Candidate, tables: Sequence[LookupTable], left: int
) -> Limit:
    """The limit that a table must keep, so that the network keeps what is asked as it is measured.

    Args:
        left: how often it can be cut again, which is told.
    """
    table = next((each for each in tables if each.metric.name == limit.metric), None)
    if table is None:
        return limit
    found = table.measurer.measure(EvaluationContext(context.source.net, candidate, ()))[limit.metric]
    if asked.allows(found.value):
        return limit
    value, bound = apart(found.value, asked)
    told = table.values(context.source.net, [candidate])[0][limit.metric]
    context.callback.stage(
        f"{limit.metric} is {value} as measured, where the table says "
        f"{format_measurement(Measurement(told, limit.unit))}; the limit is {bound}"
        + (": cutting on" if left else ", which no further cut is made for")
    )
    return replace(limit, bound=0.995 * told * asked.bound / found.value)


class _Tuning:
    """Trains a candidate for a few batches on the shared weights, and says how well it does."""

    def __init__(self, context: Context) -> None:
        assert context.data is not None and context.validation is not None  # see _for_trimming
        recipe, self._context = context.recipe, context
        self._batches = list(islice(context.training_loader(), recipe.trim.batches))
        self._metric = context.validation.metrics[0]
        self._optimizer = recipe.train.optimizer or default_optimizer(context.source.supernet().module, "pretrained")[0]

    def __call__(self, net: SuperNet, candidate: Candidate) -> float:
        context = self._context
        loop.train(
            net, self._batches, task=context.task, epochs=1, rule=_Only(candidate), optimizer=self._optimizer,
            device=context.recipe.train.device, seed=context.recipe.seed, evaluate=dict,
        )  # fmt: skip
        network, _ = context.network(candidate)
        return -self._metric.loss(context.validate(network)[self._metric.name].value)


@dataclass(frozen=True)
class _Only(SinglePath):
    """Each batch teaches the same sub-network."""

    candidate: Candidate

    def chosen(self, net: SuperNet, rng: np.random.Generator) -> Candidate:
        return self.candidate


# -- figures -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Trim(Strategy):
    """Proposes what trimming has found."""

    candidate: Candidate

    def ask(self, problem: Problem, history: Sequence[Record], n: int) -> list[Candidate]:
        return [self.candidate]


def _evaluated(context: Context, study: Study, candidate: Candidate) -> Record:
    """The record of a candidate, measured as a search would."""
    known = {record.candidate: record for record in study.records}
    if candidate not in known or known[candidate].status == "failed":
        context.callback.stage("measuring the network")
        strategy: Strategy = Trim(candidate=candidate)
        with suppress(InfeasibleConstraints):  # by less than tables are worth; it is said of what is handed back
            study.run(strategy, len(study.records) + 1, lambda step: context.callback.measured(step, study))
        known = {record.candidate: record for record in study.records}
    record = known[candidate]
    if record.status == "failed":
        raise NetwrightError(f"the network that is within the limits cannot be measured: {record.reason}")
    if beyond := broken(study.limits, record.values):
        context.callback.stage(f"warning: as measured, {beyond[0].metric} is beyond its limit: {record.reason}")
    return record


def _whole(context: Context) -> dict[str, Measurement]:
    """The figures of the whole network."""
    largest = context.evaluation(context.source.space.largest)
    judged = {} if context.quality is None else context.quality.measure(largest)
    return {**judged, **context.latency.measure(largest), **counts_of_largest(context)}
