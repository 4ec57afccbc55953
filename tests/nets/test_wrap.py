"""Any model: what wrap finds, that it holds, and that it says what it left."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from netwright.core.errors import NetError
from netwright.nets.axes import Depth, Kernel, Width
from netwright.nets.importance import sort_channels
from netwright.nets.importance.magnitude import magnitude
from netwright.nets.inputs import call
from netwright.nets.wrap import wrap


class Block(nn.Module):
    """A basic residual block; with ``pad``, the parameter-free shortcut of the CIFAR networks (option A)."""

    def __init__(self, into, out, stride=1, pad=False):
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(into, out, 3, stride, 1, bias=False), nn.BatchNorm2d(out)
        self.conv2, self.norm2 = nn.Conv2d(out, out, 3, 1, 1, bias=False), nn.BatchNorm2d(out)
        self.stride, self.pad = stride, (out - into) // 2 if pad else 0
        self.shortcut = nn.Conv2d(into, out, 1, stride) if into != out and not pad else None

    def forward(self, x):
        y = self.norm2(self.conv2(torch.relu(self.norm1(self.conv1(x)))))
        if self.pad:
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.pad, self.pad))
        elif self.shortcut is not None:
            x = self.shortcut(x)
        return torch.relu(x + y)


class ResNet(nn.Module):
    def __init__(self, pad=False):
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, 1, 1)
        self.stage1 = nn.Sequential(Block(16, 16), Block(16, 16), Block(16, 16))
        self.stage2 = nn.Sequential(Block(16, 32, 2, pad), Block(32, 32), Block(32, 32))
        self.head = nn.Linear(32 * 4, 10)

    def forward(self, x):
        x = self.stage2(self.stage1(torch.relu(self.stem(x))))
        return self.head(F.adaptive_avg_pool2d(x, 2).flatten(1))


class Mobile(nn.Module):
    """An inverted residual with squeeze-and-excitation."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, 2, 1)
        self.up, self.up_norm = nn.Conv2d(16, 64, 1), nn.BatchNorm2d(64)
        self.deep, self.deep_norm = nn.Conv2d(64, 64, 5, 1, 2, groups=64), nn.BatchNorm2d(64)
        self.squeeze, self.excite = nn.Conv2d(64, 16, 1), nn.Conv2d(16, 64, 1)
        self.down, self.down_norm = nn.Conv2d(64, 16, 1), nn.BatchNorm2d(16)
        self.head = nn.Linear(16, 5)

    def forward(self, x):
        x = F.hardswish(self.stem(x))
        y = F.hardswish(self.up_norm(self.up(x)))
        y = F.hardswish(self.deep_norm(self.deep(y)))
        y = y * F.hardsigmoid(self.excite(torch.relu(self.squeeze(y.mean((2, 3), keepdim=True)))))
        return self.head((x + self.down_norm(self.down(y))).mean((2, 3)))


class UNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 16, 3, 1, 1), nn.Conv2d(16, 32, 3, 1, 1)
        self.up = nn.ConvTranspose2d(32, 16, 2, 2)
        self.c, self.out = nn.Conv2d(32, 16, 3, 1, 1), nn.Conv2d(16, 2, 1)
        self.norm = nn.GroupNorm(4, 16)

    def forward(self, x):
        a = F.silu(self.a(x))
        b = F.silu(self.b(F.max_pool2d(a, 2)))
        return {"mask": self.out(self.norm(self.c(torch.cat([self.up(b), a], 1)))), "coarse": b.mean((1, 2, 3))}


class Attention(nn.Module):
    def __init__(self, size, heads):
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(size, size) for _ in range(3))
        self.out, self.num_heads, self.head_dim = nn.Linear(size, size), heads, size // heads

    def forward(self, x):
        b, n, _ = x.shape

        def heads(t):
            return t.view(b, n, self.num_heads, self.head_dim).transpose(1, 2)

        q, k, v = heads(self.query(x)), heads(self.key(x)), heads(self.value(x))
        scores = (q @ k.transpose(-2, -1) / math.sqrt(self.head_dim)).softmax(-1)
        return self.out((scores @ v).transpose(1, 2).reshape(b, n, self.num_heads * self.head_dim))


