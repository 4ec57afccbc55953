"""How sub-networks of a network that comes trained learn from it: its outputs, or what its stages give as well.

ResNet-56 with its published weights, whose blocks and channels are in order of importance; elastic training on images
of CIFAR-10 by one rule, with the given network as teacher; then twelve sub-networks, evenly spread over the range of
multiply-accumulates, with recomputed statistics on test images that nothing was chosen by. With ``--tune``, the one
next to a third of the multiply-accumulates after fine-tuning with as many images, by the same distillation. Needs
``cifar10`` and ``weights_cifar10_resnet`` of the shared data.

    python benchmarks/trained_start.py --data ../shared/data
    python benchmarks/trained_start.py --data ../shared/data --only outputs features,weight=60 --lr 0.01 0.03 --tune
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import numpy as np
import torch
from cifar10 import augmented, first_of, in_order, orders_of, trained

import netwright as nw
from netwright.nets.families.cifar_resnet import cifar_resnet
from netwright.training.run import Precision

WAYS = ("outputs", "kl", "features,weight=1", "features,weight=10", "features,weight=60", "features,weight=240")
JUDGED = 12


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--only", nargs="+", default=list(WAYS), help="distillations")
    parser.add_argument("--lr", nargs="+", type=float, default=[0.01])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--rule", default="sandwich")
    parser.add_argument("--images", type=int, default=4000)
    parser.add_argument("--tested", type=int, default=2000)
    parser.add_argument("--tune", action="store_true", help="fine-tune one of them")
    parser.add_argument("--bfloat16", action="store_true", help="train in bfloat16, faster where a CPU has AMX")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    bench = Bench(arguments.data, arguments.images, arguments.tested, "bfloat16" if arguments.bfloat16 else "float32")
    heads = ("lr", 7), ("seed", 6), ("all", 9), ("smallest third", 16), ("largest", 9), ("tuned", 9), ("CPU s", 7)
    print(f"{'distillation':24}" + "".join(f"{name:>{width}}" for name, width in heads), flush=True)
    for way in arguments.only:
        for lr in arguments.lr:
            for seed in arguments.seeds:
                found, tuned, seconds = bench.of(way, lr, seed, arguments.rule, arguments.tune)
                row = f"{way:24}{lr:7g}{seed:6}{statistics.fmean(found):9.2f}"
                row += f"{statistics.fmean(found[: JUDGED // 3]):16.2f}{found[-1]:9.2f}"
                print(f"{row}{tuned or float('nan'):9.2f}{seconds:7.0f}", flush=True)


class Bench:
    """The data, and the trainings.

    Args:
        data: the shared data.
        images: of the training set.
        tested: images of the test set.
        precision: that networks are trained in.
    """

    def __init__(self, data: Path, images: int, tested: int, precision: Precision) -> None:
        self.data, self.precision = data, precision
        self.train = first_of(data, "train", images)
        self.test = nw.Accuracy(nw.TensorLoader(first_of(data, "test", tested), 250))
        self.calibration = [augmented(part) for part in self.train.inputs[:512].split(256)]
        self._orders: dict[str, list[str]] = {}

    def of(self, way: str, lr: float, seed: int, rule: str, tune: bool) -> tuple[list[float], float, float]:
        """Accuracy of the judged ones, from the smallest on; of the one that was tuned; CPU seconds of training."""
        net, given = self._net(), trained(self.data, 56)
        optimizer, began = f"sgd,lr={lr},momentum=0.9,nesterov=true,weight_decay=5e-4", time.process_time()
        nw.train(
            net, self._loader(), epochs=1, rule=rule, teacher=given, distillation=way, optimizer=optimizer, seed=seed,
            precision=self.precision, callback=lambda _: None,
        )  # fmt: skip
        seconds, judged = time.process_time() - began, spread(net)
        found = [self.test.of(nw.recalibrate(net.extract(c), self.calibration)).value for c in judged]
        if not tune:
            return found, 0.0, seconds
        whole = net.count(net.largest).macs
        third = net.extract(min(judged, key=lambda c: abs(net.count(c).macs - whole / 3)))
        nw.finetune(
            third, self._loader(), epochs=1, teacher=given, distillation=way, optimizer=optimizer, seed=seed,
            precision=self.precision,
        )  # fmt: skip
        return found, self.test.of(third).value, time.process_time() - began

    def _loader(self) -> nw.TensorLoader:
        return nw.TensorLoader(self.train, 64, shuffle=True, augment=augmented)

    def _net(self) -> nw.SuperNet:
        """ResNet-56 with its blocks and channels in order."""
        net = cifar_resnet(56, shares=(0.5, 0.75), round_to=8, depths=range(2, 10))
        net.module.load_state_dict(trained(self.data, 56).state_dict())
        nw.sort_channels(net, nw.importance.Taylor([(self.train.inputs[:64], self.train.targets[:64])]))
        if not self._orders:
            self._orders = orders_of(nw.sort_blocks(net, self.calibration[:1]))
        return in_order(net, self._orders)


def spread(net: nw.SuperNet) -> list[nw.Candidate]:
    """Sub-networks from the smallest to the largest, at even distances of multiply-accumulates."""
    rng, macs = np.random.default_rng(0), {c: net.count(c).macs for c in (net.smallest, net.largest)}
    wanted = np.linspace(macs[net.smallest], macs[net.largest], JUDGED)
    cost = nw.sampling.Cost()
    inner = [cost.near(net, float(each), rng) for each in wanted[1:-1]]
    return [net.smallest, *inner, net.largest]


if __name__ == "__main__":
    main()
