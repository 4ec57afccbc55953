from __future__ import annotations

from rich.console import Console

from netwright.core.metric import Measurement, Metric
from netwright.report.table import front_table

from .stories import METRICS, records, story


def printed(table) -> str:
    console = Console(width=160)
    with console.capture() as captured:
        console.print(table)
    return captured.get()


def test_the_table_has_a_row_per_network_and_what_is_known_of_it():
    front = story(records(40)).front
    table = front_table(front, (*METRICS, Metric("energy", "mJ")), {})
    assert table.row_count == len(front)
    text = printed(table)
    assert all(record.id in text for record in front)
    assert "accuracy ↑" in text and "latency ↓" in text and "weight bytes " in text
    assert "± 0.40 %" in text
    assert "energy" not in text and "role" not in text


def test_roles_have_a_column_and_are_no_markup():
    front = story(records(40)).front
    text = printed(front_table(front, METRICS, {front[0].id: "[bold]fast[/bold]"}))
    assert "role" in text and "[bold]fast[/bold]" in text


def test_the_given_model_is_the_first_row():
    front = story(records(40)).front
    given = {"accuracy": Measurement(98.5, "%", details={"precision": "float32"}), "macs": Measurement(84e3)}
    table = front_table(front, METRICS, {front[0].id: "knee"}, given)
    assert table.row_count == len(front) + 1
    first, second = printed(table).splitlines()[1:3]
    assert first.split()[:7] == ["given", "model", "98.50", "%", "(float32)", "-", "-"] and "84 k" in first
    assert second.startswith(front[0].id) and "float32" not in second
    assert front_table(story([]).front, METRICS, {}, given).row_count == 0


def test_an_empty_front_is_an_empty_table():
    assert front_table(story([]).front, METRICS, {}).row_count == 0
