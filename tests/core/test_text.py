"""Text that others wrote is shown as text."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netwright.core.text import JOINERS, is_unicode, markdown, markdown_code, printable


@given(st.text(st.characters(exclude_categories=())))
def test_what_is_shown_steers_nothing_and_can_be_written(text: str) -> None:
    shown = printable(text)
    assert all(unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Zl", "Zp") or c in JOINERS for c in shown)
    assert shown.encode().decode() == shown and printable(shown) == shown


@pytest.mark.parametrize(
    "text, shown",
    [
        ("plain [red] <b> \\x", "plain [red] <b> \\x"),
        ("größer ≤ 5 µs 网络 👩\u200d🔬", "größer ≤ 5 µs 网络 👩\u200d🔬"),
        ("\x1b[2Jgone", "\\x1b[2Jgone"),
        ("a\rb\nc\td\0e\x7f\x9b", "a\\rb\\nc\\td\\x00e\\x7f\\x9b"),
        ("\u202egnp.exe\u2069 \u2028", "\\u202egnp.exe\\u2069 \\u2028"),
        ("caf\udce9", "caf\\udce9"),
    ],
)
def test_texts(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_in_markdown() -> None:
    assert markdown("# <b>*x*</b> [a](b) `c`\n|") == "\\# \\<b\\>\\*x\\*\\</b\\> \\[a\\](b) \\`c\\`\\\\n\\|"
    assert markdown_code("a`b``c\x1b") == "``` a`b``c\\x1b ```" and markdown_code("x*y") == "`x*y`"


def test_what_is_no_unicode() -> None:
    assert is_unicode("größer \U0001f600") and not is_unicode("caf\udce9")
