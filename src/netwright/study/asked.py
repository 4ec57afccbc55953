"""What a study is asked for: objectives and limits as people write them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ..core.errors import CallError
from ..core.limits import Limit
from ..core.metric import Metric
from ..measure.base import Measurer
from .failures import unmeasured

EXAMPLE = "nw.Latency('onnxruntime')"


def asked_for(objectives: Any, record: Any) -> Sequence[Measurer | Metric]:
    """Objectives with metrics for the names of those that a measurer finds.

    Args:
        objectives: measurers, metrics, and names.
        record: further measurers.

    Raises :class:`CallError` for what is none of them, and names that no measurer finds, with what to give instead.
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
    return [found[each] if isinstance(each, str) else each for each in objectives]


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