class Layer(nn.Module):
    def __init__(self, size, heads):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(size), nn.LayerNorm(size)
        self.attention = Attention(size, heads)
        self.up, self.down = nn.Linear(size, 4 * size), nn.Linear(4 * size, size)

    def forward(self, x, scale=1.0):
        x = x + scale * self.attention(self.norm1(x))
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class Words(nn.Module):
    """A language model with tied embedding and head, keyword inputs, and layers that take two arguments."""

    def __init__(self):
        super().__init__()
        self.embed, self.place = nn.Embedding(50, 32), nn.Parameter(torch.randn(1, 8, 32))
        self.layers = nn.ModuleList(Layer(32, 4) for _ in range(3))
        self.norm, self.head = nn.LayerNorm(32), nn.Linear(32, 50, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, ids, scale):
        x = self.embed(ids) + self.place[:, : ids.shape[1]]
        for layer in self.layers:
            x = layer(x, scale=scale.mean())
        return self.head(self.norm(x)), x.mean()


class Mixer(nn.Module):
    def __init__(self):
        super().__init__()
        self.patch = nn.Conv2d(3, 32, 4, 4)
        self.norm = nn.LayerNorm(32)
        self.across, self.back = nn.Linear(4, 24), nn.Linear(24, 4)
        self.up, self.down = nn.Linear(32, 64), nn.Linear(64, 32)
        self.head = nn.Linear(32, 3)

    def forward(self, x):
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = x + self.back(F.gelu(self.across(self.norm(x).transpose(1, 2)))).transpose(1, 2)
        x = x + self.down(F.gelu(self.up(x)))
        return self.head(x.mean(1))


