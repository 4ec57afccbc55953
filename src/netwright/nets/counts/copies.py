"""Copies that some candidates do without: ``contiguous`` of what lies in order already, such as a single head."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from ...core.candidate import Option
from ...core.space import Choice
from ..trace import Op, Trace
from .instead import Given

COPIES = frozenset({"clone"})

Absent = Mapping[int, Mapping[str, Iterable[Option]]]
"""Copies, by their place in :attr:`Trace.ops`, with the axes and options without which they are made."""

Shape = tuple[int, ...]


def aligned(whole: Trace, other: Trace) -> tuple[list[Shape], frozenset[int]] | None:
    """The shapes of a cut's tensors in the places of the whole network's, and the copies that it does without, by their
    place in the whole's operators; None where the two differ in any other way."""
    if other.signature() == whole.signature():
        return other.shapes, frozenset()
    places = {position: position for position in range(min(whole.ops[0].writes, default=0))} if whole.ops else {}
    absent, at = set[int](), 0
    for i, op in enumerate(whole.ops):
        if at < len(other.ops) and _is_same(op, other.ops[at], places):
            places.update(zip((*op.reads, *op.writes), (*other.ops[at].reads, *other.ops[at].writes), strict=True))
            at += 1
        elif op.name in COPIES and len(op.reads) == len(op.writes) == 1:
            places[op.writes[0]] = places[op.reads[0]]
            absent.add(i)
        else:
            return None
    if at < len(other.ops) or len(places) < len(whole.shapes):
        return None
    return [other.shapes[places[position]] for position in range(len(whole.shapes))], frozenset(absent)


def _is_same(op: Op, other: Op, places: Mapping[int, int]) -> bool:
    """Whether two operators do the same to the same tensors."""
    if (op.name, op.module, len(op.reads), len(op.writes)) != (
        other.name, other.module, len(other.reads), len(other.writes),
    ):  # fmt: skip
        return False
    own, theirs = (*op.reads, *op.writes), (*other.reads, *other.writes)
    return all(places.get(a, b) == b for a, b in zip(own, theirs, strict=True))


def as_modules(
    trace: Trace, absent: Absent, choices: Iterable[Choice]
) -> tuple[Trace, dict[str, dict[str, tuple[Option, ...]]], dict[str, list[Given]]]:
    """A trace in which each of these copies is made by a module of its own, by axis those modules with the options with
    which they run, and what is given in the place of their results: what they would copy."""
    options, ops = {choice.name: choice.options for choice in choices}, list(trace.ops)
    runs: dict[str, dict[str, tuple[Option, ...]]] = {}
    instead: dict[str, list[Given]] = {}
    for at, axes in absent.items():
        path = f"{ops[at].module}.copy@{at}".lstrip(".")
        instead[path] = [Given(ops[at].writes[0], ops[at].reads[0])]
        for name, without in axes.items():
            kept = tuple(option for option in options[name] if option not in without)
            runs.setdefault(name, {})[path] = kept
        ops[at] = replace(ops[at], module=path)
    return replace(trace, ops=ops), runs, instead
