"""Regression: how far diabetes goes on within a year, from ten figures of each of 442 patients (scikit-learn's).

netwright fit examples/regression/recipe.yaml
"""

from __future__ import annotations

import torch
from sklearn.datasets import load_diabetes
from sklearn.model_selection import train_test_split
from torch import Tensor, nn

import netwright as nw


class Net(nn.Module):
    """A perceptron that answers in the unit of the targets.

    Args:
        mean, deviation: of the training targets, so that the layers work with numbers around 0.
    """

    def __init__(self, mean: float, deviation: float) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(10, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Dropout(0.2), nn.Linear(64, 1)
        )
        self.mean, self.deviation = mean, deviation

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)[:, 0] * self.deviation + self.mean


def data() -> nw.Data:
    """60 % training, 20 % validation, 20 % test, in memory."""
    inputs, targets = load_diabetes(return_X_y=True, scaled=False)
    rows, test = train_test_split(range(len(targets)), test_size=0.2, random_state=1)
    train, validation = train_test_split(rows, test_size=0.25, random_state=1)
    inputs = (inputs - inputs[train].mean(axis=0)) / inputs[train].std(axis=0)

    def part(rows: list[int]) -> nw.Split:
        return nw.Split(
            torch.tensor(inputs[rows], dtype=torch.float32), torch.tensor(targets[rows], dtype=torch.float32)
        )

    return nw.Data(part(train), part(validation), part(test))


def supernet() -> nw.SuperNet:
    """What can be cut is found by netwright."""
    targets = data().train.targets
    return nw.wrap(Net(float(targets.mean()), float(targets.std())), torch.zeros(1, 10))
