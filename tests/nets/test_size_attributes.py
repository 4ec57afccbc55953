"""Sizes in attributes of any name and place: what counts channels is found by running the network."""

from __future__ import annotations

import math
from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import netwright as nw
from netwright.nets.axes import Depth
from netwright.nets.inputs import call
from netwright.nets.places import number, numbers, replaced
from netwright.nets.supernet import SuperNet


def wrapped(module: nn.Module, inputs: Any, **options: Any) -> SuperNet:
    """The super-network, checked: active, extracted and counted are one."""
    net = nw.wrap(module.eval(), inputs, **options)
    nw.testing.check_supernet(net, candidates=[net.smallest], trains=False, formats=())
    return net


def cuts(net: SuperNet, tensor: str, dim: int = 0) -> bool:
    return any(t == tensor and d == dim for axis in net.axes for t, d, *_ in axis.regions(net.index))


# -- nanoGPT, written anew: sizes are named as there -----------------------------------------------------------


@dataclass
class GPTConfig:
    block_size: int = 64
    vocab_size: int = 80
    n_layer: int = 3
    n_head: int = 4
    n_embd: int = 64
    dropout: float = 0.0
    bias: bool = True


class Norm(nn.Module):
    def __init__(self, size: int, bias: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.bias = nn.Parameter(torch.zeros(size)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, self.weight.shape, self.weight, self.bias, 1e-5)


class CausalSelfAttention(nn.Module):
    def __init__(self, config: GPTConfig, flash: bool) -> None:
        super().__init__()
        self.c_attn = nn.Linear(config.n_embd, 3 * config.n_embd, bias=config.bias)
        self.c_proj = nn.Linear(config.n_embd, config.n_embd, bias=config.bias)
        self.n_head, self.n_embd, self.dropout, self.flash = config.n_head, config.n_embd, config.dropout, flash
        if not flash:
            ones = torch.ones(config.block_size, config.block_size)
            self.register_buffer("bias", ones.tril().view(1, 1, config.block_size, config.block_size))

    def forward(self, x: Tensor) -> Tensor:
        B, T, C = x.size()
        q, k, v = self.c_attn(x).split(self.n_embd, dim=2)
        k = k.view(B, T, self.n_head, C // self.n_head).transpose(1, 2)
        q = q.view(B, T, self.n_head, C // self.n_head).transpose(1, 2)
        v = v.view(B, T, self.n_head, C // self.n_head).transpose(1, 2)
        if self.flash:
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        else:
            att = (q @ k.transpose(-2, -1)) * (1.0 / math.sqrt(k.size(-1)))
            y = att.masked_fill(self.bias[:, :, :T, :T] == 0, float("-inf")).softmax(-1) @ v
        return self.c_proj(y.transpose(1, 2).contiguous().view(B, T, C))


class MLP(nn.Module):
    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.c_fc = nn.Linear(config.n_embd, 4 * config.n_embd, bias=config.bias)
        self.c_proj = nn.Linear(4 * config.n_embd, config.n_embd, bias=config.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.c_proj(F.gelu(self.c_fc(x)))


class Block(nn.Module):
    def __init__(self, config: GPTConfig, flash: bool) -> None:
        super().__init__()
        self.ln_1, self.attn = Norm(config.n_embd, config.bias), CausalSelfAttention(config, flash)
        self.ln_2, self.mlp = Norm(config.n_embd, config.bias), MLP(config)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class GPT(nn.Module):
    def __init__(self, config: GPTConfig, flash: bool = True) -> None:
        super().__init__()
        self.config = config
        self.transformer = nn.ModuleDict(
            {
                "wte": nn.Embedding(config.vocab_size, config.n_embd),
                "wpe": nn.Embedding(config.block_size, config.n_embd),
                "drop": nn.Dropout(config.dropout),
                "h": nn.ModuleList(Block(config, flash) for _ in range(config.n_layer)),
                "ln_f": Norm(config.n_embd, config.bias),
            }
        )
        self.lm_head = nn.Linear(config.n_embd, config.vocab_size, bias=False)
        self.transformer["wte"].weight = self.lm_head.weight

    def forward(self, idx: Tensor) -> Tensor:
        t = idx.size(1)
        assert t <= self.config.block_size
        parts = self.transformer
        x = parts["drop"](parts["wte"](idx) + parts["wpe"](torch.arange(t, device=idx.device)))
        for block in parts["h"]:
            x = block(x)
        return self.lm_head(parts["ln_f"](x))


@pytest.mark.parametrize("flash", [True, False])
def test_nano_gpt(flash: bool) -> None:
    torch.manual_seed(0)
    net = wrapped(GPT(GPTConfig(n_layer=2), flash), torch.randint(0, 80, (2, 12)))
    for i in range(2):
        block = f"transformer.h.{i}"
        assert cuts(net, f"{block}.attn.c_attn.weight")
        assert cuts(net, f"{block}.attn.c_attn.weight", 1)
        assert cuts(net, f"{block}.mlp.c_fc.weight")
        assert not cuts(net, f"{block}.attn.bias", 2)
    assert cuts(net, "transformer.wte.weight", 1)  # and with it the tied head
    assert not cuts(net, "transformer.wpe.weight")
    assert next(a for a in net.axes if isinstance(a, Depth)).options == (1, 2)
    small = net.extract(net.smallest)
    attention = small.get_submodule("transformer.h.0.attn")
    assert (attention.n_head, attention.n_embd) == (1, 16)  # the size of a head stays
    assert small.config == GPTConfig(n_layer=2)
    assert small.lm_head.weight is small.get_submodule("transformer.wte").weight
    ids = torch.randint(0, 80, (1, 40))  # longer than the example
    with torch.no_grad(), net.active(net.smallest) as module:
        torch.testing.assert_close(call(module, ids), small(ids))


# -- other models whose sizes have short names -----------------------------------------------------------------


class Conv(nn.Module):
    def __init__(self, into: int, out: int, k: int = 1, g: int = 1, act: bool = True) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(into, out, k, padding=k // 2, groups=g, bias=False), nn.BatchNorm2d(out)
        self.act = nn.SiLU() if act else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.bn(self.conv(x)))


class Bottleneck(nn.Module):
    def __init__(self, c: int) -> None:
        super().__init__()
        self.cv1, self.cv2 = Conv(c, c, 3), Conv(c, c, 3)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.cv2(self.cv1(x))


class C2f(nn.Module):
    """YOLOv8's block: half of what the first layer makes goes through bottlenecks, and all is joined."""

    def __init__(self, into: int, out: int, n: int) -> None:
        super().__init__()
        self.c = out // 2
        self.cv1, self.cv2 = Conv(into, 2 * self.c), Conv((2 + n) * self.c, out)
        self.m = nn.ModuleList(Bottleneck(self.c) for _ in range(n))

    def forward(self, x: Tensor) -> Tensor:
        y = list(self.cv1(x).split((self.c, self.c), 1))
        y.extend(m(y[-1]) for m in self.m)
        return self.cv2(torch.cat(y, 1))


class PSAttention(nn.Module):
    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads, self.head_dim = num_heads, dim // num_heads
        self.key_dim = self.head_dim // 2
        self.qkv = Conv(dim, dim + 2 * self.key_dim * num_heads, act=False)
        self.proj, self.pe = Conv(dim, dim, act=False), Conv(dim, dim, 3, g=dim, act=False)

    def forward(self, x: Tensor) -> Tensor:
        B, C, H, W = x.shape
        parts = self.qkv(x).view(B, self.num_heads, self.key_dim * 2 + self.head_dim, H * W)
        q, k, v = parts.split([self.key_dim, self.key_dim, self.head_dim], dim=2)
        attn = (q.transpose(-2, -1) @ k * self.key_dim**-0.5).softmax(-1)
        return self.proj((v @ attn.transpose(-2, -1)).view(B, C, H, W) + self.pe(v.reshape(B, C, H, W)))


class C2PSA(nn.Module):
    """YOLO11's block: half of the channels attend to one another."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.c = channels // 2
        self.cv1, self.cv2 = Conv(channels, 2 * self.c), Conv(2 * self.c, channels)
        self.attn = PSAttention(self.c, self.c // 16)
        self.ffn = nn.Sequential(Conv(self.c, self.c * 2), Conv(self.c * 2, self.c, act=False))

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.cv1(x).split((self.c, self.c), dim=1)
        b = b + self.attn(b)
        return self.cv2(torch.cat((a, b + self.ffn(b)), 1))


class Stage(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.c2f, self.psa = Conv(3, 32, 3), C2f(32, 64, 2), C2PSA(64)
        self.head = nn.Conv2d(64, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.psa(self.c2f(self.stem(x))))


def test_yolo_blocks() -> None:
    torch.manual_seed(0)
    net = wrapped(Stage(), torch.randn(2, 3, 8, 8))
    layers = ("c2f.cv1", "c2f.m.0.cv1", "c2f.m.1.cv2", "c2f.cv2", "psa.cv1", "psa.attn.qkv", "psa.attn.pe", "psa.cv2")
    for layer in (*layers, "psa.ffn.0"):
        assert cuts(net, f"{layer}.conv.weight"), f"{layer}\n{net.report}"
    small = net.extract(net.smallest)
    assert small.c2f.c == small.c2f.cv1.conv.out_channels // 2 < 32
    assert small.psa.attn.head_dim == 16  # heads go whole
    assert small.psa.attn.num_heads < 2


class MultiHeadedAttention(nn.Module):
    """The annotated Transformer's."""

    def __init__(self, h: int, d_model: int) -> None:
        super().__init__()
        self.d_k, self.h = d_model // h, h
        self.linears = nn.ModuleList(nn.Linear(d_model, d_model) for _ in range(4))

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        n = query.size(0)
        query, key, value = (
            lin(x).view(n, -1, self.h, self.d_k).transpose(1, 2)
            for lin, x in zip(self.linears, (query, key, value), strict=False)
        )
        scores = torch.matmul(query, key.transpose(-2, -1)) / math.sqrt(self.d_k)
        x = torch.matmul(scores.softmax(-1), value)
        return self.linears[-1](x.transpose(1, 2).contiguous().view(n, -1, self.h * self.d_k))


class Annotated(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.src, self.attn, self.w_1, self.w_2 = (
            nn.Linear(8, 64), MultiHeadedAttention(4, 64), nn.Linear(64, 96), nn.Linear(96, 4),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        x = self.src(x)
        return self.w_2(self.w_1(x + self.attn(x, x, x)).relu())


def test_the_annotated_transformer() -> None:
    torch.manual_seed(0)
    net = wrapped(Annotated(), torch.randn(2, 6, 8))
    assert all(cuts(net, f"attn.linears.{i}.weight") for i in range(3))
    small = net.extract(net.smallest)
    assert (small.attn.h, small.attn.d_k) == (1, 16)


@torch.jit.script
def gated(a: Tensor, b: Tensor, n_channels: Tensor) -> Tensor:
    n = int(n_channels[0])
    both = a + b
    return torch.tanh(both[:, :n, :]) * torch.sigmoid(both[:, n:, :])


class WaveNet(nn.Module):
    """WaveGlow's: a scripted gate that is told where to part its channels."""

    def __init__(self) -> None:
        super().__init__()
        self.nc = 32
        self.start, self.cond, self.end = nn.Conv1d(4, 32, 1), nn.Conv1d(6, 64, 1), nn.Conv1d(32, 3, 1)
        self.inner, self.skip = nn.Conv1d(32, 64, 3, padding=1), nn.Conv1d(32, 32, 1)

    def forward(self, audio: Tensor, spect: Tensor) -> Tensor:
        x = self.start(audio)
        acts = gated(self.inner(x), self.cond(spect), torch.IntTensor([self.nc]))
        return self.end(x + self.skip(acts))


def test_a_scripted_gate() -> None:
    torch.manual_seed(0)
    net = wrapped(WaveNet(), (torch.randn(2, 4, 12), torch.randn(2, 6, 12)))
    assert cuts(net, "inner.weight")
    assert cuts(net, "cond.weight")
    small = net.extract(net.smallest)
    assert small.nc == small.inner.out_channels // 2 == 8


# -- where a size may stand ------------------------------------------------------------------------------------


class Slotted:
    __slots__ = ("k",)

    def __init__(self, k: int) -> None:
        self.k = k


class Pair(NamedTuple):
    first: int
    second: int


@dataclass(frozen=True)
class Frozen:
    inner: SimpleNamespace


class Words(dict[str, Any]):
    """A dict whose entries are attributes too."""

    def __getattr__(self, name: str) -> Any:
        if name not in self:
            raise AttributeError(name)
        return self[name]


class ByClassOnly:
    """A config whose numbers stand in its class."""

    width = 24


class Parted(nn.Module):
    """Its channels are parted at numbers that it holds in some form."""

    def __init__(self, held: Any, at: Callable[[Any], int]) -> None:
        super().__init__()
        self.held, self.at = held, at
        self.first, self.left, self.right = nn.Linear(6, 48), nn.Linear(24, 5), nn.Linear(24, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        n = self.at(self.held)
        return self.left(x[:, :n].relu()) + self.right(x[:, n:].sigmoid() * x[:, :n])


HELD: dict[str, tuple[Any, Callable[[Any], int]]] = {
    "number": (24, lambda held: held),
    "twice": (48, lambda held: held // 2),
    "list": ([7, 24], lambda held: held[1]),
    "named tuple": (Pair(24, 3), lambda held: held.first),
    "dict": ({"x": {1: 24}}, lambda held: held["x"][1]),
    "namespace": (Namespace(z=24), lambda held: held.z),
    "slots": (Slotted(24), lambda held: held.k),
    "frozen": (Frozen(SimpleNamespace(q=[24])), lambda held: held.inner.q[0]),
    "object of a class": (ByClassOnly(), lambda held: held.width),
    "class": (ByClassOnly, lambda held: held.width),
    "NumPy": (np.int64(24), lambda held: int(held)),
    "attributes": (Words(model=Words(w=24)), lambda held: held.model.w),
}


@pytest.mark.parametrize("held", HELD)
def test_forms_in_which_a_size_is_held(held: str) -> None:
    torch.manual_seed(0)
    value, at = HELD[held]
    module = Parted(value, at)
    before = repr(value)
    net = wrapped(module, torch.randn(2, 6))
    assert cuts(net, "first.weight"), net.report
    small = net.extract(net.smallest)
    assert at(small.held) * (2 if held == "twice" else 1) == small.first.out_features // (1 if held == "twice" else 2)
    assert at(module.held) == 24
    if not hasattr(value, "k") and held != "object of a class":
        assert repr(module.held) == before


class ByClass(nn.Module):
    """A size in the class; the kind itself stays as it is."""

    wide = 24

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(6, 48), nn.Linear(24, 5)

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.first(x).split([self.wide, self.wide], -1)
        return self.last(a * b.sigmoid())


def test_a_size_of_the_class() -> None:
    net = wrapped(ByClass(), torch.randn(2, 6))
    assert net.extract(net.smallest).wide == 8
    assert ByClass.wide == 24
    assert "wide" not in vars(net.module)


class Folds(nn.Module):
    """A layer without weights that knows a size of its neighbours."""

    def __init__(self, parts: int) -> None:
        super().__init__()
        self._parts = parts

    @property
    def parts(self) -> int:
        return self._parts

    def forward(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.parts, x.shape[-1] // self.parts)).softmax(-1).flatten(-2)


def test_layers_without_weights_hold_sizes() -> None:
    torch.manual_seed(0)
    folds = nn.Sequential(nn.Linear(6, 64), Folds(8), nn.Linear(64, 4))
    net = wrapped(folds, torch.randn(2, 6))
    assert cuts(net, "0.weight")
    small = net.extract(net.smallest)
    assert small[0].out_features // small[1].parts == 8


class Total(nn.Module):
    """A number that is the sum of two widths, each of which is cut by itself, and one that is three times a width."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(6, 32), nn.Linear(6, 16), nn.Linear(48 + 96, 3)
        self.total, self.third = 48, SimpleNamespace(three=96)

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.a(x).relu(), self.b(x).tanh()
        both = torch.cat([a, b], 1).view(-1, self.total)
        return self.c(torch.cat([both, a.repeat(1, 3).view(-1, self.third.three)], 1))


def test_totals_of_several_parts() -> None:
    torch.manual_seed(0)
    net = wrapped(Total(), torch.randn(2, 6))
    assert {axis.name for axis in net.axes} == {"a.width", "b.width"}
    for a, b in ((8, 16), (32, 8), (16, 8)):
        small = net.extract(net.space.candidate({"a.width": a, "b.width": b}))
        assert (small.total, small.third.three) == (a + b, 3 * a)


def test_one_config_of_several_layers() -> None:
    """Each layer has its own copy of what it reads; others who hold the same object keep it."""

    class Layer(nn.Module):
        def __init__(self, config: SimpleNamespace) -> None:
            super().__init__()
            self.config, self.up, self.down = config, nn.Linear(16, 64), nn.Linear(32, 16)

        def forward(self, x: Tensor) -> Tensor:
            a, b = self.up(x).split(self.config.mid, -1)
            return x + self.down(a * b.tanh())

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.config = SimpleNamespace(mid=32, other=torch.zeros(2))
            self.layers = nn.ModuleList(Layer(self.config) for _ in range(2))

        def forward(self, x: Tensor) -> Tensor:
            for layer in self.layers:
                x = layer(x)
            return x

    torch.manual_seed(0)
    net = wrapped(Net(), torch.randn(2, 16), axes=["width"])
    names = [axis.name for axis in net.axes]
    assert len(names) == 2
    small = net.extract(net.space.candidate({names[0]: 8, names[1]: 32}))
    assert [layer.config.mid for layer in small.layers] == [8, 32]
    assert small.config is small.layers[1].config
    assert small.config.mid == 32
    assert small.layers[0].config.other is small.config.other  # nothing else is copied
    with net.active(net.smallest) as module:
        assert module.layers[0].config.mid == 8
    assert net.module.layers[0].config is net.module.config
    assert net.module.config.mid == 32


class Kept(nn.Module):
    """Numbers that equal a size and mean something else: a number of steps, a width of a window in time."""

    def __init__(self) -> None:
        super().__init__()
        self.steps, self.window, self.size = 16, 16, 16
        self.first, self.last = nn.Linear(16, 16), nn.Linear(16, 16)

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        for _ in range(self.steps // 8):
            y = y.tanh()
        assert x.shape[1] <= self.window
        return self.last(y.view(len(x), -1, self.size))


def test_numbers_that_mean_something_else_stay() -> None:
    torch.manual_seed(0)
    net = wrapped(Kept(), torch.randn(2, 16, 16))
    small = net.extract(net.smallest)
    assert small.first.out_features == small.size == 8
    assert (small.steps, small.window) == (16, 16)


class Heads(nn.Module):
    """Runs with any number of heads, but is the same attention only with fewer heads of the same size."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.proj, self.nh = nn.Linear(32, 96), nn.Linear(32, 32), 4

    def forward(self, x: Tensor) -> Tensor:
        b, t, _ = x.shape
        q, k, v = self.qkv(x).chunk(3, -1)
        q, k, v = (z.view(b, t, self.nh, z.shape[-1] // self.nh).transpose(1, 2) for z in (q, k, v))
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


def test_a_cut_head_leaves_the_others_as_they_were() -> None:
    torch.manual_seed(0)
    module, x = nn.Sequential(nn.Linear(6, 32), Heads(), nn.Linear(32, 3)).eval(), torch.randn(2, 5, 6)
    net = wrapped(module, x)
    heads = next(a for a in net.axes if cuts(net, "1.qkv.weight") and a.options[-1] == 4)
    small = net.extract(net.space.candidate({**net.largest, heads.name: 2}))
    assert small[1].nh == 2
    with torch.no_grad():
        module[1].proj.weight[:, 16:] = 0  # nothing reads the heads that went
        torch.testing.assert_close(small(x), module(x))


def test_layers_with_other_numbers_of_heads() -> None:
    """The channels of a model are cut with the heads of all layers, whose heads have other sizes."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            configs = [GPTConfig(n_head=n, n_embd=64) for n in (4, 8)]
            self.first, self.last = nn.Linear(6, 64), nn.Linear(64, 3)
            self.layers = nn.ModuleList(CausalSelfAttention(config, True) for config in configs)

        def forward(self, x: Tensor) -> Tensor:
            x = self.first(x)
            for layer in self.layers:
                x = x + layer(x)
            return self.last(x)

    torch.manual_seed(0)
    net = wrapped(Net(), torch.randn(2, 5, 6), axes=["width"])
    (axis,) = net.axes
    assert axis.options == (16, 32, 48, 64)
    small = net.extract(net.space.candidate({axis.name: 48}))
    assert [layer.n_head for layer in small.layers] == [3, 6]


def test_places() -> None:
    layer = Parted({"a": (3, {"b": 5}), 7: 24, "t": torch.ones(3), "on": True}, len)
    found = dict(numbers(layer))
    assert found == {"held.a.0": 3, "held.a.1.b": 5, "held.7": 24}
    assert [number(layer, place) for place in found] == [3, 5, 24]
    changed = replaced(layer, {"held.a.1.b": 4, "held.7": 12})["held"]
    assert (changed["a"], changed[7]) == ((3, {"b": 4}), 12)
    assert layer.held["a"][1] == {"b": 5}
    assert changed["t"] is layer.held["t"]
