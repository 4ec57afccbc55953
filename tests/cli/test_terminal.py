"""What others wrote is text on the terminal: no markup, no escape sequences."""

from __future__ import annotations

import contextlib
import io
import os
import re
import unicodedata
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netwright.cli.display import Display
from netwright.core.front import front
from netwright.core.metric import Measurement, Metric
from netwright.core.record import Record
from netwright.core.space import Choice, Space
from netwright.core.text import printable
from netwright.training.run import Progress

from .running import command

PIECES = (
    "[red]",
    "[/]",
    "[link=x]",
    ":warning:",
    "\x1b[2J",
    "\x1b]8;;",
    "\x07",
    "\x00",
    "\r",
    "\u202e",
    "\udcff",
    "\\[",
)

ANY = st.lists(
    st.one_of(st.sampled_from(PIECES), st.text(st.characters(exclude_categories=()), max_size=10)), max_size=8
).map(lambda parts: "n" + "".join(parts) + "n")


def shown(text: str) -> str:
    """What a text must look like, but for blanks, which columns are filled with."""
    return re.sub(r"\s", "", printable(text))


@given(ANY, ANY)
def test_whatever_others_wrote_is_seen_and_not_heeded(name, text):
    metric = Metric(name, f"{text}/s", "max")
    space = Space([Choice("a", (1, 2))])
    record = Record(space.smallest, {name: Measurement(1.0, metric.unit)}, objectives=(metric,))
    failed = Record(space.largest, status="failed", reason=text, objectives=(metric,))
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), patch.dict(os.environ, COLUMNS="5000"):
        with Display() as display:
            display.stage(text)
            display.trained(Progress(1, 1, 1, 1, 0.5, 1.0, {name: Measurement(1.0, metric.unit)}))
        display.say(text)
        display.records([record, failed], (metric,))
        display.front(front([record], (metric,)), {record.id: text}, {name: Measurement(1.0, metric.unit)})
    for told, times in ((out.getvalue(), 3), (err.getvalue(), 1)):
        assert all(c == "\n" or (unicodedata.category(c) not in ("Cc", "Cs") and c != "\u202e") for c in told)
        assert told.encode()
        assert re.sub(r"\s", "", told).count(shown(text)) >= times


@pytest.mark.parametrize("text", ["[red]x[/red]", "a\x1b[31mb", ":boom:", "\udcff", "[/]"])
def test_a_mistake_shows_what_was_given(text):
    said = command("records", f"nowhere/{text}").mistake
    assert printable(text) in said and "\x1b" not in said
