"""Bits: how near rounding in PyTorch is to the files that run, and what searching precisions with architectures gains.

ResNet-20 with its published weights on CIFAR-10: depths of stages, widths within blocks, and the bits of each block.
First random candidates, once rounded in PyTorch and once as the file of each runtime: accuracy on the same test images,
RMS difference of the outputs, rank correlation (Kendall's tau). Then, where evaluations are asked for, three searches
with as many of them, by the accuracy and the latency of the file that runs: architecture and bits together; first the
architecture in float32, for half of them, of which the best are then quantised whole; bits alone. The first begins with
the whole network in 8 bits, as the last does by itself. What is compared is the hypervolume above 80 % and below the
latency of the whole network in float32, as a share of that box.

    python benchmarks/bits.py --data ../shared/data    # the short form: 20 candidates, a minute or two
    python benchmarks/bits.py --data ../shared/data --candidates 100 --images 10000
    python benchmarks/bits.py --data ../shared/data --candidates 0 --evaluations 60 --seeds 0 1 2
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import moocore
import numpy as np
import torch
from cifar10 import first_of, trained
from scipy.stats import kendalltau
from torch import nn

import netwright as nw
from netwright.core.record import Record
from netwright.measure.latency import Latency
from netwright.measure.sampling import SamplingPlan
from netwright.measure.target_quality import FileOnTarget, TargetQuality
from netwright.strategies.base import Problem
from netwright.study.stores.memory import MemoryStore
from netwright.tasks import Classification

EXAMPLE = torch.zeros(1, 3, 32, 32)
TARGETS = ("onnxruntime,precision=int8", "openvino,precision=int8")
CALIBRATION = 256


def supernet(folder: Path, bits: bool, architecture: bool) -> nw.SuperNet:
    """ResNet-20 with its published weights and some of the axes."""
    family = nw.families.cifar_resnet(20, depths=(2, 3), shares=(0.75,))
    family.module.load_state_dict(trained(folder, 20).state_dict())
    family.module.eval()
    net = nw.SuperNet(family.module, family.axes if architecture else (), EXAMPLE)
    return net.with_axes([*net.axes, *nw.Bits.of(net, by="block")]) if bits else net


def calibrated(net: nw.SuperNet, candidate: nw.Candidate, data: nw.Split) -> nn.Module:
    """A candidate with the statistics and ranges of real images."""
    return nw.recalibrate(net.extract(candidate), [(data.inputs, data.targets)])


def outputs(network: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """What a network gives for all images."""
    with torch.no_grad():
        return torch.cat([network(part) for part in images.split(250)])


def nearness(folder: Path, candidates: int, images: int, targets: Sequence[str]) -> None:
    """Print how near PyTorch is to each runtime's files."""
    test, train = first_of(folder, "test", images), first_of(folder, "train", CALIBRATION)
    net, rng = supernet(folder, True, True), np.random.default_rng(0)
    drawn = [net.smallest, net.largest, *(net.space.sample(rng) for _ in range(candidates - 2))]
    found: dict[str, list[tuple[float, ...]]] = {target: [] for target in targets}
    for candidate in drawn:
        network = calibrated(net, candidate, train)
        fake = outputs(network, test.inputs)
        for target in targets:
            latency = Latency(target, SamplingPlan(max_seconds=0.2))
            with TemporaryDirectory() as place:
                path = Path(place) / f"network{latency.runtime.suffix}"
                latency.write(network, EXAMPLE, path, [(train.inputs, train.targets)])
                real = FileOnTarget(latency, path, network, EXAMPLE)(test.inputs)
            right = [100 * float((each.argmax(1) == test.targets).float().mean()) for each in (fake, real)]
            error = float((fake - real).square().mean().sqrt() / real.square().mean().sqrt())
            found[target].append((*right, error))
    print(f"{candidates} candidates, {images} test images")
    print(f"{'target':32}{'largest gap':>12}{'mean gap':>10}{'tau':>7}{'RMS error':>11}")
    for target, rows in found.items():
        mine, theirs, errors = np.array(rows).T
        gaps, tau = np.abs(mine - theirs), kendalltau(mine, theirs).statistic
        print(f"{target:32}{gaps.max():>11.2f}%{gaps.mean():>9.2f}%{tau:>7.3f}{errors.mean():>11.4f}", flush=True)


class Judge:
    """Measures networks as they run on a target."""

    def __init__(self, folder: Path, images: int) -> None:
        self.validation, train = first_of(folder, "test", images), first_of(folder, "train", CALIBRATION)
        self.calibration = [(train.inputs, train.targets)]

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
        quality = TargetQuality(Classification(), nw.TensorLoader(self.validation, len(self.validation)), latency)
        study = nw.Study(
            MemoryStore(), net, objectives=[quality, latency], calibration=self.calibration, seed=seed, initial=initial
        )
        return study.run(strategy, evaluations)


class Fixed(nw.Strategy):
    """Some candidates, in order."""

    def __init__(self, candidates: Sequence[nw.Candidate]) -> None:
        self.candidates = candidates

    def ask(self, problem: Problem, history: Sequence[Record], n: int) -> list[nw.Candidate]:
        """Those that are not measured yet."""
        known = {record.candidate for record in history}
        return [each for each in self.candidates if each not in known][:n]


def hypervolume(records: Sequence[Record], slowest: float) -> float:
    """The share of the box, in percent."""
    ok = [record.values for record in records if record.status == "ok"]
    points = np.array([[(100 - v["accuracy"]) / 20, v["latency"] / slowest] for v in ok])
    return 100 * float(moocore.hypervolume(points, ref=[1.0, 1.0]))


def searches(folder: Path, images: int, evaluations: int, seeds: Sequence[int], target: str) -> None:
    """Print the hypervolume of each way to search."""
    judge, plain = Judge(folder, images), target.partition(",")[0]
    joint, shapes, bits = (supernet(folder, *which) for which in ((True, True), (False, True), (True, False)))
    whole = judge.search(bits, target, Fixed([bits.largest]), 1, 0)[0]
    slowest = whole.values["latency"]
    print(f"\n{target}, {evaluations} evaluations, {images} images")
    print(f"float32: {whole.values['accuracy']:.2f} %, {slowest:.3f} ms")
    print(f"{'seed':6}{'together':>10}{'then':>10}{'bits':>10}")
    for seed in seeds:
        int8 = {axis.name: "int8" for axis in joint.axes if isinstance(axis, nw.Bits)}
        together = judge.search(joint, target, nw.Guided(), evaluations, seed, [joint.largest_with(int8)])
        before = nw.front(judge.search(shapes, plain, nw.Guided(), evaluations // 2, seed))
        quantised = [joint.largest_with({**dict(record.candidate), **int8}) for record in before]
        most = min(len(quantised), evaluations - evaluations // 2)
        then = judge.search(joint, target, Fixed(quantised[:most]), most, seed)
        alone = judge.search(bits, target, nw.Guided(), evaluations, seed)
        found = [hypervolume(records, slowest) for records in (together, then, alone)]
        print(f"{seed:<6}" + "".join(f"{each:>10.2f}" for each in found), flush=True)


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--candidates", type=int, default=20)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--targets", nargs="+", default=list(TARGETS))
    parser.add_argument("--evaluations", type=int, default=0)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    given = parser.parse_args()
    if given.candidates:
        nearness(given.data, given.candidates, given.images, given.targets)
    for target in given.targets if given.evaluations else ():
        searches(given.data, given.images, given.evaluations, given.seeds, target)


if __name__ == "__main__":
    main()
