"""Batches and scores of any shape: where the labels are, and which dimension the classes."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import pytest
import torch
from torch import nn

import netwright as nw
from netwright.core.errors import MeasureError, NetError
from netwright.nets.inputs import split_batch
from netwright.nets.layout import channels_last
from netwright.tasks.outputs import answers_of, class_dimension, scores_of


@pytest.mark.parametrize(
    "scores, labels, dim",
    [((4, 7), (4,), 1), ((4, 1), (4,), 1), ((4, 7, 5), (4, 7), 2), ((4, 5, 7), (4, 7), 1),
     ((2, 5, 6, 8), (2, 6, 8), 1), ((2, 6, 8, 5), (2, 6, 8), 3), ((9, 2, 5), (9, 2), 2)],
)  # fmt: skip
def test_the_classes_are_the_dimension_that_the_labels_lack(
    scores: tuple[int, ...], labels: tuple[int, ...], dim: int
) -> None:
    assert class_dimension(torch.zeros(scores), torch.zeros(labels, dtype=torch.int64)) == dim


@pytest.mark.parametrize("scores, labels, words", [((4, 6, 6), (4, 6), "1 or 2"), ((4, 6), (3,), "belong together")])
def test_what_shapes_do_not_say_is_refused(scores: tuple[int, ...], labels: tuple[int, ...], words: str) -> None:
    with pytest.raises(NetError, match=words):
        class_dimension(torch.zeros(scores), torch.zeros(labels, dtype=torch.int64))


def test_pairs_and_the_dicts_of_collators() -> None:
    a, b = torch.zeros(2, 3), torch.arange(2)
    assert split_batch((a, b)) == (a, b) and split_batch([a, b]) == (a, b)
    inputs, labels = split_batch({"ids": a, "mask": a, "labels": b})
    assert inputs == {"ids": a, "mask": a} and labels is b
    for wrong in (a, (a,), {"ids": a}, {"labels": b}, "text"):
        with pytest.raises(NetError, match=r"\(inputs, labels\)"):
            split_batch(wrong)


def test_scores_are_found_in_what_a_network_gives() -> None:
    a, ids = torch.zeros(2, 3), torch.arange(2)
    assert scores_of(a) is a and scores_of((a,)) is a and scores_of({"out": a, "ids": ids}) is a
    assert scores_of(OrderedDict(hidden=a + 1, logits=a)) is a
    for several in ((a, a + 1), (ids,), {}):
        with pytest.raises(NetError, match="logits"):
            scores_of(several)


def test_single_scores_answer_yes_or_no() -> None:
    scores, labels = torch.tensor([[-1.0], [2.0]]), torch.tensor([0, 1])
    assert answers_of(scores, labels).tolist() == answers_of(scores[:, 0], labels).tolist() == [0, 1]


# -- accuracy ----------------------------------------------------------------------------------------------------


class Echo(nn.Module):
    def forward(self, x: Any = None, **named: Any) -> Any:
        return {"logits": named["scores"], "hidden": named["scores"] + 1} if named else x


def test_tokens_are_judged_one_by_one_and_padding_not_at_all() -> None:
    right = torch.tensor([[0, 1, 2, 0], [2, 2, 1, 0]])
    scores = nn.functional.one_hot(right, 3).float()
    labels = right.clone()
    labels[0, 0], labels[1, 2:] = 1, -100
    for batch in ((scores, labels), (scores.transpose(1, 2), labels), {"scores": scores, "labels": labels}):
        found = nw.Accuracy([batch]).of(Echo())
        assert (found.value, found.n) == (pytest.approx(100 * 5 / 6), 6)


@pytest.mark.parametrize(
    "batch", [(torch.eye(3), torch.eye(3)), (torch.eye(3), [0, 1, 2]), (torch.eye(3), torch.arange(3), 1), torch.eye(3)]
)
def test_batches_of_another_shape_are_told(batch: Any) -> None:
    with pytest.raises(MeasureError, match="accuracy cannot be judged"):
        nw.Accuracy([batch]).of(Echo())


def test_what_a_constant_answer_could_equal_is_told() -> None:
    labels = torch.arange(100) % 4
    good = nn.functional.one_hot(labels, 4).float()
    constant = torch.zeros(100, 4)
    constant[:, 3] = 1
    assert not nw.Accuracy([(good, labels)]).of(Echo()).at_chance
    found = nw.Accuracy([(constant, labels)]).of(Echo())
    assert found.at_chance and dict(found.details) == {"chance": 25.0, "constant": 3}
    drawn = nn.functional.one_hot(torch.randint(4, (100,), generator=torch.Generator().manual_seed(0)), 4).float()
    assert dict(nw.Accuracy([(drawn, labels)]).of(Echo()).details) == {"chance": 25.0}
    mostly = torch.where(torch.arange(100) < 80, 0, labels)  # 84 % of one class: a constant answer has 84 %
    assert nw.Accuracy([(constant.roll(1, 1), mostly)]).of(Echo()).at_chance


# -- layout ------------------------------------------------------------------------------------------------------


def test_channels_come_last_while_networks_run_and_go_back() -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.utils.parametrizations.weight_norm(nn.Conv2d(8, 4, 3)), nn.Flatten())
    x = torch.randn(2, 3, 9, 9)
    before, pointer = network(x), network[0].weight.data_ptr()
    layouts = []
    network[1].register_forward_pre_hook(
        lambda _, inputs: layouts.append(inputs[0].is_contiguous(memory_format=torch.channels_last))
    )
    with channels_last(network):
        torch.testing.assert_close(network(x), before)
    assert layouts == [True] and network[0].weight.data_ptr() == pointer and network[0].weight.is_contiguous()
    with pytest.raises(KeyError), channels_last(network):
        raise KeyError
    assert network[0].weight.data_ptr() == pointer
