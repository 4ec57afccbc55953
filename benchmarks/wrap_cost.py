"""What ``wrap`` costs, in CPU seconds: a ResNet-50, and a tiny encoder and decoder, for which its own work counts most.

Every network is wrapped several times in one process on one thread, and the least counts, without the first time,
which loads parts of PyTorch. With ``--against``, the same is done with the code of another checkout, in turn with
this one's, each time in a process of its own; networks are the same, since all are defined here.

    python benchmarks/wrap_cost.py
    git worktree add /tmp/before 436ef9f && python benchmarks/wrap_cost.py --against /tmp/before
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from against import in_turn, parser_of
from torch import Tensor, nn


class Bottleneck(nn.Module):
    """As in ResNet-50 (He et al. 2015), the stride in the middle, as torchvision has it."""

    def __init__(self, channels: int, inner: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(channels, inner, 1, bias=False), nn.BatchNorm2d(inner)
        self.conv2, self.bn2 = nn.Conv2d(inner, inner, 3, stride, 1, bias=False), nn.BatchNorm2d(inner)
        self.conv3, self.bn3 = nn.Conv2d(inner, 4 * inner, 1, bias=False), nn.BatchNorm2d(4 * inner)
        self.downsample: nn.Module | None = None
        if stride > 1 or channels != 4 * inner:
            conv = nn.Conv2d(channels, 4 * inner, 1, stride, bias=False)
            self.downsample = nn.Sequential(conv, nn.BatchNorm2d(4 * inner))

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn3(self.conv3(F.relu(self.bn2(self.conv2(y)))))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


def resnet50() -> tuple[nn.Module, Any]:
    """At 224 pixels."""
    layers: list[nn.Module] = [nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU()]
    layers.append(nn.MaxPool2d(3, 2, 1))
    channels = 64
    for inner, blocks, stride in ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)):
        stage = [Bottleneck(channels, inner, stride), *(Bottleneck(4 * inner, inner, 1) for _ in range(blocks - 1))]
        layers.append(nn.Sequential(*stage))
        channels = 4 * inner
    head = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 1000)
    return nn.Sequential(*layers, *head), torch.randn(1, 3, 224, 224)


def encoder() -> tuple[nn.Module, Any]:
    """Three of PyTorch's own transformer layers on 16 words."""
    layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True, norm_first=True)
    layers = nn.TransformerEncoder(layer, 3, enable_nested_tensor=False)
    return nn.Sequential(nn.Embedding(50, 32), layers, nn.Linear(32, 4)), torch.randint(0, 50, (2, 16))


class Norm(nn.Module):
    """Root mean square normalisation (Zhang and Sennrich 2019)."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))

    def forward(self, x: Tensor) -> Tensor:
        return self.weight * x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6)


class Attention(nn.Module):
    """Rotary positions, a causal mask."""

    def __init__(self, size: int, heads: int) -> None:
        super().__init__()
        self.head_dim = size // heads
        self.q, self.k, self.v, self.o = (nn.Linear(size, size, bias=False) for _ in range(4))

    def forward(self, x: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
        def heads(t: Tensor) -> Tensor:
            return t.view(*x.shape[:2], -1, self.head_dim).transpose(1, 2)

        def rotated(t: Tensor) -> Tensor:
            first, second = t.chunk(2, -1)
            return t * turn[0] + torch.cat([-second, first], -1) * turn[1]

        q, k, v = rotated(heads(self.q(x))), rotated(heads(self.k(x))), heads(self.v(x))
        return self.o(F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2))


class DecoderLayer(nn.Module):
    def __init__(self, size: int) -> None:
        super().__init__()
        self.norm1, self.attention, self.norm2 = Norm(size), Attention(size, 4), Norm(size)
        self.gate, self.up, self.down = nn.Linear(size, 48), nn.Linear(size, 48), nn.Linear(48, size)

    def forward(self, x: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
        x = x + self.attention(self.norm1(x), turn)
        y = self.norm2(x)
        return x + self.down(F.silu(self.gate(y)) * self.up(y))


class Decoder(nn.Module):
    """Three layers as in today's language models, embedding and head tied."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.norm, self.head = nn.Embedding(50, 32), Norm(32), nn.Linear(32, 50, bias=False)
        self.layers = nn.ModuleList(DecoderLayer(32) for _ in range(3))
        self.head.weight = self.embed.weight
        self.rates: Tensor
        self.register_buffer("rates", 0.1 ** (torch.arange(4) / 4), persistent=False)

    def forward(self, input_ids: Tensor) -> dict[str, Tensor]:
        x = self.embed(input_ids)
        angles = torch.arange(x.shape[1], device=x.device)[:, None] * self.rates
        turn = torch.cat([angles, angles], 1).cos(), torch.cat([angles, angles], 1).sin()
        for layer in self.layers:
            x = layer(x, turn)
        return {"logits": self.head(self.norm(x))}


def decoder() -> tuple[nn.Module, Any]:
    """On 6 words."""
    return Decoder(), {"input_ids": torch.randint(0, 50, (2, 6))}


NETWORKS: dict[str, Callable[[], tuple[nn.Module, Any]]] = {
    "ResNet-50": resnet50,
    "tiny encoder": encoder,
    "tiny decoder": decoder,
}


def measure(times: int) -> dict[str, float]:
    """The CPU seconds of ``wrap`` of every network: the least of several times, after one that is not counted."""
    import netwright as nw

    torch.set_num_threads(1)
    found = {}
    for name, make in NETWORKS.items():
        torch.manual_seed(0)
        network, inputs = make()
        network.eval()
        took = []
        for _ in range(times + 1):
            begin = time.process_time()
            nw.wrap(network, inputs)
            took.append(time.process_time() - begin)
        found[name] = min(took[1:])
    return found


def main() -> None:
    """Print the table."""
    parser = parser_of(__doc__)
    parser.add_argument("-n", type=int, default=5, help="how often each network is wrapped in a process (default: 5)")
    args = parser.parse_args()
    if args.json:
        print(json.dumps(measure(args.n)))
        return
    found = in_turn(parser, args, __file__, "-n", str(args.n))
    print(f"{'CPU seconds of wrap':20}" + "".join(f"{which:>8}" for which in found) + "   ratio" * bool(args.against))
    for name in NETWORKS:
        least = [min(run[name] for run in runs) for runs in found.values()]
        ratio = f"{least[0] / least[1]:8.2f}" if args.against else ""
        print(f"{name:20}" + "".join(f"{seconds:8.3f}" for seconds in least) + ratio)


if __name__ == "__main__":
    main()
