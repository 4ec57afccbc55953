"""What holds of every rule: any task, any kind of choice, either sampling."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch
from small_nets import blobs, state
from torch import Tensor, nn

import netwright as nw
from netwright.core.errors import NetwrightError
from netwright.training.rules import RULES, Lesson, Step

RULE_NAMES = RULES.names()


class Tagger(nn.Module):
    """Tells of each token of a text what it is; inputs come by name."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.up, self.down, self.head = (
            nn.Embedding(9, 6),
            nn.Linear(6, 8),
            nn.Linear(8, 6),
            nn.Linear(6, 3),
        )

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        x = self.embed(ids) * mask[..., None]
        return self.head(x + self.down(self.up(x).relu()))


def text() -> tuple[nw.SuperNet, Any, nw.Task]:
    torch.manual_seed(0)
    model, g = Tagger(), torch.Generator().manual_seed(0)
    batches = []
    for _ in range(3):
        ids = torch.randint(0, 9, (4, 5), generator=g)
        batches.append({"ids": ids, "mask": torch.ones(4, 5), "labels": ids % 3})
    width = nw.Width.tie(model, "inner", (2, 4, 8), out_of=["up"], into=["down"])
    example = {"ids": batches[0]["ids"], "mask": batches[0]["mask"]}
    return nw.SuperNet(model, [width], example), batches, nw.tasks.TokenClassification()


def regression() -> tuple[nw.SuperNet, Any, nw.Task]:
    torch.manual_seed(0)
    x = torch.randn(48, 6)
    model = nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 1))
    return nw.wrap(model, x[:1]), nw.TensorLoader(nw.Split(x, x[:, 0]), 16, shuffle=True), nw.tasks.Regression()


def menus() -> tuple[nw.SuperNet, Any, nw.Task]:
    """A menu whose options have widths of their own, which are there with their option alone."""
    torch.manual_seed(0)
    narrow = nn.Sequential(nn.Linear(16, 4), nn.ReLU(), nn.Linear(4, 8))
    wide = nn.Sequential(nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 8))
    model = nn.Sequential(nn.Flatten(), nw.oneof(narrow=narrow, wide=wide), nn.ReLU(), nn.Linear(8, 3))
    axes = [
        nw.OneOf.of(model, "1"),
        nw.Width.tie(model, "narrow", (2, 4), out_of=["1.narrow.0"], into=["1.narrow.2"]),
        nw.Width.tie(model, "wide", (2, 4, 8), out_of=["1.wide.0"], into=["1.wide.2"]),
    ]
    loader = nw.TensorLoader(blobs(), 16, shuffle=True)
    return nw.SuperNet(model, axes, torch.zeros(1, 1, 4, 4)), loader, nw.tasks.Classification()


@pytest.mark.parametrize("make, sampling", [(text, "uniform"), (regression, "uniform"), (menus, "cost")])
@pytest.mark.parametrize("rule", RULE_NAMES)
@pytest.mark.filterwarnings("ignore:the rule path-data chooses examples")
def test_any_task_is_learned(rule: str, sampling: str, make: Any) -> None:
    net, batches, task = make()
    RULES.make(rule).prepare(net)
    before, losses = state(net.module), list[float]()
    nw.train(
        net, batches, task=task, rule=rule, sampling=sampling, epochs=8, optimizer="adamw,lr=0.02",
        callback=lambda progress: losses.append(progress.loss),
    )  # fmt: skip
    assert np.mean(losses[-3:]) < np.mean(losses[:3])
    moved = [name for name, tensor in state(net.module).items() if not torch.equal(tensor, before[name])]
    assert rule == "largest" or moved == list(before), "in the end every weight has learned"


@pytest.mark.parametrize("rule", RULE_NAMES)
def test_the_same_seed_draws_the_same(rule: str) -> None:
    found = []
    for seed in (0, 0, 1):
        net, batches, task = menus()
        nw.train(net, batches, task=task, rule=rule, epochs=2, seed=seed, optimizer="sgd,lr=0.1")
        found.append(state(net.module))
    same = [all(torch.equal(found[0][k], other[k]) for k in found[0]) for other in found[1:]]
    assert same == [True, False]


@pytest.mark.parametrize("rule", RULE_NAMES)
def test_a_network_that_cannot_be_cut_learns_or_it_is_told(rule: str) -> None:
    torch.manual_seed(0)
    net = nw.SuperNet(nn.Sequential(nn.Flatten(), nn.Linear(16, 3)), [], torch.zeros(1, 1, 4, 4))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            nw.train(net, nw.TensorLoader(blobs(), 16), rule=rule, epochs=1)
        except NetwrightError as error:
            told = {"few-shot": "0 choices that could be split", "mixture": "choices that route them"}
            assert told.get(rule, "all sub-networks have the same macs (48)") in str(error)
            assert rule in ("attentive", "complexity-aware", "probability-shift", *told)


@pytest.mark.parametrize("rule", RULE_NAMES)
def test_states_are_tensors_and_a_lesson_without_any_serves(rule: str) -> None:
    net, batches, task = menus()
    made, rng, kept = RULES.make(rule), np.random.default_rng(0), dict[str, Tensor]()
    for i, batch in enumerate(batches):
        made.step(net, Lesson(batch, task, rng))  # as in a loop of one's own
        made.step(net, Lesson(batch, task, rng, Step(i, 3), state=kept))
    assert all(isinstance(tensor, Tensor) and not tensor.requires_grad for tensor in kept.values())
    assert all(name.startswith(rule) for name in kept)
