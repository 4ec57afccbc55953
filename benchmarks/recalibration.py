"""Normalisation statistics from plain images, and from images as the network was trained on them.

First a trained ResNet-56: its accuracy on CIFAR-10's whole test part with its own statistics, with those of plain and
of augmented training images, and with the better of its own and the latter (as judged on validation images). Then the
front of one elastic epoch: the same network as a super-network, trained for one epoch on 18,000 images, searched twice
with 60 evaluations on 2,000 others; once each candidate's statistics are of plain images, once of augmented ones. Test
accuracies are of the networks that the search finds best within some multiply-accumulates. Needs ``cifar10`` and
``weights_cifar10_resnet`` of the shared data.

    python benchmarks/recalibration.py --data ../shared/data
"""

from __future__ import annotations

import argparse
import importlib
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import netwright as nw
from netwright.formats.safetensors import load_weights
from netwright.nets.families.cifar_resnet import CifarResNet
from netwright.nets.recalibrate import better_statistics
from netwright.study.stores.memory import MemoryStore
from netwright.tasks.data import JUDGED, calibration_batches

MEAN, DEVIATION = (torch.tensor(v).reshape(1, 3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
CALIBRATION = 512
BOUNDS = (10e6, 20e6, 40e6, 60e6, 90e6, 130e6)


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--images", type=int, default=10000, help="of the test part")
    parser.add_argument("--evaluations", type=int, default=60, help="of each search; 0 leaves the front out")
    parser.add_argument("--lr", type=float, default=0.05, help="highest learning rate of the elastic epoch")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    data = read(arguments.data, arguments.images)
    judged, tested = (nw.Accuracy(nw.TensorLoader(part, JUDGED)) for part in (data.validation, data.test))
    plain, augmented = (
        calibration_batches(nw.Data(data.train, data.validation, data.test, augment), CALIBRATION, 0)
        for augment in (None, data.augment)
    )
    model = CifarResNet(9)
    load_weights(model, arguments.data / "weights_cifar10_resnet" / "resnet56.safetensors")
    model.eval()
    net = nw.wrap(model, torch.zeros(1, 3, 32, 32))

    def loss(network: nn.Module) -> float:
        return -judged.of(network).value

    def row(name: str, network: nn.Module) -> None:
        print(f"  {name}: {tested.of(network).value:.2f} %", flush=True)

    print(f"ResNet-56, {len(data.test):,} test images")
    row("its own statistics", net.extract(net.largest))
    row(f"of {CALIBRATION} plain images", nw.recalibrate(net.extract(net.largest), plain))
    row(f"of {CALIBRATION} augmented images", nw.recalibrate(net.extract(net.largest), augmented))
    network = net.extract(net.largest)
    row(f"the better by validation ({better_statistics(network, augmented, loss)})", network)

    if not arguments.evaluations:
        return
    nw.sort_channels(net)
    since = time.process_time()
    optimizer = f"sgd,lr={arguments.lr},momentum=0.9,nesterov=true,weight_decay=1e-4"
    loader = nw.TensorLoader(data.train, 64, shuffle=True, augment=data.augment)
    nw.train(net, loader, epochs=1, optimizer=optimizer, seed=0)
    print(f"one elastic epoch of {len(data.train):,} images: {time.process_time() - since:.0f} CPU s")
    for name, calibration in (("plain", plain), ("augmented", augmented)):
        since = time.process_time()
        study = nw.Study(MemoryStore(), net, objectives=[judged, nw.Count("macs")], calibration=calibration, seed=0)
        study.run(nw.Guided(), arguments.evaluations)
        each = (time.process_time() - since) / arguments.evaluations
        front = study.front()
        print(f"statistics of {name} images: {len(front)} networks on the front, {each:.1f} CPU s an evaluation")
        for bound in BOUNDS:
            best = next((r for r in front if r.values["macs"] <= bound), None)
            if best is None:
                continue
            network = net.extract(best.candidate)
            if best.provenance["statistics"] == "recomputed":
                nw.recalibrate(network, calibration)
            figures = f"validation {best.values['accuracy']:.2f} %, {best.provenance['statistics']} statistics"
            row(f"best of at most {bound / 1e6:.0f} M MACs ({best.values['macs'] / 1e6:.1f} M, {figures})", network)


def read(folder: Path, images: int) -> nw.Data:
    """CIFAR-10: 18,000 images to train with, 2,000 to choose by, and the first of the test part."""
    sys.path.insert(0, str(folder))
    load: Callable[[str, str], Any] = importlib.import_module("images").load

    def part(split: str, which: slice) -> nw.Split:
        pixels, labels = load("cifar10", split)
        inputs = (torch.from_numpy(pixels[which]).permute(0, 3, 1, 2) / 255 - MEAN) / DEVIATION
        return nw.Split(inputs.contiguous(), torch.from_numpy(labels[which]).long())

    train, validation = part("train", slice(18000)), part("train", slice(18000, 20000))
    return nw.Data(train, validation, part("test", slice(images)), augmented)


def augmented(images: Tensor) -> Tensor:
    """Shifted by up to four pixels with black at the edges, half of them mirrored: as the weights were trained."""
    n = len(images)
    padded = (-MEAN / DEVIATION).repeat(n, 1, 40, 40)
    padded[:, :, 4:36, 4:36] = images
    shift = torch.randint(0, 9, (2, n, 1)) + torch.arange(32)
    rows, columns = shift[0], torch.where(torch.rand(n, 1) < 0.5, shift[1].flip(1), shift[1])
    picked = padded[torch.arange(n)[:, None, None], :, rows[:, :, None], columns[:, None, :]]
    return picked.permute(0, 3, 1, 2)


if __name__ == "__main__":
    main()
