"""CIFAR-10 and the ResNets that were published for it, of the shared data."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

import netwright as nw
from netwright.formats.safetensors import load_weights
from netwright.nets.families.cifar_resnet import CifarResNet

MEAN, DEVIATION = (torch.tensor(v).reshape(1, 3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))


def first_of(folder: Path, split: str, count: int) -> nw.Split:
    """The first images of a split, as the networks were trained on them."""
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    load: Callable[[str, str], Any] = importlib.import_module("images").load
    pixels, labels = load("cifar10", split)
    inputs = (torch.from_numpy(pixels[:count]).permute(0, 3, 1, 2) / 255 - MEAN) / DEVIATION
    return nw.Split(inputs.contiguous(memory_format=torch.channels_last), torch.from_numpy(labels[:count]).long())


def trained(folder: Path, layers: int) -> CifarResNet:
    """A ResNet with its published weights."""
    network = CifarResNet((layers - 2) // 6)
    load_weights(network, folder / "weights_cifar10_resnet" / f"resnet{layers}.safetensors")
    return network.eval()


def augmented(images: Tensor) -> Tensor:
    """Each image shifted by up to four pixels, black ones where it was, and half of them mirrored: as the published
    networks were trained."""
    n, _, height, width = images.shape
    black = -MEAN / DEVIATION
    padded = F.pad(images - black, (4, 4, 4, 4)) + black
    rows = torch.randint(0, 9, (n, 1)) + torch.arange(height)
    columns = torch.randint(0, 9, (n, 1)) + torch.arange(width)
    columns = torch.where(torch.rand(n, 1) < 0.5, columns.flip(1), columns)
    at = torch.arange(n)[:, None, None]
    shifted = padded.permute(0, 2, 3, 1)[at, rows[:, :, None], columns[:, None, :]]
    return shifted.permute(0, 3, 1, 2)  # the channels last, as before


def in_order(net: nw.SuperNet, orders: Mapping[str, Sequence[str]]) -> nw.SuperNet:
    """The super-network whose blocks are kept in these orders, the first longest, by axis of depth."""
    axes = [replace(a, order=tuple(orders[a.name])) if isinstance(a, nw.Depth) else a for a in net.axes]
    return net.with_axes(axes)


def orders_of(net: nw.SuperNet) -> dict[str, list[str]]:
    """In which orders a super-network's blocks are kept."""
    return {axis.name: list(axis.order) for axis in net.axes if isinstance(axis, nw.Depth)}
