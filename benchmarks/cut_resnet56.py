"""A trained ResNet-56 cut to about half its MACs without training: by importance, and at random.

Needs the folders ``cifar10`` and ``weights_cifar10_resnet`` of the shared data (``--data``). Accuracies are those of
the first images of the test set (``--images``), after the normalisation statistics were recomputed from 1,024 training
images.

    python benchmarks/cut_resnet56.py --data ../shared/data
"""

from __future__ import annotations

import argparse
import statistics
import sys
from pathlib import Path

import numpy as np
import torch

import netwright as nw
from netwright.nets.families.cifar_resnet import cifar_resnet
from netwright.nets.importance import permute
from netwright.nets.state import load_state, read_tensors

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--random", type=int, default=20, help="random cuts")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    sys.path.insert(0, str(arguments.data))
    from images import load  # type: ignore[import-not-found]

    def part(split: str, count: int) -> nw.Part:
        images, labels = load("cifar10", split)
        inputs = (torch.from_numpy(images[:count]).permute(0, 3, 1, 2) / 255 - tensor(MEAN)) / tensor(DEVIATION)
        return nw.Part(inputs.contiguous(), torch.from_numpy(labels[:count]).long())

    calibration = nw.Batches(part("train", 1024), 256)
    accuracy = nw.Accuracy(nw.Batches(part("test", arguments.images), 250))
    path = arguments.data / "weights_cifar10_resnet" / "resnet56.safetensors"

    net = cifar_resnet(56)
    load_state(net.module, read_tensors(path)[0], path)
    net.module.eval()
    whole = net.count(net.largest).macs
    print(f"whole: {accuracy.of(net.extract(net.largest)).value:.2f} %, {whole / 1e6:.1f} M MACs")
    half = net.space.build(
        lambda c: c.options[-1] if c.name.endswith("depth") else c.options[len(c.options) // 2 - (len(c.options) == 4)]
    )
    share = net.count(half).macs / whole

    def judged() -> float:
        return accuracy.of(nw.recalibrate(net.extract(half), calibration)).value

    print(f"cut to {share:.0%} of the MACs, inner widths halved, recalibrated, not trained:")
    print(f"  as the channels lie: {judged():.2f} %")
    generator = torch.Generator().manual_seed(0)
    found = []
    for _ in range(arguments.random):
        for axis in net.axes:
            if isinstance(axis, nw.Width):
                permute(net.anatomy, axis, torch.randperm(axis.channels, generator=generator))
        found.append(judged())
    low, high = np.percentile(found, [25, 75]) if found else (0, 0)
    print(f"  {len(found)} random orders: median {statistics.median(found):.2f} %, quartiles {low:.2f} to {high:.2f} %")
    for by in ("l1", "l2"):
        nw.sort_channels(net, by)
        print(f"  by importance ({by}): {judged():.2f} %")


def tensor(values: tuple[float, ...]) -> torch.Tensor:
    """Per-channel values, to be broadcast over images."""
    return torch.tensor(values).reshape(1, 3, 1, 1)


if __name__ == "__main__":
    main()
