"""Distillations: each against an independent computation, its gradients, and what it promises of its student."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_nets import blobs, loader, same, small, state
from torch import Tensor, nn
from torch.nn import functional as F

import netwright as nw
from netwright.core.errors import RecipeError, TrainingError
from netwright.training.answers import Answer
from netwright.training.distillation import DISTILLATIONS, Alpha, Attention, Features, Kl, Relational
from netwright.training.distillation.inner import Inner, stages

LABELS = torch.tensor([0, 2, 1, 2])
TASK = nw.tasks.Classification()


def scores(seed: int, *shape: int, scale: float = 2.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(*(shape or (4, 3)), generator=generator, dtype=torch.float64)


def value(way: Any, student: Tensor, teacher: Tensor, task: nw.Task = TASK, targets: Any = LABELS) -> Tensor:
    return DISTILLATIONS.make(way).loss(task, Answer(student), Answer(teacher), targets)


def learned(way: Any, student: Tensor, teacher: Tensor, **more: Any) -> Tensor:
    leaf = student.clone().requires_grad_()
    value(way, leaf, teacher, **more).backward()
    assert leaf.grad is not None
    return leaf.grad


# -- probabilities -----------------------------------------------------------------------------------------------


@given(temperature=st.floats(0.5, 8), seed=st.integers(0, 99))
@settings(max_examples=25)
def test_kl_has_its_closed_form_and_gradient(temperature: float, seed: int) -> None:
    student, teacher = scores(seed), scores(seed + 100)
    q, p = (each / temperature for each in (student, teacher))
    wanted = (p.softmax(1) * (p.log_softmax(1) - q.log_softmax(1))).sum(1).mean() * temperature**2
    torch.testing.assert_close(value(Kl(temperature), student, teacher), wanted)
    slope = temperature * (q.softmax(1) - p.softmax(1)) / len(student)
    torch.testing.assert_close(learned(Kl(temperature), student, teacher), slope)
    assert float(value(Kl(temperature), teacher, teacher)) == pytest.approx(0, abs=1e-12)


def test_kl_with_the_tasks_temperature_teaches_what_the_task_does() -> None:
    task = nw.tasks.Classification(temperature=3.0)
    torch.testing.assert_close(
        learned("kl,temperature=3", scores(0), scores(1), task=task),
        learned("outputs", scores(0), scores(1), task=task),
    )


TAGS = torch.tensor([[0, 1, -100], [2, -100, 1]])
PIXELS = torch.tensor([[[0, 255], [1, 1]], [[2, 0], [255, 255]]])
EVERY: dict[str, tuple[nw.Task, Tensor, Any, Any]] = {
    # task, outputs, targets, the rows of classes by hand
    "yes or no": (TASK, scores(3, 4, 1), torch.tensor([0, 1, -100, 1]), lambda s: pair(s[[0, 1, 3], 0])),
    "soft labels": (TASK, scores(3), scores(4).softmax(1), lambda s: s),
    "tags": (nw.tasks.TokenClassification(), scores(3, 2, 3, 4), TAGS, lambda s: s[TAGS >= 0]),
    "text": (nw.tasks.LanguageModelling(), scores(3, 2, 3, 5), TAGS, lambda s: s[:, :-1][TAGS[:, 1:] >= 0]),
    "pixels": (nw.tasks.Segmentation(255), scores(3, 2, 3, 2, 2), PIXELS, lambda s: s.movedim(1, -1)[PIXELS < 255]),
    "labels": (nw.tasks.MultiLabel(), scores(3, 2, 5), torch.ones(2, 5), lambda s: pair(s.flatten())),
    "own": (nw.tasks.Custom(F.cross_entropy), scores(3), LABELS, lambda s: s),
    "own yes or no": (
        nw.tasks.Custom(lambda o, t: F.binary_cross_entropy_with_logits(o, t)),
        scores(3, 4),
        torch.tensor([0.0, 1, 1, 0], dtype=torch.float64),
        lambda s: pair(s),
    ),
}


def pair(yes: Tensor) -> Tensor:
    return torch.stack([torch.zeros_like(yes), yes], 1)


@pytest.mark.parametrize("name", EVERY)
def test_every_task_with_classes_says_which_they_are(name: str) -> None:
    task, outputs, targets, by_hand = EVERY[name]
    rows = task.class_scores(outputs, targets)
    torch.testing.assert_close(rows, by_hand(outputs))
    teacher = outputs.flip(0)
    others = task.class_scores(teacher, targets)
    wanted = F.kl_div(rows.log_softmax(1), others.softmax(1), reduction="batchmean")
    torch.testing.assert_close(value("kl,temperature=1", outputs, teacher, task, targets), wanted)
    for way in ("kl", "alpha"):
        assert learned(way, outputs, teacher, task=task, targets=targets).any()


@pytest.mark.parametrize("way", ["kl", "alpha", "outputs"])
def test_nothing_that_counts_is_nothing_to_learn(way: str) -> None:
    none = torch.full((2, 3), -100)
    task = nw.tasks.TokenClassification()
    assert not learned(way, scores(0, 2, 3, 4), scores(1, 2, 3, 4), task=task, targets=none).any()


def test_values_have_no_classes() -> None:
    for task in (nw.tasks.Regression(), nw.tasks.Custom(F.mse_loss)):
        with pytest.raises(TrainingError, match=r"no classes.*take distillation='outputs'"):
            value("kl", scores(0, 4), scores(1, 4), task, scores(2, 4))


def divergence(p: Tensor, q: Tensor, alpha: float) -> Tensor:
    """Of each example, by its definition."""
    if alpha == 1:
        return (p * (p / q).log()).sum(1)
    if alpha == 0:
        return (q * (q / p).log()).sum(1)
    return (q * ((p / q) ** alpha - 1)).sum(1) / (alpha * (alpha - 1))


@given(low=st.sampled_from([-1.0, -0.5, 0.0]), high=st.sampled_from([0.5, 1.0, 2.0]), seed=st.integers(0, 99))
@settings(max_examples=30)
def test_alpha_is_the_larger_divergence_and_has_its_gradient(low: float, high: float, seed: int) -> None:
    student, teacher = scores(seed, scale=1.0).requires_grad_(), scores(seed + 100, scale=1.0)
    both = [divergence(teacher.softmax(1), student.softmax(1), alpha) for alpha in (low, high)]
    wanted = torch.maximum(*both).mean()
    (slope,) = torch.autograd.grad(wanted, student)
    torch.testing.assert_close(value(Alpha(low, high, clip=1e9), student, teacher), wanted.detach())
    torch.testing.assert_close(learned(Alpha(low, high, clip=1e9), student.detach(), teacher), slope)
    assert float(value(Alpha(low, high), teacher, teacher)) == pytest.approx(0, abs=1e-12)


def test_alpha_counts_what_is_clipped_as_that() -> None:
    """As in the authors' code: q * clip / alpha in place of the derivative, for each class."""
    student, teacher = scores(0, scale=4.0), scores(1, scale=4.0)
    leaf = student.clone().requires_grad_()
    q, p = student.softmax(1), teacher.softmax(1)
    wanted: list[tuple[Tensor, Tensor]] = []
    for alpha in (-1.0, 2.0):
        power = ((p / q) ** alpha).clamp(max=5.0)
        pull = -(q * power / alpha * leaf.log_softmax(1)).sum(1)
        wanted.append(((q * (power - 1) / (alpha * (alpha - 1))).sum(1), pull))
    (left, pull_left), (right, pull_right) = wanted
    torch.where(left > right, pull_left, pull_right).mean().backward()
    torch.testing.assert_close(learned(Alpha(-1, 2), student, teacher), leaf.grad)
    assert float(value(Alpha(-1, 2), student, teacher)) == pytest.approx(float(torch.maximum(left, right).mean()))
    sure = torch.tensor([[200.0, -200.0, 0.0]] * 4)
    for way in (Alpha(), Alpha(0, 2)):
        assert learned(way, sure, -sure).isfinite().all(), "whatever the two are sure of"


