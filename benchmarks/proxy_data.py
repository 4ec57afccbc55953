"""How well a small set of images ranks networks: real ones, and some that are distilled from the given network.

A super-network of ResNet-20 (CIFAR-10, weights as published, trained as ``joint.py`` does, whose checkpoint it takes
up), random sub-networks of it, each recalibrated on 256 training images. The truth is their accuracy on the test images
that no small set has any of. Rankings by small sets: by the accuracy on real images; by how far the answers are from
the given network's (Kullback-Leibler), which needs no labels, on real images, on images distilled from the statistics
of its normalisation layers (``nw.distil_inputs``: ZeroQ, Cai et al. 2020) and on noise. Each set is drawn anew for each
seed; the networks are the same. What is printed is Kendall's tau with the truth, mean and standard deviation over
seeds, and the CPU time of making the set and of judging one network by it. Needs ``cifar10`` and
``weights_cifar10_resnet`` of the shared data.

    python benchmarks/proxy_data.py --data ../shared/data
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from cifar10 import first_of
from joint import CALIBRATION, EXAMPLE, Built
from scipy.stats import kendalltau
from torch import Tensor, nn
from torch.nn import functional as F

import netwright as nw

POOL = 2000
"""Test images that small sets are drawn from; the others are the truth."""


@dataclass(frozen=True)
class Set:
    """A small set of images, and what a network's score on it is."""

    inputs: Tensor
    score: Callable[[Tensor], float]
    seconds: float
    """CPU seconds that it took to make it."""


@torch.no_grad()
def answers(network: nn.Module, inputs: Tensor) -> Tensor:
    return torch.cat([network(part) for part in inputs.split(500)])


def accuracy(targets: Tensor) -> Callable[[Tensor], float]:
    return lambda logits: float((logits.argmax(1) == targets).double().mean())


def likeness(given: nn.Module, inputs: Tensor) -> Callable[[Tensor], float]:
    """How near answers are to the given network's: the negative mean Kullback-Leibler divergence."""
    true = answers(given, inputs).log_softmax(1)
    return lambda logits: -float(F.kl_div(logits.log_softmax(1), true, log_target=True, reduction="batchmean"))


def made(kind: str, number: int, given: nn.Module, pool: nw.Split, seed: int) -> Set:
    """A small set of a kind, drawn by a seed."""
    began = time.process_time()
    if kind == "distilled":
        inputs = nw.distil_inputs(given, EXAMPLE, number, seed=seed)
        assert isinstance(inputs, Tensor)
    elif kind == "noise":
        inputs = torch.randn(number, *EXAMPLE.shape[1:], generator=torch.Generator().manual_seed(seed))
    else:
        drawn = torch.randperm(len(pool.targets), generator=torch.Generator().manual_seed(seed))[:number]
        inputs = pool.inputs[drawn]
    score = accuracy(pool.targets[drawn]) if kind == "labelled" else likeness(given, inputs)
    return Set(inputs, score, time.process_time() - began)


def networks(built: Built, images: nw.Split, count: int) -> list[nn.Module]:
    """Random sub-networks, their statistics found anew."""
    net, rng = built.shapes, np.random.default_rng(0)
    sample = nw.TensorLoader(nw.Split(images.inputs[:CALIBRATION], images.targets[:CALIBRATION]), CALIBRATION)
    drawn = {c.id: c for c in (net.space.sample(rng) for _ in range(4 * count))}
    return [nw.recalibrate(net.extract(c), sample).eval() for c in list(drawn.values())[:count]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path, default=Path("runs/joint"), help="where joint.py keeps its checkpoint")
    parser.add_argument("--trained", type=int, default=60000, help="images that the super-network is trained on")
    parser.add_argument("--networks", type=int, default=40)
    parser.add_argument("--tested", type=int, default=6000, help="test images of the truth")
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 256, 1024])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    asked = parser.parse_args()
    torch.set_num_threads(1)
    asked.out.mkdir(parents=True, exist_ok=True)
    built = Built(asked.data, asked.out, 20, asked.trained)
    test, train = first_of(asked.data, "test", POOL + asked.tested), first_of(asked.data, "train", CALIBRATION)
    pool, rest = (nw.Split(test.inputs[part], test.targets[part]) for part in (slice(POOL), slice(POOL, None)))
    cut = networks(built, train, asked.networks)
    truth = [accuracy(rest.targets)(answers(network, rest.inputs)) for network in cut]
    print(f"{len(cut)} networks: {100 * min(truth):.1f} to {100 * max(truth):.1f} % on {len(rest.targets)} images")
    for kind in ("labelled", "unlabelled", "distilled", "noise"):
        for number in asked.sizes:
            taus, making, judging = [], [], []
            for seed in asked.seeds:
                small = made(kind, number, built.given, pool, seed)
                began = time.process_time()
                scores = [small.score(answers(network, small.inputs)) for network in cut]
                judging.append((time.process_time() - began) / len(cut))
                making.append(small.seconds)
                taus.append(float(kendalltau(scores, truth).statistic))
            print(
                f"{kind:10} {number:5}  tau {statistics.mean(taus):5.2f} +- {statistics.stdev(taus):.2f}   "
                f"made in {statistics.mean(making):6.2f} CPU s, {1000 * statistics.mean(judging):6.1f} ms a network",
                flush=True,
            )


if __name__ == "__main__":
    main()
