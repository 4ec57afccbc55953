"""Text that others wrote, such as reasons, names and paths: shown as text, wherever it is shown."""

from __future__ import annotations

import re
import unicodedata

HIDDEN = ("Cc", "Cf", "Cs", "Zl", "Zp")
"""Categories of characters that steer what shows them, or that cannot be written: control characters, marks of the
writing direction, halves of surrogate pairs, separators of lines."""

JOINERS = "\u200c\u200d"
"""Marks that words of some languages, and pictures, are written with."""

_ASCII = re.compile(r"[ -~]*")
_MARKDOWN = re.compile(r"[\\`*_\[\]<>&#|~!$]")


def printable(text: str) -> str:
    """A text as it may be shown on a terminal or on a page: whatever would steer these, such as an escape sequence, a
    line break or a mark of the writing direction, stands as Python writes it, ``\\x1b``. The rest is as it was."""
    if _ASCII.fullmatch(text):
        return text
    return "".join(_escaped(each) if _is_hidden(each) else each for each in text)


def is_unicode(text: str) -> bool:
    """Whether a text can be written as UTF-8: a path of other bytes, which Python reads as halves of surrogate pairs,
    cannot, and libraries in C++ do not take it."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def markdown(text: str) -> str:
    """A text as a part of a line of Markdown that shows it as it is."""
    return _MARKDOWN.sub(lambda found: f"\\{found[0]}", printable(text))


def markdown_code(text: str) -> str:
    """A text as code within a line of Markdown."""
    shown = printable(text)
    fence = "`" * (1 + max(map(len, re.findall("`+", shown)), default=0))
    pad = " " if "`" in shown else ""
    return f"{fence}{pad}{shown}{pad}{fence}"


def _is_hidden(character: str) -> bool:
    return unicodedata.category(character) in HIDDEN and character not in JOINERS


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()
