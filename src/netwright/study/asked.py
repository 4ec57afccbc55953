"""What a study is asked for, as people write it: objectives, limits, settings, records to start from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

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


def asked_for(objectives: Any, record: Any) -> Sequence[Measurer | Metric]:
    """Objectives with metrics for the names of those that a measurer finds.

    Args:
        objectives: measurers, metrics, and names.
        record: further measurers.

    Raises :class:`CallError` for what is none of them, and names that no measurer finds, with what to give instead;
    and where two objectives have one name.
    """
    objectives, record = _several("objectives", objectives), _several("record", record)
    found = {metric.name: metric for m in (*objectives, *record) if isinstance(m, Measurer) for metric in m.metrics}
    for what, others in (("objectives", objectives), ("record", record)):
        for each in others:
            if isinstance(each, str) and (what == "record" or each not in found):
                raise CallError(f"{what}: nothing here measures {each!r}; {unmeasured(each, found)}")
            if not isinstance(each, Measurer | Metric | str) or (what == "record" and isinstance(each, Metric)):
                kind = f"the class {each.__name__}" if isinstance(each, type) else f"a {type(each).__name__}"
                raise CallError(f"{what} takes measurers, such as {EXAMPLE}, not {kind}")
    wanted = [found[each] if isinstance(each, str) else each for each in objectives]
    if len({(m if isinstance(m, Metric) else m.metrics[0]).name for m in wanted}) < len(wanted):
        raise NetwrightError("two objectives have one name; a study is of one target, and each metric of one measurer")
    return wanted


def listed(limits: Any) -> list[Any]:
    """Limits as a list, also where one is given.

    Raises :class:`CallError` for what is none.
    """
    several = [limits] if isinstance(limits, str | Limit) else limits
    if not isinstance(several, Iterable):
        raise CallError(f"limits takes a list, such as ['latency <= 5 ms'], not {limits!r}")
    several = list(several)
    for limit in several:
        if not isinstance(limit, str | Limit):
            raise CallError(f"a limit is a text such as 'latency <= 5 ms', not {limit!r}")
    return several


def _several(what: str, value: Any) -> list[Any]:
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise CallError(f"{what} takes a list, such as [{EXAMPLE}], not {value!r}")
    return list(value)
