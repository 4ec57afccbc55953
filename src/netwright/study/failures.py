"""Networks that could not be measured: why, and when they are measured again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from ..core.candidate import digest
from ..core.code import code_digest
from ..core.errors import MeasureError, NetwrightError, did_you_mean
from ..core.limits import Limit
from ..core.metric import Metric
from ..core.record import Record
from ..measure.base import Measurer

RETRIES = ("failed",)
"""What can be measured again."""

TRIED = 3
"""Networks, the first of a study, that must all lack a metric for it to be one that nothing measures."""

ATTEMPTS = 3
"""Processes that may end while a candidate is measured, before it is taken to be what ends them."""

ENDS = f"the process ended {ATTEMPTS} times while this was measured: it crashed, or was killed"
"""The reason of a candidate that is not measured any more."""

BY, MISSING, ENDED = "measured_by", "missing", "ended"
"""Entries of a failed record's provenance: what failed to measure it, the metric that was not among its figures, and
how many processes ended while it was measured."""

MEASURERS = {
    "accuracy": "nw.Accuracy(batches)",
    "latency": 'nw.Latency("onnxruntime,threads=1")',
    "throughput": 'nw.Throughput("onnxruntime,threads=1")',
    "memory": 'nw.Memory("onnxruntime,threads=1")',
    "energy": 'nw.Energy("onnxruntime,threads=1")',
}
"""What measures the metrics that recipes know; counts are ``nw.Count(name)``."""


def check_retry(retry: str) -> None:
    """Raise for what cannot be measured again."""
    if retry and retry not in RETRIES:
        raise NetwrightError(f"retry is 'failed', or empty to measure nothing again, not {retry!r}")


def check_measured_by(measurers: Sequence[Measurer], objectives: Sequence[Metric], limits: Sequence[Limit]) -> None:
    """Raise :class:`MeasureError` where something cannot be measured here, or nothing measures it."""
    for measurer in measurers:
        measurer.require()
    found = [metric.name for measurer in measurers for metric in measurer.metrics]
    asked = [("objective", m.name) for m in objectives] + [("limit", limit.metric) for limit in limits]
    for kind, name in asked:
        if name not in found:
            raise MeasureError(f"nothing measures {name!r}, which is {kind}: {unmeasured(name, found)}")


def failed_by(code: Iterable[Any], needed: Iterable[str]) -> str:
    """A digest of what decides whether a measurement fails, as far as it can be seen: the code that measures, and the
    metrics that are asked for. Who failed is measured again where it has changed since."""
    return digest([[code_digest(each) for each in code], sorted(needed)])


def commonest(records: Sequence[Record]) -> str:
    """The reason for which most of the records failed."""
    (reason, count), *others = Counter(r.reason for r in records).most_common()
    more = f"there are {len(others)} others" if len(others) > 1 else "there is another"
    return f"{reason} (the reason of {count}; {more})" if others else reason


def failed_of(records: Sequence[Record]) -> str:
    """How many networks failed, and why most often, in words; empty where none did."""
    failed = [r for r in records if r.status == "failed"]
    return f"{len(failed)} of {len(records)} networks could not be measured: {commonest(failed)}" if failed else ""


def never_measured(records: Sequence[Record]) -> bool:
    """Whether one metric was among the figures of none of the records, though all were measured, and there are enough
    of them to tell."""
    if len(records) < TRIED or (first := records[0].provenance.get(MISSING)) is None:
        return False
    return all(r.provenance.get(MISSING) == first for r in records)


def unmeasured(name: str, known: Iterable[str]) -> str:
    """What to do where nothing measures a metric, in words."""
    near = did_you_mean(name, known)
    if near.startswith("did"):
        return near
    others = f"; {near}" if near.startswith("known") else ""
    return f"give what measures it, such as {MEASURERS.get(name, f'nw.Count({name!r})')}{others}"
