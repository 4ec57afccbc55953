"""Networks whose tensors have sizes that depend on values: what they keep says nothing of what can be cut."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import netwright as nw
from netwright.nets.axes import ChannelSlice, Width
from netwright.nets.cut import ModuleIndex
from netwright.nets.noise import untied
from netwright.testing import check_supernet

SEEDS = range(4)


class Filtered(nn.Module):
    """Gives the rows that score more than a threshold."""

    def __init__(self, threshold: float = 0.5) -> None:
        super().__init__()
        self.threshold = threshold
        self.body = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 16), nn.ReLU())
        self.boxes, self.scores = nn.Linear(16, 5), nn.Linear(16, 1)

    def forward(self, x: Tensor) -> Any:
        h = self.body(x)
        return self.boxes(h)[self.scores(h).squeeze(-1).sigmoid() > self.threshold]


class Nonzero(Filtered):
    """Looks the kept rows up, and has layers after the threshold."""

    def __init__(self, threshold: float = 0.5) -> None:
        super().__init__(threshold)
        self.second = nn.Sequential(nn.Linear(16, 24), nn.ReLU(), nn.Linear(24, 3))

    def forward(self, x: Tensor) -> Any:
        h = self.body(x)
        kept = (self.scores(h).squeeze(-1).sigmoid() > self.threshold).nonzero().squeeze(-1)
        return {"at": kept, "boxes": self.boxes(h)[kept], "classes": self.second(h.index_select(0, kept))}


class Selected(Filtered):
    """Masked selection, and distinct values."""

    def forward(self, x: Tensor) -> Any:
        scores = self.boxes(self.body(x)).sigmoid()
        return scores.masked_select(scores > self.threshold), scores.argmax(-1).unique()


class Detector(nn.Module):
    """Convolutions, and boxes that are kept one by one where none of the better ones overlaps them."""

    def __init__(self, threshold: float = 0.5) -> None:
        super().__init__()
        self.threshold = threshold
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 24, 3, 2, 1))
        self.classes, self.boxes = nn.Conv2d(24, 2, 1), nn.Conv2d(24, 4, 1)

    def forward(self, x: Tensor) -> Any:
        h = self.stem(x).relu()
        scores = self.classes(h).flatten(2).sigmoid().amax(1)
        boxes = self.boxes(h).flatten(2).transpose(1, 2).abs()
        found = []
        for score, box in zip(scores, boxes, strict=True):
            good = score > self.threshold
            score, box = score[good], box[good]
            order, kept = score.argsort(descending=True), []
            while order.numel():
                best, order = order[:1], order[1:]
                kept.append(best)
                order = order[(box[order] - box[best]).abs().sum(-1) > 0.5]
            if kept:
                found.append((box[torch.cat(kept)], score[torch.cat(kept)]))
            else:
                found.append((box, score))
        return found


class Routed(nn.Module):
    """Each token goes to the expert that is liked most, if anyone likes it."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.router = nn.Linear(8, 16), nn.Linear(16, 3)
        self.experts = nn.ModuleList(nn.Sequential(nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 16)) for _ in range(3))
        self.head = nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        h = self.inner(x).tanh()
        liked, out = self.router(h).argmax(-1), torch.zeros_like(h)
        for i, expert in enumerate(self.experts):
            mine = liked == i
            if mine.any():
                out[mine] = expert(h[mine])
        return self.head(h + out)


class Counted(Filtered):
    """Takes as many of the best as there are, writes them to their places, and has boxes chosen by a library of its
    own, whose operator knows no sizes."""

    def forward(self, x: Tensor) -> Any:
        h = self.body(x)
        scores = self.scores(h).squeeze(-1).sigmoid()
        good = scores > self.threshold
        if good.sum() == 0:
            return [scores[good]]
        best, at = scores[good].topk(min(3, int(good.sum())))
        written = torch.zeros(len(x), 5)
        written[good] += self.boxes(h[good])
        return [best, self.boxes(h[good][at]), written, self.boxes(h)[chosen(self.boxes(h), scores)]]


@torch.library.custom_op("netwright_tests::chosen", mutates_args=())
def chosen(boxes: Tensor, scores: Tensor) -> Tensor:
    return (scores >= scores.mean()).nonzero().squeeze(-1)


class Permuted(Filtered):
    """The order of the channels means something after the threshold alone."""

    def forward(self, x: Tensor) -> Any:
        h = self.body[:2](x)
        kept = h[self.scores(self.body[2:](h)).squeeze(-1).sigmoid() > self.threshold]
        return kept.cumsum(-1)


NETWORKS = {
    "filtered": (Filtered, (6, 8), {"body.0.width", "body.2.width"}),
    "nonzero": (Nonzero, (6, 8), {"body.0.width", "body.2.width", "second.0.width"}),
    "selected": (Selected, (6, 8), {"body.0.width", "body.2.width"}),
    "detector": (Detector, (2, 3, 8, 8), {"stem.0.width", "stem.3.width"}),
    "routed": (Routed, (6, 8), {"inner.width", *(f"experts.{i}.0.width" for i in range(3))}),
    "counted": (Counted, (6, 8), {"body.0.width", "body.2.width"}),
    "permuted": (Permuted, (6, 8), {"body.2.width"}),
}


def wrapped(kind: str, seed: int, **kwargs: Any) -> nw.SuperNet:
    make, shape, _ = NETWORKS[kind]
    torch.manual_seed(seed)
    return nw.wrap(make(**kwargs).eval(), torch.randn(shape))


@pytest.mark.parametrize("kind", NETWORKS)
def test_what_is_elastic_does_not_depend_on_the_values(kind: str) -> None:
    for seed in SEEDS:
        net = wrapped(kind, seed)
        assert set(net.report.elastic) == NETWORKS[kind][2], (seed, net.report.rigid)


@pytest.mark.parametrize("kind", ["filtered", "nonzero", "selected", "detector"])
@pytest.mark.parametrize("threshold", [0.0, 1.0])
def test_a_threshold_that_keeps_all_or_nothing_changes_nothing(kind: str, threshold: float) -> None:
    assert set(wrapped(kind, 0, threshold=threshold).report.elastic) == NETWORKS[kind][2]


@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize("seed", SEEDS[:2])
def test_active_is_extracted(kind: str, seed: int) -> None:
    check_supernet(wrapped(kind, seed), candidates=2)


@pytest.mark.parametrize("threshold", [0.0, 0.5, 1.0])
def test_a_wrong_tie_after_a_threshold_is_seen_whatever_it_keeps(threshold: float) -> None:
    torch.manual_seed(0)
    network, x = Nonzero(threshold).eval(), torch.randn(6, 8)
    half = (ChannelSlice("second.0.weight", 0), ChannelSlice("second.0.bias", 0))
    wrong, right = (Width("second", slices, (8, 24)) for slices in (half, (*half, ChannelSlice("second.2.weight", 1))))
    assert untied(ModuleIndex(network), [wrong, right], x, supposes=True).keys() == {"second"}
    assert not untied(ModuleIndex(network), [right], x, supposes=True)
