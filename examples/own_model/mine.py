"""A model and data of one's own: a residual network for a table of figures (breast cancer, from scikit-learn).

netwright fit examples/own_model/my.yaml
"""

from __future__ import annotations

import torch
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split
from torch import Tensor, nn

import netwright as nw

WIDTH, HIDDEN, BLOCKS = 32, 64, 4


class Block(nn.Module):
    """Normalise, widen, normalise, narrow, add."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)
        self.up = nn.Linear(WIDTH, HIDDEN)
        self.up_norm = nn.BatchNorm1d(HIDDEN)
        self.down = nn.Linear(HIDDEN, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.down(self.up_norm(self.up(self.norm(x))).relu())


class Net(nn.Module):
    """Plain torch: nothing in it knows netwright."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Linear(30, WIDTH)
        self.blocks = nn.Sequential(*(Block() for _ in range(BLOCKS)))
        self.norm = nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.blocks(self.stem(x))))


def supernet() -> nw.SuperNet:
    """The network and the ways in which it may be cut."""
    net = Net()
    blocks = [f"blocks.{i}" for i in range(BLOCKS)]
    axes: list[nw.Axis] = [
        nw.Depth("depth", tuple(blocks), (1, 2, 3, 4)),
        nw.Width.tie(
            net,
            "width",
            (2, 4, 8, 16, 32),
            out_of=["stem", *(f"{b}.down" for b in blocks)],  # each block adds to the stem's output: one group
            through=["norm", *(f"{b}.norm" for b in blocks)],
            into=["head", *(f"{b}.up" for b in blocks)],
        ),
    ]
    for i, b in enumerate(blocks):
        axes.append(
            nw.Width.tie(
                net, f"hidden{i}", (2, 8, 16, 32, 64), out_of=[f"{b}.up"], through=[f"{b}.up_norm"], into=[f"{b}.down"]
            )
        )
    return nw.SuperNet(net, axes, example_inputs=torch.zeros(1, 30))


def data() -> nw.Data:
    """569 tumours, 30 figures each, benign or not; 60 % training, 20 % validation, 20 % test."""
    inputs, labels = load_breast_cancer(return_X_y=True)
    rest, test = train_test_split(range(len(labels)), test_size=0.2, stratify=labels, random_state=2)
    train, validation = train_test_split(rest, test_size=0.25, stratify=labels[rest], random_state=2)
    inputs = (inputs - inputs[train].mean(axis=0)) / inputs[train].std(axis=0)

    def part(rows: list[int]) -> nw.Split:
        return nw.Split(torch.tensor(inputs[rows], dtype=torch.float32), torch.tensor(labels[rows]))

    return nw.Data(part(train), part(validation), part(test))
