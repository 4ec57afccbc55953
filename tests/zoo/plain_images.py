"""Hand-written networks for images, signals and volumes, in plain torch."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from .case import Made, Zoo

plain = Zoo()


def conv(into: int, out: int, size: int = 3, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Convolution, normalisation, activation."""
    return nn.Sequential(
        nn.Conv2d(into, out, size, stride, size // 2, groups=groups, bias=False), nn.BatchNorm2d(out), nn.SiLU()
    )


@plain(6, "down*.0.weight:0", "up*.weight:1", "join*.0.weight:1", "mid.0.weight:0", "out.weight:1")
def unet() -> Made:
    """Skips by concatenation, transposed convolution and upsampling, a dictionary of two outputs."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.down1, self.down2, self.mid = conv(3, 16), conv(16, 32), conv(32, 32)
            self.up1, self.join1 = nn.ConvTranspose2d(32, 32, 2, 2), conv(64, 32)
            self.up2, self.join2 = nn.Upsample(scale_factor=2, mode="bilinear"), conv(48, 16)
            self.out = nn.Conv2d(16, 2, 1)

        def forward(self, image: Tensor) -> dict[str, Tensor]:
            a = self.down1(image)
            b = self.down2(F.max_pool2d(a, 2))
            c = self.mid(F.max_pool2d(b, 2))
            d = self.join1(torch.cat([self.up1(c), b], 1))
            return {"mask": self.out(self.join2(torch.cat([self.up2(d), a], 1))), "area": d.mean((1, 2, 3))}

    return Net(), {"image": torch.randn(2, 3, 8, 8)}


@plain(8, "stem.0.weight:0", "csp*.a.0.weight:0", "csp*.out.0.weight:0", "lateral.0.weight:0", "head*.0.0.weight:0",
       skips=("csp1.inner.1",))  # fmt: skip
def detector() -> Made:
    """Like YOLO: stages that split and concatenate, a pyramid, and per level a box and a class output."""

    class Bottleneck(nn.Module):
        def __init__(self, size: int) -> None:
            super().__init__()
            self.first, self.second = conv(size, size, 1), conv(size, size)

        def forward(self, x: Tensor) -> Tensor:
            return x + self.second(self.first(x))

    class Stage(nn.Module):
        def __init__(self, size: int) -> None:
            super().__init__()
            self.a, self.out = conv(size, size, 1), conv(3 * size // 2, size, 1)
            self.inner = nn.Sequential(Bottleneck(size // 2), Bottleneck(size // 2))

        def forward(self, x: Tensor) -> Tensor:
            left, right = self.a(x).chunk(2, 1)
            return self.out(torch.cat([left, right, self.inner(right)], 1))

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.csp1 = conv(3, 32, 3, 2), Stage(32)
            self.down, self.csp2 = conv(32, 64, 3, 2), Stage(64)
            self.lateral = conv(64, 32, 1)
            self.head1 = nn.ModuleList([conv(64, 32), nn.Conv2d(32, 4 + 5, 1)])
            self.head2 = nn.ModuleList([conv(64, 32), nn.Conv2d(32, 4 + 5, 1)])

        def forward(self, x: Tensor) -> dict[str, list[Tensor]]:
            fine = self.csp1(self.stem(x))
            coarse = self.csp2(self.down(fine))
            joined = torch.cat([F.interpolate(self.lateral(coarse), scale_factor=2.0), fine], 1)
            levels = [self.head1[1](self.head1[0](joined)), self.head2[1](self.head2[0](coarse))]
            return {"boxes": [t[:, :4].sigmoid() for t in levels], "scores": [t[:, 4:] for t in levels]}

    return Net(), torch.randn(2, 3, 16, 16)


@plain(5, "first.weight:0", "first.weight:2", "apart.weight:0", "mix.weight:0", "norm.weight:0", "hidden.weight:0")
def speech() -> Made:
    """One-dimensional: long windows, depthwise, groups of normalisation."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.apart = nn.Conv1d(8, 32, 9, 2, 4), nn.Conv1d(32, 32, 9, 1, 4, groups=32)
            self.mix, self.norm = nn.Conv1d(32, 64, 1), nn.GroupNorm(8, 64)
            self.hidden, self.out = nn.Linear(64, 32), nn.Linear(32, 5)

        def forward(self, x: Tensor) -> Tensor:
            x = self.norm(self.mix(F.relu(self.apart(F.relu(self.first(x))))))
            return self.out(F.relu(self.hidden(x.mean(2)))).log_softmax(-1)

    return Net(), torch.randn(2, 8, 32)


@plain(3, "enter.weight:0", "layers.*.both.weight:0", skips=("layers.[123]",))
def wavenet() -> Made:
    """Dilated causal convolutions with gates, a residual and a skip output each (van den Oord et al. 2016)."""

    class Layer(nn.Module):
        def __init__(self, dilation: int) -> None:
            super().__init__()
            self.both, self.out = nn.Conv1d(16, 64, 2, dilation=dilation), nn.Conv1d(32, 16, 1)
            self.dilation = dilation

        def forward(self, x: Tensor) -> Tensor:
            value, gate = self.both(F.pad(x, (self.dilation, 0))).chunk(2, 1)
            return x + self.out(torch.tanh(value) * torch.sigmoid(gate))

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.enter, self.out = nn.Conv1d(2, 16, 1), nn.Conv1d(16, 4, 1)
            self.layers = nn.ModuleList(Layer(2**i) for i in range(4))

        def forward(self, x: Tensor) -> Tensor:
            x = self.enter(x)
            for layer in self.layers:
                x = layer(x)
            return self.out(F.relu(x))

    return Net(), torch.randn(2, 2, 20)


@plain(3, "down1.weight:0", "down2.weight:0", "up1.weight:1")
def autoencoder() -> Made:
    """Strided convolutions down, transposed ones with output padding up."""
    net = nn.Sequential()
    net.add_module("down1", nn.Conv2d(1, 16, 3, 2, 1))
    net.add_module("act1", nn.LeakyReLU(0.1))
    net.add_module("down2", nn.Conv2d(16, 32, 3, 2, 1))
    net.add_module("act2", nn.ELU())
    net.add_module("up1", nn.ConvTranspose2d(32, 16, 3, 2, 1, output_padding=1))
    net.add_module("norm", nn.BatchNorm2d(16))
    net.add_module("act3", nn.PReLU(16))
    net.add_module("up2", nn.ConvTranspose2d(16, 1, 3, 2, 1, output_padding=1))
    return net, torch.randn(2, 1, 8, 8)


@plain(3, "encode.weight:0", "mean.weight:0", "spread.weight:0", "decode.weight:1", "decode.weight:0")
def vae() -> Made:
    """A mean and a spread that meet in a sum; in evaluation no noise. Three outputs."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encode, self.mean, self.spread = nn.Linear(36, 32), nn.Linear(32, 16), nn.Linear(32, 16)
            self.decode, self.out = nn.Linear(16, 32), nn.Linear(32, 36)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            h = F.relu(self.encode(x.flatten(1)))
            mean, spread = self.mean(h), self.spread(h)
            z = mean + torch.randn_like(spread) * torch.exp(0.5 * spread) if self.training else mean
            divergence = 0.5 * (mean**2 + spread.exp() - 1 - spread).sum(1)
            return self.out(F.relu(self.decode(z))).view(-1, 1, 6, 6), divergence

    return Net(), torch.randn(2, 1, 6, 6)


@plain(3, "first.weight:0", "blocks.*.first.weight:0", "up.weight:0", skips=("blocks.[12]",))
def superres() -> Made:
    """PixelShuffle: four channels become four pixels (Shi et al. 2016)."""

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Conv2d(16, 32, 3, 1, 1), nn.Conv2d(32, 16, 3, 1, 1)

        def forward(self, x: Tensor) -> Tensor:
            return x + 0.1 * self.second(F.relu(self.first(x)))

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.up, self.out = nn.Conv2d(3, 16, 3, 1, 1), nn.Conv2d(16, 64, 3, 1, 1), nn.Conv2d(16, 3, 3)
            self.blocks = nn.Sequential(Block(), Block(), Block())
            self.shuffle = nn.PixelShuffle(2)

        def forward(self, x: Tensor) -> Tensor:
            x = self.first(x)
            return self.out(self.shuffle(self.up(x + self.blocks(x))))

    return Net(), torch.randn(2, 3, 6, 6)


@plain(1, "deep.0.weight:0", rigid={"branch.*": "*"})
def channel_shuffle() -> Made:
    """Half of the channels through a branch, then the halves interleaved (Ma et al. 2018)."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.out = conv(3, 32), nn.Linear(32, 4)
            self.branch = nn.Sequential(nn.Conv2d(16, 16, 1), nn.ReLU(), nn.Conv2d(16, 16, 3, 1, 1, groups=16))
            self.deep = nn.Sequential(nn.Conv2d(16, 24, 1), nn.ReLU(), nn.Conv2d(24, 16, 1))

        def forward(self, x: Tensor) -> Tensor:
            left, right = self.first(x).chunk(2, 1)
            x = torch.cat([left, self.branch(right)], 1)
            n, c, h, w = x.shape
            left, right = x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w).chunk(2, 1)
            return self.out(torch.cat([left, self.deep(right)], 1).mean((2, 3)))

    return Net(), torch.randn(2, 3, 6, 6)


