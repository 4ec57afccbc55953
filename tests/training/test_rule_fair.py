"""Strict fairness: options of one choice learn equally often."""

from __future__ import annotations

from collections import Counter

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_nets import blobs, small, tiny
from spying import spied

import netwright as nw
from netwright.core.candidate import Candidate
from netwright.training.rules import Fair

PART = blobs(6)
BATCH = PART.inputs, PART.targets


def counted(net: nw.SuperNet, taught: list[Candidate]) -> dict[str, Counter[object]]:
    found = {choice.name: Counter(dict.fromkeys(choice.options, 0)) for choice in net.space}
    for candidate in taught:
        for name, option in candidate.items():
            found[name][option] += 1
    return found


@settings(max_examples=8)
@given(steps=st.integers(1, 9), seed=st.integers(0, 99))
def test_no_option_learns_more_than_once_more_often_than_another(steps: int, seed: int) -> None:
    net = small()
    lessons = spied(Fair(), net, BATCH, steps, seed=seed)
    counts = counted(net, [c for lesson in lessons for c in lesson.everyone])
    assert all(max(c.values()) - min(c.values()) <= 1 for c in counts.values())


def test_where_all_have_as_many_options_each_step_teaches_each_once() -> None:
    net = tiny()
    for lesson in spied(Fair(), net, BATCH, 5):
        assert sorted(c["hidden"] for c in lesson.everyone) == [4, 8]  # type: ignore[type-var]
        assert [weight for _, weight in lesson.learned] == [1.0, 1.0] and not lesson.imitated


def test_menus_are_taught_fairly_and_differently_each_time() -> None:
    torch.manual_seed(0)
    kinds = {"a": torch.nn.Linear(16, 3), "b": torch.nn.Linear(16, 3), "c": torch.nn.Linear(16, 3)}
    model = torch.nn.Sequential(torch.nn.Flatten(), nw.oneof(**kinds), nw.oneof(torch.nn.Identity(), torch.nn.ReLU()))
    net = nw.SuperNet(model, [nw.OneOf.of(model, "1"), nw.OneOf.of(model, "2")], torch.zeros(1, 1, 4, 4))
    lessons = spied(Fair(), net, BATCH, 12)
    counts = counted(net, [c for lesson in lessons for c in lesson.everyone])
    assert {*counts["1.option"].values()} == {12} and {*counts["2.option"].values()} == {18}
    assert len({tuple(c["1.option"] for c in lesson.everyone) for lesson in lessons}) > 2


def test_the_gradients_are_the_sum_of_all() -> None:
    net = small()
    (lesson,) = spied(Fair(), net, BATCH, 1)
    got = {name: p.grad.clone() for name, p in net.module.named_parameters() if p.grad is not None}
    net.module.zero_grad()
    for candidate in lesson.everyone:
        with net.active(candidate) as module:
            torch.nn.functional.cross_entropy(module(BATCH[0]), BATCH[1]).backward()
    for name, p in net.module.named_parameters():
        torch.testing.assert_close(got.get(name), p.grad)
