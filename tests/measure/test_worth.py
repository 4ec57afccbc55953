"""What is worth having on a target, by times."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netwright.measure.explain import LayerReport
from netwright.measure.lookup import LookupTable, Row
from netwright.measure.worth import WORTH, OptionWorth, Saving, bits_saving, kind_times, saving


def table(**rows: float) -> LookupTable:
    found = object.__new__(LookupTable)
    found.rows = {key: Row(key, (), value, value / 10) for key, value in rows.items()}
    return found


def test_only_blocks_that_change_count() -> None:
    found = saving(table(a=1.0, b=2.0, c=1.5, d=9.0), ["d", "a", "b", "a"], ["a", "d", "c", "a"])
    assert (found.ms, found.of) == (0.5, 2.0) and found.noise == pytest.approx(0.25)
    assert found.share == 0.25 and found.pays


def test_a_block_that_is_left_out_saves_all_its_time() -> None:
    found = saving(table(a=1.0, b=2.0), ["a", "b", "b"], ["a", "b"])
    assert (found.ms, found.of) == (2.0, 2.0) and found.pays


def test_nothing_is_saved_where_nothing_changes() -> None:
    found = saving(table(a=1.0), ["a"], ["a"])
    assert found.share == 0.0 and not found.may_pay


@given(st.floats(-1, 1), st.floats(0, 1))
def test_what_pays_may_pay_and_what_stays_in_doubt_is_not_clear(share: float, noise: float) -> None:
    own = Saving(share, 1.0, noise)
    assert own.may_pay or not own.pays
    option = OptionWorth(4, 8, {"float32": own})
    assert option.is_kept == own.may_pay == (share + noise >= WORTH)
    assert option.is_clear == (own.pays or not own.may_pay)


def test_an_option_pays_in_either_precision() -> None:
    pays, not_ = Saving(0.2, 1.0, 0.01), Saving(0.0, 1.0, 0.01)
    assert OptionWorth(4, 8, {"float32": not_, "int8": pays}).is_kept
    assert not OptionWorth(4, 8, {"float32": not_, "int8": not_}).is_kept
    assert OptionWorth(8, None, {}).is_kept


def layer(path: str, kind: str, float_ms: float | None, ms: float) -> LayerReport:
    return LayerReport(path, kind, 8, float_ms, ms, 0.0, "int8", ())


def test_layers_are_judged_by_their_kind() -> None:
    layers = [
        layer("a", "dense", 2.0, 1.0), layer("b", "dense", 2.0, 1.4), layer("c", "depthwise", 1.0, 3.0),
        layer("d", "depthwise", None, 1.0),
    ]  # fmt: skip
    kinds = kind_times([*layers, LayerReport("e", "dense", 32, 1.0, 9.0, 0.0, "float32", ())])
    assert kinds["dense"].saving.share == pytest.approx(0.4) and kinds["depthwise"].saving.share == -2.0
    assert kinds["depthwise"].layers == 1, "the other one is not known in float32"
    mixed = bits_saving(layers, ["a", "c", "elsewhere"], kinds)
    assert mixed is not None and mixed.of == 3.0 and mixed.ms == pytest.approx(0.8 - 2.0)
    assert bits_saving(layers, ["d"], kinds) is None
