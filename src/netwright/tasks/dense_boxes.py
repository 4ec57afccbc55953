"""What detectors learn that give a box and scores at every position of several scales, and the boxes found by them.

Outputs are a dict of ``boxes``, for each scale (n, 4, h, w) as x1, y1, x2, y2 in pixels, and ``scores``, for each scale
(n, classes, h, w), logits; see :class:`netwright.nets.families.detector.Detector`. Targets are those of
:class:`netwright.tasks.Detection`, boxes in pixels. The two functions are its ``criterion=`` and ``decode=``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ..core.errors import TrainingError
from ..nets.families.detector import STRIDES
from ..nets.inputs import describe
from .detection import MOST, Boxes, areas, overlap, with_corners

RADIUS = 1.5
"""Positions at most this many strides from the centre of a box answer for it."""
SIZES = (0.0, 64.0, 128.0, float("inf"))
"""The side farthest from a position, in pixels, for which each scale answers (FCOS, section 3.2)."""
ALPHA, GAMMA = 0.25, 2.0
"""Of the focal loss (Lin et al. 2017, equation 5)."""
LEAST, SAME = 0.05, 0.6
"""The least score of a box that is found, and the overlap from which on two boxes of a class are one."""


def loss(outputs: Any, targets: Sequence[Boxes]) -> Tensor:
    """The focal loss of all scores, and one minus the generalised overlap of boxes at positions that answer for one.

    Which answer is decided as by FCOS (Tian et al. 2019, section 3) with centre sampling: those near the centre of a
    box and in it, at the scale that is there for its size; of several boxes the smallest. Both terms are sums over the
    number of these positions. The generalised overlap is that of Rezatofighi et al. 2019, algorithm 1.

    Raises :class:`TrainingError` for outputs and targets of another form.
    """
    boxes, scores, points = _flat(outputs)
    if not isinstance(targets, Sequence) or len(targets) != len(boxes):
        raise TrainingError(
            f"targets are a list with a dict of boxes and labels for each image, not {describe(targets)}"
        )
    wanted = torch.zeros_like(scores)
    lost = scores.new_zeros(())
    positive = 0
    for i, each in enumerate(targets):
        true, labels = _true(each, boxes, scores.shape[2])
        at, which = assigned(points, true)
        wanted[i, at, labels[which]] = 1.0
        lost = lost + (1 - generalised_overlap(boxes[i, at], true[which])).sum()
        positive += len(at)
    chance = scores.sigmoid()
    hard = torch.where(wanted > 0, 1 - chance, chance) ** GAMMA
    weight = torch.where(wanted > 0, ALPHA, 1 - ALPHA) * hard
    focal = (weight * F.binary_cross_entropy_with_logits(scores, wanted, reduction="none")).sum()
    return (focal + lost) / max(positive, 1)


def _true(given: Any, like: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """The true boxes of an image, and the number of the class of each."""
    found = with_corners(given)
    if not isinstance(found, Mapping) or not {"boxes", "labels"} <= set(found):
        raise TrainingError(f"targets of an image are a dict of boxes and labels, not {describe(given)}")
    true, labels = found["boxes"].to(like), found["labels"].to(like.device)
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < classes:
        wrong = next(int(each) for each in labels if not 0 <= each < classes)
        raise TrainingError(f"a box has label {wrong}, but the network has scores for {classes} classes, from 0 on")
    return true, labels


def decode(outputs: Any) -> list[dict[str, Tensor]]:
    """The boxes of each image, at most 100 of each class, the best score first, none that overlaps a better one."""
    boxes, scores, _ = _flat(outputs)
    found = []
    for corners, chances in zip(boxes.detach(), scores.detach().sigmoid(), strict=True):
        kept: list[tuple[Tensor, Tensor, Tensor]] = []
        for kind in range(chances.shape[1]):
            best, order = chances[:, kind].sort(descending=True)
            order = order[best >= LEAST][: 10 * MOST]
            order = order[_apart(corners[order])][:MOST]
            kept.append((corners[order], chances[order, kind], torch.full_like(order, kind)))
        each, chance, label = (torch.cat(parts) for parts in zip(*kept, strict=True))
        order = chance.argsort(descending=True)
        found.append({"boxes": each[order], "scores": chance[order], "labels": label[order]})
    return found


def assigned(points: Tensor, true: Tensor) -> tuple[Tensor, Tensor]:
    """Positions that answer for a box, and for which.

    Args:
        points: (k, 3), x, y and the stride.
        true: boxes (m, 4).
    """
    if not len(true):
        return (points.new_zeros(0, dtype=torch.int64),) * 2
    place, stride = points[:, None, :2], points[:, None, 2]
    sides = torch.cat([place - true[:, :2], true[:, 2:] - place], -1)
    centre = (true[:, :2] + true[:, 2:]) / 2
    near = (place - centre).abs().amax(-1) <= RADIUS * stride
    farthest = sides.amax(-1)
    for step, (low, high) in zip(STRIDES, pairwise(SIZES), strict=True):
        near &= (stride != step) | ((farthest > low) & (farthest <= high))
    size, which = torch.where(near & (sides.amin(-1) > 0), areas(true), float("inf")).min(1)
    at = size.isfinite().nonzero()[:, 0]
    return at, which[at]


def generalised_overlap(a: Tensor, b: Tensor) -> Tensor:
    """Overlap of each box of ``a`` (k, 4) with that of ``b``, less the share of their hull that neither covers."""
    both = (torch.minimum(a[:, 2:], b[:, 2:]) - torch.maximum(a[:, :2], b[:, :2])).clamp(min=0).prod(-1)
    hull = (torch.maximum(a[:, 2:], b[:, 2:]) - torch.minimum(a[:, :2], b[:, :2])).prod(-1).clamp(min=1e-9)
    union = (areas(a) + areas(b) - both).clamp(min=1e-9)
    return both / union - (hull - union) / hull


def _apart(boxes: Tensor) -> Tensor:
    """Which boxes, in falling order of scores, overlap no better one that is kept."""
    overlaps = overlap(boxes, boxes, torch.zeros(len(boxes), dtype=torch.bool, device=boxes.device)) > SAME
    kept = torch.ones(len(boxes), dtype=torch.bool, device=boxes.device)
    for i in range(len(boxes)):
        if kept[i]:
            kept[i + 1 :] &= ~overlaps[i, i + 1 :]
    return kept


def _flat(outputs: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Boxes (n, k, 4), scores (n, k, classes) and positions (k, 3) of all scales: x, y, stride."""
    if not isinstance(outputs, Mapping) or not {"boxes", "scores"} <= set(outputs):
        raise TrainingError(f"outputs are a dict of boxes and scores, for each scale, not {describe(outputs)}")
    boxes, scores, points = [], [], []
    for each, chance, stride in zip(outputs["boxes"], outputs["scores"], STRIDES, strict=True):
        boxes.append(each.flatten(2).mT)
        scores.append(chance.flatten(2).mT)
        down, across = (torch.arange(size, device=each.device) + 0.5 for size in each.shape[2:])
        y, x = torch.meshgrid(down, across, indexing="ij")
        points.append(torch.stack([x * stride, y * stride, torch.full_like(x, stride)], -1).reshape(-1, 3))
    return torch.cat(boxes, 1), torch.cat(scores, 1), torch.cat(points).to(boxes[0])