class Dense(nn.Module):
    """Channels that are concatenated again and again, split, and gated."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Conv1d(4, 16, 3, 1, 1), nn.Conv1d(16, 16, 3, 1, 1), nn.Conv1d(32, 32, 7, 1, 3)
        self.norm, self.gate, self.head = nn.BatchNorm1d(64), nn.Conv1d(64, 32, 1), nn.Linear(16, 3)

    def forward(self, x):
        a = torch.relu(self.a(x))
        ab = torch.cat([a, torch.relu(self.b(a))], 1)
        abc = self.norm(torch.cat([ab, self.c(ab)], 1))
        value, gate = self.gate(abc).chunk(2, 1)
        return self.head((value * torch.sigmoid(gate)).mean(2))


class Grouped(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 32, 3, 1, 1), nn.Conv2d(32, 64, 3, 1, 1, groups=8)
        self.c, self.prelu = nn.Conv2d(64, 16, 1), nn.PReLU(16)
        self.two = nn.Sequential(nn.Conv2d(16, 16, 3, 1, 1), nn.ReLU())
        self.head = nn.Linear(16, 3)

    def forward(self, x):
        x = self.prelu(self.c(torch.relu(self.b(torch.relu(self.a(x))))))
        return self.head(self.two(self.two(x)).mean((2, 3)))  # a shared module


ZOO = {
    "resnet": (ResNet, lambda: torch.randn(2, 3, 8, 8)),
    "option_a": (lambda: ResNet(pad=True), lambda: torch.randn(2, 3, 8, 8)),
    "mobile": (Mobile, lambda: torch.randn(2, 3, 16, 16)),
    "unet": (UNet, lambda: torch.randn(2, 3, 8, 8)),
    "words": (Words, lambda: {"ids": torch.randint(0, 50, (2, 8)), "scale": torch.ones(2)}),
    "mixer": (Mixer, lambda: torch.randn(2, 3, 8, 8)),
    "dense": (Dense, lambda: torch.randn(2, 4, 12)),
    "grouped": (Grouped, lambda: torch.randn(2, 3, 6, 6)),
}


def build(name):
    torch.manual_seed(0)
    make, inputs = ZOO[name]
    return make().eval(), inputs()


def flat(output):
    if isinstance(output, torch.Tensor):
        return [output]
    return [t for part in (output.values() if isinstance(output, dict) else output) for t in flat(part)]


def far(one, other):
    return max(float((a - b).abs().max() / a.abs().max().clamp_min(1e-9)) for a, b in zip(one, other, strict=True))


@pytest.fixture(scope="module", params=ZOO)
def wrapped(request):
    module, inputs = build(request.param)
    before = copy.deepcopy(module.state_dict())
    net = wrap(module, inputs)
    assert all(torch.equal(a, b) for a, b in zip(before.values(), module.state_dict().values(), strict=True))
    return net, inputs


def test_parity(wrapped):
    net, inputs = wrapped
    rng = np.random.default_rng(0)
    with torch.no_grad():
        whole = flat(call(net.module, inputs))
        with net.active(net.largest) as module:
            assert all(torch.equal(a, b) for a, b in zip(whole, flat(call(module, inputs)), strict=True))
        for candidate in (net.smallest, *(net.space.sample(rng) for _ in range(8))):
            extracted = net.extract(candidate).eval()
            with net.active(candidate) as module:
                assert far(flat(call(module, inputs)), flat(call(extracted, inputs))) <= 1e-5
            assert net.count(candidate).params == sum(p.numel() for p in extracted.parameters())


def test_it_trains(wrapped):
    net, inputs = wrapped
    net.module.train().zero_grad()
    with net.active(net.smallest) as module:
        sum(t.sum() for t in flat(call(module, inputs))).backward()
    net.module.eval()
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in net.module.parameters())


EXPECTED = {
    # name: depth axes, kernel axes, and some widths with the number of tensors that they tie
    "resnet": (2, 0, {"stem.width": 2 + 3 * 6 + 2, "stage2.0.conv1.width": 6}),
    "option_a": (2, 0, {"stage1.0.conv1.width": 6}),
    "mobile": (0, 1, {"stem.width": 10, "up.width": 16, "squeeze.width": 3}),
    "unet": (0, 0, {"a.width": 4, "b.width": 3}),
    "words": (1, 0, {"embed.width": None, "layers.0.attention.query.width": None, "layers.0.up.width": 3}),
    "mixer": (0, 0, {"across.width": 3, "up.width": 3}),
    "dense": (0, 1, {"a.width": None, "gate.width": None}),
    "grouped": (0, 0, {"a.width": None}),
}


@pytest.mark.parametrize("name", ZOO)
def test_what_is_found(name):
    module, inputs = build(name)
    net = wrap(module, inputs)
    depths, kernels, widths = EXPECTED[name]
    assert sum(isinstance(a, Depth) for a in net.axes) == depths
    assert sum(isinstance(a, Kernel) for a in net.axes) == kernels
    found = {a.name: a for a in net.axes if isinstance(a, Width)}
    for width, tensors in widths.items():
        assert width in found, sorted(found)
        if tensors is not None:
            assert len(found[width].slices) == tensors, found[width].slices
    assert net.report.space_size == net.space.size > 1


def test_the_shift_of_a_padded_shortcut_is_seen():
    module, inputs = build("option_a")
    net = wrap(module, inputs)
    stem = next(a for a in net.axes if a.name == "stem.width")
    slices = {(s.tensor, s.dim): s.offset for s in stem.slices}
    assert slices["stage1.0.conv1.weight", 1] == 0
    assert slices["stage2.0.conv2.weight", 0] == 8  # channel 3 is channel 11 behind the padding


def test_heads_go_whole_and_their_number_follows():
    module, inputs = build("words")
    net = wrap(module, inputs)
    heads = next(a for a in net.axes if a.name == "layers.0.attention.query.width")
    assert heads.channels == 4
    assert {s.block for s in heads.slices} == {8}
    network = net.extract(net.space.candidate({**dict(net.largest), heads.name: heads.options[0]}))
    assert network.layers[0].attention.num_heads == heads.options[0]
    assert network.layers[1].attention.num_heads == 4
    assert network.head.weight is network.embed.weight


class Fixed(nn.Module):
    """Channels that the forward function treats by their number."""

    def __init__(self, change):
        super().__init__()
        self.a, self.b = nn.Linear(4, 32), nn.Linear(32, 3)
        self.change = change

    def forward(self, x):
        return self.b(self.change(torch.relu(self.a(x))))


@pytest.mark.parametrize(
    "change",
    [
        lambda x: x * torch.linspace(0, 1, 32),
        lambda x: x.flip(-1),
        lambda x: x.roll(1, -1),
        lambda x: x[:, torch.arange(31, -1, -1)],
        lambda x: x.view(-1, 32) * 1.0,
        lambda x: torch.cat([x[:, :16] * 2, x[:, 16:]], 1),
        lambda x: x.cumsum(-1),
        lambda x: x.sort(-1).values,
    ],
)
def test_what_cannot_be_cut_is_left_and_said(change):
    torch.manual_seed(0)
    net = wrap(Fixed(change), torch.randn(2, 4))
    whole = [a for a in net.axes if isinstance(a, Width) and a.channels == 32]
    assert not whole
    assert {"a", "b"} & set(net.report.rigid) or net.axes
    if not net.axes:
        assert all(reason for reason in net.report.rigid.values())


def test_a_model_without_axes_is_still_a_super_network():
    net = wrap(nn.Sequential(nn.Linear(4, 3)), torch.randn(2, 4))
    assert net.space.size == 1
    assert net.largest == net.smallest


def test_narrowing():
    module, inputs = build("resnet")
    only = wrap(module, inputs, only=["stage2.*"])
    assert only.axes
    assert all(p.startswith("stage2.") for a in only.axes for p in a.affected_modules(only.index))
    without = wrap(module, inputs, except_=["stage2.*"])
    assert not any(p.startswith("stage2.") for a in without.axes for p in a.affected_modules(without.index))
    assert "left out" in without.report.rigid["stage2.1.conv1"]
    assert {type(a) for a in wrap(module, inputs, axes=["depth"]).axes} == {Depth}
    for axis in wrap(module, inputs, axes=["width"], round_to=16).axes:
        assert all(option % 16 == 0 for option in axis.options)


def test_axes_by_hand_come_first():
    module, inputs = build("resnet")
    own = Width.tie(
        module, "mine", (4, 16), out_of=["stage1.0.conv1"], through=["stage1.0.norm1"], into=["stage1.0.conv2"]
    )
    net = wrap(module, inputs, extra=[own])
    assert own in net.axes
    assert "stage1.0.conv1.width" not in net.space._by_name


def test_sorting_keeps_the_function_and_puts_the_best_first(wrapped):
    shared, inputs = wrapped
    net = wrap(copy.deepcopy(shared.module), inputs)
    with torch.no_grad():
        before = flat(call(net.module, inputs))
        sort_channels(net)
        assert far(before, flat(call(net.module, inputs))) <= 1e-5
    for axis in net.axes:
        if isinstance(axis, Width):
            scores = magnitude(net.index, axis, 1)
            assert torch.all(scores[:-1] >= scores[1:] - 1e-9)


def test_sorting_helps_a_cut():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 4)).eval()
    with torch.no_grad():
        module[0].weight[:16] *= 0.01  # the first half, which a cut would keep, hardly matters
        module[0].bias[:16] *= 0.01
    inputs = torch.randn(64, 8)
    net = wrap(module, inputs)
    half = net.space.candidate({net.axes[0].name: 16})
    with torch.no_grad():
        whole = module(inputs)
        plain = far([whole], [net.extract(half)(inputs)])
        sort_channels(net)
        assert far([whole], [net.extract(half)(inputs)]) < 0.1 * plain


def test_mistakes():
    with pytest.raises(NetError, match="'l1'"):
        sort_channels(wrap(nn.Linear(2, 2), torch.randn(1, 2)), criterion="l11")
    with pytest.raises(NetError, match="'width'"):
        wrap(nn.Linear(2, 2), torch.randn(1, 2), axes=["widht"])
    with pytest.raises(NetError, match="example inputs"):
        wrap(nn.Linear(2, 2), torch.randn(1, 3))


def test_training_modes_and_gradients_are_left_as_they_were():
    module, inputs = build("resnet")
    module.train()
    module.stem.eval()
    module.stem.weight.requires_grad_(False)
    wrap(module, inputs)
    assert module.training
    assert not module.stem.training
    assert not module.stem.weight.requires_grad


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"only": "0*"}, r"only is a list, such as \['0\*'\]"),
        ({"except_": "0"}, "except_ is a list"),
        ({"axes": "width"}, "axes is a list"),
        ({"only": ["layer1.*"]}, "no module matches 'layer1.*'"),
        ({"except_": ["1x"]}, "no module matches '1x'"),
        ({"round_to": 0}, "round_to is a whole number from 1, not 0"),
        ({"round_to": "8"}, "not '8'"),
    ],
)
def test_arguments_of_another_kind_are_refused(arguments, told):
    with pytest.raises(NetError, match=told):
        wrap(nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 4)), torch.zeros(2, 8), **arguments)