@plain(4, "stem.0.weight:0", "one.0.weight:0", "three.1.0.weight:0", "five.1.0.weight:2", "five.1.0.weight:0",
       "pooled.1.0.weight:0", "out.weight:1")  # fmt: skip
def inception() -> Made:
    """Four branches, concatenated."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.one = conv(3, 16), conv(16, 16, 1)
            self.three = nn.Sequential(conv(16, 16, 1), conv(16, 32))
            self.five = nn.Sequential(conv(16, 16, 1), conv(16, 16, 5))
            self.pooled = nn.Sequential(nn.MaxPool2d(3, 1, 1), conv(16, 16, 1))
            self.out = nn.Linear(80, 4)

        def forward(self, x: Tensor) -> Tensor:
            x = self.stem(x)
            x = torch.cat([self.one(x), self.three(x), self.five(x), self.pooled(x)], 1)
            return self.out(F.adaptive_avg_pool2d(x, 1).flatten(1))

    return Net(), torch.randn(2, 3, 6, 6)


@plain(4, "stem.weight:0", "layers.*.conv.weight:0", "layers.*.squeeze.weight:0", "layers.*.norm.weight:0")
def densenet() -> Made:
    """Every layer reads all before it (Huang et al. 2017); their growths are elastic."""

    class Layer(nn.Module):
        def __init__(self, into: int) -> None:
            super().__init__()
            self.norm, self.squeeze = nn.BatchNorm2d(into), nn.Conv2d(into, 32, 1, bias=False)
            self.conv = nn.Conv2d(32, 16, 3, 1, 1, bias=False)

        def forward(self, features: list[Tensor]) -> Tensor:
            return self.conv(F.relu(self.squeeze(F.relu(self.norm(torch.cat(features, 1))))))

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.layers = nn.Conv2d(3, 16, 3, 1, 1), nn.ModuleList(Layer(16 + 16 * i) for i in range(3))
            self.out = nn.Linear(64, 4)

        def forward(self, x: Tensor) -> Tensor:
            features = [self.stem(x)]
            for layer in self.layers:
                features.append(layer(features))
            return self.out(torch.cat(features, 1).mean((2, 3)))

    return Net(), torch.randn(2, 3, 6, 6)


@plain(3, "up.weight:0", "apart.weight:0", "apart.weight:2", "squeeze.weight:0", "excite.weight:0",
       "stem.weight:0")  # fmt: skip
def squeeze_excite() -> Made:
    """An inverted residual whose channels are weighed."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.up, self.down = nn.Conv2d(3, 16, 3, 2, 1), nn.Conv2d(16, 48, 1), nn.Conv2d(48, 16, 1)
            self.apart = nn.Conv2d(48, 48, 5, 1, 2, groups=48)
            self.squeeze, self.excite, self.out = nn.Conv2d(48, 16, 1), nn.Conv2d(16, 48, 1), nn.Linear(16, 5)

        def forward(self, x: Tensor) -> Tensor:
            x = F.hardswish(self.stem(x))
            y = F.hardswish(self.apart(F.hardswish(self.up(x))))
            y = y * F.hardsigmoid(self.excite(F.relu(self.squeeze(F.adaptive_avg_pool2d(y, 1)))))
            return self.out((x + self.down(y)).mean((2, 3)))

    return Net(), torch.randn(2, 3, 8, 8)


