"""What a study is asked for, as people write it: objectives, limits, settings, records to start from."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from ..core.arguments import shown
from ..core.candidate import Candidate
from ..core.errors import CallError, NetwrightError, SpaceError
from ..core.limits import Limit
from ..core.metric import Metric
from ..core.record import Record
from ..core.space import Space
from ..measure.base import Measurer
from .failures import unmeasured

EXAMPLE = "nw.Latency('onnxruntime')"


def check_settings(net: Any, objectives: Any, seed: Any, racing: float) -> None:
    """Raise for what cannot be searched, and for settings of a study that are none."""
    if not objectives:
        raise NetwrightError("a study needs at least one objective, for example objectives=[nw.Accuracy(loader)]")
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise CallError(f"a seed is a whole number of 0 or more, not {seed}")
    if not 0 <= racing < 1:
        raise NetwrightError(f"racing is a confidence below 1, such as 0.95, or 0 for none, not {racing}")
    if not isinstance(getattr(net, "space", None), Space):
        raise CallError(
            f"a study searches what has a space and extract(), not a {type(net).__name__}; of a torch module "
            "nw.wrap(module, example_inputs) makes a super-network"
        )


def check_warm_start(record: Any, space: Space) -> Record:
    """A record of another study, if it is one of this space."""
    if not isinstance(record, Record):
        raise CallError(f"warm_start= holds the records of another study, not a {type(record).__name__}")
    try:
        space.candidate(record.candidate)
    except SpaceError as error:
        raise NetwrightError(f"warm_start= holds records of another space: {error}") from None
    return record


def check_evaluations(evaluations: Any) -> None:
    """Raise for what is no number of networks to be measured."""
    if isinstance(evaluations, bool) or not isinstance(evaluations, int | np.integer) or evaluations < 0:
        raise CallError(f"evaluations is a whole number of networks, 0 or more, not {shown(evaluations)}")


def proposed(strategy: Any, candidates: Any, space: Space) -> list[Candidate]:
    """What a strategy proposes, before it is journalled: a person's own may give anything."""
    name = type(strategy).__name__
    if not isinstance(candidates, list | tuple) or not all(isinstance(each, Mapping) for each in candidates):
        raise CallError(
            f"{name}.ask() gives a list of candidates, empty where there are no more, not {shown(candidates)}"
        )
    try:
        return [space.candidate(each) for each in candidates]
    except SpaceError as error:
        raise CallError(f"{name}.ask() gives what is no candidate of this space: {error}") from None


def asked_for(objectives: Any, record: Any) -> tuple[list[Measurer | Metric], list[Measurer]]:
    """Objectives with metrics for the names of those that a measurer finds; and the further measurers.

    Args:
        objectives: measurers, metrics, and names.
        record: further measurers.

    Raises :class:`CallError` for what is none of them, and names that no measurer finds, with what to give instead;
    and where two objectives have one name.
    """
    objectives, record = _several("objectives", objectives), _several("record", record)
    for each in (*objectives, *record):
        _check_metrics(each, each in objectives)
    found = {metric.name: metric for m in (*objectives, *record) if isinstance(m, Measurer) for metric in m.metrics}
    for what, others in (("objectives", objectives), ("record", record)):
        for each in others:
            if isinstance(each, str) and (what == "record" or each not in found):
                raise CallError(f"{what}: nothing here measures {each!r}; {unmeasured(each, found)}")
            if not isinstance(each, Measurer | Metric | str) or (what == "record" and isinstance(each, Metric)):
                raise CallError(f"{what} takes measurers, such as {EXAMPLE}, not {shown(each)}")
    wanted = [found[each] if isinstance(each, str) else each for each in objectives]
    if len({(m if isinstance(m, Metric) else m.metrics[0]).name for m in wanted}) < len(wanted):
        raise NetwrightError("two objectives have one name; a study is of one target, and each metric of one measurer")
    return wanted, record


def listed(limits: Any) -> list[Any]:
    """Limits as a list, also where one is given.

    Raises :class:`CallError` for what is none.
    """
    several = [limits] if isinstance(limits, str | Limit) else limits
    if not isinstance(several, Iterable):
        raise CallError(f"limits takes a list, such as ['latency <= 5 ms'], not {shown(limits)}")
    several = list(several)
    for limit in several:
        if not isinstance(limit, str | Limit):
            raise CallError(f"a limit is a text such as 'latency <= 5 ms', not {shown(limit)}")
    return several


def _several(what: str, value: Any) -> list[Any]:
    """What is listed; a class of measurers that need no settings is as good as one."""
    if isinstance(value, str | Mapping) or not isinstance(value, Iterable):
        raise CallError(f"{what} takes a list, such as [{EXAMPLE}], not {shown(value)}")
    return [each() if _makes_one(each) else each for each in value]


def _makes_one(kind: Any) -> bool:
    if not isinstance(kind, type) or not issubclass(kind, Measurer) or inspect.isabstract(kind):
        return False
    parameters = inspect.signature(kind).parameters.values()
    return not any(p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in parameters)


def _check_metrics(measurer: Any, is_objective: bool) -> None:
    """Raise where a measurer does not say what it finds; of one that is an objective its first metric is it."""
    metrics = getattr(measurer, "metrics", None)
    right = isinstance(metrics, list | tuple) and all(isinstance(m, Metric) for m in metrics)
    right = right and bool(metrics or not is_objective)
    if isinstance(measurer, Measurer) and not right:
        raise CallError(
            f"{type(measurer).__name__}.metrics is a tuple of what it finds, such as "
            f'(nw.Metric("size", "B"),), not {shown(metrics)}'
        )
