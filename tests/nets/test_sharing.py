"""Several sets of weights: what a sub-network is made of, that all else stays as it is, and what is kept of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import netwright as nw
from netwright.core.candidate import Candidate
from netwright.core.errors import NetError
from netwright.nets.axes import add_transforms
from netwright.nets.importance import sort_channels
from netwright.nets.sharing import Mixture, Split
from netwright.nets.sharing.mixture import BIAS, HIDDEN, places_of
from netwright.nets.sharing.split import reserve
from netwright.nets.state import load_state, state_of
from netwright.testing import check_supernet

IMAGES = torch.linspace(-1, 1, 2 * 3 * 6 * 6).reshape(2, 3, 6, 6).sin()


def small() -> nw.SuperNet:
    """Widths, a depth and a learned window, which is cropped in every set."""
    torch.manual_seed(0)
    first, second = nn.Conv2d(3, 6, 5, padding=2), nn.Conv2d(6, 6, 3, padding=1)
    add_transforms(first, (3, 5))
    module = nn.Sequential(first, nn.BatchNorm2d(6), second, nn.Flatten(), nn.Linear(6 * 36, 2))
    axes = [
        nw.Kernel("kernel", "0", (3, 5), transformed=True),
        nw.Width.tie(module, "width", (2, 4, 6), out_of=["0", "2"], through=["1"], into=["2", "4"]),
        nw.Depth("depth", ("2",), (0, 1)),
    ]
    return nw.SuperNet(module.eval(), axes, IMAGES)


@torch.no_grad()
def stir(net: nw.SuperNet) -> None:
    """Weights as after some training."""
    generator = torch.Generator().manual_seed(1)
    for p in net.module.parameters():
        p.add_(0.3 * torch.randn(p.shape, generator=generator))


def candidates(net: nw.SuperNet, n: int = 2) -> list[Candidate]:
    rng = np.random.default_rng(0)
    return [net.smallest, net.largest, *(net.space.sample(rng) for _ in range(n))]


# -- mixtures ----------------------------------------------------------------------------------------------------


def by_the_paper(net: nw.SuperNet, candidate: Candidate, tensor: str) -> Tensor:
    """The sum of experts, each times the router's share, whole; of the middle layer's weight (2.weight)."""
    own, sharing = dict(net.module.named_parameters()), net.sharing
    assert isinstance(sharing, Mixture)

    def shares(options: Candidate) -> Tensor:
        told = torch.zeros(sum(len(choice.options) for choice in net.space))
        told[list(places_of(net.space.choices, options))] = 1
        hidden = torch.relu(own[HIDDEN] @ told + own[BIAS])
        found = (own[f"{tensor}_router"] @ hidden + own[f"{tensor}_router_bias"]).softmax(-1)
        return found if found.dim() > 1 else found.expand(*(1 for _ in own[tensor].shape), -1)

    differences = [torch.zeros_like(own[tensor]), *(own[f"{tensor}_set{k}"] for k in range(1, sharing.sets))]
    largest = shares(net.largest)
    first = own[tensor] - sum(largest[..., k] * differences[k] for k in range(sharing.sets))
    experts = [first + each for each in differences]
    return sum(shares(candidate)[..., k] * experts[k] for k in range(sharing.sets))  # type: ignore[return-value]


@pytest.mark.parametrize("per", ["layer", "neuron"])
def test_a_mixture_is_the_sum_of_experts_and_is_cut_as_they_are(per: Any) -> None:
    net, plain = small(), small()
    nw.mixture(net, 3, per=per)
    for candidate in candidates(net):
        assert net.count(candidate) == plain.count(candidate)
        before, after = (each.extract(candidate).state_dict() for each in (plain, net))
        assert before.keys() == after.keys() and all(torch.equal(before[k], after[k]) for k in before)
    stir(net)
    for candidate in candidates(net):
        extracted, width = dict(net.extract(candidate).named_parameters()), int(candidate["width"])
        for tensor, cut in (("2.weight", (width, width)), ("1.weight", (width,)), ("4.weight", (2, width * 36))):
            if tensor in extracted:
                whole = by_the_paper(net, candidate, tensor)
                torch.testing.assert_close(extracted[tensor], whole[tuple(slice(n) for n in cut)])
    check_supernet(net, candidates=1)


def test_channels_of_a_mixture_are_sorted_in_all_sets() -> None:
    net = small()
    nw.mixture(net, per="neuron")
    stir(net)
    whole = net.space.candidate({**net.largest, "kernel": 3})
    before, weight = net.extract(whole)(IMAGES), net.index.tensor("2.weight").detach().clone()
    sort_channels(net, "l2")
    assert not torch.equal(net.index.tensor("2.weight"), weight)
    assert torch.allclose(net.extract(whole)(IMAGES), before, atol=1e-5)


# -- splits ------------------------------------------------------------------------------------------------------


def test_options_that_are_split_go_on_by_themselves() -> None:
    net, plain = small(), small()
    nw.split(net, "width", [[2], [4, 6]])
    nw.split(net, "kernel")
    assert isinstance(net.sharing, Split) and net.sharing.sets == 4
    several = [net.space.candidate({"kernel": k, "width": w, "depth": 1}) for k in (3, 5) for w in (2, 4, 6)]
    assert [net.sharing.set_of(c, net.index) for c in several] == [3, 2, 2, 1, 0, 0]
    before = [net.extract(c)(IMAGES) for c in several]
    assert all(torch.equal(plain.extract(c)(IMAGES), out) for c, out in zip(several, before, strict=True))
    with net.active(several[1]) as module:
        module(IMAGES).square().sum().backward()
    with torch.no_grad():
        for p in net.module.parameters():
            p -= 0.1 * p.grad if p.grad is not None else 0
    moved = [not torch.equal(net.extract(c)(IMAGES), out) for c, out in zip(several, before, strict=True)]
    assert moved == [False, True, True, False, False, False]
    check_supernet(net, candidates=several[:2])


def test_what_is_split_is_kept_with_the_weights(tmp_path: Path) -> None:
    net, other = small(), small()
    nw.split(net, "depth")
    stir(net)
    reserve(other, 2)
    before = other.cut(other.smallest)
    load_state(other.module, state_of(net.module), tmp_path)
    assert other.cut(other.smallest) != before
    for candidate in candidates(net):
        assert torch.equal(net.extract(candidate)(IMAGES), other.extract(candidate)(IMAGES))


def test_tied_weights_and_transformers_are_shared_too() -> None:
    class Tagger(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.head = nn.Embedding(7, 8), nn.Linear(8, 7, bias=False)
            self.head.weight = self.embed.weight
            self.layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.layer(self.embed(x)))

    torch.manual_seed(0)
    net = nw.wrap(Tagger().eval(), torch.arange(10).reshape(2, 5) % 7)
    nw.mixture(net)
    stir(net)
    check_supernet(net, candidates=1)


def test_what_cannot_be_shared_is_told() -> None:
    net = small()
    with pytest.raises(NetError, match=r"the options of 'width' are \[2, 4, 6\]: two groups or more"):
        nw.split(net, "width", [[2, 4]])
    with pytest.raises(NetError, match="2 sets or more"):
        nw.mixture(net, 1)
    nw.split(net, "width")
    with pytest.raises(NetError, match="'width' is split already"):
        nw.split(net, "width")
    with pytest.raises(NetError, match="several sets of weights already: Split"):
        nw.mixture(net)
    with pytest.raises(NetError, match="choose the axes before"):
        net.with_axes([])
