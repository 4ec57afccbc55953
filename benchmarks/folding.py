"""What folding is worth on a runtime: networks of blocks that fold, and Transformers, folded and as they are trained.

    python benchmarks/folding.py [--targets onnxruntime,threads=1 openvino,threads=1] [--rounds 7] [--size 128]

The forms of a network are measured in turn, and the medians of the rounds are compared, since other programs run on the
machine too. "as trained" is what an exporter makes of it without folding: normalisations right behind convolutions are
folded by exporter and runtime in any case.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import netwright as nw
from netwright.measure.convert import example, feeds_of
from netwright.measure.sampling import SamplingPlan
from netwright.nets.annealing import anneal
from netwright.nets.surgery.foldable_norm import FoldableNorm

BLOCKS = ("reparam", "reparam,copies=3,depthwise=true", "large_kernel,kernel=13", "large_kernel,kernel=7", "vanilla")
WIDTHS = (32, 64, 128, 256)


class Layer(nn.Module):
    """A Transformer's layer, with its norms before attention and feed-forward network or behind the additions."""

    def __init__(self, size: int, heads: int, before: bool) -> None:
        super().__init__()
        self.heads, self.before = heads, before
        self.norm1, self.norm2 = nn.LayerNorm(size), nn.LayerNorm(size)
        self.qkv, self.out = nn.Linear(size, 3 * size), nn.Linear(size, size)
        self.wide, self.back = nn.Linear(size, 4 * size), nn.Linear(4 * size, size)

    def attention(self, x: Tensor) -> Tensor:
        q, k, v = (t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in self.qkv(x).chunk(3, -1))
        return self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))

    def ffn(self, x: Tensor) -> Tensor:
        return self.back(F.gelu(self.wide(x)))

    def forward(self, x: Tensor) -> Tensor:
        if self.before:
            x = x + self.attention(self.norm1(x))
            return x + self.ffn(self.norm2(x))
        x = self.norm1(x + self.attention(x))
        return self.norm2(x + self.ffn(x))


def of_blocks(text: str) -> nn.Module:
    """Four stages of three blocks."""
    make, into, parts = nw.blocks.BLOCKS.make, 16, []
    for width in WIDTHS:
        parts.append(make(text, inputs=into, outputs=width, stride=2))
        parts += [make(text, inputs=width, outputs=width) for _ in range(2)]
        into = width
    return nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1), nn.ReLU(), *parts, nn.AdaptiveAvgPool2d(1), nn.Flatten())


def forms_of(name: str, size: int) -> tuple[dict[str, nn.Module], Tensor]:
    """The forms of a network by what they are called, and its example."""
    torch.manual_seed(0)
    if name in BLOCKS:
        network, x = of_blocks(name).eval(), torch.randn(1, 3, size, size)
        anneal(network, 1.0)
        return {"as trained": network, "folded": nw.fold(network, x)}, x
    network = nn.Sequential(*(Layer(192, 3, "pre" in name) for _ in range(6))).eval()
    x = torch.randn(1, 128, 192)
    given = nw.fold(network, x)
    changed = nn.Sequential(*(Layer(192, 3, "pre" in name) for _ in range(6))).eval()
    nw.to_foldable_norm(changed, x)
    for norm in (m for m in changed.modules() if isinstance(m, FoldableNorm)):
        statistics = dict(norm.after.named_buffers())
        nn.init.uniform_(statistics["running_var"], 0.5, 2)
        nn.init.normal_(statistics["running_mean"], std=0.1)
    anneal(changed, 1.0)
    return {"layer norm": given, "folded": nw.fold(changed, x)}, x


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--targets", nargs="*", default=["onnxruntime,threads=1", "openvino,threads=1"])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--size", type=int, default=128, help="of the images")
    given = parser.parse_args()
    torch.set_num_threads(1)
    titles = ("form", "ms", "form", "ms", "ratio", "lowest", "highest", "weights")
    print(f"{'network':34}{'target':14}" + "".join(f"{t:>11}" for t in titles))
    for name in (*BLOCKS, "norms before (pre)", "norms behind (post)"):
        forms, x = forms_of(name, given.size)
        for target in given.targets:
            report(name, target, forms, x, given.rounds)


def report(name: str, target: str, forms: dict[str, nn.Module], x: Tensor, rounds: int) -> None:
    """One line of the table."""
    latency = nw.Latency(target, SamplingPlan(max_seconds=0.5))
    feeds = feeds_of(example(x, 1))
    with TemporaryDirectory() as folder:
        paths = {form: Path(folder) / f"{i}{latency.runtime.suffix}" for i, form in enumerate(forms)}
        for form, path in paths.items():
            latency.suited.convert(forms[form], x, path)  # as it is: latency.write would fold it
        found: dict[str, list[float]] = {form: [] for form in forms}
        for _ in range(rounds):
            for form, path in paths.items():
                found[form].append(latency.run(path, feeds, trust=True)["latency"].value)
    (one, first), (other, second) = found.items()
    ratios = [a / b for a, b in zip(first, second, strict=True)]
    weights = [sum(p.numel() for p in forms[form].parameters()) for form in (one, other)]
    print(
        f"{name:34}{target.partition(',')[0]:14}{one:>11}{median(first):11.3f}{other:>11}{median(second):11.3f}"
        f"{median(ratios):11.2f}{min(ratios):11.2f}{max(ratios):11.2f}{weights[0] / weights[1]:11.2f}",
        flush=True,
    )


if __name__ == "__main__":
    main()