@pytest.mark.parametrize("way", ["kl,temperature=0", "alpha,low=2", "alpha,clip=0", "features,weight=0"])
def test_settings_that_mean_nothing_are_refused(way: str) -> None:
    with pytest.raises(RecipeError, match=r"^(kl|alpha|features): "):
        DISTILLATIONS.make(way)
    with pytest.raises(RecipeError, match=r"relational: .*not both 0"):
        Relational(distance=0, angle=0)
    with pytest.raises(RecipeError, match="did you mean 'outputs'"):
        Features(beside="output")


# -- within the network ------------------------------------------------------------------------------------------


def compared(way: Inner, student: Tensor, teacher: Tensor) -> Tensor:
    found = way.compare(student, teacher)
    assert found is not None
    return found


def test_features_are_those_of_the_first_channels() -> None:
    student, teacher = scores(0, 2, 3, 4, 4), scores(1, 2, 5, 4, 4)
    own = teacher[:, :3]
    torch.testing.assert_close(
        compared(Features(), student, teacher), (student - own).square().mean() / own.square().mean()
    )
    assert float(compared(Features(), own, teacher)) == 0
    small = compared(Features(), student[..., :2, :2], teacher)
    pooled = F.avg_pool2d(teacher, 2)[:, :3]
    torch.testing.assert_close(small, (student[..., :2, :2] - pooled).square().mean() / pooled.square().mean())
    assert torch.autograd.gradcheck(lambda x: compared(Features(), x, teacher), student[..., :2, :2].requires_grad_())


