"""Object detection: boxes with classes, by a loss of the person's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..core.errors import MeasureError, NetError
from ..core.metric import Measurement, Metric
from ..nets.inputs import describe
from .base import Evaluator, Task
from .losses import Loss, feature_loss, scalar
from .outputs import finite
from .settings import find_functions
from .statistics import GROUPS, jackknife, require_examples

MAP = Metric("map", "%", "max")

OVERLAPS = torch.from_numpy(np.linspace(0.5, 0.95, 10))
"""Intersections over union from which on a box is found, over which COCO averages."""
RECALLS = torch.from_numpy(np.linspace(0, 1, 101))
"""Where COCO reads the precision: to the last bit, since recalls are often one of them."""
MOST = 100
"""Boxes of a class in an image that count, those with the highest scores."""

Boxes = Mapping[str, Tensor]
"""Of one image: ``boxes`` (k, 4) as x1, y1, x2, y2, ``labels`` (k,), and of found ones ``scores`` (k,). True ones may
have ``iscrowd`` (k,): 1 for a box around many things, in which what is found counts neither as right nor as wrong."""


@dataclass(frozen=True)
class Detection(Task):
    """Boxes with classes, judged by COCO's mean average precision (intersection over union from 0.5 to 0.95).

    Targets are a list with a dict for each image: ``boxes`` (k, 4) as x1, y1, x2, y2 and ``labels`` (k,), or
    ``class_labels`` and boxes as centre, width and height, as the image processors of ``transformers`` make them.

    Args:
        criterion: the loss, a function of outputs and targets, or ``module:function``.
        decode: makes of outputs a list with a dict of ``boxes``, ``scores`` and ``labels`` for each image; a function
            or ``module:function``. By default outputs are such lists (as torchvision's), or have ``logits`` and
            ``pred_boxes`` (as DETR's), whose last class is none.
        distillation: a function of a network's and a teacher's outputs; by default outputs are drawn to the teacher's,
            as far as their shapes are the same.
    """

    criterion: str | Loss
    decode: str | Callable[[Any], Sequence[Boxes]] | None = None
    distillation: str | Loss | None = None

    metrics = (MAP,)

    def __post_init__(self) -> None:
        find_functions(self, "criterion", optional=("decode", "distillation"))

    def loss(self, outputs: Any, targets: Any) -> Tensor:
        assert callable(self.criterion)
        return scalar(self.criterion(outputs, targets))

    def distillation_loss(self, outputs: Any, teacher: Any, targets: Any) -> Tensor:
        if callable(self.distillation):
            return scalar(self.distillation(outputs, teacher))
        return feature_loss(outputs, teacher)

    def evaluator(self) -> BoxEvaluator:
        return BoxEvaluator(self.decode if callable(self.decode) else decoded)


def decoded(outputs: Any) -> Sequence[Boxes]:
    """Boxes of every image in what detectors of torchvision and DETR's kin give."""
    if isinstance(outputs, tuple | list) and all(isinstance(each, Mapping) and "scores" in each for each in outputs):
        return outputs
    given = outputs if isinstance(outputs, Mapping) else getattr(outputs, "__dict__", {})
    if not {"logits", "pred_boxes"} <= set(given):
        raise NetError(
            f"which boxes the network found is not known of {describe(outputs)}: give detection decode=, a function "
            "that makes a list of dicts with boxes, scores and labels of it"
        )
    shares = finite(given["logits"]).softmax(-1)[..., :-1]
    scores, labels = shares.max(-1)
    boxes = corners(given["pred_boxes"])
    return [{"boxes": b, "scores": s, "labels": c} for b, s, c in zip(boxes, scores, labels, strict=True)]


def corners(boxes: Tensor) -> Tensor:
    """Boxes (..., 4) of centre, width and height as x1, y1, x2, y2."""
    centre, half = boxes[..., :2], boxes[..., 2:] / 2
    return torch.cat([centre - half, centre + half], -1)


def with_corners(true: Any) -> Any:
    """The true boxes of an image with corners and ``labels``, where they have ``class_labels``; else as they are."""
    if isinstance(true, Mapping) and {"boxes", "class_labels"} <= set(true):
        return {**true, "boxes": corners(true["boxes"]), "labels": true["class_labels"]}
    return true


def areas(boxes: Tensor) -> Tensor:
    """Those of boxes (k, 4) as x1, y1, x2, y2."""
    return (boxes[:, 2:] - boxes[:, :2]).prod(-1)


def overlap(a: Tensor, b: Tensor, crowd: Tensor) -> Tensor:
    """Intersection over union (len(a), len(b)) of boxes as x1, y1, x2, y2; over the area of ``a`` where ``b`` is a
    crowd."""
    low, high = torch.maximum(a[:, None, :2], b[:, :2]), torch.minimum(a[:, None, 2:], b[:, 2:])
    both = (high - low).clamp(min=0).prod(-1)
    own = areas(a)[:, None]
    whole = torch.where(crowd, own, own + areas(b) - both)
    return both / whole.clamp(min=1e-12)


class BoxEvaluator(Evaluator):
    """Matches found boxes with true ones, image by image.

    Args:
        decode: see :class:`Detection`.
    """

    def __init__(self, decode: Callable[[Any], Sequence[Boxes]]) -> None:
        self._decode = decode
        self._images = 0
        self._found: dict[int, list[tuple[Tensor, Tensor, Tensor, int]]] = {}
        """Class to the scores, what is right and what counts at each overlap (10, k), and the group, of each image."""
        self._true: dict[int, Tensor] = {}
        """Class to the number of true boxes in each group."""

    def update(self, outputs: Any, targets: Any) -> int:
        found = self._decode(outputs)
        if not isinstance(targets, tuple | list) or len(found) != len(targets):
            raise NetError(
                f"boxes were found in {len(found)} images, but the targets are {describe(targets)}: they must be a "
                "list with a dict of boxes and labels for each image"
            )
        for each, wanted in zip(found, targets, strict=True):
            self._image(_require(each, "scores"), wanted)
        return len(targets)

    def _image(self, found: Boxes, wanted: Any) -> None:
        wanted, group = _require(with_corners(wanted), "labels"), self._images % GROUPS
        self._images += 1
        for part in ("boxes", "scores"):
            finite(found[part])
        crowds = wanted.get("iscrowd", torch.zeros(len(wanted["labels"]))).cpu().bool()
        for kind in {*found["labels"].tolist(), *wanted["labels"].tolist()}:
            its = (wanted["labels"] == kind).cpu()
            true, crowd = wanted["boxes"].detach().cpu()[its].double(), crowds[its]
            mine = found["labels"] == kind
            scores, order = found["scores"][mine].detach().cpu().double().sort(descending=True, stable=True)
            boxes = found["boxes"][mine].detach().cpu().double()[order[:MOST]]
            right, counts = matched(boxes, true, crowd)
            self._found.setdefault(kind, []).append((scores[:MOST], right, counts, group))
            self._true.setdefault(kind, torch.zeros(GROUPS, dtype=torch.int64))[group] += int((~crowd).sum())

    def result(self) -> dict[str, Measurement]:
        require_examples(MAP.name, self._images)
        if not any(int(true.sum()) for true in self._true.values()):
            raise MeasureError("no image has a true box: map is that of nothing")
        groups = range(min(GROUPS, self._images)) if self._images > 1 else ()
        left_out = [each for g in groups if (each := self._without(g)) is not None]
        value = self._without(None)
        assert value is not None
        return {MAP.name: jackknife(value, left_out, MAP.unit, self._images, self._images)}

    def _without(self, group: int | None) -> float | None:
        """The mean average precision in percent of all images but those of a group; None where no true box is left."""
        precisions = []
        for kind, parts in self._found.items():
            true = int(self._true[kind].sum()) - (0 if group is None else int(self._true[kind][group]))
            kept = [part for part in parts if part[3] != group]
            if true:  # then there are images, and parts of them
                scores = torch.cat([part[0] for part in kept])
                right, counts = torch.cat([part[1] for part in kept], 1), torch.cat([part[2] for part in kept], 1)
                precisions.append(average_precisions(scores, right, counts, true).mean())
        return 100.0 * float(torch.stack(precisions).mean()) if precisions else None


def _require(boxes: Any, part: str) -> Boxes:
    if not isinstance(boxes, Mapping) or not {"boxes", "labels", part} <= set(boxes):
        raise NetError(f"boxes of an image must be a dict with boxes, labels and {part}, not {describe(boxes)}")
    return boxes


def matched(boxes: Tensor, true: Tensor, crowd: Tensor) -> tuple[Tensor, Tensor]:
    """Which boxes are right, and which of them count, at each of :data:`OVERLAPS`, (10, len(boxes)).

    Right are those that are first to take a true box: the one that they overlap most of those that are left, of equal
    ones the last. Those that find nothing but a crowd do not count; a crowd is never taken.

    Args:
        boxes: found, in falling order of scores.
        true: the true ones.
        crowd: which of these are crowds, (len(true),).
    """
    right = torch.zeros(len(OVERLAPS), len(boxes), dtype=torch.bool)
    counts = torch.ones_like(right)
    if not len(true) or not len(boxes):
        return right, counts
    left = (~crowd).expand(len(OVERLAPS), -1).clone()
    rows, last = torch.arange(len(OVERLAPS)), len(true) - 1
    for i, each in enumerate(overlap(boxes, true, crowd)):
        best = last - torch.where(left, each, -1.0).flip(1).argmax(1)
        right[:, i] = left[rows, best] & (each[best] >= OVERLAPS)
        left[rows, best] &= ~right[:, i]
        in_crowd = (each.masked_fill(~crowd, -1.0).max() >= OVERLAPS) & ~right[:, i]
        counts[:, i] = ~in_crowd
    return right, counts


def average_precisions(scores: Tensor, right: Tensor, counts: Tensor, true: int) -> Tensor:
    """COCO's average precision at each overlap: the mean over 101 recalls of the best precision at that recall or more.

    Args:
        scores: of found boxes, (k,).
        right: which of them are right, (overlaps, k).
        counts: which of them count, likewise.
        true: the number of true boxes.
    """
    order = scores.argsort(descending=True, stable=True)
    hits = right[:, order].double().cumsum(1)
    precision = hits / counts[:, order].double().cumsum(1).clamp(min=1)
    best = precision.flip(1).cummax(1).values.flip(1) if len(order) else precision
    at = torch.searchsorted((hits / true).contiguous(), RECALLS.expand(len(hits), -1).contiguous())
    padded = torch.cat([best, torch.zeros(len(best), 1)], 1)
    return padded.gather(1, at).mean(1)
