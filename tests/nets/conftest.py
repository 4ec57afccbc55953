"""A zoo of small super-networks. No statistic in them is at its default."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from netwright.nets.axes import Axis, ChannelSlice, Depth, Kernel, Width
from netwright.nets.families.inverted_residual import inverted_residual
from netwright.nets.inputs import Inputs, call, each_tensor
from netwright.nets.supernet import SuperNet


@dataclass(frozen=True, repr=False)
class Case:
    """A super-network, inputs of another batch size, and whether its counts come from the table."""

    name: str
    net: SuperNet
    inputs: Inputs
    tabulated: bool

    def __repr__(self) -> str:
        return f"<{self.name}>"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:  # how Hypothesis shows it
        printer.text(repr(self))


class Flat(nn.Module):
    """Every kind of padding, dilation, bias, PReLU, and a flatten of 16 positions per channel."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 6, 5, padding="same")
        self.norm = nn.BatchNorm2d(6, momentum=0.3)
        self.act = nn.PReLU(6)
        self.apart = nn.Conv2d(6, 6, 5, stride=2, padding=4, dilation=2, groups=6, padding_mode="reflect")
        self.drop = nn.Dropout(0.5)
        self.hidden = nn.Linear(6 * 16, 10)
        self.layer_norm = nn.LayerNorm(10)
        self.head = nn.Linear(10, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.apart(self.act(self.norm(self.first(x))))
        x = self.layer_norm(F.relu(self.hidden(self.drop(x).flatten(1)), inplace=True))
        return self.head(x)


def flat() -> tuple[nn.Module, list[Axis], Inputs]:
    net = Flat()
    axes: list[Axis] = [
        Width.tie(net, "w", (2, 3, 6), out_of=["first"], through=["norm", "act", "apart"], into=["hidden"]),
        Width.tie(net, "hidden", (4, 10), out_of=["hidden"], through=["layer_norm"], into=["head"]),
        Kernel("first.kernel", "first", (1, 3, 5)),
        Kernel("apart.kernel", "apart", (3, 5)),
    ]
    return net, axes, torch.randn(1, 2, 8, 8)


class Concat(nn.Module):
    """Two branches and the input side by side, so that what reads them keeps several ranges. Dicts in and out."""

    def __init__(self) -> None:
        super().__init__()
        self.left = nn.Conv2d(3, 4, 3, padding=1)
        self.right = nn.Conv2d(3, 6, 1, bias=False)
        self.norm = nn.BatchNorm2d(13)
        self.mix = nn.Conv2d(13, 5, 3, padding=1)
        self.gate = nn.Linear(13, 5)
        self.mix_norm = nn.BatchNorm2d(5)
        self.out = nn.Conv2d(5, 2, 1)

    def forward(self, image: Tensor, scale: Tensor) -> dict[str, Any]:
        x = self.norm(torch.cat([self.left(image), image, self.right(image)], 1))
        y = F.relu(self.mix_norm(self.mix(x))) * torch.sigmoid(self.gate(x.mean((2, 3))))[:, :, None, None]
        return {"map": self.out(y) * scale, "features": [y.mean((2, 3)), x.amax((2, 3))]}


def concat() -> tuple[nn.Module, list[Axis], Inputs]:
    norm = ("norm.weight", "norm.bias", "norm.running_mean", "norm.running_var")
    makes = {
        "left": [ChannelSlice("left.weight", 0), ChannelSlice("left.bias", 0)],
        "right": [ChannelSlice("right.weight", 0)],
    }
    axes: list[Axis] = []
    for branch, offset, options in (("left", 0, (1, 2, 4)), ("right", 7, (2, 4, 6))):
        reads = [ChannelSlice(t, 0, offset) for t in norm] + [
            ChannelSlice("mix.weight", 1, offset),
            ChannelSlice("gate.weight", 1, offset),
        ]
        axes.append(Width(branch, (*makes[branch], *reads), options))
    net = Concat()
    axes.append(Width.tie(net, "mid", (2, 5), out_of=["mix", "gate"], through=["mix_norm"], into=["out"]))
    axes.append(Kernel("mix.kernel", "mix", (1, 3)))
    return net, axes, {"image": torch.randn(1, 3, 6, 6), "scale": torch.randn(1, 1, 1, 1)}


class FeedForward(nn.Module):
    def __init__(self, size: int, hidden: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(size)
        self.up = nn.Linear(size, hidden)
        self.down = nn.Linear(hidden, size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.down(F.gelu(self.up(self.norm(x))))


class Block(nn.Module):
    """A filter over time, then feed-forward layers, of which some may be skipped."""

    def __init__(self, size: int, inner: int) -> None:
        super().__init__()
        self.time = nn.Conv1d(size, size, 5, padding=2, groups=size)
        self.inner = nn.ModuleList(FeedForward(size, 8) for _ in range(inner))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.time(x.transpose(1, 2)).transpose(1, 2)
        for layer in self.inner:
            x = layer(x)
        return x


class Tied(nn.Module):
    """Tokens: embedding and head share one tensor, one layer runs twice, depths are nested, attention in between."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(11, 6)
        self.twice = nn.Linear(6, 6)
        self.qkv = nn.Linear(6, 12, bias=False)
        self.blocks = nn.Sequential(Block(6, 2), Block(6, 2), Block(6, 1))
        self.head = nn.Linear(6, 11, bias=False)
        self.head.weight = self.embed.weight
        self.frozen = nn.Parameter(torch.randn(6), requires_grad=False)

    def forward(self, tokens: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        x = self.embed(tokens) * self.frozen
        x = torch.tanh(self.twice(torch.tanh(self.twice(x))))
        q, k, v = (part.unsqueeze(1) for part in self.qkv(x).chunk(3, -1))
        seen = F.scaled_dot_product_attention(q, k, v).squeeze(1)
        x = self.blocks(x * mask[:, :, None])
        return self.head(x), seen


def tied() -> tuple[nn.Module, list[Axis], Inputs]:
    net = Tied()
    layers = [(f"blocks.{b}.inner.{i}", f"b{b}.i{i}") for b, n in enumerate((2, 2, 1)) for i in range(n)]
    plain = [path for path, _ in layers]
    size = [
        ChannelSlice("embed.weight", 1),
        ChannelSlice("twice.weight", 0),
        ChannelSlice("twice.weight", 1),
        ChannelSlice("twice.bias", 0),
        ChannelSlice("frozen", 0),
        ChannelSlice("qkv.weight", 1),
    ]
    for b in range(3):
        size += [ChannelSlice(f"blocks.{b}.time.weight", 0), ChannelSlice(f"blocks.{b}.time.bias", 0)]
    for path in plain:
        size += [
            ChannelSlice(f"{path}.norm.weight", 0),
            ChannelSlice(f"{path}.norm.bias", 0),
            ChannelSlice(f"{path}.up.weight", 1),
        ]
        size += [ChannelSlice(f"{path}.down.weight", 0)]
    # blocks.1's inner layers are listed before the depth that they depend on
    axes: list[Axis] = []
    for path, name in layers:
        hidden = (
            ChannelSlice(f"{path}.up.weight", 0),
            ChannelSlice(f"{path}.up.bias", 0),
            ChannelSlice(f"{path}.down.weight", 1),
        )
        axes.append(Width(f"{name}.hidden", hidden, (4, 8)))
    axes += [Kernel(f"b{b}.kernel", f"blocks.{b}.time", (1, 3, 5)) for b in range(3)]
    axes += [Depth(f"b{b}.depth", (f"blocks.{b}.inner.0", f"blocks.{b}.inner.1"), (0, 1, 2)) for b in range(2)]
    axes += [Depth("depth", ("blocks.0", "blocks.1", "blocks.2"), (1, 2, 3)), Width("size", tuple(size), (2, 4, 6))]
    return net, axes, (torch.randint(11, (1, 7)), torch.ones(1, 7))


class Product(nn.Module):
    """The outer product of two features: its size is the product of two widths."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(4, 6)
        self.b = nn.Linear(4, 8)
        self.head = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        outer = (F.relu(self.a(x))[:, :, None] * self.b(x)[:, None, :]).flatten(1)
        return self.head(F.adaptive_avg_pool1d(F.gelu(outer), 5))


def product() -> tuple[nn.Module, list[Axis], Inputs]:
    net = Product()
    axes: list[Axis] = [
        Width.tie(net, "a", (2, 4, 6), out_of=["a"]),
        Width.tie(net, "b", (3, 8), out_of=["b"]),
    ]
    return net, axes, torch.randn(1, 4)


def residual() -> SuperNet:
    return inverted_residual(
        in_channels=2,
        classes=4,
        image=6,
        widths=((4, 6, 8), (8, 12)),
        depths=((1, 2), (1, 2, 3)),
        expands=(1, 2),
        kernels=(3, 5),
    )


BUILD: Mapping[str, Callable[[], Any]] = {
    "inverted_residual": residual,
    "flat": flat,
    "concat": concat,
    "tied": tied,
    "product": product,
}


def randomise(net: nn.Module, inputs: Inputs) -> None:
    """Give every tensor values that tell one index from another, and every statistic a value of its own."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, tensor in (*net.named_parameters(), *net.named_buffers()):
            if tensor.is_floating_point():
                noise = torch.randn(tensor.shape, generator=generator)
                tensor.copy_(1 + 0.3 * noise.tanh() if "var" in name or "norm.weight" in name else 0.5 * noise)
    call(net.eval(), inputs)


def build(name: str) -> Case:
    torch.manual_seed(0)
    made = BUILD[name]()
    if isinstance(made, SuperNet):
        module, axes, example = made.module, made.axes, torch.randn(1, 2, 6, 6)
    else:
        module, axes, example = made
    randomise(module, example)
    more = each_tensor(example, lambda t: torch.cat([t, t.flip(-1), t.roll(1, -1)]) if t.shape[-1] > 1 else t)
    return Case(name, SuperNet(module, axes, example), more, tabulated=name != "product")


@pytest.fixture(scope="session", params=list(BUILD))
def case(request: pytest.FixtureRequest) -> Case:
    """One of the zoo; tests leave it as they found it."""
    return build(request.param)


@pytest.fixture
def make() -> Callable[[str], Case]:
    """A fresh one of the zoo, to be spoiled."""
    return build
