"""What searching bits and architecture together gains over searching in float32 and quantising what is found.

ResNet-20 and ResNet-56 with their published weights on CIFAR-10: depths of stages and widths within blocks, blocks and
channels in order of importance, trained as one super-network in float32 that learns from the given network; the bits of
each block. Three searches with as many evaluations, by the accuracy and the latency of the file that runs on the
target: architecture and bits together, begun with the whole network in 8 bits; the architecture in float32, of which
the best, front after front, are then quantised whole, half of all evaluations each; bits of the given network alone, as
it was before that training, begun with all in 8 bits. What is compared is the hypervolume above 80 % and below the
latency of the whole network in float32, as a share of that box: of the records as they were measured, and of their
fronts with accuracies of the test images that no search has seen. Differences are paired by seed. Needs ``cifar10`` and
``weights_cifar10_resnet`` of the shared data. Training goes on from its checkpoint in ``--out``.

    python benchmarks/joint.py --data ../shared/data --seeds 0 1 2           # an hour or two
    python benchmarks/joint.py --data ../shared/data --layers 20 --trained 2000 --evaluations 8 --images 200    # short
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

import moocore
import numpy as np
import torch
from cifar10 import augmented, first_of, in_order, orders_of, trained
from scipy.stats import ttest_1samp
from smaller import STAGES, TUNING, Images

import netwright as nw
from netwright.core.record import Record
from netwright.measure.latency import Latency
from netwright.measure.sampling import SamplingPlan
from netwright.measure.target_quality import TargetQuality
from netwright.strategies.base import Problem
from netwright.study.stores.memory import MemoryStore
from netwright.tasks import Classification

EXAMPLE = torch.zeros(1, 3, 32, 32)
CALIBRATION = 256
WAYS = ("together", "then", "bits")


class Built:
    """One trained super-network, with and without bits.

    Args:
        folder: the shared data.
        out: where the checkpoint lies.
        layers: of the ResNet.
        images: that it is trained on.
    """

    def __init__(self, folder: Path, out: Path, layers: int, images: int) -> None:
        self.layers = layers
        self.shapes = self._supernet()
        given = self.given = trained(folder, layers)
        self.shapes.module.load_state_dict(given.state_dict())
        train = first_of(folder, "train", 20000)
        torch.manual_seed(0)
        some = [augmented(part) for part in train.inputs[: 4 * CALIBRATION].split(CALIBRATION)]
        nw.sort_channels(self.shapes, nw.importance.Taylor([some[0][:64]]))
        self.shapes = nw.sort_blocks(self.shapes, some[:1])
        given.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.shapes.module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        began = time.process_time()
        nw.train(
            self.shapes, Images(train, images, 32), rule="single-path", epochs=1, seed=0,
            optimizer=TUNING.format(0.03), teacher=given, distillation=STAGES, precision="bfloat16",
            checkpoint=out / f"resnet{layers}.safetensors", checkpoint_steps=100,
        )  # fmt: skip
        self.shapes.module.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
        self.shapes.module.eval()
        print(f"ResNet-{layers}: trained in {time.process_time() - began:.0f} CPU s", flush=True)

    def _supernet(self) -> nw.SuperNet:
        blocks = (self.layers - 2) // 6
        depths = sorted({max(1, blocks * part // 4) for part in (1, 2, 3, 4)})
        return nw.families.cifar_resnet(self.layers, depths=depths, shares=(0.5, 0.75), round_to=8)

    def with_bits(self, architecture: bool) -> nw.SuperNet:
        """Bits of each block: with the other axes, in a super-network of its own, or of the given network alone."""
        net = self._supernet()
        net.module.load_state_dict((self.shapes.module if architecture else self.given).state_dict())
        net.module.eval()
        net = in_order(net, orders_of(self.shapes)) if architecture else nw.SuperNet(net.module, (), EXAMPLE)
        return net.with_axes([*net.axes, *nw.Bits.of(net, by="block")])


class Judge:
    """Measures networks as they run on a target."""

    def __init__(self, folder: Path, images: int, unseen: int) -> None:
        test, train = first_of(folder, "test", images + unseen), first_of(folder, "train", CALIBRATION)
        inputs = test.inputs.contiguous()
        self.seen, self.unseen = (
            nw.Split(inputs[part], test.targets[part]) for part in (slice(images), slice(images, None))
        )
        self.calibration = [(train.inputs.contiguous(), train.targets)]

    def search(
        self,
        net: nw.SuperNet,
        target: str,
        strategy: nw.Strategy,
        evaluations: int,
        seed: int,
        initial: Sequence[nw.Candidate] = (),
    ) -> list[Record]:
        """The records of a search by the accuracy and the latency of a target's file."""
        latency = Latency(target, SamplingPlan(max_seconds=0.3))
        objectives = [self._quality(self.seen, latency), latency]
        study = nw.Study(
            MemoryStore(), net, objectives=objectives, calibration=self.calibration, seed=seed, initial=initial
        )
        return study.run(strategy, evaluations)

    def unseen_accuracy(self, net: nw.SuperNet, target: str, record: Record, out: Path) -> float:
        """Of a network's file, by images that no search has seen, in percent."""
        latency = Latency(target)
        network = nw.recalibrate(net.extract(record.candidate), self.calibration)
        path = out / f"file{latency.runtime.suffix}"
        latency.write(network, EXAMPLE, path, self.calibration)
        return self._quality(self.unseen, latency).of_file(path, network, EXAMPLE)["accuracy"].value

    @staticmethod
    def _quality(images: nw.Split, latency: Latency) -> TargetQuality:
        return TargetQuality(Classification(), nw.TensorLoader(images, 1000), latency)


