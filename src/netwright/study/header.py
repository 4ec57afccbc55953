"""What a study is of, as its journal keeps it, and in words how two studies differ."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ..core.candidate import digest
from ..core.metric import Metric
from ..core.record import Record
from ..core.space import Space

SHOWN = 60
"""Characters of a value that are shown."""


def as_json(value: Any) -> Any:
    """JSON's view of a value: tuples are lists."""
    if isinstance(value, list | tuple):
        return [as_json(v) for v in value]
    if isinstance(value, Mapping):
        return {k: as_json(v) for k, v in value.items()}
    return value


def header_of(
    space: Space, objectives: Sequence[Metric], seed: int, warm_start: Sequence[Record], key: Mapping[str, Any]
) -> dict[str, Any]:
    """The first entry of a study's journal: what must be the same for it to be continued, and the choices with their
    options, to tell in which two spaces differ."""
    warm = {"warm_start": digest([[r.candidate.key, r.values] for r in warm_start])} if warm_start else {}
    header = {
        "space": space.fingerprint,
        "choices": {choice.name: list(choice.options) for choice in space},
        "objectives": [[m.name, m.unit, m.direction, m.exact] for m in objectives],
        "seed": seed,
        **warm,
        **key,
    }
    return {name: as_json(value) for name, value in header.items()}


def other_study(then: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """In words, the first thing in which the headers of two studies differ; empty where they are of one study."""
    for name in {**then, **now}:
        if name == "choices" or then.get(name) == now.get(name):  # choices only explain the space
            continue
        match name:
            case "space":
                return f"its space is another one: {_spaces(then.get('choices'), now.get('choices'))}"
            case "objectives":
                return "its objectives is {}, here it is {}".format(*_objectives(then.get(name), now.get(name)))
            case "warm_start":
                return "its warm start has other records than here"
            case _:
                return _difference(name, then.get(name), now.get(name))
    return ""


def _difference(name: str, then: Any, now: Any) -> str:
    if isinstance(then, Mapping) and isinstance(now, Mapping):
        key = next(k for k in {**then, **now} if then.get(k) != now.get(k))
        return _difference(f"{name}.{key}", then.get(key), now.get(key))
    if _is_digest(then) and _is_digest(now):  # nobody is helped by two of them
        return f"its {name} is another one than here"
    was, is_ = contrast(then, now)
    return f"its {name} is {was}, here it is {is_}"


def contrast(then: Any, now: Any) -> tuple[str, str]:
    """Two values that differ, each short enough to be read, and so that their texts differ too."""
    was, is_ = (_text(then), _text(now))
    if was == is_:
        was, is_ = (f"{value!r} ({type(value).__name__})" for value in (then, now))
    if max(len(was), len(is_)) <= SHOWN:
        return was, is_
    alike = next((i for i, (a, b) in enumerate(zip(was, is_, strict=False)) if a != b), min(len(was), len(is_)))
    begin = max(0, alike - SHOWN // 3)
    return _window(was, begin), _window(is_, begin)


def _window(text: str, begin: int) -> str:
    part = text[begin : begin + SHOWN - 3]
    return ("..." if begin else "") + part + ("..." if begin + len(part) < len(text) else "")


def _text(value: Any) -> str:
    if value is None:
        return "not set"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _is_digest(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch("[0-9a-f]{12,}", value) is not None


def _objectives(then: Any, now: Any) -> tuple[str, str]:
    """Objectives as their names, and with what else differs between those of one name."""
    then, now = then or [], now or []
    differ = [i for i in range(1, 4) if any(a[:1] == b[:1] and a[i] != b[i] for a in then for b in now)]

    def text(objectives: Sequence[Any]) -> str:
        return ", ".join(" ".join([str(o[0]), *(_property(i, o[i]) for i in differ)]) for o in objectives) or "not set"

    return text(then), text(now)


def _property(at: int, value: Any) -> str:
    """One of the entries of an objective after its name: unit, direction, whether it is exact."""
    if at == 1:
        return f"in {value}" if value else "without a unit"
    return f"({value})" if at == 2 else "(exact)" if value else "(measured)"


def _spaces(then: Mapping[str, Any] | None, now: Mapping[str, Any] | None) -> str:
    then, now = then or {}, now or {}
    said = []
    for name in {**then, **now}:
        if then.get(name) != now.get(name):
            was, is_ = contrast(then.get(name), now.get(name))
            said.append(
                f"{name!r} was no choice then" if name not in then
                else f"{name!r} is no choice here" if name not in now
                else f"{name!r} had the options {was}, here {is_}"
            )  # fmt: skip
    more = f", and {len(said) - 3} choices more" if len(said) > 3 else ""
    if said:
        return "; ".join(said[:3]) + more
    if list(then) != list(now):
        return "the same choices in another order"
    return "the same choices, but other conditions of theirs or other listed candidates"
