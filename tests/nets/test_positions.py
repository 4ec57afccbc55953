"""What counts positions, rows or filters is no width, and lengths other than the example's keep working."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import netwright as nw
from netwright.nets.inputs import Inputs, call


class Head(nn.Module):
    """One causal self-attention head whose mask is longer than the example."""

    def __init__(self, mask: Callable[[Tensor, int], Tensor]) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(32, 32) for _ in range(3))
        self.register_buffer("seen", torch.ones(48, 48).tril())
        self.mask = mask

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.mask(self.seen, x.shape[1])
        scores = (self.query(x) @ self.key(x).mT / 32**0.5).masked_fill(hidden, float("-inf"))
        return x + scores.softmax(-1) @ self.value(x)


class Positions(nn.Module):
    """A language model that takes its positions from a table in one of several ways."""

    def __init__(
        self, take: Callable[[Tensor, int], Tensor], mask: Callable[[Tensor, int], Tensor] | None = None, rows: int = 48
    ) -> None:
        super().__init__()
        self.words, self.table, self.head = nn.Embedding(20, 32), nn.Parameter(torch.randn(rows, 32)), nn.Linear(32, 20)
        self.attend = Head(mask or (lambda seen, n: seen[:n, :n] == 0))
        self.take = take

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.attend(self.words(ids) + self.take(self.table, ids.shape[1])))


class Numbered(nn.Module):
    """Position numbers and a table of distances as buffers, both longer than the example."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.places, self.bias = nn.Embedding(20, 32), nn.Embedding(48, 32), nn.Embedding(95, 1)
        self.mix, self.head = nn.Linear(32, 32), nn.Linear(32, 20)
        self.register_buffer("numbers", torch.arange(48)[None])
        self.register_buffer("distances", torch.arange(48)[:, None] - torch.arange(48) + 47)

    def forward(self, ids: Tensor) -> Tensor:
        n = ids.shape[1]
        x = self.words(ids) + self.places(self.numbers[:, :n])
        weights = self.bias(self.distances[:n, :n]).squeeze(-1).softmax(-1)
        return self.head(x + weights @ self.mix(x))


class Tasks(nn.Module):
    """A vector for each of several tasks, of which the example's is used; a table of steps, of which some are."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.task, self.step = nn.Linear(8, 32), nn.Linear(32, 4), 3, 5
        self.tasks, self.steps = nn.Parameter(torch.randn(16, 32)), nn.Parameter(torch.randn(32, 16))

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x) + self.tasks[self.task : self.task + 1] + self.tasks[self.task]
        return self.second(F.relu(x)) * self.steps[:, : self.step].mean()


class Filters(nn.Module):
    """A spectrogram by fixed filters, normalised, read by a layer."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("waves", torch.randn(33, 1, 16))
        self.register_buffer("bank", torch.rand(33, 24))
        self.norm, self.mix, self.head = nn.BatchNorm1d(24), nn.Conv1d(24, 32, 3, padding=1), nn.Linear(32, 5)

    def forward(self, x: Tensor) -> Tensor:
        power = F.conv1d(x, self.waves, stride=4).square()
        x = self.norm((power.mT @ self.bank).mT)
        return self.head(F.relu(self.mix(x)).mean(-1))


class Anchors(nn.Module):
    """Boxes relative to anchors, made for maps larger than the example's; the best is given."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.box, self.score = nn.Conv2d(3, 32, 3, 2, 1), nn.Conv2d(32, 4, 1), nn.Conv2d(32, 1, 1)
        self.register_buffer("anchors", torch.rand(400, 4))

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x))
        box = self.box(x).flatten(2).mT + self.anchors[: x.shape[2] * x.shape[3]]
        return (box * self.score(x).flatten(2).mT.softmax(1)).sum(1)


IDS = torch.randint(20, (2, 12), generator=torch.Generator().manual_seed(0))
CASES: dict[str, tuple[Callable[[], nn.Module], Inputs, Inputs, tuple[tuple[str, int], ...]]] = {
    name: (make, IDS, IDS.repeat(1, 4)[:, :longer], (("table", 0), ("attend.seen", 0), ("attend.seen", 1)))
    for name, make, longer in (
        ("first rows", lambda: Positions(lambda t, n: t[:n]), 48),
        ("last rows", lambda: Positions(lambda t, n: t[-n:]), 48),
        ("rows after a copy", lambda: Positions(lambda t, n: (t * 2).float()[None, :n]), 48),
        ("first half of a table", lambda: Positions(lambda t, n: t.chunk(2)[0][:n]), 24),
        ("a part of a table", lambda: Positions(lambda t, n: t.split(12)[1].repeat(4, 1)[:n]), 48),
        (
            "narrowed mask",
            lambda: Positions(lambda t, n: t[:n], lambda m, n: m.logical_not().narrow(0, 0, n)[:, :n]),
            48,
        ),
    )
} | {
    "numbers": (Numbered, IDS, IDS.repeat(1, 4), (("numbers", 1), ("distances", 0), ("places.weight", 0))),
    "all numbers": (Numbered, IDS.repeat(1, 4), IDS, (("numbers", 1), ("distances", 0), ("distances", 1))),
    "tasks": (Tasks, torch.randn(2, 8), torch.randn(3, 8), (("tasks", 0), ("steps", 1))),
    "filters": (Filters, torch.randn(2, 1, 64), torch.randn(2, 1, 96), (("waves", 0), ("bank", 0), ("bank", 1))),
    "anchors": (Anchors, torch.randn(2, 3, 16, 16), torch.randn(2, 3, 40, 40), (("anchors", 0),)),
}


@pytest.mark.parametrize("name", CASES)
def test_positions_are_no_widths(name: str) -> None:
    torch.manual_seed(0)
    make, example, other, fixed = CASES[name]
    module = make().eval()
    with torch.no_grad():
        before = call(module, other)
        net = nw.wrap(module, example)
        cut = {(tensor, dim) for axis in net.axes for tensor, dim, *_ in axis.regions(net.index)}
        assert not cut & set(fixed)
        assert any(tensor.endswith("weight") for tensor, _ in cut), "nothing else is elastic"
        nw.sort_channels(net)
        assert torch.allclose(call(module, other), before, atol=1e-4)
        small = net.extract(net.smallest).eval()
        with net.active(net.smallest) as active:
            assert torch.allclose(call(active, other), call(small, other), atol=1e-5)
    nw.testing.check_supernet(net, candidates=1)


class Halves(nn.Module):
    """Parts of a layer's channels that go different ways, and are all used."""

    def __init__(self, take: Callable[[Tensor], tuple[Tensor, Tensor]]) -> None:
        super().__init__()
        self.first, self.second, self.take = nn.Linear(8, 64), nn.Linear(32, 4), take

    def forward(self, x: Tensor) -> Tensor:
        value, gate = self.take(self.first(x))
        return self.second(value * gate.sigmoid())


@pytest.mark.parametrize("take", [lambda x: x.chunk(2, -1), lambda x: x.view(len(x), 2, -1).unbind(1)])
def test_parts_that_are_all_used_stay_elastic(take: Callable[[Tensor], tuple[Tensor, Tensor]]) -> None:
    net = nw.wrap(Halves(take).eval(), torch.randn(2, 8))
    assert net.report.elastic == {"first.width": (8, 16, 24, 32)}
