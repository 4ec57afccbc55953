"""Labelled batches, and class scores of any shape: which entry holds the labels, and which dimension the classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ..core.errors import NetError
from .inputs import Inputs, tensors_in

IGNORED = -100
"""The label of what takes no part in a loss or an accuracy, such as padding: PyTorch's own convention."""


def pair_of(batch: Any) -> tuple[Inputs, Any]:
    """Inputs and labels of a batch: a pair, or a dict with an entry ``labels`` (as the collators of ``transformers``
    make them), whose other entries are the inputs.

    Raises :class:`NetError` for batches of another shape.
    """
    if isinstance(batch, Mapping) and "labels" in batch and len(batch) > 1:
        return {name: value for name, value in batch.items() if name != "labels"}, batch["labels"]
    if isinstance(batch, tuple | list) and len(batch) == 2:
        return batch[0], batch[1]
    raise NetError(
        f"a batch must be a pair (inputs, labels), or a dict with 'labels' beside the inputs, not {_shape(batch)}; "
        "several inputs go in a tuple or a dict: ((a, b), labels)"
    )


def scores_of(output: Any) -> Tensor:
    """The class scores (or values) in what a network gives: the tensor itself, the entry ``logits``, or the only
    floating-point tensor.

    Raises :class:`NetError` where that is none or several.
    """
    if isinstance(output, Tensor):
        return output
    named = output.get("logits") if isinstance(output, Mapping) else getattr(output, "logits", None)
    if isinstance(named, Tensor):
        return named
    found = [tensor for tensor in tensors_in(output) if tensor.is_floating_point()]
    if len(found) != 1:
        raise NetError(
            f"the network gives {_shape(output)} with {len(found)} tensors of numbers: which of them are the scores "
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


def answers_of(scores: Tensor, labels: Tensor) -> Tensor:
    """The class that has the highest score, int64 of the labels' shape; of single scores, whether they are above 0."""
    if not isinstance(labels, Tensor) or labels.is_floating_point():
        kind = f"{labels.dtype} of shape {tuple(labels.shape)}" if isinstance(labels, Tensor) else _shape(labels)
        raise NetError(f"labels must be class indices, a tensor of whole numbers, not {kind}")
    if scores.shape == labels.shape:
        return (scores > 0).long()
    dim = class_dimension(scores, labels)
    return scores.argmax(dim) if scores.shape[dim] > 1 else (scores > 0).long().squeeze(dim)


def _shape(value: Any) -> str:
    """A value in words."""
    kind = type(value).__name__
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)}"
    if isinstance(value, Mapping):
        return f"a {kind} with the keys {', '.join(map(repr, value)) or 'none'}"
    return f"a {kind} of {len(value)}" if isinstance(value, tuple | list) else f"a {kind}"
