"""Image classification from a torch DataLoader: handwritten digits (scikit-learn's) and a small residual network.

netwright fit examples/image_classification/recipe.yaml
"""

from __future__ import annotations

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

import netwright as nw


class Digits(Dataset[tuple[Tensor, Tensor]]):
    """Grey images of 8 by 8 pixels and their digits; a data set like any other.

    Args:
        rows: which of the 1,797.
        moved: whether images are shifted by up to a pixel, at random.
    """

    def __init__(self, rows: list[int], moved: bool = False) -> None:
        images, digits = load_digits(return_X_y=True)
        self.images = torch.tensor(images[rows] / 16.0, dtype=torch.float32).view(-1, 1, 8, 8)
        self.digits, self.moved = torch.tensor(digits[rows]), moved

    def __len__(self) -> int:
        return len(self.digits)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        image = self.images[index]
        if self.moved:
            shift = torch.randint(-1, 2, (2,)).tolist()
            image = image.roll(shift, (1, 2))
        return image, self.digits[index]


class Block(nn.Module):
    """Two convolutions, added to what came in."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, 2 * channels, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(2 * channels)
        self.second = nn.Conv2d(2 * channels, channels, 3, padding=1, bias=False)
        self.out = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.out(self.second(self.norm(self.first(x)).relu()))


class Net(nn.Module):
    """Plain torch: nothing in it knows netwright."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 16, 3, stride=2, padding=1)
        self.blocks = nn.Sequential(Block(16), Block(16))
        self.head = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(self.stem(x).relu()).mean((2, 3)))


def supernet() -> nw.SuperNet:
    """What can be cut is found by netwright."""
    return nw.wrap(Net(), torch.zeros(1, 1, 8, 8))


def data() -> nw.Data:
    """60 % training, 20 % validation, 20 % test. The order of the last two must be the same each time."""
    rows, test = train_test_split(range(1797), test_size=0.2, random_state=1)
    train, validation = train_test_split(rows, test_size=0.25, random_state=1)
    return nw.Data(
        DataLoader(Digits(train, moved=True), batch_size=64, shuffle=True, num_workers=1, persistent_workers=True),
        DataLoader(Digits(validation), batch_size=128),
        DataLoader(Digits(test), batch_size=128),
    )
