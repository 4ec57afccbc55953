"""Pruning as a user does it: one elastic fine-tuning of ResNet-56 for all sizes against Torch-Pruning, size by size.

Published weights of ResNet-56, the inner widths of its blocks, CIFAR-10. Ours: channels are sorted by importance, the
super-network of all widths is fine-tuned once, and at each size the widths are those that importance finds best: no
network is trained by itself. Torch-Pruning prunes the trained network to each size, within 1 %, and every network is
fine-tuned by itself: by L1, all layers alike; by L2, over all layers; and by group norms that half of the images make
sparse before (DepGraph, Fang et al. 2023), which leaves the other half to fine-tune on. Every network learns from as
many images as the super-network, with the same optimizer and schedule, from the labels and the given network, and is
judged after the last epoch, with statistics of 1,024 training images, on the test part: nothing is chosen by it.

    python benchmarks/prune_front.py --data ../shared/data                          # small: 2,000 images, one seed
    python benchmarks/prune_front.py --data ../shared/data --full                   # 20,000 images, 5 epochs, 3 seeds

Torch-Pruning is no dependency: ``pip install --no-deps torch-pruning``; without it its rows are left out.
"""

from __future__ import annotations

import argparse
import importlib
import time
import warnings
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import torch
from cifar10 import augmented, first_of, trained
from torch import nn

import netwright as nw
from netwright.nets.importance import L1, Criterion, Taylor, prune_to_budget

EXAMPLE = torch.zeros(1, 3, 32, 32)
NEAR = 0.01
"""How far from a size Torch-Pruning's networks may be."""
OPTIMIZER = "sgd,lr={},momentum=0.9,nesterov=true,weight_decay=5e-4"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--images", type=int, default=2000, help="training images of an epoch")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--test", type=int, default=1000, help="images of the test part")
    parser.add_argument("--full", action="store_true", help="20,000 images, 5 epochs, seeds 0 1 2, all test images")
    parser.add_argument(
        "--sizes", type=float, nargs="+", default=[0.8, 0.65, 0.5, 0.39, 0.3], help="shares of the MACs"
    )
    parser.add_argument("--lr", type=float, default=0.01)
    parser.add_argument("--rule", default="sandwich")
    parser.add_argument("--sampling", default="uniform")
    given = parser.parse_args()
    if given.full:
        given.images, given.epochs, given.seeds, given.test = 20000, 5, [0, 1, 2], 10000
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    bench = Bench(given.data, given.images, given.epochs, given.test, given.lr)
    print(
        f"ResNet-56 as it was given: {bench.accuracy(trained(given.data, 56)):.2f} %; sizes: {given.sizes}", flush=True
    )
    rows: dict[str, Callable[[int], list[float]]] = {
        f"ours, {by}, {given.rule}": partial(ours, bench, given, criterion)
        for by, criterion in (("L1", L1()), ("Taylor", Taylor(bench.calibration[:1])))
    }
    try:
        rows |= others(bench, given.sizes, importlib.import_module("torch_pruning"))
    except ImportError as error:
        print(f"Torch-Pruning is left out: {error}")
    for name, row in rows.items():
        begin, trained_on = time.process_time(), bench.images_seen
        by_seed = [row(seed) for seed in given.seeds]
        cells = [
            f"{fmean(c):6.2f}" + (f" +- {stdev(c):4.2f}" if len(c) > 1 else "") for c in zip(*by_seed, strict=True)
        ]
        spent = f"{time.process_time() - begin:.0f} CPU s, {bench.images_seen - trained_on:,} images"
        print(f"{name:32}{'  '.join(cells)}   ({spent})", flush=True)


@dataclass
class Bench:
    """The data, and what is done with every network.

    Args:
        folder: of the shared data.
        images: of an epoch.
        epochs: of a training.
        tested: images of the test part.
        lr: the highest learning rate.

    Attributes:
        images_seen: by all trainings so far.
    """

    folder: Path
    images: int
    epochs: int
    tested: int
    lr: float
    images_seen: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self.train = first_of(self.folder, "train", self.images)
        self.calibration = [augmented(part) for part in self.train.inputs[:1024].split(256)]
        self.judge = nw.Accuracy(nw.TensorLoader(first_of(self.folder, "test", self.tested), 250))
        self.given = trained(self.folder, 56)

    def loader(self) -> nw.TensorLoader:
        """An epoch."""
        return nw.TensorLoader(self.train, 128, shuffle=True, augment=augmented)

    def accuracy(self, network: nn.Module) -> float:
        """In percent, with statistics of training images."""
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return self.judge.of(nw.recalibrate(network, self.calibration)).value

    def tuned(self, network: nn.Module, seed: int, share: float = 1.0, optimizer: Any = None) -> nn.Module:
        """A network after a share of the training."""
        part = self.train.take(torch.arange(round(share * len(self.train)))) if self.epochs == 1 else self.train
        epochs = max(1, round(share * self.epochs))
        loader = nw.TensorLoader(part, 128, shuffle=True, augment=augmented)
        self.images_seen += epochs * len(part)
        how = optimizer or OPTIMIZER.format(self.lr)
        nw.finetune(network, loader, epochs=epochs, optimizer=how, teacher=self.given, seed=seed)
        return network


