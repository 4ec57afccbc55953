"""Files that are not what they should be, made of such as are: bytes that changed, and values of other types."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from hypothesis import strategies as st

HOSTILE = (
    "null", "true", "0", "-1", "7", "1.5", "-0.0", "1e308", "1e999", "-1e999", "NaN", "Infinity", "1" + "0" * 400,
    "9" * 5000, '""', '"x"', '"\\u0000"', '"\\ud800"', '"\\u001b[31m"', '"[red]"', '"../../etc/passwd"', '"/dev/zero"',
    '"1e3"', '"none"', json.dumps("long" * 500), "[]", "[[]]", "[null]", "{}", '{"": null}',
    '{"value": 1}', "[1, 2, 3]", "[" * 50 + "]" * 50, "[" * 200 + "]" * 200, "[" * 5000 + "]" * 5000,
    '{"a":' * 200 + "1" + "}" * 200, "undefined",
)  # fmt: skip
"""JSON texts, and such as are none, that may stand where another value should."""

Place = tuple[Any, ...]


@st.composite
def mutations(draw: st.DrawFn, content: bytes) -> bytes:
    """The bytes of a file with a few changes: bits that flipped, a part cut off, taken out, doubled or put in, another
    encoding."""
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, max(len(content) - 1, 0)))
        upto = min(at + draw(st.integers(1, 64)), len(content))
        match draw(st.sampled_from(("flip", "cut", "out", "double", "in", "encoding"))):
            case "flip" if content:
                content = content[:at] + bytes([content[at] ^ 1 << draw(st.integers(0, 7))]) + content[at + 1 :]
            case "cut":
                content = content[:at]
            case "out":
                content = content[:at] + content[upto:]
            case "double":
                content = content[:upto] + content[at:upto] * draw(st.sampled_from((1, 2, 100))) + content[upto:]
            case "in":
                content = content[:at] + draw(st.sampled_from(_INSERTED)) + content[at:]
            case _:
                content = draw(st.sampled_from(_encoded(content)))
    return content


_INSERTED = (
    b"\0", b"\xff", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\r", b"\n", b'"', b"'", b",", b"\t", b"[" * 2000, b"-",
    b"1e999", b"9" * 5000, b"nan", b"&a [*a]", b"!!python/object:os.system ", b"\x1b[31m", b"{", b"}", b": ",
    "\u2028\u202e".encode(),
)  # fmt: skip


def _encoded(content: bytes) -> list[bytes]:
    text = content.decode("utf-8", "replace")
    return [b"\xef\xbb\xbf" + content, text.encode("utf-16"), text.encode("utf-32-le"), content.replace(b"\n", b"\r")]


@st.composite
def swaps(draw: st.DrawFn, value: Any) -> bytes:
    """The JSON of a value in which one or two places hold something else, are left out, or stand twice."""
    places = list(_places(value))
    edits = {
        draw(st.sampled_from(places)): draw(st.sampled_from(("out", "twice", *HOSTILE)))
        for _ in range(draw(st.integers(1, 2)))
    }
    return _written(value, (), edits).encode()


def _places(value: Any, at: Place = ()) -> Iterator[Place]:
    yield at
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in inside:
        yield from _places(each, (*at, key))


def _written(value: Any, at: Place, edits: dict[Place, str]) -> str:
    edit = edits.get(at)
    if edit is not None and edit not in ("out", "twice"):
        return edit
    if isinstance(value, dict):
        pairs = [(key, f"{json.dumps(key)}: {_written(each, (*at, key), edits)}") for key, each in value.items()]
        return "{" + ", ".join(_times(pairs, at, edits)) + "}"
    if isinstance(value, list):
        entries = [(i, _written(each, (*at, i), edits)) for i, each in enumerate(value)]
        return "[" + ", ".join(_times(entries, at, edits)) + "]"
    return json.dumps(value)


def _times(parts: Sequence[tuple[Any, str]], at: Place, edits: dict[Place, str]) -> Iterator[str]:
    for key, text in parts:
        yield from [text] * {"out": 0, "twice": 2}.get(edits.get((*at, key), ""), 1)