@plain(2, "0.weight:0", "3.weight:0", "1.weight:0", "4.weight:0")
def group_norm() -> Made:
    """Groups of 4 channels; the last normalisation has one group."""
    return nn.Sequential(
        nn.Conv2d(3, 32, 3), nn.GroupNorm(8, 32), nn.ReLU(), nn.Conv2d(32, 16, 3), nn.GroupNorm(1, 16), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 3),
    ), torch.randn(2, 3, 8, 8)  # fmt: skip


@plain(1, "mid.weight:0", rigid={"a": "*", "b": "*", "norm": "*"})
def straddling_norm() -> Made:
    """Groups of a normalisation that begin in one half of a concatenation and end in the other: neither can shrink."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.norm = nn.Conv2d(3, 32, 1), nn.Conv2d(3, 16, 1), nn.GroupNorm(2, 48)
            self.mid, self.out = nn.Conv2d(48, 16, 1), nn.Conv2d(16, 3, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.out(F.relu(self.mid(self.norm(torch.cat([self.a(x), self.b(x)], 1)))))

    return Net(), torch.randn(2, 3, 4, 4)


@plain(2, "0.weight:0", "1.weight:0", "1.running_mean:0", "3.weight:0")
def instance_norm() -> Made:
    """Instance normalisation, once with statistics and weights, once with neither."""
    return nn.Sequential(
        nn.Conv2d(3, 32, 3), nn.InstanceNorm2d(32, affine=True, track_running_stats=True), nn.ReLU(),
        nn.Conv2d(32, 32, 3), nn.InstanceNorm2d(32), nn.Hardtanh(), nn.Conv2d(32, 3, 1),
    ), torch.randn(2, 3, 8, 8)  # fmt: skip


@plain(2, "0.parametrizations.weight.original0:0", "0.parametrizations.weight.original1:0",
       "2.parametrizations.weight.original1:1", "2.parametrizations.weight.original1:0")  # fmt: skip
def weight_norm() -> Made:
    """Weights made of a length and a direction each."""
    return nn.Sequential(
        parametrizations.weight_norm(nn.Conv1d(4, 32, 3)), nn.Tanh(),
        parametrizations.weight_norm(nn.Conv1d(32, 16, 3)), nn.ReLU(), nn.Conv1d(16, 4, 1),
    ), torch.randn(2, 4, 12)  # fmt: skip


@plain(3, "0.parametrizations.weight.original:0", "0.parametrizations.weight.0._u:0", "2.weight:0", "3.weight:0")
def spectral_norm() -> Made:
    """A weight divided by its norm, whose vectors are buffers."""
    return nn.Sequential(
        parametrizations.spectral_norm(nn.Linear(6, 32)), nn.ReLU(), nn.Linear(32, 24), nn.Linear(24, 32), nn.ReLU(),
        nn.Linear(32, 4),
    ), torch.randn(2, 6)  # fmt: skip


@plain(3, "a.weight:0", "b.weight:0", "c.weight:0")
def volume() -> Made:
    """Three-dimensional, with one kernel that is elastic."""
    net = nn.Sequential()
    for name, layer in {
        "a": nn.Conv3d(1, 16, 5, 1, 2), "norm": nn.BatchNorm3d(16), "act": nn.GELU(), "pool": nn.MaxPool3d(2),
        "b": nn.Conv3d(16, 32, 3, 1, 1), "act2": nn.GELU(), "c": nn.ConvTranspose3d(32, 16, 2, 2), "act3": nn.ReLU(),
        "out": nn.Conv3d(16, 2, 1),
    }.items():  # fmt: skip
        net.add_module(name, layer)
    return net, torch.randn(2, 1, 4, 4, 4)


@plain(4, "enter.weight:0", "time.0.weight:0", "blocks.*.first.weight:0", "blocks.*.shift.weight:1",
       "attention.to_qkv.weight:0", skips=("attention",))  # fmt: skip
def diffusion() -> Made:
    """A denoiser: sinusoids of the time shift the channels of each block; attention over pixels; skips."""

    class Block(nn.Module):
        def __init__(self, into: int, out: int) -> None:
            super().__init__()
            self.norm, self.first = nn.GroupNorm(into // 8, into), nn.Conv2d(into, out, 3, 1, 1)
            self.shift, self.second = nn.Linear(32, 2 * out), nn.Conv2d(out, out, 3, 1, 1)
            self.short = nn.Conv2d(into, out, 1) if into != out else nn.Identity()

        def forward(self, x: Tensor, time: Tensor) -> Tensor:
            y = self.first(F.silu(self.norm(x)))
            scale, shift = self.shift(F.silu(time))[:, :, None, None].chunk(2, 1)
            return self.short(x) + self.second(F.silu(y * (1 + scale) + shift))

    class Attention(nn.Module):
        def __init__(self, size: int) -> None:
            super().__init__()
            self.norm, self.to_qkv, self.out = nn.GroupNorm(4, size), nn.Conv2d(size, 96, 1), nn.Conv2d(32, size, 1)
            self.heads = 4

        def forward(self, x: Tensor) -> Tensor:
            n, _, h, w = x.shape
            q, k, v = (t.reshape(n, self.heads, -1, h * w) for t in self.to_qkv(self.norm(x)).chunk(3, 1))
            scores = torch.einsum("bhdi,bhdj->bhij", q * q.shape[2] ** -0.5, k).softmax(-1)
            y = torch.einsum("bhij,bhdj->bhdi", scores, v).reshape(n, -1, h, w)
            return x + self.out(y)

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.enter = nn.Conv2d(3, 16, 3, 1, 1)
            self.time = nn.Sequential(nn.Linear(8, 32), nn.SiLU(), nn.Linear(32, 32))
            self.blocks = nn.ModuleList([Block(16, 16), Block(16, 32), Block(32, 32), Block(48, 16)])
            self.attention, self.leave = Attention(32), nn.Conv2d(16, 3, 3, 1, 1)

        def forward(self, x: Tensor, t: Tensor) -> Tensor:
            rates = torch.exp(-torch.arange(4, device=t.device) * 0.7)
            angles = t[:, None] * rates[None]
            time = self.time(torch.cat([angles.sin(), angles.cos()], 1))
            a = self.blocks[0](self.enter(x), time)
            b = self.blocks[1](F.avg_pool2d(a, 2), time)
            b = F.interpolate(self.attention(self.blocks[2](b, time)), scale_factor=2.0, mode="nearest")
            return self.leave(self.blocks[3](torch.cat([b, a], 1), time))

    return Net(), (torch.randn(2, 3, 4, 4), torch.rand(2))


@plain(2, "gates.weight:1", "enter.weight:0", "out.weight:1")
def convlstm() -> Made:
    """A convolutional recurrent cell, run in a loop; the state begins with zeros of its own size."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.enter, self.gates = nn.Conv2d(1, 16, 3, 1, 1), nn.Conv2d(16 + 24, 4 * 24, 3, 1, 1)
            self.out, self.hidden = nn.Conv2d(24, 1, 1), 24

        def forward(self, frames: Tensor) -> Tensor:
            n, steps, _, h, w = frames.shape
            state = cell = frames.new_zeros(n, self.hidden, h, w)
            for i in range(steps):
                gates = self.gates(torch.cat([F.relu(self.enter(frames[:, i])), state], 1))
                enter, forget, give, value = gates.chunk(4, 1)
                cell = forget.sigmoid() * cell + enter.sigmoid() * value.tanh()
                state = give.sigmoid() * cell.tanh()
            return self.out(state)

    return Net(), torch.randn(2, 3, 1, 4, 4)


