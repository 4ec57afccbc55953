"""A pool of anchors, distilled from one large network and stitched, against anchors that were trained alone: digits.

    python benchmarks/learngene.py [--epochs 15] [--seeds 3]

Learngene pool (Shi et al. 2023, arXiv 2312.05743): small networks of several sizes are distilled from one large
network, and layers between them make networks of further sizes. Here by :func:`netwright.finetune` with ``teacher`` and
:func:`netwright.stitch`; then all stitched networks are trained together for a third as long, a random one each step.
"""

from __future__ import annotations

import argparse
from statistics import mean

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

import netwright as nw

SIZES = (8, 16)


class Block(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(channels, channels, 3, padding=1), nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return (x + self.norm(self.conv(x))).relu()


def anchor(channels: int) -> nn.Module:
    head = nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * channels, 10)
    return nn.Sequential(
        nn.Conv2d(1, channels, 3, padding=1), nn.Sequential(*(Block(channels) for _ in range(4))), *head
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    torch.set_num_threads(1)
    pixels, labels = map(torch.tensor, load_digits(return_X_y=True))
    images = pixels.float().reshape(-1, 1, 8, 8) / 16
    found = [row(seed, images, labels, given.epochs) for seed in range(given.seeds)]
    names = found[0][0].keys()
    print(f"{'accuracy, %':34}{'trained alone':>15}{'distilled':>12}")
    for name in names:
        print(f"{name:34}{mean(each[0][name] for each in found):15.2f}{mean(each[1][name] for each in found):12.2f}")


def row(seed: int, images: Tensor, labels: Tensor, epochs: int) -> tuple[dict[str, float], dict[str, float]]:
    """Figures of one seed: with anchors that were trained alone, and with distilled ones."""
    torch.manual_seed(seed)
    order = torch.randperm(len(images))
    train, test = order[:600], order[600:]
    loader = nw.TensorLoader(nw.Split(images[train], labels[train]), 32, shuffle=True)
    judge = nw.Accuracy(nw.TensorLoader(nw.Split(images[test], labels[test]), 256))
    optimizer = "adamw,lr=0.003"
    large = anchor(48)
    nw.finetune(large, loader, epochs=2 * epochs, optimizer=optimizer, seed=seed)
    figures = []
    for teacher in (None, large):
        anchors = [anchor(size) for size in SIZES]
        for each in anchors:
            nw.finetune(each, loader, epochs=epochs, optimizer=optimizer, seed=seed, teacher=teacher)
        net = nw.stitch([each.eval() for each in anchors], images[:1], loader)
        routes = net.space["route"].options
        ends, between = routes[:1] + routes[-1:], routes[1:-1]
        own = {"the large network": judge.of(large).value}
        own["anchors"] = mean(judge.of(net.extract({"route": o})).value for o in ends)
        own["stitched, untrained"] = mean(judge.of(net.extract({"route": o})).value for o in between)
        nw.train(
            net, loader, rule="single-path", optimizer="adamw,lr=0.001", epochs=epochs // 3, seed=seed, teacher=teacher
        )
        for name, options in (("anchors, after training all", ends), ("stitched, after training all", between)):
            made = [nw.recalibrate(net.extract({"route": o}), loader) for o in options]
            own[name] = mean(judge.of(each).value for each in made)
        figures.append(own)
    return figures[0], figures[1]


if __name__ == "__main__":
    main()
