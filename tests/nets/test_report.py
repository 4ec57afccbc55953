"""The report: what is not wholly elastic stands in it, with the reason of that very dimension."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import netwright as nw
from netwright.core.errors import NetError
from netwright.nets.axes import fractions
from netwright.nets.report import shapes_of

HEADS = 4


class Attention(nn.Module):
    """The number of its heads stands in the code."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.proj = nn.Linear(32, 96), nn.Linear(32, 32)

    def forward(self, x: Tensor) -> Tensor:
        b, t, _ = x.shape
        q, k, v = self.qkv(x).view(b, t, 3, HEADS, 8).permute(2, 0, 3, 1, 4)
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, t, -1))


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.attention, self.last = nn.Linear(6, 32), Attention(), nn.Linear(32, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        return self.last(x + self.attention(x))


def test_half_elastic_layers_are_told_with_the_reason_of_the_other_half() -> None:
    torch.manual_seed(0)
    report = nw.wrap(Net().eval(), torch.randn(2, 5, 6)).report
    assert not report.rigid
    assert list(report.partly) == ["first", "attention.qkv", "attention.proj", "last"]
    assert report.partly["first"] == "its channels are an input of the network (its inputs, 6)"
    assert report.partly["last"] == "its channels are an output of the network (its outputs, 3)"
    for layer, what in (("qkv", "its outputs, 96"), ("proj", "its inputs, 32")):
        told = report.partly[f"attention.{layer}"]
        assert "does not run when attention.qkv.width is cut: " in told
        assert "once it is an attribute of a module" in told
        assert told.endswith(f"({what})")
    assert all(f"    {path}: {why}" in str(report).splitlines() for path, why in report.partly.items())


class Picks(nn.Module):
    """A parameter of three dimensions, each of which stays for a reason of its own, or not at all."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(6, 24), nn.Linear(24, 3)
        self.table = nn.Parameter(torch.randn(4, 1, 24))

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.first(x) * self.table.cumsum(0)[-1])


def test_a_size_of_1_is_no_reason_and_each_dimension_has_its_own() -> None:
    torch.manual_seed(0)
    report = nw.wrap(Picks().eval(), torch.randn(2, 6)).report
    told = report.partly["(the network itself)"]
    assert "cumsum" in told or "select" in told
    assert told.endswith("(table, dimension 0: 4)")
    assert "dimension 1" not in told


def test_too_few_is_said_of_the_dimension_that_is() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 16, 3), nn.Flatten(), nn.Linear(16 * 16, 2))
    report = nw.wrap(net.eval(), torch.randn(1, 3, 8, 8)).report
    few = "4 channels are too few for multiples of 8: see round_to="
    assert report.rigid["0"] == f"{few} (its outputs, 4); its channels are an input of the network (its inputs, 3)"
    assert report.partly["1"] == f"{few} (its inputs, 4)"


class Half(nn.Module):
    """Half of a layer's channels can be cut by an axis of one's own; the other half has none."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(6, 32), nn.Linear(32, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.first(x))


def test_some_of_a_dimension_may_stay() -> None:
    half = [nw.ChannelSlice("first.weight", 0), nw.ChannelSlice("first.bias", 0), nw.ChannelSlice("last.weight", 1)]
    report = nw.SuperNet(Half().eval(), [nw.Width("half", tuple(half), (8, 16))], torch.randn(2, 6)).report
    assert report.partly["first"] == "no axis was given for it (its outputs, 16 of its 32, its inputs, 6)"
    assert report.partly["last"] == "no axis was given for it (its outputs, 4, its inputs, 16 of its 32)"


def test_what_was_not_asked_for_is_told() -> None:
    report = nw.wrap(nn.Sequential(nn.Linear(6, 32), nn.Linear(32, 3)).eval(), torch.randn(2, 6), axes=["depth"]).report
    assert "widths were not asked for: see axes=" in report.rigid["0"]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("beside", [False, True])
def test_packed_weights_are_told(beside: bool) -> None:
    parts: list[nn.Module] = [nn.LSTM(8, 16)] if beside else [nn.Linear(8, 16), nn.Linear(16, 4)]
    kinds = {nn.LSTM} if beside else {nn.Linear}

    class Packed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Conv1d(8, 8, 1)
            self.parts = nn.ModuleList(parts)

        def forward(self, x: Tensor) -> Tensor:
            x = self.head(x.transpose(1, 2)).transpose(1, 2)
            for part in self.parts:
                x = part(x)[0] if beside else part(x)
            return x

    module = torch.ao.quantization.quantize_dynamic(Packed().eval(), kinds, torch.qint8)
    report = nw.wrap(module, torch.randn(3, 2, 8)).report
    packed = [why for path, why in report.rigid.items() if path.startswith("parts.")]
    assert packed
    assert all("neither cut nor counted; wrap the network before it is quantised" in why for why in packed)


def test_what_counts_are_for_is_told() -> None:
    assert shapes_of(torch.ones(2, 3)) == "(2, 3)"
    assert shapes_of((torch.ones(2), None, [torch.ones(1, 4), torch.ones(())])) == "(2,) (1, 4) ()"
    assert shapes_of({"ids": torch.ones(1, 7), "cache": False}) == "ids (1, 7)"
    report = nw.wrap(nn.Linear(6, 3).eval(), torch.randn(2, 6)).report
    assert report.counted_for == "(2, 6)"
    assert "counted for (2, 6)" in str(report)


def test_an_axis_of_one_option_is_told() -> None:
    net = nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 3)).eval()
    width = nw.Width.tie(net, "mid", (32,), out_of=["0"], into=["2"])
    report = nw.SuperNet(net, [width], torch.randn(2, 6)).report
    assert not report.elastic
    assert report.fixed == {"mid": 32}
    assert "its axis mid was given one option alone, 32" in report.rigid["0"]
    assert "one option alone: mid 32" in str(report)


@pytest.mark.parametrize("share", [6, 256, 0, -0.5, 1.01, "half", True, float("nan")])
def test_shares_are_shares(share: float) -> None:
    with pytest.raises(NetError, match="ffn= takes shares of the whole, above 0 and up to 1, not"):
        fractions(1024, [0.5, share], 8, "ffn")
    if share == 256:
        with pytest.raises(NetError, match="for 256 of the 1024 give 256 / 1024"):
            fractions(1024, [share], 8, "ffn")
