"""The space that pays on a target beside the whole one: what equal numbers of evaluations find in either.

ResNet-20 with its published weights on CIFAR-10, channels sorted by magnitude, depths of stages, widths within blocks
in steps of a sixteenth, in float32. ``netwright space`` measures which of these pay on the target; then the same
strategy searches either space with as many evaluations, by the accuracy on test images without fine-tuning and the sum
of the times of a network's blocks, which are measured anew for that, apart from those that the space was chosen by.
What is compared is the hypervolume above half of the images and below the time of the whole network, in % of that box.

    python benchmarks/device_space.py --data ../shared/data --seeds 0 1 2    # some ten minutes
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import moocore
import numpy as np
import torch
from cifar10 import first_of, trained

import netwright as nw
from netwright.core.metric import Measurement
from netwright.core.record import Record
from netwright.measure.base import EvaluationContext, Measurer
from netwright.measure.latency import LATENCY, Latency
from netwright.measure.lookup import LookupTable
from netwright.measure.sampling import SamplingPlan
from netwright.pipeline.space import find_space
from netwright.pipeline.space_page import sentences
from netwright.study.stores.memory import MemoryStore

SHARES = tuple(i / 16 for i in range(4, 16))
CALIBRATION = 256


def supernet(folder: Path | None = None) -> nw.SuperNet:
    """ResNet-20 with fine steps of widths; its weights too where the data are named."""
    net = nw.families.cifar_resnet(20, round_to=2, depths=(2, 3), shares=SHARES)
    if folder is not None:
        net.module.load_state_dict(trained(folder, 20).state_dict())
        nw.sort_channels(net)
    net.module.eval()
    return net


class BlockTimes(Measurer):
    """The sum of the times of a network's blocks.

    Args:
        target: where they are measured.
    """

    metrics = (LATENCY,)

    def __init__(self, target: str) -> None:
        self._table = LookupTable(Latency(target, SamplingPlan(max_seconds=0.3)))

    def measure(self, context: EvaluationContext) -> Mapping[str, Measurement]:
        """That of a candidate."""
        found = self._table.sums(context.module, context.example_inputs)
        return {LATENCY.name: Measurement(found.value, LATENCY.unit, found.spread)}


def hypervolume(records: Sequence[Record], slowest: float) -> float:
    """The share of the box, in percent."""
    points = np.array([[(100 - r.values["accuracy"]) / 50, r.values["latency"] / slowest] for r in records])
    return 100 * float(moocore.hypervolume(points, ref=[1.0, 1.0]))


def main() -> None:
    """Find the space, and search both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--target", default="onnxruntime")
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--evaluations", type=int, default=40)
    parser.add_argument("--strategy", default="guided")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    given = parser.parse_args()
    torch.set_num_threads(1)
    recipe = {
        "model": "device_space:supernet", "objectives": ["latency", "macs"], "target": given.target,
        "bits": {"options": ["float32"]},  # sizes alone
    }  # fmt: skip
    begun = time.process_time(), os.times().children_user
    with TemporaryDirectory() as folder:
        found = find_space(recipe, folder, seconds=1200)
    spent = time.process_time() - begun[0] + os.times().children_user - begun[1]
    print(f"{given.target}: {spent:.0f} CPU s")
    for sentence in sentences(found):
        print(f"* {sentence}")
    kept = {name: options for name, options in found.recipe.choices.items() if not name.endswith(".bits")}
    for name, options in kept.items():
        print(f"  {name}: {options}")
    images = first_of(given.data, "test", given.images)
    calibration = first_of(given.data, "train", CALIBRATION)
    times = BlockTimes(given.target)
    print(f"{'seed':6}{'whole space':>14}{'that pays':>14}   hypervolume, % of the box")
    for seed in given.seeds:
        volumes = []
        for choices in ({}, kept):
            net = supernet(given.data)
            net.keep_options(choices)
            study = nw.Study(
                MemoryStore(), net, objectives=[nw.Accuracy(nw.TensorLoader(images, 250)), times], seed=seed,
                calibration=[(calibration.inputs, calibration.targets)],
            )  # fmt: skip
            records = study.run(given.strategy, given.evaluations)
            whole = EvaluationContext(net, net.largest, ())
            volumes.append(hypervolume(records, times.measure(whole)["latency"].value))
        print(f"{seed:<6}" + "".join(f"{each:14.2f}" for each in volumes), flush=True)


if __name__ == "__main__":
    main()
