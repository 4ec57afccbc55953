"""What a trace of the whole network tells of the stand-ins of modules, so that they are counted from the table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..stand_ins import Around, Instead, Passthrough, Scaled, StandIn, Zeros
from ..trace import ModuleCall, Op, Ref, Trace

StandIns = Mapping[str, frozenset[StandIn]]
"""By module, all that may run in its place."""


class Untabulated(Exception):
    """A network whose candidates' counts no table holds."""


@dataclass(frozen=True)
class Given:
    """What is given in the place of one result of a module that is left out.

    Args:
        result, source: the positions of the result, and of the argument of which it is made.
        op: the operator that makes it; none where the argument itself is given.
    """

    result: int
    source: int
    op: str = ""


def arounds(stand_ins: StandIns) -> dict[str, StandIn]:
    """What runs before and after modules. Where it does not, an axis skips it: it passes on what it takes.

    Raises :class:`Untabulated` for a module that has several before it, or after it.
    """
    found: dict[str, StandIn] = {}
    for path, others in stand_ins.items():
        own = [other for other in others if isinstance(other, Around)]
        before, after = {other.before for other in own} - {None}, {other.after for other in own} - {None}
        if len(before) > 1 or len(after) > 1:
            raise Untabulated
        if own:
            found[path] = Around(next(iter(before), None), next(iter(after), None))
    return found


def given_instead(trace: Trace, stand_ins: StandIns, skipped: Iterable[str]) -> dict[str, list[Given]]:
    """What is given in the place of the results of each of these modules, where it is left out.

    Raises :class:`Untabulated` for modules of which the trace does not tell that.
    """
    found: dict[str, list[Given]] = {}
    for path in skipped:
        own = [other.passthrough for other in stand_ins.get(path, ()) if isinstance(other, Instead)]
        if len(own) != 1 or path not in trace.calls:
            raise Untabulated
        found[path] = list(_given(own[0], trace.calls[path].result, trace.calls[path], trace.around[path]))
        made = [each for each in found[path] if each.op]
        if made and (not trace.runs(path) or any(_is_same(trace, each) for each in made)):
            raise Untabulated
    return found


def _given(passthrough: Passthrough, result: Any, call: ModuleCall, around: tuple[int, int]) -> Iterator[Given]:
    if isinstance(passthrough, tuple) and isinstance(result, tuple) and len(passthrough) == len(result):
        for part, own in zip(passthrough, result, strict=True):
            yield from _given(part, own, call, around)
        return
    if passthrough is None:
        return
    out = result.position if isinstance(result, Ref) else around[1]
    of: Any = passthrough
    op = ""
    if isinstance(passthrough, Zeros | Scaled):
        of, op = (passthrough.like, "zeros_like") if isinstance(passthrough, Zeros) else (passthrough.of, "mul")
    first = next(iter(call.kwargs.values()), None) if of == 0 else None
    source = call.kwargs.get(of) if isinstance(of, str) else call.args[of] if of < len(call.args) else first
    if not isinstance(source, Ref):
        if source is not None and of != 0:
            raise Untabulated
        source = Ref(around[0])
    yield Given(out, source.position, op)


def _is_same(trace: Trace, given: Given) -> bool:
    return trace.buffers[given.result] == trace.buffers[given.source]


def with_instead(trace: Trace, instead: Mapping[str, Sequence[Given]]) -> tuple[Trace, dict[int, str]]:
    """A trace without what makes one result of those of all options of a menu, and with what makes the results that
    are given instead of others', behind each module; and the places of these operators, with the module."""
    menus = {call.menu for call in trace.menus}
    behind: dict[int, list[str]] = {}
    for path in sorted(instead, reverse=True):  # the inner before the outer
        if any(given.op for given in instead[path]):
            behind.setdefault(trace.calls[path].stop, []).append(path)
    ops: list[Op] = []
    made: dict[int, str] = {}
    for i in range(len(trace.ops) + 1):
        for path in behind.get(i, ()):
            for given in (each for each in instead[path] if each.op):
                made[len(ops)] = path
                ops.append(Op(given.op, path, (given.source,), (given.result,)))
        if i < len(trace.ops) and trace.ops[i].module not in menus:
            ops.append(trace.ops[i])
    return replace(trace, ops=ops), made
