"""Limits that no candidate keeps: found out before anything is measured, and told with the nearest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from ..core.errors import InfeasibleConstraints
from ..core.limits import Limit, apart
from ..core.record import Record
from ..strategies.base import Problem, draw_new

DRAWS = 500
"""Candidates that are tried before a search for one that keeps the exact limits."""


def check_exact_limits(problem: Problem, exact: Iterable[str]) -> None:
    """Raise :class:`InfeasibleConstraints` where no candidate seems to keep the limits on the exact metrics named."""
    names, space = set(exact), problem.space
    limits = tuple(limit for limit in problem.limits if limit.metric in names)
    problem = replace(problem, limits=limits)
    if not limits or problem.allows(space.smallest):
        return
    rng = np.random.default_rng(problem.seed)
    tried = [space.smallest, space.largest, *(space.sample(rng) for _ in range(DRAWS))]
    if problem.allowed(tried).any() or draw_new(problem, [], 1, rng, lambda: space.sample(rng)):
        return
    values = problem.exact(tried)
    nearest = int(np.argmin(sum(limit.violations(values[limit.metric]) for limit in limits)))
    raise InfeasibleConstraints(_sentence(limits, {name: float(found[nearest]) for name, found in values.items()}))


def nearest_record(problem: Problem, records: Iterable[Record]) -> Record | None:
    """The record that is least beyond the limits, of those that a limit was measured for."""
    limited = {limit.metric for limit in problem.limits}
    known = [r for r in records if r.status != "failed" and limited & r.values.keys()]
    return min(known, key=lambda r: problem.violation(r.values), default=None)


def infeasible(problem: Problem, records: Sequence[Record]) -> InfeasibleConstraints:
    """The error where no record keeps the limits."""
    record = nearest_record(problem, records)
    if record is None:
        return InfeasibleConstraints("no candidate could be measured")
    limits = [limit for limit in problem.limits if limit.metric in record.values]
    kept = f"network {record.id}, {len(records)} measured; the study is kept"
    return InfeasibleConstraints(f"{_sentence(limits, record.values)} ({kept})")


def _sentence(limits: Sequence[Limit], values: Mapping[str, float]) -> str:
    texts = [(limit, *apart(values[limit.metric], limit)) for limit in limits]
    wanted = " and ".join(f"{x.metric} {x.op} {bound}{x.relative and f' ({x.relative})'}" for x, _, bound in texts)
    found = ", ".join(f"{limit.metric} {value}" for limit, value, _ in texts)
    return f"no candidate keeps {wanted}: the nearest has {found}"
