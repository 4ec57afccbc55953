"""Losses of scores of any shape, and what a student learns from a teacher: at its optimum it answers as the teacher."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from small import Learns
from torch import Tensor, nn
from torch.nn import functional as F

import netwright as nw
from netwright.core.errors import NetwrightError, TrainingError
from netwright.tasks.losses import Imitated, SoftLabels, cross_entropy, distillation
from netwright.tasks.outputs import scores_of

G = torch.Generator().manual_seed(0)


def drawn(*shape: int) -> Tensor:
    return torch.randn(shape, generator=G)


def classes(count: int, *shape: int) -> Tensor:
    return torch.randint(count, shape, generator=G)


def learned(teach: Any, teacher: Tensor, labels: Any, wrap: Callable[[Tensor], Any] = lambda t: t) -> Tensor:
    """What a student with free outputs has learned in the end."""
    student = torch.zeros_like(teacher, requires_grad=True)
    optimizer = torch.optim.Adam([student], lr=0.2)
    for _ in range(150):
        optimizer.zero_grad()
        teach(wrap(student), wrap(teacher), labels).backward()
        assert student.grad is not None and bool((student.grad != 0).any())
        optimizer.step()
    return student.detach()


# -- cross-entropy -----------------------------------------------------------------------------------------------


def test_cross_entropy_takes_the_classes_where_they_are() -> None:
    scores, labels = drawn(4, 7, 5), classes(5, 4, 7)
    wanted = F.cross_entropy(scores.reshape(28, 5), labels.reshape(28))
    torch.testing.assert_close(cross_entropy(scores, labels), wanted)
    torch.testing.assert_close(cross_entropy(scores.transpose(1, 2), labels), wanted)
    torch.testing.assert_close(cross_entropy({"logits": scores, "hidden": scores}, labels), wanted)
    image, mask = drawn(2, 3, 4, 6), classes(3, 2, 4, 6)
    torch.testing.assert_close(cross_entropy(image, mask), F.cross_entropy(image, mask))
    labels[0] = -100
    torch.testing.assert_close(cross_entropy(scores, labels), cross_entropy(scores[1:], labels[1:]))
    soft = drawn(4, 5).softmax(1)
    torch.testing.assert_close(cross_entropy(scores[:, 0], soft), F.cross_entropy(scores[:, 0], soft))


@pytest.mark.parametrize("shape", [(6,), (6, 1), (2, 1, 4, 3), (2, 4, 3, 1), (6, 3)])
def test_single_scores_are_yes_or_no(shape: tuple[int, ...]) -> None:
    scores = drawn(*shape)
    labels = classes(2, *(shape if 1 not in shape else [n for n in shape if n > 1]))
    wanted = F.binary_cross_entropy_with_logits(scores.flatten(), labels.flatten().float())
    torch.testing.assert_close(cross_entropy(scores, labels), wanted)


@pytest.mark.parametrize(
    "scores, labels",
    [(drawn(4, 1), drawn(4, 1)), (drawn(4), drawn(4)), (drawn(4, 3), torch.ones(4, 3)),
     (drawn(4, 1), classes(3, 4) + 2), (drawn(4, 6, 6), classes(6, 4, 6)), (drawn(4, 3), classes(3, 5)),
     (drawn(4, 3), [0, 1, 2, 0]), ((drawn(4, 3), drawn(4, 3)), classes(3, 4))],
)  # fmt: skip
def test_what_it_is_not_made_for_is_refused_in_words(scores: Any, labels: Any) -> None:
    with pytest.raises(NetwrightError, match=r"task=|logits"):
        cross_entropy(scores, labels)


# -- distillation ------------------------------------------------------------------------------------------------

TOKENS, TAGS = drawn(4, 6, 5) * 2, classes(5, 4, 6)
SQUARE, SQUARE_TAGS = drawn(4, 6, 6) * 2, classes(6, 4, 6)


class Smoothed(nn.Module):
    def forward(self, output: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(output, labels, label_smoothing=0.1)


@pytest.mark.parametrize(
    "loss, scores, labels, dim",
    [
        (cross_entropy, drawn(8, 3), classes(3, 8), 1),
        (F.cross_entropy, drawn(8, 3), classes(3, 8), 1),
        (Smoothed(), drawn(2, 3, 4, 4), classes(3, 2, 4, 4), 1),
        (cross_entropy, TOKENS, TAGS, 2),
        (cross_entropy, TOKENS.transpose(1, 2), TAGS, 1),
        (lambda o, y: F.cross_entropy(o.transpose(1, 2), y), SQUARE, SQUARE_TAGS, 2),
        (F.cross_entropy, SQUARE, SQUARE_TAGS, 1),
        (lambda o, y: F.cross_entropy(o.flatten(0, 1), y.flatten()), SQUARE, SQUARE_TAGS, 2),
        (nn.MultiMarginLoss(), drawn(8, 3), classes(3, 8), 1),
        (F.nll_loss, drawn(8, 3).log_softmax(1), classes(3, 8), 1),
        (cross_entropy, drawn(8, 3), drawn(8, 3).softmax(1), 1),
        (cross_entropy, drawn(20, 30) * 1e20, classes(30, 20), 1),
        (F.cross_entropy, 50.0 * torch.eye(6), torch.arange(6), 1),
    ],
)
def test_the_classes_of_a_loss_are_found_by_trying(loss: Any, scores: Tensor, labels: Tensor, dim: int) -> None:
    teach = distillation(loss, scores, labels)
    assert teach == SoftLabels(dim)
    if scores.numel() < 200:
        agree = learned(teach, scores, labels).argmax(dim) == scores.argmax(dim)
        assert bool(agree.all())


def test_padding_teaches_nothing() -> None:
    labels = TAGS.clone()
    labels[:, 4:] = -100
    student = torch.zeros_like(TOKENS, requires_grad=True)
    distillation(cross_entropy, TOKENS, labels)(student, TOKENS, labels).backward()
    assert student.grad is not None and bool((student.grad[:, :4] != 0).all()) and not student.grad[:, 4:].any()


@pytest.mark.parametrize(
    "loss, scores, labels",
    [
        (cross_entropy, drawn(8, 1), classes(2, 8)),
        (cross_entropy, drawn(8), classes(2, 8)),
        (F.binary_cross_entropy_with_logits, drawn(8, 1), classes(2, 8, 1).float()),
        (lambda o, y: F.binary_cross_entropy_with_logits(o.squeeze(1), y.float()), drawn(8, 1), classes(2, 8)),
        (nn.BCEWithLogitsLoss(), drawn(8, 4), classes(2, 8, 4).float()),
        (F.mse_loss, drawn(8, 1), drawn(8, 1)),
        (F.mse_loss, drawn(8), drawn(8)),
        (nn.HuberLoss(), drawn(8, 2), drawn(8, 2)),
        (lambda o, y: F.mse_loss(o.squeeze(1), y), drawn(8, 1), drawn(8)),
        (F.binary_cross_entropy, drawn(8, 1).sigmoid(), classes(2, 8, 1).float()),
    ],
)
def test_values_and_yes_or_no_are_imitated(loss: Any, scores: Tensor, labels: Tensor) -> None:
    teach = distillation(loss, scores, labels)
    assert isinstance(teach, Imitated)
    if loss is not F.binary_cross_entropy:  # a student with free outputs would leave what it is defined for
        torch.testing.assert_close(learned(teach, scores, labels), scores, atol=0.15, rtol=0.1)


class Outputs(dict):  # type: ignore[type-arg]
    """As ``transformers`` gives them: a mapping whose entries are attributes."""

    def __getattr__(self, name: str) -> Any:
        return self[name]


def test_structured_outputs_teach_by_their_scores() -> None:
    def outputs(scores: Tensor) -> Outputs:
        return Outputs(hidden=torch.ones(3), logits=scores)

    for loss in (cross_entropy, lambda o, y: F.cross_entropy(o.logits.flatten(0, 1), y.flatten())):
        teach = distillation(loss, outputs(TOKENS), TAGS)
        assert teach == SoftLabels(2)
        assert bool((learned(teach, TOKENS, TAGS, outputs).argmax(2) == TOKENS.argmax(2)).all())


def test_what_cannot_be_told_is_refused_with_the_way_out() -> None:
    def contrastive(output: Tensor, labels: Tensor) -> Tensor:
        return (output * labels[:, None]).sum().sin()

    for loss, output in ((contrastive, drawn(8, 3)), (lambda o, y: o[0].sum(), (drawn(8, 3), drawn(8, 2)))):
        with pytest.raises(TrainingError, match=r"distillation_loss\(outputs, teacher, targets\)"):
            distillation(loss, output, classes(3, 8))


# -- in training -------------------------------------------------------------------------------------------------


class Tagger(nn.Module):
    """Scores (batch, tokens, classes), as ``transformers`` gives them."""

    def __init__(self, out: int = 4) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(3, 16), nn.Linear(16, out)

    def forward(self, x: Tensor) -> Any:
        return Outputs(logits=self.last(self.first(x).relu()))


def test_a_tagger_learns_from_dicts_and_its_smallest_from_it() -> None:
    torch.manual_seed(0)
    x = torch.randn(48, 5, 3)
    labels = (x[..., 0] > 0).long() + 2 * (x[..., 1] > 0).long()
    loader = [{"x": x[i : i + 16], "labels": labels[i : i + 16]} for i in range(0, 48, 16)]
    net = nw.wrap(Tagger(), x[:2], round_to=1)
    nw.train(net, loader, epochs=40, optimizer="sgd,lr=0.3,momentum=0.9,nesterov=true")
    for candidate in (net.largest, net.smallest):
        assert nw.Accuracy(loader).of(net.extract(candidate)).value > (85 if candidate == net.largest else 60)


def test_a_regression_learns_with_its_own_loss_and_is_refused_without() -> None:
    torch.manual_seed(0)
    x = torch.randn(64, 3)
    y = x.sum(1, keepdim=True)
    model = nn.Sequential(nn.Linear(3, 16), nn.ReLU(), nn.Linear(16, 1))
    net = nw.wrap(model, x[:2], round_to=1)
    with pytest.raises(TrainingError, match="Regression"):
        nw.train(net, [(x, y)], epochs=1)
    loader = [(x[:32], y[:32]), (x[32:], y[32:])]
    optimizer = "sgd,lr=0.05,momentum=0.9,nesterov=true"
    nw.train(net, loader, epochs=60, optimizer=optimizer, task=Learns(F.mse_loss))
    teacher = net.extract(net.largest)(x).detach()
    assert F.mse_loss(teacher, y) < 0.05
    assert F.mse_loss(net.extract(net.smallest)(x), teacher).item() < 0.6 * float(teacher.var())


def test_a_distillation_of_ones_own_is_used() -> None:
    seen: list[tuple[Any, Any]] = []

    def own(output: Any, teacher: Any) -> Tensor:
        seen.append((output, teacher))
        return F.mse_loss(scores_of(output), scores_of(teacher))

    x = torch.randn(4, 5, 3)
    net = nw.wrap(Tagger(), x, round_to=1)
    task = Learns(cross_entropy, distillation=own)
    nw.rules.Sandwich(random=1).step(net, nw.rules.Lesson((x, classes(4, 4, 5)), task, np.random.default_rng(0)))
    assert len(seen) == 2 and not any(teacher.logits.requires_grad for _, teacher in seen)


@pytest.mark.parametrize("batch", [torch.ones(2, 3), (torch.ones(2, 3),), {"x": torch.ones(2, 3)}, 3])
def test_batches_of_another_shape_are_told(batch: Any) -> None:
    net = nw.wrap(Tagger(), torch.ones(2, 3), round_to=1)
    with pytest.raises(NetwrightError, match=r"\(inputs, labels\)"):
        nw.train(net, [batch], epochs=1)
    with pytest.raises(NetwrightError, match=r"\(inputs, labels\)"):
        nw.finetune(net.extract(net.largest), [batch], epochs=1)


def test_a_loss_that_is_no_number_is_told() -> None:
    net = nw.wrap(Tagger(), torch.ones(2, 3), round_to=1)
    for loss in (lambda o, y: F.cross_entropy(o.logits, y, reduction="none"), lambda o, y: 1.0):
        with pytest.raises(TrainingError, match="one number"):
            nw.train(net, [(torch.randn(2, 3), classes(4, 2))], epochs=1, task=Learns(loss))
