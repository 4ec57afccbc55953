"""What a job would be, before anything costly: sizes, what is elastic, what the limits ask for, time and memory."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from ..core.candidate import Candidate
from ..core.limits import Limit, is_relative, metric_named
from ..core.metric import Measurement
from ..core.temporary import TemporaryFolder
from ..measure.base import EvaluationContext
from ..measure.counts import METRICS
from ..nets.report import Report
from ..nets.supernet import SuperNet
from ..recipe.load import folder_of, load, name_of
from ..recipe.schema import Recipe
from ..training import loop
from ..training.defaults import default_optimizer
from .callback import Callback, NullCallback
from .context import Context, resolve
from .limits import limits_of
from .run_directory import RunDirectory

STEPS = 3
"""Steps that are timed, after one that is not."""

HANDED_BACK = 3
"""Networks that are fine-tuned in the end, at most."""


@dataclass(frozen=True)
class Cost:
    """What a part of a job takes.

    Args:
        what: the part.
        count: how many of what it takes one after the other: steps, networks.
        unit: what these are.
        seconds: of each.
    """

    what: str
    count: int
    unit: str
    seconds: float


@dataclass(frozen=True)
class Plan:
    """What a job would be.

    Args:
        space_size: the number of networks.
        report: what is elastic, and what is not and why; None where nothing says it.
        whole, smallest: figures of the largest and the smallest network by metric name.
        limits: those that can be told before training.
        unknown: those that cannot, since they are relative to what training makes of the model.
        costs: of the parts of the job, as far as there are any.
        memory: bytes that this process has needed at most, with steps of training.
    """

    space_size: int
    report: Report | None
    whole: Mapping[str, Measurement]
    smallest: Mapping[str, Measurement]
    limits: list[Limit]
    unknown: list[str]
    costs: list[Cost] = field(default_factory=list)
    memory: int = 0

    @property
    def seconds(self) -> float:
        """Of the whole job, about."""
        return sum(cost.count * cost.seconds for cost in self.costs)

    def broken(self) -> list[tuple[Limit, Measurement]]:
        """The limits that even the smallest network does not keep, with the nearest: its figure."""
        known = ((limit, self.smallest.get(limit.metric)) for limit in self.limits)
        return [(limit, found) for limit, found in known if found is not None and not limit.allows(found.value)]


def plan(
    recipe: Recipe | Mapping[str, Any] | str | Path,
    *,
    overrides: Mapping[str, Any] | None = None,
    callback: Callback | None = None,
) -> Plan:
    """Measure a few steps and networks of a job, and say what the whole of it would take. Nothing is kept.

    Args: see :func:`netwright.fit`.
    """
    wish = load(recipe, overrides)
    with TemporaryFolder() as folder:
        nowhere = RunDirectory(folder / "plan")
        context = resolve(wish, nowhere, name_of(recipe), folder_of(recipe), callback or NullCallback())
        context.source.require_networks()
        limits = limits_of(context, trained=False)
        wanted = {*wish.objectives, *(limit.metric for limit in limits)}
        space, net = context.source.space, context.source.net
        begun = time.perf_counter()
        whole = _figures(context, space.largest, wanted, judged=True)
        one = time.perf_counter() - begun
        smallest = _figures(context, space.smallest, wanted, judged=False)
        costs = [*_training(context), Cost("search", min(wish.evaluations, space.size), "networks", one)]
        known = {limit.metric for limit in limits}
        return Plan(
            space_size=space.size,
            report=net.report if isinstance(net, SuperNet) else None,
            whole=whole,
            smallest=smallest,
            limits=limits,
            unknown=[text for text in wish.limits if is_relative(text) and metric_named(text) not in known],
            costs=[cost for cost in costs if cost.count],
            memory=_peak(),
        )


def _figures(context: Context, candidate: Candidate, wanted: set[str], judged: bool) -> dict[str, Measurement]:
    """What a network costs, and with ``judged`` how well it does as it is given."""
    counts = context.source.counts_of(candidate)
    found = {name: Measurement(value, METRICS[name].unit, kind="exact") for name, value in counts.items()}
    evaluation = EvaluationContext(context.source.net, candidate, context.calibration, judge=context.quality)
    for measurer in context.measurers:
        names = {m.name for m in measurer.metrics}
        if names & wanted and not names <= found.keys() and (judged or not measurer.depends_on_weights):
            measurer.require()
            found |= measurer.measure(evaluation)
    return found


def _training(context: Context) -> list[Cost]:
    """Of training and fine-tuning: by a few steps, which change the weights that the context has."""
    recipe = context.recipe
    if context.untrained or context.data is None or not recipe.train.epochs:
        return []
    loader = context.training_loader()
    batches = list(islice(loader, STEPS + 1))
    per_epoch = _batches(loader, batches)
    net = context.source.supernet()
    optimizer = recipe.train.optimizer or default_optimizer(net.module, "pretrained")[0]

    def seconds(some: list[Any], rule: str) -> float:
        begun = time.perf_counter()
        loop.train(
            net, some, task=context.task, epochs=1, rule=rule, optimizer=optimizer, device=recipe.train.device,
            precision=recipe.train.precision, seed=recipe.seed, evaluate=dict,
        )  # fmt: skip
        return (time.perf_counter() - begun) / len(some)

    seconds(batches[:1], recipe.train.rule)
    several = seconds(batches[1:] or batches, recipe.train.rule)
    alone = seconds(batches[1:] or batches, "largest")
    tuned = per_epoch * recipe.export.epochs * HANDED_BACK
    whole = per_epoch * recipe.train.epochs if context.source.new_head else 0
    return [
        Cost("fine-tuning the whole", whole, "steps", alone),
        Cost("training", per_epoch * recipe.train.epochs, "steps", several),
        Cost("fine-tuning", tuned, "steps", alone),
    ]


def _batches(loader: Any, some: list[Any]) -> int:
    """The batches of an epoch; of a loader that does not say, those that were seen."""
    try:
        return len(loader)
    except TypeError:
        return len(some)


def _peak() -> int:
    """Bytes of memory that this process has had at most; on a GPU, those of PyTorch there."""
    if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return int(torch.cuda.max_memory_allocated())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
