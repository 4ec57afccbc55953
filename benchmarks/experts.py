"""What a trained Transformer keeps as a mixture of experts, before and after a short training: Fashion-MNIST.

    python benchmarks/experts.py [--images 12000] [--test 10000] [--epochs 4] [--more 1] [--seed 0]

A Transformer of four layers reads the 28 rows of an image, and is trained for ``--epochs``. Then its feed-forward
networks become eight experts each (:func:`netwright.to_experts`), of which some run for a token; with experts that cost
nothing beside them (:func:`netwright.add_free_experts`); or merged (:func:`netwright.merge_experts`). Each is judged as
it is and after ``--more`` epochs on the same images, with how many experts ran for a token then, on the mean of layers
and tokens. Needs ``fashion_mnist`` of the shared data.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable
from typing import Any

import torch
from blocks import fashion
from torch import Tensor, nn
from torch.nn import functional as F

import netwright as nw

SIZE, LAYERS, EXPERTS = 64, 4, 8


class Layer(nn.Module):
    """Attention and a feed-forward network that is a module."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(SIZE), nn.LayerNorm(SIZE)
        self.qkv, self.out = nn.Linear(SIZE, 3 * SIZE), nn.Linear(SIZE, SIZE)
        self.ffn: Any = nn.Sequential(nn.Linear(SIZE, 4 * SIZE), nn.ReLU(), nn.Linear(4 * SIZE, SIZE))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (t.unflatten(-1, (4, -1)).transpose(1, 2) for t in self.qkv(self.norm1(x)).chunk(3, -1))
        x = x + self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return x + self.ffn(self.norm2(x))


class Reader(nn.Module):
    """Rows of an image as tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.places = nn.Linear(28, SIZE), nn.Parameter(torch.randn(28, SIZE) / 8)
        self.layers: Any = nn.ModuleList(Layer() for _ in range(LAYERS))
        self.head = nn.Sequential(nn.LayerNorm(SIZE), nn.Linear(SIZE, 10))

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x.reshape(-1, 28, 28)) + self.places
        for layer in self.layers:
            x = layer(x)
        return self.head(x.mean(1))


def routed(network: Any, images: Tensor, active: int, kinds: tuple[str, ...] = (), share: float = 0.0) -> None:
    """Experts in each layer, of which some run."""
    for i, layer in enumerate(network.layers):
        nw.to_experts(network, f"layers.{i}.ffn", EXPERTS, [images])
        layer.ffn.active = active
        if kinds:
            nw.add_free_experts(network, f"layers.{i}.ffn", kinds, [images], share=share)


def merged(network: Any, images: Tensor, active: int, groups: int) -> None:
    """Routed experts that hold their weights in groups."""
    routed(network, images, active)
    for i in range(LAYERS):
        nw.merge_experts(network, f"layers.{i}.ffn.router", f"layers.{i}.ffn.experts", groups, [images], active=active)


def first(network: Any, images: Tensor, count: int) -> None:
    """The most active experts alone, for all tokens."""
    routed(network, images, EXPERTS)
    axes = [
        nw.Experts.of(
            network, str(i), (count, EXPERTS), router=f"layers.{i}.ffn.router", experts=f"layers.{i}.ffn.experts"
        )
        for i in range(LAYERS)
    ]
    net = nw.SuperNet(network, axes, images[:1])
    small: Any = net.extract(net.smallest)
    network.layers = small.layers


FORMS: dict[str, Callable[[Any, Tensor], None]] = {
    "dense": lambda network, images: None,
    "4 of 8": lambda network, images: routed(network, images, 4),
    "2 of 8": lambda network, images: routed(network, images, 2),
    "the first 4, for all tokens": lambda network, images: first(network, images, 4),
    "4 of 8 and 2 zero, share 0.25": lambda network, images: routed(network, images, 4, ("zero", "zero"), 0.25),
    "4 of 8 and zero, copy, constant, share 0.25": lambda network, images: routed(
        network, images, 4, ("zero", "copy", "constant"), 0.25
    ),
    "4 of 8, held in 4 groups": lambda network, images: merged(network, images, 4, 4),
}


@torch.no_grad()
def ran(network: Any, images: Tensor) -> float:
    """How many experts with weights ran for a token."""
    seen: list[float] = []

    def note(module: Any, args: Any) -> None:
        count = len(module.router.weight)
        own = module.scores(args[0].reshape(-1, SIZE)).topk(min(module.active, count), 1).indices
        seen.append(float((own < count).sum(1).float().mean()))

    hooks = [layer.ffn.register_forward_pre_hook(note) for layer in network.layers]
    network.eval()(images)
    for hook in hooks:
        hook.remove()
    return sum(seen) / len(seen)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=12000)
    parser.add_argument("--test", type=int, default=10000, help="test images")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--more", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(given.seed)
    data = fashion(given.images)
    loader = nw.TensorLoader(data["train"], 64, shuffle=True)
    judge = nw.Accuracy(nw.TensorLoader(data["test"].take(torch.arange(given.test)), 500))
    images: Any = data["train"].take(torch.arange(256)).inputs
    network = Reader()
    nw.finetune(network, loader, epochs=given.epochs, optimizer="adamw,lr=0.002", seed=given.seed)
    print(f"{'':45} {'at once':>8} {'trained on':>10} {'experts run':>12} {'k params':>9}")
    for name, change in FORMS.items():
        made = copy.deepcopy(network)
        change(made, images)
        before = judge.of(made).value
        nw.finetune(made, loader, epochs=given.more, optimizer="adamw,lr=0.0005", seed=given.seed)
        count = 8.0 if name == "dense" else ran(made, images)
        held = sum(p.numel() for p in made.parameters()) / 1e3
        print(f"{name:45} {before:8.2f} {judge.of(made).value:10.2f} {count:12.2f} {held:9.1f}", flush=True)


if __name__ == "__main__":
    main()
