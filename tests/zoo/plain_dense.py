"""Hand-written networks that give as much as they take: detectors and restorers, in plain torch."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .case import Made, Zoo

plain = Zoo()

# -- like YOLO11 -----------------------------------------------------------------------------------------------


class Conv(nn.Module):
    """Convolution, normalisation, activation."""

    def __init__(self, c1: int, c2: int, k: int = 1, s: int = 1, g: int = 1, act: bool = True) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(c1, c2, k, s, k // 2, groups=g, bias=False), nn.BatchNorm2d(c2)
        self.act = nn.SiLU() if act else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.bn(self.conv(x)))


class Bottleneck(nn.Module):
    def __init__(self, c: int, e: float = 0.5) -> None:
        super().__init__()
        self.cv1, self.cv2 = Conv(c, int(c * e), 3), Conv(int(c * e), c, 3)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.cv2(self.cv1(x))


class C3k(nn.Module):
    """Two ways, one of them through bottlenecks."""

    def __init__(self, c: int) -> None:
        super().__init__()
        self.cv1, self.cv2, self.cv3 = Conv(c, c // 2), Conv(c, c // 2), Conv(c, c)
        self.m = nn.Sequential(Bottleneck(c // 2, 1.0), Bottleneck(c // 2, 1.0))

    def forward(self, x: Tensor) -> Tensor:
        return self.cv3(torch.cat([self.m(self.cv1(x)), self.cv2(x)], 1))


class C3k2(nn.Module):
    """Halves, of which one goes on through blocks; all that came on the way is joined."""

    def __init__(self, c1: int, c2: int, c3k: bool, e: float = 0.5) -> None:
        super().__init__()
        self.c = int(c2 * e)
        self.cv1, self.cv2 = Conv(c1, 2 * self.c), Conv(3 * self.c, c2)
        self.m = nn.ModuleList([C3k(self.c) if c3k else Bottleneck(self.c)])

    def forward(self, x: Tensor) -> Tensor:
        parts = list(self.cv1(x).split((self.c, self.c), 1))
        parts.extend(m(parts[-1]) for m in self.m)
        return self.cv2(torch.cat(parts, 1))


class SPPF(nn.Module):
    """The same pooling three times over, joined."""

    def __init__(self, c: int) -> None:
        super().__init__()
        self.cv1, self.cv2, self.m = Conv(c, c // 2), Conv(2 * c, c), nn.MaxPool2d(5, 1, 2)

    def forward(self, x: Tensor) -> Tensor:
        y = [self.cv1(x)]
        y.extend(self.m(y[-1]) for _ in range(3))
        return self.cv2(torch.cat(y, 1))


class PSA(nn.Module):
    """Attention over positions; queries and keys are half as large as values."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads, self.head_dim = num_heads, dim // num_heads
        self.key_dim = self.head_dim // 2
        self.scale = self.key_dim**-0.5
        self.qkv = Conv(dim, dim + 2 * self.key_dim * num_heads, act=False)
        self.proj, self.pe = Conv(dim, dim, act=False), Conv(dim, dim, 3, g=dim, act=False)

    def forward(self, x: Tensor) -> Tensor:
        b, _, h, w = x.shape
        qkv = self.qkv(x).view(b, self.num_heads, 2 * self.key_dim + self.head_dim, h * w)
        q, k, v = qkv.split([self.key_dim, self.key_dim, self.head_dim], 2)
        seen = (q.transpose(-2, -1) @ k * self.scale).softmax(-1)
        y = (v @ seen.transpose(-2, -1)).view(b, -1, h, w)
        return self.proj(y + self.pe(v.reshape(b, -1, h, w)))


