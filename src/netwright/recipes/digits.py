"""scikit-learn's handwritten digits: 1,797 grey images of 8 by 8 pixels, shipped with scikit-learn."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..nets.families.inverted_residual import inverted_residual
from ..nets.supernet import SuperNet
from ..training.data import Data, Part

SPLIT_SEED = 20201


def data() -> Data:
    """A fixed split by class: 60 % training, 20 % validation, 20 % test. Pixels are scaled to mean 0, deviation 1
    with the training part's figures."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    images = digits.images.astype(np.float32)[:, None] / 16.0
    labels = digits.target.astype(np.int64)
    rest, test = train_test_split(np.arange(len(labels)), test_size=0.2, stratify=labels, random_state=SPLIT_SEED)
    train, validation = train_test_split(rest, test_size=0.25, stratify=labels[rest], random_state=SPLIT_SEED)
    mean, deviation = images[train].mean(), images[train].std()

    def part(index: np.ndarray) -> Part:
        return Part(torch.from_numpy((images[index] - mean) / deviation), torch.from_numpy(labels[index]))

    return Data(part(train), part(validation), part(test), augment)


def augment(images: Tensor) -> Tensor:
    """Small random rotations, scalings, shears and shifts (at most about a pixel)."""
    n = len(images)
    angle = (torch.rand(n) - 0.5) * 0.5
    scale = 1 + (torch.rand(n, 2) - 0.5) * 0.3
    shear = (torch.rand(n) - 0.5) * 0.3
    shift = (torch.rand(n, 2) - 0.5) * 0.4
    cos, sin = angle.cos(), angle.sin()
    rows = torch.stack(
        [
            torch.stack([scale[:, 0] * cos, -sin + shear, shift[:, 0]], 1),
            torch.stack([sin, scale[:, 1] * cos, shift[:, 1]], 1),
        ],
        1,
    )
    grid = F.affine_grid(rows, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


def supernet() -> SuperNet:
    """An inverted-residual super-network for the digits."""
    return inverted_residual(
        in_channels=1,
        classes=10,
        image=8,
        widths=((4, 6, 8, 12, 16), (6, 8, 12, 16, 24), (8, 12, 16, 24, 32)),
        depths=((1, 2), (1, 2, 3), (1, 2, 3, 4)),
        expands=(1, 2, 3, 4),
        kernels=(3, 5),
    )