@plain(3, "shared.0.0.weight:0", "heads.*.weight:1")
def siamese() -> Made:
    """One encoder, called twice; a distance and two logits."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            pool = nn.AdaptiveAvgPool2d(1)
            self.shared = nn.Sequential(conv(1, 16), nn.MaxPool2d(2), conv(16, 32), pool, nn.Flatten())
            self.embed, self.heads = nn.Linear(32, 16), nn.ModuleDict({"same": nn.Linear(16, 2)})

        def forward(self, left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
            a, b = self.embed(self.shared(left)), self.embed(self.shared(right))
            return F.cosine_similarity(a, b), self.heads["same"]((a - b).abs())

    return Net(), {"left": torch.randn(2, 1, 6, 6), "right": torch.randn(2, 1, 6, 6)}


@plain(3, "layers.0.weight:0", "layers.2.weight:0", "colour.weight:0")
def nerf() -> Made:
    """Coordinates as sines and cosines, concatenated again half-way (Mildenhall et al. 2020)."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            sizes = [18, 32, 32, 32 + 18, 32]
            self.layers = nn.ModuleList(nn.Linear(i, 32) for i in sizes[:-1])
            self.density, self.colour, self.rgb = nn.Linear(32, 1), nn.Linear(32 + 3, 16), nn.Linear(16, 3)

        def forward(self, points: Tensor, towards: Tensor) -> tuple[Tensor, Tensor]:
            angles = points[..., None] * 2.0 ** torch.arange(3, device=points.device)
            code = torch.cat([angles.sin(), angles.cos()], -1).flatten(-2)
            x = code
            for i, layer in enumerate(self.layers):
                x = F.relu(layer(torch.cat([x, code], -1) if i == 3 else x))
            return self.rgb(F.relu(self.colour(torch.cat([x, towards], -1)))).sigmoid(), F.softplus(self.density(x))

    return Net(), (torch.randn(2, 5, 3), torch.randn(2, 5, 3))


