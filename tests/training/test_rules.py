"""Rules: who learns each step, from whom, in netwright's loop and in a person's own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from small import Learns
from small_nets import blobs, loader, same, small, state, tiny
from torch import Tensor, nn
from torch.nn import functional as F

import netwright as nw
from netwright.core.errors import CallError, NetwrightError, RecipeError, TrainingError
from netwright.tasks.classification import Classification
from netwright.tasks.outputs import scores_of
from netwright.training.answers import Answer
from netwright.training.rules import RULES, Lesson, Rule, Step


def batch() -> tuple[Tensor, Tensor]:
    part = blobs(12)
    return part.inputs, part.targets


def gradients(net: nw.SuperNet) -> dict[str, Tensor]:
    return {k: p.grad.clone() for k, p in net.module.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("rule", ["sandwich,random=1", "largest", "single-path"])
def test_a_rule_is_used_in_a_loop_of_ones_own_in_two_lines(rule: str) -> None:
    net, task, rng = tiny(), Classification(), np.random.default_rng(0)
    optimizer = torch.optim.Adam(net.module.parameters(), lr=0.02)
    rule_ = RULES.make(rule)
    losses = []
    for _ in range(30):
        for each in loader():
            optimizer.zero_grad()
            losses.append(rule_.step(net, Lesson(each, task, rng)))
            optimizer.step()
    assert np.mean(losses[-6:]) < 0.5 * np.mean(losses[:6])


def test_the_largest_alone_learns_as_any_network_does() -> None:
    net, (x, y) = small(), batch()
    net.module.train()
    value = nw.rules.Largest().step(net, Lesson((x, y), Classification(), np.random.default_rng(0)))
    got = gradients(net)
    net.module.zero_grad()
    loss = F.cross_entropy(net.module(x), y)
    loss.backward()
    assert value == pytest.approx(float(loss.detach()), rel=1e-5)
    for name, p in net.module.named_parameters():
        assert p.grad is not None
        torch.testing.assert_close(got[name], p.grad)


def test_a_single_path_is_drawn_and_learns_from_the_targets() -> None:
    net, (x, y) = small(), batch()
    net.module.train()
    before = {k: v for k, v in state(net.module).items() if "running" in k}
    nw.rules.SinglePath().step(net, Lesson((x, y), Classification(), np.random.default_rng(4)))
    got, statistics = gradients(net), state(net.module)
    net.module.zero_grad()
    with net.active(net.space.sample(np.random.default_rng(4))) as module:
        F.cross_entropy(module(x), y).backward()
    assert same(got, gradients(net))
    assert all(torch.equal(statistics[k], before[k]) for k in before)


class Fixed(nn.Module):
    """A teacher that gives the same scores for all."""

    def __init__(self, scores: list[float]) -> None:
        super().__init__()
        self.scores = nn.Parameter(torch.tensor(scores))

    def forward(self, x: Tensor) -> Tensor:
        assert not self.training and not torch.is_grad_enabled()
        return self.scores.expand(len(x), -1)


def test_a_teacher_teaches_everyone() -> None:
    net, (x, y) = tiny(), batch()
    net.module.eval()
    seen: list[Tensor] = []

    def imitate(output: Tensor, teacher: Tensor) -> Tensor:
        seen.append(teacher)
        return F.mse_loss(output, teacher)

    task = Learns(F.cross_entropy, imitate)
    scores = torch.tensor([3.0, 0.0, -1.0])

    def teacher(inputs: Tensor, watched: Sequence[str] = ()) -> Answer:
        return Answer(scores.expand(len(inputs), 3))

    value = nw.rules.Sandwich(random=1).step(net, Lesson((x, y), task, np.random.default_rng(0), teacher=teacher))
    assert len(seen) == 3 and all(torch.equal(each[0], scores) for each in seen)
    got = gradients(net)
    net.module.zero_grad()
    loss = F.cross_entropy(net.module(x), y)
    ((loss + F.mse_loss(net.module(x), scores.expand(12, 3))) / 2).backward()
    rng = np.random.default_rng(0)
    for candidate in (net.smallest, net.space.sample(rng)):
        with net.active(candidate) as module:
            other = module(x)
            (F.cross_entropy(other, y) / 4 + F.mse_loss(other, scores.expand(12, 3)) * 0.75).backward()
    assert value == pytest.approx(float(loss.detach()))
    for name, wanted in gradients(net).items():
        torch.testing.assert_close(got[name], wanted)


def test_in_training_a_teacher_is_left_as_it_is_and_several_are_averaged() -> None:
    seen: list[Tensor] = []

    def imitate(output: Tensor, teacher: Tensor) -> Tensor:
        seen.append(teacher)
        return F.mse_loss(output, teacher)

    teachers = [Fixed([4.0, 0.0, 0.0]).train(), Fixed([0.0, 2.0, 0.0]).train()]
    nw.train(tiny(), loader(), epochs=1, task=Learns(F.cross_entropy, imitate), teacher=teachers)
    assert seen and all(each[0].tolist() == [2.0, 1.0, 0.0] for each in seen)
    assert all(t.training and t.scores.grad is None for t in teachers)
    for wrong in ([], [3], "largest", lambda x: x):
        with pytest.raises(CallError, match=r"teacher.*(torch\.nn\.Module|None, not)"):
            nw.train(tiny(), loader(), epochs=1, teacher=wrong)  # type: ignore[arg-type]
    odd = nn.Sequential(nn.Flatten(), nn.Linear(16, 5))
    with pytest.raises(TrainingError, match="differ in shape"):
        nw.train(tiny(), loader(), epochs=1, teacher=[Fixed([1.0, 0.0, 0.0]), odd])


class Counting(Rule):
    """Remembers what it was told."""

    def __init__(self, every: int = 1) -> None:
        self.every, self.seen, self.given = every, list[Step](), list[Any]()

    def step(self, net: nw.SuperNet, lesson: Lesson) -> float:
        self.seen.append(lesson.at)
        lesson.state["steps"] = lesson.state.get("steps", torch.tensor(0)) + 1
        self.given.append(int(lesson.state["steps"]))
        return nw.rules.Largest().step(net, lesson)

    def data(self, loader: Any, rng: np.random.Generator, *, at: Step, state: Any) -> Any:
        return list(loader)[:: self.every]


def test_a_rule_knows_where_it_is_keeps_tensors_and_chooses_data() -> None:
    rule = Counting(every=2)
    nw.train(tiny(), loader(), epochs=2, rule=rule)
    assert [at.step for at in rule.seen] == [0, 1, 2, 6, 7, 8] and {at.steps for at in rule.seen} == {12}
    assert [at.epoch for at in rule.seen] == [0, 0, 0, 1, 1, 1] and rule.given == [1, 2, 3, 4, 5, 6]
    assert rule.seen[0].share == 0 and Step(11, 12).share == 1
    nw.train(tiny(), loader(), epochs=1, rule="test_rules:Counting,every=3")


@pytest.mark.parametrize(
    "rule, words",
    [
        ("sandwhich", "did you mean 'sandwich'"),
        ("sandwich,randon=3", "did you mean 'random'"),
        ("sandwich,random=-1", "0 or more"),
        ("sandwich,random=few", "random must be a whole number"),
        (nw.rules.Rule, "not the class Rule"),
    ],
)
def test_mistakes_name_the_nearest(rule: Any, words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        nw.train(tiny(), loader(), epochs=1, rule=rule)


def test_a_task_without_distillation_is_refused_by_rules_that_need_it_alone() -> None:
    def odd(output: Tensor, targets: Tensor) -> Tensor:
        return (scores_of(output) * targets[:, None]).sum().sin()

    with pytest.raises(NetwrightError, match=r"distillation_loss\(outputs, teacher, targets\)"):
        nw.train(tiny(), loader(), epochs=1, task=Learns(odd))
    nw.train(tiny(), loader(), epochs=1, task=Learns(odd), rule="single-path")
