"""Stitched networks: anchors stay what they were, layers between them are the least-squares solution."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import netwright as nw
from netwright.core.errors import MeasureError, NetError
from netwright.nets.families.cifar_resnet import CifarResNet
from netwright.nets.pieces import find_blocks, pieces
from netwright.testing import check_supernet

IMAGES = torch.randn(6, 3, 16, 16, generator=torch.Generator().manual_seed(0))


class Layer(nn.Module):
    def __init__(self, size: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(size), nn.LayerNorm(size)
        self.attention = nn.MultiheadAttention(size, 2, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(size, 2 * size), nn.GELU(), nn.Linear(2 * size, size))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm1(x)
        x = x + self.attention(y, y, y, need_weights=False)[0]
        return x + self.mlp(self.norm2(x))


class Vit(nn.Module):
    def __init__(self, size: int, depth: int) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, size, 8, 8)
        self.token = nn.Parameter(torch.randn(1, 1, size))
        self.places = nn.Parameter(torch.randn(1, 5, size))
        self.layers = nn.ModuleList(Layer(size) for _ in range(depth))
        self.norm, self.head = nn.LayerNorm(size), nn.Linear(size, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).mT
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.places
        for layer in self.layers:
            x = layer(x)
        return self.head(self.norm(x)[:, 0])


def resnets() -> list[nn.Module]:
    torch.manual_seed(0)
    return [nw.recalibrate(CifarResNet(n, 5), [torch.randn(16, 3, 16, 16)]) for n in (1, 2)]


def vits() -> list[nn.Module]:
    torch.manual_seed(0)
    return [Vit(8, 2).eval(), Vit(12, 4).eval()]


def stitched(anchors: list[nn.Module], **more: Any) -> nw.SuperNet:
    return nw.stitch(anchors, IMAGES[:1], [IMAGES, (IMAGES.flip(0) * 0.5, torch.zeros(6))], **more)


@pytest.mark.parametrize(("make", "handovers"), [(resnets, 3), (vits, 2)])
def test_anchors_compute_what_they_computed_and_the_contract_holds(
    make: Callable[[], list[nn.Module]], handovers: int, tmp_path: Path
) -> None:
    anchors = make()
    before = [anchor(IMAGES) for anchor in anchors]
    net = stitched(anchors)
    assert net.space.size == handovers + 2 and net.largest["route"] == "anchor1"
    for i, (anchor, wanted) in enumerate(zip(anchors, before, strict=True)):
        own = net.extract({"route": f"anchor{i}"})
        assert torch.equal(own(IMAGES), wanted) and torch.equal(anchor(IMAGES), wanted)
        assert net.count({"route": f"anchor{i}"}).params == sum(p.numel() for p in anchor.parameters())
    macs = [net.count({"route": option}).macs for option in net.space["route"].options]
    assert macs == sorted(macs)
    some = [net.space.candidate({"route": net.space["route"].options[i]}) for i in (0, 2, -1)]
    check_supernet(net, candidates=some, inputs=IMAGES)
    nw.export(net.extract(some[1]), tmp_path, ["onnx"], check_inputs=IMAGES[:1])  # which compares


def test_layers_between_anchors_are_numpys_least_squares() -> None:
    small, large = vits()
    net = stitched([small, large])
    seen: list[Tensor] = []
    for layer in (small.layers[0], large.layers[1]):  # type: ignore[index, union-attr]
        layer.register_forward_hook(lambda module, given, out: seen.append(out.detach()))
    for x in (IMAGES, IMAGES.flip(0) * 0.5):
        small(x), large(x)
    a, b = (torch.cat(seen[i::2]).flatten(0, 1).double().numpy() for i in (0, 1))
    wanted = np.linalg.lstsq(np.concatenate([a, np.ones((len(a), 1))], 1), b, rcond=None)[0]
    layer = net.module.stitches["0_0"]  # type: ignore[index, union-attr]
    found = np.concatenate([layer.weight.detach().numpy().T, layer.bias.detach().numpy()[None]])
    np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-4)


def test_a_network_stitched_with_its_copy_stays_the_same() -> None:
    large = resnets()[1]
    net = stitched([large, copy.deepcopy(large)])
    wanted = large(IMAGES)
    assert net.space.size == 8
    for option in net.space["route"].options:
        found = net.extract({"route": option})(IMAGES)
        assert float((found - wanted).detach().abs().max() / wanted.detach().abs().max()) < 1e-3, option


def test_three_anchors_hand_over_to_the_next_one_and_blocks_may_be_named() -> None:
    first, second = resnets()
    net = stitched(
        [first, second, copy.deepcopy(second)], blocks=[["layer2.0"], ["layer2.1", "layer3.0"], ["layer2.0"]]
    )
    assert net.space["route"].options == (
        "anchor0",
        "anchor0 to layer2.0, anchor1 behind layer2.1",
        "anchor1",
        "anchor1 to layer2.1, anchor2 behind layer2.0",
        "anchor2",
    )


def test_axes_of_an_anchor_exist_where_it_runs() -> None:
    net = stitched(vits())
    ends = {"out_of": ["anchors.1.2.mlp.0"], "into": ["anchors.1.2.mlp.2"]}
    both = nw.SuperNet(net.module, [*net.axes, nw.Width.tie(net.module, "hidden", (8, 24), **ends)], IMAGES[:1])
    having = {candidate["route"] for candidate in both.space.enumerate() if "hidden" in candidate}
    assert having == {"anchor0 to layers.0, anchor1 behind layers.1", "anchor1"}
    check_supernet(both, candidates=0, inputs=IMAGES)


# -- pieces -------------------------------------------------------------------------------------------------------


def test_pieces_compute_what_the_network_computes() -> None:
    for network in (*resnets(), *vits(), nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(784, 2))):
        x, found = IMAGES, pieces(network, find_blocks(network))
        for piece in found:
            x = piece.module(x)
        assert len(found) > 2 and torch.equal(x, network(IMAGES))


class Past(nn.Module):
    """What the stem gives goes past the first block."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.ReLU()) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        y = self.blocks[1](self.blocks[0](x)) + x
        return self.blocks[2](y)


