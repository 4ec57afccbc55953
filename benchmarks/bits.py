"""Bits: how near rounding in PyTorch is to the files that run.

ResNet-20 with its published weights on CIFAR-10: depths of stages, widths within blocks, and the bits of each block.
Random candidates, once rounded in PyTorch and once as the file of each runtime: accuracy on the same test images, RMS
difference of the outputs, rank correlation (Kendall's tau).

    python benchmarks/bits.py --data ../shared/data    # the short form: 20 candidates, a minute or two
    python benchmarks/bits.py --data ../shared/data --candidates 100 --images 10000
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from cifar10 import first_of, trained
from scipy.stats import kendalltau
from torch import nn

import netwright as nw
from netwright.measure.latency import Latency
from netwright.measure.sampling import SamplingPlan
from netwright.measure.target_quality import FileOnTarget

EXAMPLE = torch.zeros(1, 3, 32, 32)
TARGETS = ("onnxruntime,precision=int8", "openvino,precision=int8")
CALIBRATION = 256


def supernet(folder: Path) -> nw.SuperNet:
    """ResNet-20 with its published weights."""
    net = nw.families.cifar_resnet(20, depths=(2, 3), shares=(0.75,))
    net.module.load_state_dict(trained(folder, 20).state_dict())
    net.module.eval()
    return net.with_axes([*net.axes, *nw.Bits.of(net, by="block")])


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
    net, rng = supernet(folder), np.random.default_rng(0)
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


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--candidates", type=int, default=20)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--targets", nargs="+", default=list(TARGETS))
    given = parser.parse_args()
    nearness(given.data, given.candidates, given.images, given.targets)


if __name__ == "__main__":
    main()
