"""Whether a Transformer that was trained with layer normalisation does as well once that is trained away: digits.

    python benchmarks/foldable_norm.py [--epochs 20] [--seeds 3]

Ways to go on with a trained network, each for the same epochs: with layer normalisation as it is, and with batch or
unified normalisation (:func:`netwright.to_foldable_norm`), by its schedule and from the first step on.
"""

from __future__ import annotations

import argparse
import copy
from statistics import mean
from typing import Any

import torch
from folding import Layer
from sklearn.datasets import load_digits
from torch import Tensor, nn

import netwright as nw

WAYS: dict[str, dict[str, Any]] = {
    "layer": {},
    "batch": {"until": 0.8},
    "batch, at once": {"until": 1e-6},
    "unified": {"until": 0.8, "kind": "unified"},
    "unified, at once": {"until": 1e-6, "kind": "unified"},
}
"""How the network goes on."""


class Reader(nn.Module):
    """Rows of an image as tokens, and a Transformer with its norms before or behind."""

    def __init__(self, before: bool) -> None:
        super().__init__()
        self.embed, self.places = nn.Linear(8, 48), nn.Parameter(torch.randn(8, 48) / 7)
        self.layers = nn.Sequential(*(Layer(48, 3, before) for _ in range(4)))
        self.head = nn.Linear(48, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layers(self.embed(x) + self.places).mean(1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    torch.set_num_threads(1)
    images, labels = map(torch.tensor, load_digits(return_X_y=True))
    images = images.float().reshape(-1, 8, 8) / 16
    print(f"{'accuracy, %':30}" + "".join(f"{name:>19}" for name in ("as trained", *WAYS)))
    for before in (True, False):
        rows = [row(before, images, labels, seed, given.epochs) for seed in range(given.seeds)]
        name = "norms before (pre)" if before else "norms behind (post)"
        print(f"{name:30}" + "".join(f"{mean(column):19.2f}" for column in zip(*rows, strict=True)))


def row(before: bool, images: Tensor, labels: Tensor, seed: int, epochs: int) -> list[float]:
    """The accuracies of one seed."""
    torch.manual_seed(seed)
    order = torch.randperm(len(images))
    train, test = order[:1200], order[1200:]
    loader = nw.TensorLoader(nw.Split(images[train], labels[train]), 64, shuffle=True)
    judge, x = nw.Accuracy(nw.TensorLoader(nw.Split(images[test], labels[test]), 256)), images[:2]
    network = Reader(before)
    nw.finetune(network, loader, epochs=epochs, optimizer="adamw,lr=0.002", seed=seed)
    found = [judge.of(network).value]
    for settings in WAYS.values():
        tuned = copy.deepcopy(network)
        if settings:
            nw.to_foldable_norm(tuned, x, **settings)
        nw.finetune(tuned, loader, epochs=epochs, optimizer="adamw,lr=0.001", seed=seed)
        found.append(judge.of(nw.fold(tuned, x)).value)
    return found


if __name__ == "__main__":
    main()
