"""What networks give: which tensor holds the scores or values, which dimension the classes, and what is answered."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ..core.errors import MeasureError, NetError
from ..nets.inputs import describe, tensors_in

IGNORED = -100
"""The label of what takes no part in a loss or an accuracy, such as padding: PyTorch's own convention."""

NAMED = ("logits", "out")
"""What the scores are called among several outputs."""


def scores_of(output: Any) -> Tensor:
    """The class scores (or values) in what a network gives: the tensor itself, the entry ``logits`` (of transformers)
    or ``out`` (of torchvision), or the only floating-point tensor.

    Raises :class:`NetError` where that is none or several.
    """
    if isinstance(output, Tensor):
        return output
    for name in NAMED:
        named = output.get(name) if isinstance(output, Mapping) else getattr(output, name, None)
        if isinstance(named, Tensor):
            return named
    found = [tensor for tensor in tensors_in(output) if tensor.is_floating_point()]
    if len(found) != 1:
        raise NetError(
            f"the network gives {describe(output)} with {len(found)} tensors of numbers: which of them are the scores "
            "is not known; make it give them alone, or under the name 'logits'"
        )
    return found[0]


def class_dimension(scores: Tensor, labels: Tensor) -> int:
    """The dimension of the scores that holds the classes: the one that labels of class indices are without.

    Scores (n, classes) have labels (n,); (n, classes, h, w) labels (n, h, w); (n, tokens, classes) labels (n, tokens).

    Raises :class:`NetError` where no dimension or more than one fits.
    """
    fitting = [d for d in range(1, scores.dim()) if (*scores.shape[:d], *scores.shape[d + 1 :]) == labels.shape]
    ends = [d for d in fitting if d in (1, scores.dim() - 1)]
    if len(ends) == 1:
        return ends[0]
    given = f"scores of shape {tuple(scores.shape)} and labels of shape {tuple(labels.shape)}"
    if ends:
        raise NetError(f"{given} do not say whether dimension 1 or {scores.dim() - 1} holds the classes")
    raise NetError(
        f"{given} do not belong together: labels are class indices of the scores' shape without the classes, which are "
        "in dimension 1, (n, classes, ...), or in the last, (n, ..., classes)"
    )


def answers_of(scores: Tensor, labels: Tensor, dim: int | None = None) -> Tensor:
    """The class that has the highest score, int64 of the labels' shape; of single scores, whether they are above 0.

    ``dim`` is the scores' dimension of the classes, by default the one that the labels lack.
    """
    if not isinstance(labels, Tensor) or labels.is_floating_point():
        raise NetError(f"labels must be class indices, a tensor of whole numbers, not {describe(labels)}")
    if scores.shape == labels.shape:
        return (scores > 0).long()
    if dim is None:
        dim = class_dimension(scores, labels)
    elif scores.dim() != labels.dim() + 1 or scores.movedim(dim, 0).shape[1:] != labels.shape:
        raise NetError(
            f"the network gives scores of shape {tuple(scores.shape)} for labels of shape {tuple(labels.shape)}: these "
            f"must be the scores' shape without the classes, which are in {'dimension 1' if dim == 1 else 'the last'}"
        )
    return scores.argmax(dim) if scores.shape[dim] > 1 else (scores > 0).long().squeeze(dim)


def finite(values: Tensor) -> Tensor:
    """The values. Raises :class:`MeasureError` where some are not finite numbers."""
    if not torch.isfinite(values).all():
        raise MeasureError("the network's outputs are not finite numbers")
    return values


def require_classes(labels: Tensor, classes: int) -> None:
    """Raise :class:`MeasureError` for labels that count and are beyond the classes of the scores."""
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < classes:
        raise MeasureError(
            f"labels go from {int(labels.min())} to {int(labels.max())}, but the network gives scores of {classes} "
            "classes, which are counted from 0"
        )
