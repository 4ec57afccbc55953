"""Delayed shrinking: when smaller networks begin, and how gently."""

from __future__ import annotations

import pytest
from small_nets import blobs, small
from spying import spied

from netwright.core.errors import RecipeError
from netwright.training.rules import RULES, DelayedShrinking, Step

PART = blobs(6)
BATCH = PART.inputs, PART.targets


def test_the_largest_alone_then_a_sandwich_that_begins_gently() -> None:
    net = small()
    lessons = spied(DelayedShrinking(start=0.5, warmup=0.25, random=1), net, BATCH, 21)
    assert all([c for c, _ in lesson.learned] == [net.largest] for lesson in lessons)
    assert not any(lesson.imitated for lesson in lessons[:10])
    assert all(each.imitated[0][0] == net.smallest and len(each.imitated) == 2 for each in lessons[10:])
    weights = [{weight for _, weight in lesson.imitated} for lesson in lessons[10:]]
    assert all(len(each) == 1 for each in weights)
    grown = [each.pop() for each in weights]
    assert 0 < grown[0] < 0.25 and grown == sorted(grown) and grown[5:] == [1.0] * 6
    assert grown[1] - grown[0] == pytest.approx(grown[3] - grown[2], rel=0.1)


def test_without_a_warmup_it_is_the_sandwich_at_once() -> None:
    rule = DelayedShrinking(start=0, warmup=0)
    assert rule.weight(Step(0, 10)) == 1 and DelayedShrinking(start=0).weight(Step(0, 100)) == pytest.approx(0.1)


@pytest.mark.parametrize("text", ["start=2", "warmup=-1", "random=-1", "targets=2"])
def test_settings_are_checked(text: str) -> None:
    with pytest.raises(RecipeError, match=r"from 0 to 1|0 or more"):
        RULES.make(f"delayed-shrinking,{text}")