def test_nothing_is_taken_apart_where_something_goes_past() -> None:
    network = Past().eval()
    assert [piece.block for piece in pieces(network, find_blocks(network))] == ["blocks.2"]


class Asks(Past):
    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x) if x.sum() > 0 else x
        return x


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: stitched([Vit(8, 2)]), "two anchors or more, from the smallest to the largest, not 1"),
        (lambda: stitched([Asks(), Asks()]), r"cannot be taken apart into pieces.*; give it as an nn\.Sequential"),
        (lambda: stitched(vits(), blocks=[["layers.0"]]), "blocks= has 1 entries for 2 anchors"),
        (lambda: stitched(vits(), blocks=[["layer.0"], ["layers.0"]]), r"no module 'layer\.0'"),
        (lambda: stitched([Vit(8, 2).eval(), resnets()[1]]), "no anchor can hand over to the next"),
        (
            lambda: stitched([Vit(8, 2), nn.Sequential(Vit(8, 2), nn.Linear(5, 4))]),
            r"outputs of one shape; .* \[1, 5\]",
        ),
    ],
)
def test_anchors_that_do_not_fit_are_refused_in_words(call: Callable[[], Any], told: str) -> None:
    with pytest.raises(NetError, match=told):
        call()


def test_inputs_that_do_not_fit_are_refused_in_words() -> None:
    with pytest.raises(NetError, match="an anchor raises on its example inputs"):
        nw.stitch(vits(), torch.zeros(1, 4, 16, 16), [IMAGES])
    with pytest.raises(NetError, match="an anchor raises on a batch"):
        nw.stitch(vits(), IMAGES[:1], [IMAGES[:, :2]])
    with pytest.raises(NetError, match="two anchors or more"):
        nw.stitch(nn.Sequential(*vits()), IMAGES[:1], [IMAGES])  # type: ignore[arg-type]


def test_no_batches() -> None:
    with pytest.raises(MeasureError, match="no batches to fit stitches on"):
        nw.stitch(vits(), IMAGES[:1], [])