def test_a_linear_match_sees_through_any_linear_layer_and_has_the_true_gradient() -> None:
    way, student = Features(match="linear"), scores(0, 6, 3, 2, 2)
    layer, bias = scores(1, 5, 3), scores(2, 5)
    teacher = torch.einsum("oc,nchw->nohw", layer, student) + bias[:, None, None]
    assert float(compared(way, student, teacher)) == pytest.approx(0, abs=1e-18)
    other = scores(3, 6, 5, 2, 2)
    rows, wanted = (t.movedim(1, -1).flatten(0, 2) for t in (student, other))
    given = torch.cat([rows, torch.ones(len(rows), 1, dtype=torch.float64)], 1)
    best = given @ torch.linalg.lstsq(given, wanted).solution
    residual = (best - wanted).square().mean() / wanted.square().mean()
    torch.testing.assert_close(compared(way, student, other), residual)
    assert torch.autograd.gradcheck(lambda x: compared(way, x, other), student.requires_grad_(), eps=1e-5, atol=1e-4)


def test_attention_compares_where_and_not_how_much() -> None:
    student, teacher = scores(0, 2, 3, 4, 4), scores(1, 2, 7, 4, 4)
    maps = [each.pow(2).mean(1).view(2, -1) for each in (student, teacher)]
    maps = [each / each.norm(dim=1, keepdim=True) for each in maps]
    torch.testing.assert_close(compared(Attention(), student, teacher), (maps[0] - maps[1]).pow(2).sum(1).mean())
    mixed = 3 * torch.linalg.qr(scores(2, 7, 7)).Q  # turns channels among themselves: the map is the same
    turned = torch.einsum("oc,nchw->nohw", mixed, teacher)
    assert float(compared(Attention(), turned, teacher)) == pytest.approx(0, abs=1e-12)
    assert Attention().compare(student[:, :, 0, 0], teacher[:, :, 0, 0]) is None
    assert torch.autograd.gradcheck(lambda x: compared(Attention(), x, teacher), student.requires_grad_())


def test_relations_are_those_of_the_paper_and_know_no_place_turn_or_size() -> None:
    student, teacher = scores(0, 5, 3), scores(1, 5, 4)
    wanted = 0.0
    means = [sum(float((t[i] - t[j]).norm()) for i in range(5) for j in range(i)) / 10 for t in (student, teacher)]
    for i in range(5):
        for j in range(i):
            apart = [float((t[i] - t[j]).norm()) / mean for t, mean in zip((student, teacher), means, strict=True)]
            wanted += huber(apart[0] - apart[1]) / 10
        for j in range(5):
            for k in range(5):
                cosines = [
                    0.0 if i in (j, k) else float(F.cosine_similarity(t[j] - t[i], t[k] - t[i], dim=0))
                    for t in (student, teacher)
                ]
                wanted += 2 * huber(cosines[0] - cosines[1]) / 125
    way = Relational(beside=None)
    assert float(value(way, student, teacher)) == pytest.approx(wanted)
    turned = 4 * teacher @ torch.linalg.qr(scores(2, 4, 4)).Q + 7
    assert float(value(way, turned, teacher)) == pytest.approx(0, abs=1e-12)
    assert torch.autograd.gradcheck(lambda x: value(way, x, teacher), student.requires_grad_())
    assert torch.isfinite(learned(way, torch.zeros(3, 2), torch.ones(3, 2))).all(), "examples at one place"
    assert not learned(way, scores(0, 1, 2), scores(1, 1, 2)).any(), "one example alone"


