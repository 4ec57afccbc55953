"""ResNet-20 and ResNet-56 of CIFAR-10, stitched: accuracy against MACs of every network between the two, untrained.

For each: the layer between the two as the identity, as the least-squares solution (what ``nw.stitch`` makes), and with
normalisation statistics recomputed after that. Fitted and recalibrated on training images (``--fit``), judged on the
first images of the test set. With ``--epochs`` the stitched networks are trained together on the first 20,000 training
images, a random one each step, by ResNet-56's outputs and the labels, and judged again. Needs ``cifar10`` and
``weights_cifar10_resnet`` of the shared data.

    python benchmarks/stitching.py --data ../shared/data
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from cifar10 import first_of, trained
from torch import nn

import netwright as nw


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--images", type=int, default=10000, help="of the test set")
    parser.add_argument("--fit", type=int, default=512, help="training images to fit and recalibrate on")
    parser.add_argument("--epochs", type=int, default=0)
    parser.add_argument("--train-images", type=int, default=20000)
    arguments = parser.parse_args()
    torch.set_num_threads(1)

    fit = nw.TensorLoader(first_of(arguments.data, "train", arguments.fit), 128)
    accuracy = nw.Accuracy(nw.TensorLoader(first_of(arguments.data, "test", arguments.images), 250))
    anchors = [trained(arguments.data, layers) for layers in (20, 56)]
    net = nw.stitch(anchors, torch.zeros(1, 3, 32, 32), fit)
    print(f"{arguments.images} test images; fitted on {arguments.fit} training images")
    print(f"  {'network':<48} {'M MACs':>7} {'identity':>9} {'least sq.':>9} {'recalibrated':>13}")
    for option in net.space["route"].options:
        network = net.extract({"route": option})
        found = [with_identity(net, option, accuracy), accuracy.of(network).value]
        found.append(accuracy.of(nw.recalibrate(network, fit)).value)
        row = f"{found[0]:8.2f} % {found[1]:7.2f} % {found[2]:11.2f} %"
        print(f"  {option:<48} {net.count({'route': option}).macs / 1e6:7.1f} {row}", flush=True)
    if arguments.epochs:
        images = first_of(arguments.data, "train", arguments.train_images)
        learn(net, images, arguments.epochs, trained(arguments.data, 56))
        print(f"after {arguments.epochs} epochs of {arguments.train_images} images, recalibrated")
        for option in net.space["route"].options:
            value = accuracy.of(nw.recalibrate(net.extract({"route": option}), fit)).value
            print(f"  {option:<48} {value:8.2f} %", flush=True)


def with_identity(net: nw.SuperNet, option: Any, accuracy: nw.Accuracy) -> float:
    """Accuracy where what is between the anchors gives on what it is given."""
    network = net.extract({"route": option})
    for layer in network.stitches.children():  # type: ignore[union-attr]
        if isinstance(layer, nn.Conv2d):
            nn.init.dirac_(layer.weight)
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return accuracy.of(network).value


def learn(net: nw.SuperNet, split: nw.Split, epochs: int, teacher: nn.Module) -> None:
    """All stitched networks at once."""
    loader = nw.TensorLoader(split, 128, shuffle=True)
    nw.train(net, loader, rule="single-path", optimizer="sgd,lr=0.005", epochs=epochs, teacher=teacher)


if __name__ == "__main__":
    main()
