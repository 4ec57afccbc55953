"""What the tests of training train."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

import netwright as nw
from netwright.nets.families.inverted_residual import inverted_residual


def blobs(n: int = 48) -> nw.Split:
    """Three kinds of image that a small network tells apart."""
    g = torch.Generator().manual_seed(0)
    labels = torch.arange(n) % 3
    images = torch.randn(n, 1, 4, 4, generator=g) * 0.4
    images[labels == 1, :, :2] += 1.5
    images[labels == 2, :, :, 2:] += 1.5
    return nw.Split(images, labels)


def small(seed: int = 0) -> nw.SuperNet:
    torch.manual_seed(seed)
    return inverted_residual(1, 3, 4, widths=((2, 4), (3, 6)), depths=((1, 2), (1,)), expands=(1, 2), kernels=(1, 3))


def tiny(seed: int = 0) -> nw.SuperNet:
    """A network with dropout, and without statistics."""
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 3))
    width = nw.Width.tie(net, "hidden", (4, 8), out_of=["1"], into=["4"])
    return nw.SuperNet(net, [width], torch.zeros(1, 1, 4, 4))


def jitter(images: Tensor) -> Tensor:
    return images + 0.05 * torch.randn_like(images)


def loader(batch_size: int = 8) -> nw.TensorLoader:
    return nw.TensorLoader(blobs(), batch_size, shuffle=True, augment=jitter)


def state(module: nn.Module) -> dict[str, Tensor]:
    return {k: v.clone() for k, v in module.state_dict().items()}


def same(left: Mapping[str, Tensor], right: Mapping[str, Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(v, right[k]) for k, v in left.items())
