"""Ranks that training finds against ranks that are cut of a trained network, at equal epochs: digits.

    python benchmarks/dynamic_rank.py [--epochs 30] [--seeds 3]

A network of two layers of 256 neurons. ``found`` is trained from the start with :class:`netwright.DynamicRanks`.
``cut`` is trained dense for two thirds of the epochs, its layers are cut to the very ranks that were found, by their
singular values, and it is trained on for the rest. Plain SGD with the same rate for all.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from statistics import mean
from typing import Any

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F

import netwright as nw
from netwright.nets.axes.rank import Factorised, factorise

RATE, BATCH = 0.1, 64


def network() -> Any:
    return nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 10))


def learn(model: nn.Module, x: Tensor, y: Tensor, epochs: int, step: Callable[[Callable[[], Tensor]], object]) -> None:
    """Give each batch's loss to a step."""
    model.train()
    for _ in range(epochs):
        for rows in torch.randperm(len(x)).split(BATCH):
            step(partial(loss, model, x[rows], y[rows]))


def loss(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    return F.cross_entropy(model(x), y)


def plain(model: nn.Module) -> Callable[[Callable[[], Tensor]], object]:
    optimizer = torch.optim.SGD(model.parameters(), RATE)

    def step(loss: Callable[[], Tensor]) -> None:
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()

    return step


def row(seed: int, tolerance: float, epochs: int, x: Tensor, y: Tensor) -> list[float]:
    """Accuracies and sizes of one seed."""
    torch.manual_seed(seed)
    order = torch.randperm(len(x))
    train, test = order[:1200], order[1200:]

    def accuracy(model: nn.Module) -> float:
        with torch.no_grad():
            return 100 * float((model.eval()(x[test]).argmax(1) == y[test]).float().mean())

    dense = network()
    learn(dense, x[train], y[train], 2 * epochs // 3, plain(dense))
    cut = network()
    cut.load_state_dict(dense.state_dict())
    learn(dense, x[train], y[train], epochs - 2 * epochs // 3, plain(dense))

    found = network()
    training = nw.DynamicRanks(found, tolerance=tolerance, rate=RATE, except_=["4"])
    optimizer = torch.optim.SGD(training.parameters(), RATE)
    learn(found, x[train], y[train], epochs, lambda loss: training.step(loss, optimizer))
    for path, rank in training.ranks.items():
        factorise(cut, path)
        pair: Any = cut.get_submodule(path)
        first, second = nn.Linear(pair[0].in_features, rank, bias=False), nn.Linear(rank, pair[1].out_features)
        first.weight.data, second.weight.data = pair[0].weight.data[:rank], pair[1].weight.data[:, :rank]
        second.bias = pair[1].bias
        cut._modules[path] = Factorised(first, second)
    at_once = accuracy(cut)
    learn(cut, x[train], y[train], epochs - 2 * epochs // 3, plain(cut))
    ranks = training.ranks
    training.finish()
    sizes = [sum(p.numel() for p in each.parameters()) / 1e3 for each in (dense, found)]
    return [*ranks.values(), *sizes, accuracy(dense), accuracy(found), at_once, accuracy(cut)]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    torch.set_num_threads(1)
    pixels, labels = map(torch.tensor, load_digits(return_X_y=True))
    names = ("rank 1", "rank 2", "k dense", "k found", "dense %", "found %", "cut at once %", "cut and trained %")
    print(f"{'tolerance':10}" + "".join(f"{name:>18}" for name in names))
    for tolerance in (0.05, 0.1, 0.2):
        rows = [row(seed, tolerance, given.epochs, pixels.float() / 16, labels) for seed in range(given.seeds)]
        print(f"{tolerance:<10}" + "".join(f"{mean(column):18.1f}" for column in zip(*rows, strict=True)), flush=True)


if __name__ == "__main__":
    main()