class PSABlock(nn.Module):
    def __init__(self, c: int) -> None:
        super().__init__()
        self.attn, self.ffn = PSA(c, c // 16), nn.Sequential(Conv(c, 2 * c), Conv(2 * c, c, act=False))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(x)
        return x + self.ffn(x)


class C2PSA(nn.Module):
    def __init__(self, c1: int, n: int) -> None:
        super().__init__()
        self.c = c1 // 2
        self.cv1, self.cv2 = Conv(c1, 2 * self.c), Conv(2 * self.c, c1)
        self.m = nn.Sequential(*(PSABlock(self.c) for _ in range(n)))

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.cv1(x).split((self.c, self.c), 1)
        return self.cv2(torch.cat([a, self.m(b)], 1))


class DFL(nn.Module):
    """The mean of a distribution over distances (Li et al. 2020)."""

    def __init__(self, c1: int) -> None:
        super().__init__()
        self.conv, self.c1 = nn.Conv2d(c1, 1, 1, bias=False).requires_grad_(False), c1
        self.conv.weight.data[:] = torch.arange(c1, dtype=torch.float).view(1, c1, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        b, _, a = x.shape
        return self.conv(x.view(b, 4, self.c1, a).transpose(2, 1).softmax(1)).view(b, 4, a)


class Detect(nn.Module):
    """Boxes and scores of each position of each level."""

    def __init__(self, nc: int, ch: tuple[int, ...], strides: tuple[int, ...]) -> None:
        super().__init__()
        self.nc, self.reg_max, self.strides = nc, 16, strides
        self.no = nc + 4 * self.reg_max
        c2, c3 = max(16, ch[0] // 4, 4 * self.reg_max), max(ch[0], nc)
        self.cv2 = nn.ModuleList(
            nn.Sequential(Conv(c, c2, 3), Conv(c2, c2, 3), nn.Conv2d(c2, 4 * self.reg_max, 1)) for c in ch
        )
        self.cv3 = nn.ModuleList(
            nn.Sequential(
                nn.Sequential(Conv(c, c, 3, g=c), Conv(c, c3)), nn.Sequential(Conv(c3, c3, 3, g=c3), Conv(c3, c3)),
                nn.Conv2d(c3, nc, 1),
            )
            for c in ch
        )  # fmt: skip
        self.dfl = DFL(self.reg_max)

    def forward(self, x: list[Tensor]) -> Tensor:
        levels = [torch.cat([self.cv2[i](t), self.cv3[i](t)], 1) for i, t in enumerate(x)]
        joined = torch.cat([t.view(t.shape[0], self.no, -1) for t in levels], 2)
        box, score = joined.split((4 * self.reg_max, self.nc), 1)
        anchors, strides = [], []
        for t, stride in zip(levels, self.strides, strict=True):
            h, w = t.shape[2:]
            y, x_ = torch.meshgrid(torch.arange(h).to(t) + 0.5, torch.arange(w).to(t) + 0.5, indexing="ij")
            anchors.append(torch.stack((x_, y), -1).view(-1, 2))
            strides.append(torch.full((h * w, 1), stride, dtype=t.dtype))
        at, scale = torch.cat(anchors).transpose(0, 1), torch.cat(strides).transpose(0, 1)
        before, after = self.dfl(box).chunk(2, 1)
        low, high = at - before, at + after
        return torch.cat([torch.cat([(low + high) / 2, high - low], 1) * scale, score.sigmoid()], 1)


@plain(40, "backbone.[01].conv.weight:0", "*.cv[12].conv.weight:0", "*.m.0.cv3.conv.weight:0", "down.conv.weight:0",
       "psa.m.*.attn.qkv.conv.weight:[01]", "psa.m.*.ffn.0.conv.weight:0", "detect.cv2.*.[01].conv.weight:0",
       "detect.cv3.*.*.*.conv.weight:0", "detect.cv[23].*.2.weight:1",
       skips=("psa.m.1", "deep.1.m.0.m.1", "lower.m.0.m.1"),
       rigid={"detect.dfl.conv": "*operator view*fixes their number*"})  # fmt: skip
def yolo11() -> Made:
    """Like YOLO11: C3k2, SPPF, C2PSA, a pyramid up and down, a head with DFL and anchors; two levels of it."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.backbone = nn.Sequential(Conv(3, 16, 3, 2), Conv(16, 32, 3, 2), C3k2(32, 64, False))
            self.deep = nn.Sequential(Conv(64, 64, 3, 2), C3k2(64, 64, True))
            self.sppf, self.psa, self.up = SPPF(64), C2PSA(64, 2), nn.Upsample(scale_factor=2)
            self.upper, self.lower = C3k2(128, 64, False), C3k2(128, 64, True)
            self.down, self.detect = Conv(64, 64, 3, 2), Detect(5, (64, 64), (4, 8))

        def forward(self, x: Tensor) -> Tensor:
            fine = self.backbone(x)
            coarse = self.psa(self.sppf(self.deep(fine)))
            fine = self.upper(torch.cat([self.up(coarse), fine], 1))
            return self.detect([fine, self.lower(torch.cat([self.down(fine), coarse], 1))])

    return Net(), torch.randn(2, 3, 32, 32)


# -- like Restormer --------------------------------------------------------------------------------------------


class LayerNorm(nn.Module):
    """Over the channels at each position."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(dim)), nn.Parameter(torch.zeros(dim))

    def forward(self, x: Tensor) -> Tensor:
        y = x.flatten(2).transpose(1, 2)
        mean, var = y.mean(-1, keepdim=True), y.var(-1, keepdim=True, unbiased=False)
        y = (y - mean) / torch.sqrt(var + 1e-5) * self.weight + self.bias
        return y.transpose(1, 2).view(len(x), -1, *x.shape[2:])


class FeedForward(nn.Module):
    """A gate over depthwise convolutions."""

    def __init__(self, dim: int, factor: float) -> None:
        super().__init__()
        hidden = int(dim * factor)
        self.project_in, self.project_out = nn.Conv2d(dim, 2 * hidden, 1), nn.Conv2d(hidden, dim, 1)
        self.dwconv = nn.Conv2d(2 * hidden, 2 * hidden, 3, padding=1, groups=2 * hidden)

    def forward(self, x: Tensor) -> Tensor:
        x1, x2 = self.dwconv(self.project_in(x)).chunk(2, 1)
        return self.project_out(F.gelu(x1) * x2)


class Transposed(nn.Module):
    """Attention of a head's channels to one another (Zamir et al. 2022)."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads, self.temperature = num_heads, nn.Parameter(torch.ones(num_heads, 1, 1))
        self.qkv, self.project_out = nn.Conv2d(dim, 3 * dim, 1), nn.Conv2d(dim, dim, 1)
        self.qkv_dwconv = nn.Conv2d(3 * dim, 3 * dim, 3, padding=1, groups=3 * dim)

    def forward(self, x: Tensor) -> Tensor:
        b, _, h, w = x.shape
        q, k, v = (
            t.reshape(b, self.num_heads, -1, h * w) for t in self.qkv_dwconv(self.qkv(x)).chunk(3, 1)
        )  # fmt: skip
        q, k = F.normalize(q, dim=-1), F.normalize(k, dim=-1)
        seen = (q @ k.transpose(-2, -1) * self.temperature).softmax(-1)
        return self.project_out((seen @ v).reshape(b, -1, h, w))


class Restoring(nn.Module):
    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.norm1, self.attn = LayerNorm(dim), Transposed(dim, num_heads)
        self.norm2, self.ffn = LayerNorm(dim), FeedForward(dim, 2.0)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.ffn(self.norm2(x))


@plain(14, "patch_embed.weight:0", "*.ffn.project_in.weight:0", "*.ffn.dwconv.weight:0", "down.0.weight:0",
       "up.0.weight:0", "*.attn.qkv.weight:[01]", "latent.*.norm1.weight:0",
       skips=("encoder.1", "latent.1", "decoder.1"))  # fmt: skip
def restormer() -> Made:
    """Like Restormer: pixel unshuffle and shuffle between levels, attention over channels, a residual image."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.patch_embed, self.encoder = nn.Conv2d(3, 32, 3, padding=1), self.stage(32, 1)
            self.down = nn.Sequential(nn.Conv2d(32, 16, 3, padding=1, bias=False), nn.PixelUnshuffle(2))
            self.latent = self.stage(64, 4)
            self.up = nn.Sequential(nn.Conv2d(64, 128, 3, padding=1, bias=False), nn.PixelShuffle(2))
            self.decoder, self.output = self.stage(64, 2), nn.Conv2d(64, 3, 3, padding=1)

        def stage(self, dim: int, heads: int) -> nn.Sequential:
            return nn.Sequential(Restoring(dim, heads), Restoring(dim, heads))

        def forward(self, image: Tensor) -> Tensor:
            x = self.encoder(self.patch_embed(image))
            y = self.up(self.latent(self.down(x)))
            return self.output(self.decoder(torch.cat([y, x], 1))) + image

    return Net(), torch.randn(2, 3, 8, 8)
