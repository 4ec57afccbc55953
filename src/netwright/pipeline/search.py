"""The stage that searches."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from ..core.errors import NetwrightError, RecipeError, StoreError
from ..core.files import write_json
from ..core.front import Front
from ..core.limits import metric_named
from ..core.metric import PRECISION, Measurement, Metric
from ..core.provenance import git_commit, versions
from ..core.record import Record
from ..core.registry import find_object
from ..measure.counts import METRICS
from ..measure.lookup import LEAST, LookupTable, build
from ..nets.families.ofa_settings import from_ofa, is_ofa
from ..nets.supernet import SuperNet
from ..strategies import STRATEGIES
from ..strategies.surrogate import cross_validate
from ..study.failures import failed_of
from ..study.journal import read_header
from ..study.run import Step
from ..study.stores.base import Store
from ..study.study import Study
from ..study.warm_starts import read_warm_start
from .context import Context
from .limits import are_known, limits_of
from .plain_cuts import plain_cuts
from .run_directory import RunInfo


def open_study(context: Context, trained: bool = False) -> Study:
    """The study in the output directory; opening it checks the limits and reads what was measured.

    Args:
        context: of the job.
        trained: whether the super-network has been trained, which some limits are relative to; see
            :func:`~netwright.pipeline.limits.limits_of`.
    """
    recipe, known = context.recipe, {m.name: m for m in context.metrics}
    store = context.run.open_store(recipe.store)
    limits = limits_of(context, trained)
    wanted = {*recipe.objectives, *map(metric_named, recipe.limits)}
    recorded = [
        m
        for m in context.measurers
        if context.source.no_networks or all(x.exact for x in m.metrics) or any(x.name in wanted for x in m.metrics)
    ]
    return Study(
        store,
        context.source.net,
        objectives=[known[name] for name in recipe.objectives],
        record=recorded,
        limits=limits,
        calibration=context.calibration,
        seed=recipe.seed,
        warm_start=warm_start(context, [known[name] for name in recipe.objectives]),
        initial=plain_cuts(context.source),
        racing=recipe.search.racing,
        rounding=recipe.bits.rounding,
        hints={text: find_object(text, f"the hint {text}", RecipeError) for text in recipe.search.hints},
        key=_study_key(context, store),
    )


def warm_start(context: Context, objectives: Sequence[Metric]) -> list[Record]:
    """What another search has measured, if the recipe names one."""
    wish, net = context.recipe.search, context.source.net
    if not wish.warm_start:
        return []
    names: Any = wish.warm_names
    if not names and wish.warm_start.startswith("dynast,") and isinstance(net, SuperNet) and is_ofa(net):
        names = partial(from_ofa, net)  # whose settings say more than names can, such as depths beyond the least
    return read_warm_start(wish.warm_start, context.source.space, objectives, names)


def with_all_limits(context: Context, study: Study) -> Study:
    """The study with those limits too that are relative to what training has made of the model."""
    return study if are_known(context) else open_study(context, trained=True)


def check(context: Context, study: Study) -> None:
    """Say what cannot work before anything costly begins, and note in the directory what it is of."""
    fill_tables(context, study.measurers)
    for measurer in study.measurers:
        measurer.require()
    check_device(context, study)
    if not context.untrained:
        study.probe(context.executor)
    context.source.check()
    context.run.write_info(describe(context, study))


def fill_tables(context: Context, measurers: Iterable[object]) -> None:
    """Measure the networks whole that tables need to predict others; rows follow when they are asked for."""
    for table in measurers:
        if isinstance(table, LookupTable) and len(table.whole) < LEAST:
            context.callback.stage(f"measuring {LEAST} networks for the table of {table.metric.name}")
            for _ in build(table, context.source.net, LEAST, np.random.default_rng(context.recipe.seed), still=0):
                pass


def check_device(context: Context, study: Study) -> None:
    """Say that the device is another than the one that the study is of."""
    known = (study.journal.header or {}).get("target")
    if known and known["fingerprint"] != context.fingerprint:
        several = len(context.latencies) > 1
        where = f"one of {', '.join(context.latencies)} is" if several else f"{context.target} is"
        raise StoreError(
            f"{context.run} holds another study: {where} not the device that it was measured on; "
            "use another output directory"
        )


def search(context: Context, study: Study, retry: str = "") -> Front:
    """Measure networks until the study holds as many as the recipe asks for; with ``retry="failed"`` those that
    could not be measured once more. Returns the front."""
    callback, recipe = context.callback, context.recipe
    callback.stage("searching")
    check_device(context, study)
    context.run.write_info(describe(context, study))  # with what training has found
    if study.warm_start and not study.records:
        callback.stage(f"starting from {len(study.warm_start)} networks of {recipe.search.warm_start}")
    strategy = STRATEGIES.make(recipe.search.strategy)

    def watch(step: Step) -> None:
        callback.measured(step, study)

    study.run(strategy, recipe.evaluations, watch, retry=retry, executor=context.executor)
    if failed := failed_of(study.records):
        callback.stage(f"{failed}; --retry failed measures them again")
    front = study.front()
    if front and all(r.measurements[front.objectives[0].name].at_chance for r in front):
        callback.stage(
            "warning: no network on the front is better than a constant answer: train longer, or with "
            "another train.optimizer"
        )
    write_json(context.run.front, [record.to_json() for record in front])
    info, number = describe(context, study), len(study.records)
    if info.judged != number:
        info = replace(info, predictability=cross_validate(study.problem, study.records), judged=number)
    context.run.write_info(info)
    return front


def require_searched(context: Context, study: Study) -> None:
    """Say how to get a front where there is none."""
    if not study.records:
        raise NetwrightError(f"no network was measured in {context.run} yet: run 'netwright search' with it first")


def describe(context: Context, study: Study) -> RunInfo:
    """What the directory is of; what was found out of the same records stays."""
    source = context.source
    largest = study.journal.found.get(source.space.largest)
    known = {name: largest.values[name] for name in METRICS if name in largest.values} if largest else {}
    info = RunInfo(
        name=context.name,
        folder=context.folder,
        recipe=context.recipe.to_json(),
        metrics=study.metrics,
        space_size=source.space.size,
        largest=source.counts_of(source.space.largest) or known,
        given=_given(context, study),
        untrained=context.untrained,
        command=shlex.join(["netwright", *sys.argv[1:]]),
        commit=git_commit(),
        versions=versions(),
        plain={candidate.id: words for candidate, words in plain_cuts(source).items()},
    )
    try:
        before = context.run.read_info()
    except NetwrightError:
        return info
    return replace(info, predictability=before.predictability, judged=before.judged)


def _given(context: Context, study: Study) -> dict[str, Measurement]:
    """The figures of the given model: how well it did before it was trained further; its counts; and, where the search
    has measured the largest network, what the target says of it."""
    source, training = context.source, context.run.read_training()
    judged = training.given if training is not None else {}
    if source.untrained or (context.data is not None and not judged):
        return {}
    if context.quality is not context.validation:  # it was not judged on the target
        judged = {name: replace(m, details={**m.details, PRECISION: "float32"}) for name, m in judged.items()}
    largest = study.journal.found.get(source.space.largest)
    there = [x.name for m in context.on_target if not m.depends_on_weights for x in m.metrics]
    measured = {name: largest.measurements[name] for name in there if name in largest.measurements} if largest else {}
    return {**judged, **{name: m for name, m in measured.items() if m.is_complete}, **counts_of_largest(context)}


def counts_of_largest(context: Context) -> dict[str, Measurement]:
    """What the whole network costs, by metric name."""
    counts = context.source.counts_of(context.source.space.largest)
    return {name: Measurement(value, METRICS[name].unit, kind="exact") for name, value in counts.items()}


def _study_key(context: Context, store: Store) -> dict[str, Any]:
    """What must be the same for a study to be continued."""
    recipe = context.recipe.to_json()
    # That some options alone are kept is said by the space itself.
    space = [part for part in context.recipe.space if part != "choices"]
    key = context.recipe.parts(*space, "data", "task", "metric", "train", "seed", "threads")
    key["calibration"] = f"{context.recipe.search.calibration} examples as trained on"
    limited = " ".join(context.recipe.limits)
    header = read_header(store)
    # Limits come and go: once a study is of a target it stays so, and one that is not never becomes it.
    ours = [x.name for m in context.on_target for x in m.metrics]
    measured = any(x in context.recipe.objectives or x in limited for x in ours)
    if "target" in header if header is not None else measured:
        wish = {"target": recipe["target"], **{name: value for name, value in recipe["latency"].items() if value != ""}}
        if context.latency.lengths:
            wish["lengths"] = {str(tokens): share for tokens, share in context.latency.lengths}
        known = (header or {}).get("target", {})
        # A device is asked who it is when something is to be measured there, and not before.
        trusted = wish == {name: value for name, value in known.items() if name != "fingerprint"}
        key["target"] = known if trusted else {**wish, "fingerprint": context.fingerprint}
    if context.data is not None and context.data.fingerprint:
        key["data_fingerprint"] = context.data.fingerprint
    if context.source.fingerprint is not None:
        key["fingerprint"] = context.source.fingerprint
    return key
