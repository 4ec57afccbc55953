"""Losses for labels, and for a teacher's outputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import nan
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ..core.errors import NetError, TrainingError, format_error
from ..nets.inputs import each_tensor, tensors_in
from .outputs import IGNORED, class_dimension, scores_of

Loss = Callable[[Any, Any], Tensor]
"""(output, labels) -> a scalar."""

SAME = 1e-4
"""How far two losses of the same thing may be apart by rounding, relative to 1 and themselves."""


def cross_entropy(
    output: Any, labels: Tensor, *, label_smoothing: float = 0.0, class_weights: Sequence[float] = ()
) -> Tensor:
    """Cross-entropy of scores with labels, for scores and labels of any shape that go together.

    Scores (n, classes) have labels (n,); (n, classes, h, w) labels (n, h, w); (n, tokens, classes) labels (n, tokens):
    class indices, where -100 (padding) does not count. Single scores, (n, 1) or of the labels' shape, are those of yes
    and no (logits), with labels 0 and 1 (or -100). Labels may also be probabilities of the classes, (n, classes).

    Args:
        output: what a network gives.
        labels: see above.
        label_smoothing: the share of a label that all classes have equally.
        class_weights: how much an example of each class counts; () counts all the same.

    Raises :class:`TrainingError` for others, such as the values of a regression: these need a loss of their own.
    """
    scores = scores_of(output)
    if not isinstance(labels, Tensor):
        raise TrainingError(f"cross-entropy needs labels in a tensor, not a {type(labels).__name__}; {_OWN}")
    if labels.is_floating_point():
        if labels.shape == scores.shape and scores.dim() > 1 and scores.shape[1] > 1:
            sums = labels.sum(1)
            if bool((labels >= 0).all()) and torch.allclose(sums, torch.ones_like(sums), atol=1e-3):
                return F.cross_entropy(scores, labels, _weights(class_weights, scores), label_smoothing=label_smoothing)
        raise TrainingError(
            f"labels of {labels.dtype} and shape {tuple(labels.shape)} are neither class indices nor probabilities of "
            f"the classes, which cross-entropy is made for; {_OWN}"
        )
    if is_yes_or_no(scores, labels):
        wrong = labels[(labels != 0) & (labels != 1) & (labels != IGNORED)]
        if wrong.numel():
            raise TrainingError(
                f"scores of shape {tuple(scores.shape)} answer yes or no, with labels 0 and 1, but one is "
                f"{int(wrong.flatten()[0])}; {_OWN}"
            )
        pairs = _yes_and_no(scores.reshape(labels.shape), 1)
        return class_loss(pairs, labels, 1, IGNORED, label_smoothing, class_weights)
    try:
        dim = class_dimension(scores, labels)
    except NetError as error:
        raise TrainingError(f"{format_error(error)}; {_OWN}") from None
    return class_loss(scores, labels, dim, IGNORED, label_smoothing, class_weights)


def class_loss(
    scores: Tensor, labels: Tensor, dim: int, ignored: int, label_smoothing: float, class_weights: Sequence[float]
) -> Tensor:
    """Cross-entropy of scores with class indices, the mean over those that count; a single score is that of yes or no.

    Args:
        scores: of any shape.
        labels: of the same shape without ``dim``.
        dim: of the scores, that holds the classes.
        ignored: the label of what does not count.
        label_smoothing: the share of a label that all classes have equally.
        class_weights: how much each class counts; () counts all the same.

    Raises :class:`TrainingError` for labels of another shape or beyond the classes.
    """
    scores = scores.movedim(dim, 1)
    if (scores.shape[0], *scores.shape[2:]) != labels.shape:
        raise TrainingError(f"scores of shape {tuple(scores.shape)} and labels of shape {tuple(labels.shape)} differ")
    counted = labels[labels != ignored]
    if not counted.numel():
        return scores.sum() * 0.0  # nothing to learn from; the mean of nothing is not a number
    classes, least, most = scores.shape[1], int(counted.min()), int(counted.max())
    if least < 0 or most >= max(2, classes):
        raise TrainingError(
            f"labels go from {least} to {most}, but the network gives scores of {classes} classes, which are counted "
            "from 0"
        )
    if classes == 1:
        scores = _yes_and_no(scores[:, 0], 1)
    weights = _weights(class_weights, scores)
    return F.cross_entropy(scores, labels.long(), weights, ignore_index=ignored, label_smoothing=label_smoothing)


def _weights(weights: Sequence[float], scores: Tensor) -> Tensor | None:
    return torch.tensor(weights, dtype=scores.dtype, device=scores.device) if len(weights) else None


def _yes_and_no(scores: Tensor, dim: int) -> Tensor:
    """Single scores as those of two classes, in a new dimension: the softmax of 0 and a score is its sigmoid."""
    return torch.stack([torch.zeros_like(scores), scores], dim)


_OWN = (
    "give the task that fits, such as task=nw.tasks.Regression() for values, or a task of your own, whose "
    "loss(outputs, targets) may be F.cross_entropy(outputs.transpose(1, 2), targets)"
)


def class_rows(scores: Tensor, labels: Any, dim: int, ignored: int = IGNORED) -> Tensor:
    """The scores of the classes of all that counts, of shape (things, classes); a single score is that of yes, beside
    0 for no.

    Args:
        scores: of any shape.
        labels: class indices of the same shape without ``dim``, which say what counts; of others, all does.
        dim: of the scores, that holds the classes.
        ignored: the label of what does not count.
    """
    each = scores.movedim(dim, -1)
    indices = isinstance(labels, Tensor) and not labels.is_floating_point() and labels.shape == each.shape[:-1]
    rows = each[labels != ignored] if indices else each.reshape(-1, each.shape[-1])
    return _yes_and_no(rows[:, 0], 1) if rows.shape[1] == 1 else rows


def soft_cross_entropy(rows: Tensor, teacher: Tensor, temperature: float = 1.0) -> Tensor:
    """Cross-entropy of class scores with a teacher's, both of shape (things, classes): the mean over the things.

    It differs from the Kullback-Leibler divergence by what the student cannot change. The scores of both are divided by
    the temperature and the loss is multiplied by its square, as in Hinton and others, "Distilling the knowledge in a
    neural network" (2015), section 2.
    """
    t = temperature
    each = -((teacher / t).softmax(1) * (rows / t).log_softmax(1)).sum(1) * (t * t)
    return each.mean() if len(each) else rows.sum() * 0.0


@dataclass(frozen=True)
class SoftLabels:
    """Cross-entropy of class scores with a teacher's: the in-place distillation of Yu and Huang, "Universally slimmable
    networks" (2019), section 3.4; see :func:`soft_cross_entropy`.

    Args:
        dim: of the scores, that holds the classes.
    """

    dim: int

    def __call__(self, output: Any, teacher: Any, labels: Any) -> Tensor:
        return soft_cross_entropy(self.rows(output, labels), self.rows(teacher, labels))

    def rows(self, output: Any, labels: Any) -> Tensor:
        """See :func:`class_rows`."""
        return class_rows(scores_of(output), labels, self.dim)


@dataclass(frozen=True)
class Imitated:
    """The loss itself, with what the teacher gives in place of the labels.

    Args:
        loss: of outputs and labels.
        link: makes labels of a teacher's outputs.
    """

    loss: Loss
    link: Callable[[Tensor], Tensor]

    def __call__(self, output: Any, teacher: Any, labels: Any) -> Tensor:
        return self.loss(output, self.link(scores_of(teacher)).reshape(labels.shape))

    def rows(self, output: Any, labels: Any) -> Tensor:
        """See :func:`class_rows`. Raises :class:`TrainingError` where labels are values and no classes."""
        if self.link is not torch.sigmoid:
            raise TrainingError(f"the loss is one of values and has no classes, {NO_CLASSES}")
        return _yes_and_no(scores_of(output).flatten(), 1)


def distillation(loss: Loss, output: Any, labels: Any) -> SoftLabels | Imitated:
    """How a student learns from a teacher's outputs where others learn from labels: found by trying the loss.

    A loss that does not change when the same number is added to all scores along a dimension has its classes there.
    One that is least at its labels (regression), or at their logits (yes and no), takes the teacher's in their place.

    Args:
        loss: what the teacher learns by.
        output: of a network, for a batch.
        labels: of the batch.

    Raises :class:`TrainingError` where nothing of this holds.
    """
    try:
        given = scores_of(output)
    except NetError as error:
        raise TrainingError(f"{format_error(error)}; {_TEACH}") from None
    scores = given.detach().to(torch.promote_types(given.dtype, torch.float32))
    if loss is cross_entropy and is_yes_or_no(scores, labels):
        return Imitated(_binary, torch.sigmoid)

    def at(values: Tensor, goal: Any) -> Tensor:
        return loss(each_tensor(output, lambda t: values if t is given else t.detach()), goal)

    generator = torch.Generator().manual_seed(0)
    # At the scores themselves a loss may be flat: those of a network that is sure of itself. Some take shares alone.
    for draw in (torch.randn, torch.rand):
        start = draw(scores.shape, generator=generator).to(scores)
        dim = _class_dimension(lambda values: _tried(at, values, labels), start, generator)
        if dim is not None:
            return SoftLabels(dim)
        if isinstance(labels, Tensor) and labels.numel() == scores.numel():
            for link in (_itself, torch.sigmoid):
                if _least(at, start, labels, link):
                    return Imitated(loss, link)
    logarithms = [d for d in range(1, scores.dim()) if bool((scores.logsumexp(d).abs() < SAME).all())]
    if len(logarithms) == 1:  # of probabilities, as log_softmax gives them: their softmax is theirs again
        return SoftLabels(logarithms[0])
    raise TrainingError(
        f"the loss does not say how one network learns from another's outputs of shape {tuple(scores.shape)}; {_TEACH}"
    )


_TEACH = (
    "give the task a method distillation_loss(outputs, teacher, targets), such as mse_loss of the first two, or take a "
    "rule without distillation, such as rule='single-path'"
)


NO_CLASSES = "whose probabilities could be compared: take distillation='outputs'"


def feature_loss(output: Any, teacher: Any) -> Tensor:
    """The mean of the squared differences of two networks' outputs: of each tensor of numbers that has the same shape
    in both, all tensors counting the same.

    Raises :class:`TrainingError` where there is none.
    """
    pairs = list(zip(tensors_in(output), tensors_in(teacher), strict=False))
    losses = [F.mse_loss(a, b) for a, b in pairs if a.is_floating_point() and a.shape == b.shape]
    if not losses:
        raise TrainingError(f"no outputs of the network and its teacher have the same shape; {_TEACH}")
    return torch.stack(losses).mean()


def scalar(value: Any) -> Tensor:
    """What a loss gave, if that is one number. Raises :class:`TrainingError` for anything else."""
    if isinstance(value, Tensor) and value.numel() == 1:
        return value.reshape(())
    if isinstance(value, Tensor):
        what, fix = f"a tensor of shape {tuple(value.shape)}", "try its mean()"
    else:
        what, fix = f"a {type(value).__name__}", "return the tensor itself, not its item()"
    raise TrainingError(f"a loss must give one number, a tensor without dimensions, not {what}; {fix}")


def _class_dimension(loss: Callable[[Tensor], float], start: Tensor, generator: torch.Generator) -> int | None:
    """The dimension along which the loss depends on nothing but differences; None where there is none or several."""
    here = loss(start)

    def ignores(*shape: int) -> bool:
        """Whether noise of this shape, the same along dimensions of size 1, leaves the loss as it is, three times."""
        noise = (torch.randn(shape, generator=generator).to(start) for _ in range(3))
        return all(abs(loss(start + x) - here) <= SAME * (1 + abs(here)) for x in noise)

    shape = start.shape
    free = [d for d in range(1, start.dim()) if shape[d] > 1 and ignores(*shape[:d], 1, *shape[d + 1 :])]
    return free[0] if len(free) == 1 and not ignores(*shape) else None


@torch.no_grad()
def _tried(at: Callable[[Tensor, Any], Tensor], values: Tensor, labels: Any) -> float:
    """The loss, NaN where it takes no such scores."""
    try:
        return float(at(values, labels))
    except (RuntimeError, ValueError):
        return nan


def _least(at: Callable[[Tensor, Tensor], Tensor], scores: Tensor, labels: Tensor, link: Callable[..., Tensor]) -> bool:
    """Whether the loss of the scores is least where the labels are what the link makes of them."""

    def slope(goal: Tensor) -> float:
        values = scores.clone().requires_grad_()
        with torch.enable_grad():
            (found,) = torch.autograd.grad(at(values, link(goal).reshape(labels.shape)), values)
        return float(found.abs().max())

    try:
        return slope(scores) <= SAME * slope(scores / 2) > 0
    except (RuntimeError, TypeError, ValueError, NetError, TrainingError):  # a loss that takes no such labels
        return False


def _itself(values: Tensor) -> Tensor:
    return values


def is_yes_or_no(scores: Tensor, labels: Any) -> bool:
    """Whether there is one score for each label of 0 or 1."""
    if not isinstance(labels, Tensor):
        return False
    shape = scores.shape
    single = [(*shape[:d], *shape[d + 1 :]) for d in range(1, len(shape)) if shape[d] == 1]
    return not labels.is_floating_point() and tuple(labels.shape) in [tuple(shape), *single]


def _binary(output: Any, labels: Tensor) -> Tensor:
    scores = scores_of(output)
    return F.binary_cross_entropy_with_logits(scores.reshape(labels.shape), labels.to(scores.dtype))