@plain(3, "turn.weight:0", "one.weight:0", "two.weight:0", "out.weight:1")
def points() -> Made:
    """Point clouds: a learned rotation, shared layers, the maximum over points (Qi et al. 2017)."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.turn, self.matrix = nn.Conv1d(3, 16, 1), nn.Linear(16, 9)
            self.one, self.norm, self.two = nn.Conv1d(3, 16, 1), nn.BatchNorm1d(16), nn.Conv1d(16, 32, 1)
            self.out = nn.Linear(32 + 16, 4)

        def forward(self, cloud: Tensor) -> Tensor:
            turn = self.matrix(F.relu(self.turn(cloud)).amax(2)).view(-1, 3, 3) + torch.eye(3, device=cloud.device)
            x = F.relu(self.norm(self.one(torch.bmm(turn, cloud))))
            deep = self.two(x).max(dim=2).values
            each = torch.cat([deep[:, :, None].expand(-1, -1, x.shape[2]), x], 1)
            return self.out(each.transpose(1, 2))

    return Net(), torch.randn(2, 3, 10)


@plain(3, "stem.weight:0", "blocks.*.up.weight:0", "blocks.*.apart.weight:2", "blocks.*.scale:0",
       skips=("blocks.[12]",))  # fmt: skip
def convnext() -> Made:
    """Large depthwise windows, normalisation with channels last, a learned scale (Liu et al. 2022)."""

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.apart, self.norm = nn.Conv2d(16, 16, 7, 1, 3, groups=16), nn.LayerNorm(16)
            self.up, self.down, self.scale = nn.Linear(16, 64), nn.Linear(64, 16), nn.Parameter(torch.rand(16))

        def forward(self, x: Tensor) -> Tensor:
            y = self.norm(self.apart(x).permute(0, 2, 3, 1))
            return x + (self.scale * self.down(F.gelu(self.up(y)))).permute(0, 3, 1, 2)

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.out = nn.Conv2d(3, 16, 2, 2), nn.Linear(16, 4)
            self.blocks = nn.Sequential(*(Block() for _ in range(3)))

        def forward(self, x: Tensor) -> Tensor:
            return self.out(self.blocks(self.stem(x)).mean((2, 3)))

    return Net(), torch.randn(2, 3, 16, 16)


@plain(2, "enter.weight:0", "reduce.weight:[01]", "norm.weight:0", "out.weight:1")
def reduced() -> Made:
    """A pyramid's shorter keys: what a convolution makes is reshaped by the number of what it took."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.enter, self.reduce = nn.Linear(3, 32), nn.Conv2d(32, 32, 2, 2)
            self.norm, self.out = nn.LayerNorm(32), nn.Linear(32, 4)
            self.hidden, self.last = nn.Linear(32, 16), nn.Linear(16, 4)

        def forward(self, x: Tensor) -> Tensor:
            x = self.enter(x)
            batch, _, channels = x.shape
            short = self.reduce(x.transpose(1, 2).reshape(batch, channels, 4, 4))
            short = self.norm(short.reshape(batch, channels, -1).transpose(1, 2))
            return self.out(short).mean(1) + self.last(self.hidden(x).relu()).mean(1)

    return Net(), torch.randn(2, 16, 3)