def macs_of(network: nn.Module) -> int:
    """Multiply-accumulates."""
    alone = nw.SuperNet(network, [], EXAMPLE)
    return alone.count(alone.largest).macs


def ours(bench: Bench, given: argparse.Namespace, criterion: Criterion, seed: int) -> list[float]:
    """The accuracy at each size, all of one training."""
    net = nw.wrap(trained(bench.folder, 56), EXAMPLE, axes=["width"], only=["layer*"], round_to=1)
    worth, whole = nw.sort_channels(net, criterion), net.count(net.largest).macs
    chosen = [prune_to_budget(net, worth, f"macs <= {size * whole}") for size in given.sizes]
    bench.images_seen += bench.epochs * len(bench.train)
    nw.train(
        net, bench.loader(), epochs=bench.epochs, rule=given.rule, sampling=given.sampling, teacher=bench.given,
        optimizer=OPTIMIZER.format(bench.lr), seed=seed,
    )  # fmt: skip
    return [bench.accuracy(net.extract(candidate)) for candidate in chosen]


# -- Torch-Pruning -----------------------------------------------------------------------------------------------------


def others(bench: Bench, sizes: Sequence[float], tp: Any) -> dict[str, Callable[[int], list[float]]]:
    """Its rows: each size is pruned and trained by itself."""
    l1, l2 = (tp.importance.GroupMagnitudeImportance(p=p) for p in (1, 2))

    def plain(importance: Any, ranked: bool) -> Callable[[int], list[float]]:
        def row(seed: int) -> list[float]:
            cut = [_pruned(tp, bench.given, importance, ranked, size) for size in sizes]
            return [bench.accuracy(bench.tuned(network, seed)) for network in cut]

        return row

    def sparse(seed: int) -> list[float]:
        found = []
        for size in sizes:  # the same sparse network for all sizes, counted as often as it is needed
            network = trained(bench.folder, 56)
            pruner = _pruner(tp.pruner.GroupNormPruner, network, l2, True, 0.5)
            pruner.update_regularizer()

            def regularised(module: nn.Module, pruner: Any = pruner) -> torch.optim.Optimizer:
                made = torch.optim.SGD(module.parameters(), bench.lr, 0.9, nesterov=True, weight_decay=5e-4)
                made.register_step_pre_hook(lambda *_: pruner.regularize(module))
                return made

            bench.tuned(network, seed, 0.5, regularised)
            found.append(bench.accuracy(bench.tuned(_pruned(tp, network, l2, True, size), seed, 0.5)))
        return found

    return {
        "Torch-Pruning, L1, uniform": plain(l1, False),
        "Torch-Pruning, L2, global": plain(l2, True),
        "Torch-Pruning, group norm, sparse": sparse,
    }


def _pruner(kind: Any, network: nn.Module, importance: Any, ranked: bool, ratio: float) -> Any:
    """Of the layers that ours cuts: it takes padded shortcuts for the identity, so the rest stays."""
    cut = {network.get_submodule(f"layer{s}.{b}.conv1") for s in (1, 2, 3) for b in range(9)}
    rest = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear) and m not in cut]
    return kind(
        network, EXAMPLE, importance, global_pruning=ranked, pruning_ratio=ratio, ignored_layers=rest,
        max_pruning_ratio=0.9,
    )  # fmt: skip


def _pruned(tp: Any, whole: nn.Module, importance: Any, ranked: bool, size: float) -> nn.Module:
    """A copy, pruned to a share of the MACs."""
    goal, low, high = size * macs_of(whole), 0.0, 0.9
    for _ in range(16):
        network, middle = deepcopy(whole), (low + high) / 2
        _pruner(tp.pruner.BasePruner, network, importance, ranked, middle).step()
        now = macs_of(network)
        if abs(now - goal) <= NEAR * goal:
            break
        low, high = (middle, high) if now > goal else (low, middle)
    return network


if __name__ == "__main__":
    main()
