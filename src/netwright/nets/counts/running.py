"""Which operators of a trace run in a candidate, and what runs in the place of those that do not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache

from ..stand_ins import Instead, Scaled, StandIn, Zeros, passes_on
from ..trace import Op, Trace


def zeros_of(stand_ins: Mapping[str, frozenset[StandIn]]) -> frozenset[str] | None:
    """The modules that give zeros like their first argument when they are left out; None where something else runs that
    the trace of the whole network does not tell of."""
    zeros = set()
    for path, others in stand_ins.items():
        given = {other.passthrough if isinstance(other, Instead) else Scaled(1) for other in others}
        first = {what[0] if isinstance(what, tuple) and set(what[1:]) <= {None} else what for what in given}
        if first == {Zeros()}:
            zeros.add(path)
        elif not all(map(passes_on, given)):
            return None
    return frozenset(zeros)


def with_zeros(trace: Trace, zeros: frozenset[str]) -> tuple[Trace, dict[int, str]]:
    """A trace with one operator more behind each of some modules, which makes zeros, and where these are."""
    ops: list[Op] = []
    made: dict[int, str] = {}
    ends: dict[int, list[str]] = {}
    for path in sorted(zeros, reverse=True):  # the inner before the outer
        ends.setdefault(max(i for i, op in enumerate(trace.ops) if inside(op.module, (path,))), []).append(path)
    for i, op in enumerate(trace.ops):
        ops.append(op)
        for path in ends.get(i, ()):
            into, out = trace.around[path]
            made[len(ops)] = path
            ops.append(Op("zeros_like", path, (into,), (out,)))
    return replace(trace, ops=ops), made


@lru_cache(maxsize=65536)
def inside(path: str, around: tuple[str, ...]) -> bool:
    return any(path == a or path.startswith(a + ".") for a in around)
