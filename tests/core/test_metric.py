"""Measurements: what they hold, and what they say of themselves."""

from __future__ import annotations

from typing import Any

import pytest

from netwright.core.errors import MeasureError
from netwright.core.metric import Measurement


@pytest.mark.parametrize(
    "value, uncorrected, said",
    [
        (1.25, 1.5, "1.5 ms as measured"),
        (1.25, 1.0, "1 ms as measured"),
        (1.25, 1.26, ""),
        (1.25, None, ""),
        (0.0, None, ""),
    ],
)
def test_what_was_measured_is_said_where_it_differs(value: float, uncorrected: float | None, said: str) -> None:
    found = Measurement(value, "ms", kind="corrected" if uncorrected else "measured", uncorrected=uncorrected)
    assert found.as_measured == said
    assert Measurement.from_json(found.to_json()) == found


def test_what_can_still_be_measured_is_not_complete() -> None:
    assert Measurement(5.0, "ms") == Measurement(5.0, "ms", 0.0, 1, "measured", {})
    assert Measurement(5.0, kind="exact").is_complete and Measurement(5.0, kind="corrected", uncorrected=6).is_complete
    assert not Measurement(5.0, kind="partial", best_case=4.0).is_complete
    assert not Measurement(5.0, kind="predicted", best_case=4.0).is_complete
    assert Measurement(5.0, kind="predicted").is_complete, "nobody will measure it"


def test_json_says_what_a_measurement_is_and_keeps_the_keys_that_others_read() -> None:
    part = Measurement(90.0, "%", 0.5, 100, "partial", {"of": 1000}, best_case=93.0)
    assert part.to_json() == {
        "value": 90.0, "unit": "%", "spread": 0.5, "n": 100, "kind": "partial", "best_case": 93.0, "of": 1000,
    }  # fmt: skip
    assert Measurement.from_json({"value": 1.0, "unit": "ms", "spread": 0.1, "n": 3}) == Measurement(1.0, "ms", 0.1, 3)


@pytest.mark.parametrize(
    "settings, words",
    [
        ({"kind": "mesured"}, "cannot be 'mesured'; did you mean 'measured'"),
        ({"kind": "partial"}, "a partial measurement needs best_case="),
        ({"best_case": 3.0}, "best_case= belongs to partial and predicted measurements, not to measured ones"),
        ({"kind": "corrected"}, "uncorrected= belongs to corrected measurements, which need it"),
        ({"uncorrected": 3.0}, "uncorrected= belongs to"),
        ({"details": {"kind": "fast"}}, "details= may not hold kind"),
    ],
)
def test_a_measurement_that_contradicts_itself_is_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(MeasureError, match=words):
        Measurement(5.0, "ms", **settings)
