"""Counts of many candidates at once: in parts, without a table, of rows alone, and where numbers are too large."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import netwright as nw
from netwright.core.candidate import Candidate
from netwright.core.encoding import Candidates, Encoding
from netwright.core.errors import NetError, SpaceError
from netwright.nets.axes import Width
from netwright.nets.counts import Counts, ManyCounts, counter
from netwright.nets.counts.counter import Counter
from netwright.nets.families.inverted_residual import inverted_residual
from netwright.nets.supernet import SuperNet


@pytest.fixture(scope="module")
def net() -> SuperNet:
    return inverted_residual(widths=((4, 8), (6, 8)), depths=((0, 1, 2), (1, 2)), expands=(1, 2), kernels=(3,))


def each(found: ManyCounts) -> list[Counts]:
    return [found[i] for i in range(len(found))]


def sampled(net: SuperNet, n: int) -> list[Candidate]:
    rng = np.random.default_rng(0)
    return [net.space.sample(rng) for _ in range(n)]


def test_many_are_counted_in_parts(net: SuperNet, monkeypatch: pytest.MonkeyPatch) -> None:
    candidates = sampled(net, 7)
    whole = each(net.counts(candidates))
    monkeypatch.setattr(counter, "AT_ONCE", 3)
    assert each(net.counts(candidates)) == whole == [net._counter._trace(c) for c in candidates]
    assert len(set(whole)) > 4


def test_none_are_counted(net: SuperNet) -> None:
    found = net.counts([])
    assert len(found) == 0
    assert found.macs.shape == found.params.shape == (0,)


def test_mappings_and_candidates_with_inactive_choices_are_counted(net: SuperNet) -> None:
    smallest = {c.name: c.options[0] for c in net.space}
    assert each(net.counts([smallest, Candidate(smallest), net.smallest])) == [net.count(net.smallest)] * 3


def test_rows_are_counted_without_their_candidates(net: SuperNet, monkeypatch: pytest.MonkeyPatch) -> None:
    encoding, candidates = Encoding(net.space), sampled(net, 5)
    expected = each(net.counts(candidates))
    rows = encoding.of(candidates)
    monkeypatch.setattr(Encoding, "candidates", None)
    monkeypatch.setattr(Encoding, "_row", None)
    monkeypatch.setattr(net._counter, "_encoding", encoding)
    assert each(net._counter.counts(Candidates(encoding, rows))) == expected


def test_what_is_no_candidate_is_refused(net: SuperNet) -> None:
    with pytest.raises(NetError, match="no candidate"):
        net.counts([net.smallest, {"depht": 1}])
    with pytest.raises(SpaceError, match="is missing"):
        net.counts([net.smallest, Candidate({})])
    with net.active(net.smallest), pytest.raises(NetError, match="before the"):
        net.counts([net.smallest])


class Products(nn.Module):
    """Products of all channels with all others in one row: a size that is no sum of two axes' effects."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.other = nn.Conv1d(3, 6, 1), nn.Conv1d(3, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return (self.one(x) @ self.other(x).transpose(1, 2)).flatten(1).relu()


def test_without_a_table_each_is_traced() -> None:
    module = Products()
    axes = [
        Width.tie(module, name, options, out_of=[name], into=[])
        for name, options in (("one", (2, 6)), ("other", (1, 2, 4)))
    ]
    net = SuperNet(module, axes, torch.randn(1, 3, 5))
    candidates = list(net.space.enumerate())
    found = net.counts(candidates)
    assert not net.counts_fast
    sizes = [(c["one"], c["other"]) for c in candidates]
    assert found.macs.tolist() == [15 * (a + b) + 5 * a * b for a, b in sizes]  # type: ignore[operator]
    assert found.params.tolist() == [4 * (a + b) for a, b in sizes]  # type: ignore[operator]


class Heads(nn.Module):
    """Rows of heads, mixed and put side by side: one alone lies so already and is not copied."""

    def __init__(self) -> None:
        super().__init__()
        self.into, self.out = nn.Linear(6, 12), nn.Linear(12, 6)

    def forward(self, x: Tensor) -> Tensor:
        heads = self.into(x).view(1, 5, -1, 4).transpose(1, 2)
        mixed = (heads @ heads.transpose(2, 3)) @ heads
        return x + self.out(mixed.transpose(1, 2).contiguous().view(1, 5, -1))


def heads_of(layers: int) -> SuperNet:
    module = nn.Sequential(*(Heads() for _ in range(layers)))
    axes = [Width.tie(module, f"heads{i}", (4, 8, 12), out_of=[f"{i}.into"], into=[f"{i}.out"]) for i in range(layers)]
    return SuperNet(module, axes, torch.randn(1, 5, 6))


def test_copies_that_single_heads_do_without_are_in_the_table() -> None:
    net = heads_of(3)
    candidates = list(net.space.enumerate())
    ops = {len(net._counter._tracer.run(net.cut(c)).ops) for c in (net.smallest, net.largest)}
    assert len(ops) == 2, "other operators run"
    assert net.counts_fast
    assert each(net.counts(candidates)) == [net._counter._trace(c) for c in candidates]


class Copied(nn.Module):
    """A layer whose result is copied only where it is narrow."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.other = nn.Linear(4, 8), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        made = self.one(x)
        return self.other(made.clone() if made.shape[1] < 8 else made)


def test_copies_that_the_whole_does_without_are_traced() -> None:
    module = Copied()
    net = SuperNet(module, [Width.tie(module, "w", (2, 8), out_of=["one"], into=["other"])], torch.randn(1, 4))
    assert not net.counts_fast
    assert each(net.counts([net.smallest])) == [net._counter._trace(net.smallest)]


def test_copies_cost_guided_search_no_traces(monkeypatch: pytest.MonkeyPatch) -> None:
    """A search asks for the counts of thousands, and traces no more than the table takes."""
    net, runs = heads_of(8), list[Candidate]()
    limit = net.count(net.largest).params * 0.8
    traced = Counter._trace
    monkeypatch.setattr(Counter, "_trace", lambda self, c: (runs.append(c), traced(self, c))[1])
    found = nw.search(
        net, lambda c: {"loss": -sum(int(option) ** 0.5 for option in c.values())}, {"loss": "min"},  # type: ignore[arg-type]
        exact=lambda c: {"params": net.count(c).params}, limits=[f"params <= {limit}"], evaluations=14,
    )  # fmt: skip
    assert len(found) == 14 and len(runs) < 14


def test_counts_beyond_64_bits_are_refused() -> None:
    """2^15 rows of 2^20 numbers through a layer of 2^20 outputs are 2^55 products, of 2^10 bits each."""
    with torch.device("meta"):
        layers = nn.Sequential(nn.Linear(2**20, 2**20), nn.Linear(2**20, 8))
        inputs = torch.empty(2**15, 2**20)
    width = Width.tie(layers, "w", (2**10, 2**20), out_of=["0"], into=["1"])
    net = SuperNet(layers, [width], inputs)
    assert net.counts([net.smallest]).macs.tolist() == [2**45 + 2**28]
    with pytest.raises(NetError, match="2\\^63"):
        net.counts([net.largest])


def test_a_thousand_cost_little_more_than_one(net: SuperNet, work: Callable[[Callable[[], object]], int]) -> None:
    one, candidates = sampled(net, 1), sampled(net, 1000)
    net.counts(one)
    assert work(lambda: net.counts(candidates)) < 1000 * 100