def huber(x: float) -> float:
    return 0.5 * x * x if abs(x) < 1 else abs(x) - 0.5


def test_two_are_added_with_a_weight_in_one_text() -> None:
    both = DISTILLATIONS.make(
        "features,weight=0.5,modules=(a,b*),beside=(attention,weight=3,modules=c,beside=(kl,temperature=2))"
    )
    inner = {name: scores(i, 2, 3, 2, 2) for i, name in enumerate(("a", "bc", "c", "d"))}
    outer = {name: scores(i + 9, 2, 3, 2, 2) for i, name in enumerate(("a", "bc", "c", "d"))}
    student, teacher = scores(20), scores(21)
    found = both.loss(TASK, Answer(student, inner), Answer(teacher, outer), LABELS)
    features = sum(compared(Features(), inner[name], outer[name]) for name in ("a", "bc"))
    wanted = (
        0.25 * features
        + 3 * compared(Attention(), inner["c"], outer["c"])
        + value("kl,temperature=2", student, teacher)
    )
    torch.testing.assert_close(found, wanted)


# -- in training -------------------------------------------------------------------------------------------------


def test_the_ends_of_stages_are_watched() -> None:
    assert stages(small().module) == ["stages.0", "stages.1"]
    assert stages(nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2))) == ["0"]

    class Listed(nn.Module):
        def __init__(self, *lengths: int) -> None:
            super().__init__()
            for name, n in zip("ab", lengths, strict=False):
                setattr(self, name, nn.ModuleList(nn.TransformerEncoderLayer(2, 1, 2) for _ in range(n)))

    assert stages(Listed(2, 5)) == ["a.1", "b.4"]
    assert stages(Listed(12)) == ["a.2", "a.5", "a.8", "a.11"] and stages(Listed(2)) == ["a.0", "a.1"]


INNER = ["features,beside=none", "features,match=linear,beside=none", "attention,beside=none", "relational,beside=none"]


@pytest.mark.parametrize("way", [*INNER, "kl", "alpha"])
def test_a_sub_network_comes_nearer_to_the_largest(way: str) -> None:
    """Every sub-network can be compared, with blocks skipped and channels gone, and learns what is compared."""
    net, part, rng = small(), blobs(24), np.random.default_rng(0)
    lesson = nw.rules.Lesson((part.inputs, part.targets), TASK, rng, distillation=DISTILLATIONS.make(way))
    net.module.train()
    with torch.no_grad(), net.active(net.largest) as module:
        teacher = lesson.answer(module)
    optimizer = torch.optim.Adam(net.module.parameters(), lr=0.01)
    losses = []
    for _ in range(12):
        optimizer.zero_grad()
        losses.append(lesson.imitate(net, net.smallest, teacher))
        optimizer.step()
    assert losses[-1] < 0.97 * losses[0]


def test_modules_that_no_network_has_are_told() -> None:
    with pytest.raises(TrainingError, match=r"features: modules=stages.5 names no module; did you mean 'stages.1'"):
        nw.train(small(), loader(), epochs=1, distillation="features,modules=stages.5")
    other = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    with pytest.raises(TrainingError, match=r"attention compares .*teacher \(none ran\); name others in modules="):
        nw.train(small(), loader(), epochs=1, teacher=other, distillation="attention")


def test_the_same_seed_gives_the_same_weights_with_what_is_within() -> None:
    nets = [small(), small()]
    for net in nets:
        nw.train(net, loader(), epochs=1, distillation="features,beside=(attention,beside=alpha)", seed=3)
    assert same(state(nets[0].module), state(nets[1].module))
