"""Axes on layers where they are easily wrong."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from netwright.core.errors import NetError
from netwright.nets.axes import ChannelSlice, Kernel, Width, fractions
from netwright.nets.cut import Cut, CutBuilder, ModuleIndex
from netwright.nets.stand_ins import Around, Instead
from netwright.nets.supernet import SuperNet


def test_a_kernel_is_cropped_from_its_centre() -> None:
    conv = nn.Conv2d(1, 1, 5, padding=2, bias=False)
    net = SuperNet(nn.Sequential(conv), [Kernel("k", "0", (1, 3, 5))], torch.randn(1, 1, 6, 6))
    for size in (1, 3, 5):
        small: Any = net.extract(net.space.candidate({"k": size}))[0]  # type: ignore[index]
        margin = (5 - size) // 2
        assert torch.equal(small.weight, conv.weight[:, :, margin : 5 - margin, margin : 5 - margin])
        ringed = torch.zeros_like(conv.weight)
        ringed[:, :, margin : 5 - margin, margin : 5 - margin] = small.weight
        x = torch.randn(2, 1, 6, 6)
        torch.testing.assert_close(small(x), nn.functional.conv2d(x, ringed, padding=2))


@pytest.mark.parametrize("mode", ["zeros", "reflect", "replicate", "circular"])
@pytest.mark.parametrize("padding", ["same", "number"])
@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("kind", [nn.Conv1d, nn.Conv2d])
def test_a_cropped_kernel_keeps_the_size_of_the_output(kind: Any, dilation: int, padding: str, mode: str) -> None:
    """... and is the convolution that one would write with the smaller window."""
    pad: Any = "same" if padding == "same" else 2 * dilation
    conv = kind(2, 3, 5, padding=pad, dilation=dilation, padding_mode=mode)
    x = torch.randn(2, 2, *[9] * (1 if kind is nn.Conv1d else 2))
    net = SuperNet(nn.Sequential(conv), [Kernel("k", "0", (1, 3, 5))], x)
    for size in (1, 3, 5):
        candidate = net.space.candidate({"k": size})
        pad = "same" if padding == "same" else size // 2 * dilation
        written = kind(2, 3, size, padding=pad, dilation=dilation, padding_mode=mode)
        margin = (5 - size) // 2
        with torch.no_grad():
            weight = conv.weight[..., margin : 5 - margin]
            written.weight.copy_(weight if kind is nn.Conv1d else weight[..., margin : 5 - margin, :])
            written.bias.copy_(conv.bias)
        expected = written(x)
        assert expected.shape[2:] == x.shape[2:]
        with net.active(candidate) as module:
            torch.testing.assert_close(module(x), expected)
        torch.testing.assert_close(net.extract(candidate)(x), expected)


def test_kernels_that_cannot_be_cropped_are_refused() -> None:
    x = torch.randn(1, 2, 9, 9)
    for layer in (
        nn.Conv2d(2, 2, (3, 5), padding=(1, 2)),
        nn.Conv2d(2, 2, 5, padding=1),
        nn.Conv2d(2, 2, 5, padding="valid"),
        nn.Conv2d(2, 2, 5, padding=2, dilation=2),
        nn.ConvTranspose2d(2, 2, 5, padding=2),
    ):
        module = nn.Sequential()
        module.deep = nn.Sequential(layer)
        with pytest.raises(NetError, match=r"'k'.*deep\.0"):
            SuperNet(module, [Kernel("k", "deep.0", (1, 5))], x)


@given(st.integers(1, 300), st.lists(st.floats(0.01, 1.0), max_size=4), st.integers(1, 32))
def test_fractions_are_legal_widths(whole: int, shares: list[float], round_to: int) -> None:
    found = fractions(whole, shares, round_to)
    assert list(found) == sorted(set(found))
    assert found[-1] == whole
    assert found[0] >= 1
    assert all(w % round_to == 0 for w in found[:-1])
    for share in shares:
        assert any(share * whole - 1e-9 <= w <= share * whole + round_to for w in found)


def test_a_width_through_a_flatten_keeps_whole_channels() -> None:
    class Flattened(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(1, 4, 1)
            self.flat = nn.Flatten()
            self.read = nn.Linear(4 * 6, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.read(self.flat(self.conv(x)))

    module = Flattened()
    width = Width.tie(module, "w", (1, 2, 4), out_of=["conv"], into=["read"])
    assert ChannelSlice("read.weight", 1, 0, 6) in width.slices
    net = SuperNet(module, [width], torch.randn(1, 1, 2, 3))
    small: Any = net.extract(net.space.candidate({"w": 2}))
    assert torch.equal(small.read.weight, module.read.weight[:, :12])
    with torch.no_grad():
        module.conv.weight[2:] = 0
        module.conv.bias[2:] = 0
    x = torch.randn(3, 1, 2, 3)
    torch.testing.assert_close(small(x), module(x), msg="the dropped channels are those that were zeroed")


def test_grouped_convolutions_lose_whole_groups() -> None:
    """Groups of two channels in and three out: dropping a group drops both."""
    module = nn.Sequential(nn.Conv2d(1, 8, 1), nn.Conv2d(8, 12, 1, groups=4), nn.Conv2d(12, 1, 1))
    slices = (
        ChannelSlice("0.weight", 0, 0, 2),
        ChannelSlice("0.bias", 0, 0, 2),
        ChannelSlice("1.weight", 0, 0, 3),
        ChannelSlice("1.bias", 0, 0, 3),
        ChannelSlice("2.weight", 1, 0, 3),
    )
    net = SuperNet(module, [Width("groups", slices, (1, 2, 3, 4))], torch.randn(1, 1, 3, 3))
    x = torch.randn(2, 1, 3, 3)
    for candidate in net.space.enumerate():
        network: Any = net.extract(candidate)
        groups = candidate["groups"]
        middle = network[1]
        assert (middle.groups, middle.in_channels, middle.out_channels) == (groups, 2 * groups, 3 * groups)
        with net.active(candidate) as active:
            torch.testing.assert_close(network(x), active(x))


@given(st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)), max_size=5))
def test_what_stays_is_what_did_not_go(gone: list[tuple[int, int]]) -> None:
    module = nn.Linear(3, 8, bias=False)
    index, builder = ModuleIndex(module), CutBuilder()
    for start, stop in gone:
        builder.drop("weight", 0, start, stop)
    cut = builder.finish(index)
    kept = [i for i in range(8) if not any(a <= i < b for a, b in gone)]
    assert cut.shape("weight", (8, 3)) == (len(kept), 3)
    for ranges in (dims[0] for dims in cut.keep.values()):
        assert [i for a, b in ranges for i in range(a, b)] == kept
        assert all(a < b for a, b in ranges)
        assert all(left[1] < right[0] for left, right in itertools.pairwise(ranges)), "disjoint, not touching"
    if kept:
        assert torch.equal(cut.part("weight", {"weight": module.weight}.__getitem__), module.weight[kept])


def test_a_cut_skips_what_is_inside_and_not_what_begins_alike() -> None:
    cut = Cut(replace={"blocks.1": Instead(), "blocks.2": Around(after="blocks.1")})
    assert cut.skips("blocks.1")
    assert cut.skips("blocks.1.conv.weight")
    assert not cut.skips("blocks.10")
    assert not cut.skips("blocks.2")
    assert not cut.skips("blocks")
    assert not cut.skips("")
