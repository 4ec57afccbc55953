"""Measurements: what they hold, and what they say of themselves."""

from __future__ import annotations

import pytest

from netwright.core.metric import Measurement


@pytest.mark.parametrize(
    "value, how, said",
    [
        (1.25, {"measured": 1.5}, "1.5 ms as measured"),
        (1.25, {"measured": 1.0}, "1 ms as measured"),
        (1.25, {"measured": 1.26}, ""),
        (1.25, {}, ""),
        (0.0, {}, ""),
    ],
)
def test_what_was_measured_is_said_where_it_differs(value: float, how: dict[str, float], said: str) -> None:
    found = Measurement(value, "ms", how=how)
    assert found.as_measured == said
    assert Measurement.from_json(found.to_json()) == found