class Fixed(nw.Strategy):
    """Some candidates, in order."""

    def __init__(self, candidates: Sequence[nw.Candidate]) -> None:
        self.candidates = candidates

    def ask(self, problem: Problem, history: Sequence[Record], n: int) -> list[nw.Candidate]:
        """Those that are not measured yet."""
        known = {record.candidate for record in history}
        return [each for each in self.candidates if each not in known][:n]


def hypervolume(points: Sequence[tuple[float, float]], slowest: float) -> float:
    """The share of the box, in percent."""
    scaled = np.array([[(100 - accuracy) / 20, latency / slowest] for accuracy, latency in points])
    return 100 * float(moocore.hypervolume(scaled, ref=[1.0, 1.0]))


def best(records: Sequence[Record], count: int) -> list[Record]:
    """Front after front."""
    left, found = list(records), list[Record]()
    while left and len(found) < count:
        front = list(nw.front(left))
        found += front
        left = [each for each in left if each not in front]
    return found[:count]


def compare(built: Built, judge: Judge, target: str, evaluations: int, seeds: Sequence[int], out: Path) -> None:
    """Print the hypervolume of each way to search, and the paired differences."""
    plain, int8 = target.partition(",")[0], target
    joint, bits = built.with_bits(True), built.with_bits(False)
    eight = {axis.name: "int8" for axis in joint.axes if isinstance(axis, nw.Bits)}
    whole, whole8 = (
        judge.search(bits, int8, Fixed([each]), 1, 0)[0] for each in (bits.largest, bits.largest_with(eight))
    )
    slowest = whole.values["latency"]
    for name, record in (("float32", whole), ("int8", whole8)):
        print(f"the whole in {name}: {record.values['accuracy']:.2f} %, {record.values['latency']:.3f} ms")
    print(f"{'seed':6}" + "".join(f"{way:>10}" for way in WAYS) + "   unseen:" + "".join(f"{way:>10}" for way in WAYS))
    rows = []
    for seed in seeds:
        together = judge.search(joint, int8, nw.Guided(), evaluations, seed, [joint.largest_with(eight)])
        before = judge.search(built.shapes, plain, nw.Guided(), evaluations // 2, seed)
        quantised = [
            joint.largest_with({**dict(record.candidate), **eight})
            for record in best(before, evaluations - evaluations // 2)
        ]
        then = judge.search(joint, int8, Fixed(quantised), len(quantised), seed)
        alone = judge.search(bits, int8, nw.Guided(), evaluations, seed, [bits.largest_with(eight)])
        seen, unseen = [], []
        for net, records in ((joint, together), (joint, then), (bits, alone)):
            ok = [record for record in records if record.status == "ok"]
            seen.append(hypervolume([(r.values["accuracy"], r.values["latency"]) for r in ok], slowest))
            points = [(judge.unseen_accuracy(net, int8, r, out), r.values["latency"]) for r in nw.front(ok)]
            unseen.append(hypervolume(points, slowest))
        rows.append((*seen, *unseen))
        print(f"{seed:<6}" + "".join(f"{v:10.2f}" for v in seen) + " " * 10 + "".join(f"{v:10.2f}" for v in unseen))
    for name, first in (("as measured", 0), ("unseen", len(WAYS))):
        for other in (1, 2):
            gains = [row[first] - row[first + other] for row in rows]
            told = f"{name}: together - {WAYS[other]}: {statistics.mean(gains):+.2f}"
            if len(gains) > 1:
                test = ttest_1samp(gains, 0)
                told += f" +- {statistics.stdev(gains):.2f}, p = {test.pvalue:.3f}"
            print(told, flush=True)


def main() -> None:
    """Train what is asked for, and search it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--layers", type=int, nargs="+", default=[20, 56])
    parser.add_argument("--trained", type=int, default=60000, help="images that the super-network learns from")
    parser.add_argument("--evaluations", type=int, default=48)
    parser.add_argument("--images", type=int, default=1000, help="that searches see")
    parser.add_argument("--unseen", type=int, default=2000)
    parser.add_argument("--target", default="onnxruntime,precision=int8")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--out", type=Path, default=Path("runs/joint"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    given.out.mkdir(parents=True, exist_ok=True)
    for layers in given.layers:
        built = Built(given.data, given.out, layers, given.trained)
        judge = Judge(given.data, given.images, given.unseen)
        print(f"ResNet-{layers}, {given.target}, {given.evaluations} evaluations, {given.images} images", flush=True)
        compare(built, judge, given.target, given.evaluations, given.seeds, given.out)


if __name__ == "__main__":
    main()