@plain(2, "enter.weight:0", "attn.q.weight:0", "attn.kv.weight:0", "attn.out.weight:1")
def numbered() -> Made:
    """Attention with four numbers of its own, all needed, in a network that has one of their size by chance."""

    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.num_heads, self.key_dim, self.val_dim = 16, 16, 64
            self.key_attn_dim, self.val_attn_dim = 256, 1024
            self.q, self.kv, self.out = nn.Linear(32, 256), nn.Linear(32, 1280), nn.Linear(1024, 32)

        def forward(self, x: Tensor) -> Tensor:
            batch, length, _ = x.shape
            k, v = self.kv(x).view(batch, length, self.num_heads, -1).split([self.key_dim, self.val_dim], 3)
            q = self.q(x).view(batch, length, self.num_heads, self.key_dim).transpose(1, 2)
            mixed = (q @ k.permute(0, 2, 3, 1) / 4).softmax(-1) @ v.transpose(1, 2)
            return self.out(mixed.transpose(1, 2).reshape(batch, -1, self.val_attn_dim))

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed_dim = 1024
            self.enter, self.attn, self.out = nn.Linear(3, 32), Attention(), nn.Linear(32, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.out(self.attn(self.enter(x)).mean(1))

    return Net(), torch.randn(2, 6, 3)
