"""Object detection: boxes with classes, by a loss of the person's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..core.errors import MeasureError, NetError, RecipeError
from ..core.metric import Measurement, Metric
from ..core.registry import find_object
from ..nets.inputs import describe
from .base import Evaluator, Task
from .losses import Loss, feature_loss, scalar
from .outputs import finite
from .statistics import GROUPS, jackknife, require_examples

MAP = Metric("map", "%", "max")

OVERLAPS = torch.from_numpy(np.linspace(0.5, 0.95, 10))
"""Intersections over union from which on a box is found, over which COCO averages."""
RECALLS = torch.from_numpy(np.linspace(0, 1, 101))
"""Where COCO reads the precision: to the last bit, since recalls are often one of them."""
MOST = 100
"""Boxes of a class in an image that count, those with the highest scores."""

Boxes = Mapping[str, Tensor]
"""Of one image: ``boxes`` (k, 4) as x1, y1, x2, y2, ``labels`` (k,), and of found ones ``scores`` (k,)."""


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
        for name in ("criterion", "decode", "distillation"):
            given = getattr(self, name)
            if isinstance(given, str):
                object.__setattr__(self, name, find_object(given, f"task: {name}", RecipeError))

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


def overlap(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union (len(a), len(b)) of boxes as x1, y1, x2, y2."""
    low, high = torch.maximum(a[:, None, :2], b[:, :2]), torch.minimum(a[:, None, 2:], b[:, 2:])
    both = (high - low).clamp(min=0).prod(-1)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(-1) for boxes in (a, b)]
    return both / (areas[0][:, None] + areas[1] - both).clamp(min=1e-12)


class BoxEvaluator(Evaluator):
    """Matches found boxes with true ones, image by image.

    Args:
        decode: see :class:`Detection`.
    """

    def __init__(self, decode: Callable[[Any], Sequence[Boxes]]) -> None:
        self._decode = decode
        self._images = 0
        self._found: dict[int, list[tuple[Tensor, Tensor, int]]] = {}
        """Class to the scores, what is right at each overlap (10, k), and the group, of each image."""
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
        if isinstance(wanted, Mapping) and "class_labels" in wanted:
            wanted = {"boxes": corners(wanted["boxes"]), "labels": wanted["class_labels"]}
        wanted, group = _require(wanted, "labels"), self._images % GROUPS
        self._images += 1
        for kind in {*found["labels"].tolist(), *wanted["labels"].tolist()}:
            true = wanted["boxes"][wanted["labels"] == kind].detach().cpu().double()
            mine = found["labels"] == kind
            scores, order = found["scores"][mine].detach().cpu().double().sort(descending=True, stable=True)
            boxes = found["boxes"][mine].detach().cpu().double()[order[:MOST]]
            self._found.setdefault(kind, []).append((scores[:MOST], matched(boxes, true), group))
            self._true.setdefault(kind, torch.zeros(GROUPS, dtype=torch.int64))[group] += len(true)

    def result(self) -> dict[str, Measurement]:
        require_examples(MAP.name, self._images)
        if not any(int(true.sum()) for true in self._true.values()):
            raise MeasureError("no image has a true box: map is that of nothing")
        groups = range(min(GROUPS, self._images)) if self._images > 1 else ()
        left_out = [each for g in groups if (each := self._without(g)) is not None]
        value = self._without(None)
        assert value is not None
        return {MAP.name: jackknife(value, left_out, MAP.unit, self._images)}

    def _without(self, group: int | None) -> float | None:
        """The mean average precision in percent of all images but those of a group; None where no true box is left."""
        precisions = []
        for kind, parts in self._found.items():
            true = int(self._true[kind].sum()) - (0 if group is None else int(self._true[kind][group]))
            kept = [(scores, right) for scores, right, g in parts if g != group]
            if true:
                scores = torch.cat([each for each, _ in kept]) if kept else torch.zeros(0)
                right = torch.cat([each for _, each in kept], 1) if kept else torch.zeros(len(OVERLAPS), 0)
                precisions.append(average_precisions(scores, right, true).mean())
        return 100.0 * float(torch.stack(precisions).mean()) if precisions else None


def _require(boxes: Any, part: str) -> Boxes:
    if not isinstance(boxes, Mapping) or not {"boxes", "labels", part} <= set(boxes):
        raise NetError(f"boxes of an image must be a dict with boxes, labels and {part}, not {describe(boxes)}")
    return boxes


def matched(boxes: Tensor, true: Tensor) -> Tensor:
    """Which boxes are right at each of :data:`OVERLAPS`, (10, len(boxes)): those that are first to take a true box, the
    one that they overlap most of those that are left."""
    right = torch.zeros(len(OVERLAPS), len(boxes), dtype=torch.bool)
    if not len(true) or not len(boxes):
        return right
    shared = overlap(boxes, true)
    for row, least in enumerate(OVERLAPS):
        left = torch.ones(len(true), dtype=torch.bool)
        for i, each in enumerate(shared):
            best = int(each.masked_fill(~left, -1).argmax())
            if left[best] and each[best] >= least:
                left[best], right[row, i] = False, True
    return right


def average_precisions(scores: Tensor, right: Tensor, true: int) -> Tensor:
    """COCO's average precision at each overlap: the mean over 101 recalls of the best precision at that recall or more.

    Args:
        scores: of found boxes, (k,).
        right: which of them are right, (overlaps, k).
        true: the number of true boxes.
    """
    order = scores.argsort(descending=True, stable=True)
    hits = right[:, order].double().cumsum(1)
    precision = hits / torch.arange(1, len(order) + 1)
    best = precision.flip(1).cummax(1).values.flip(1) if len(order) else precision
    at = torch.searchsorted((hits / true).contiguous(), RECALLS.expand(len(hits), -1).contiguous())
    padded = torch.cat([best, torch.zeros(len(best), 1)], 1)
    return padded.gather(1, at).mean(1)
