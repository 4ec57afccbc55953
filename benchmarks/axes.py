"""What each kind of axis saves, and what that is worth where it runs.

Of each network, the axes of one kind alone are cut, all by about the same share, until the multiply-accumulates come
nearest to a share of the whole network's. The file of that sub-network and the whole network's are then run in turn on
each target, in one process, and in four processes (:func:`netwright.measure.comparison.compare`): a ratio of latencies
that does not depend on what else the machine does, as far as that is possible. An axis pays where the latency falls as
the multiply-accumulates do. Weights do not matter here, and are random.

    python benchmarks/axes.py [--share 0.7] [--targets onnxruntime,openvino] [--only bert] [--seconds 4]
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from torchvision_stub import stub

import netwright as nw
from netwright.core.candidate import Candidate
from netwright.core.errors import NetwrightError
from netwright.measure.comparison import compare
from netwright.measure.convert import feeds_of
from netwright.measure.latency import Latency
from netwright.measure.sampling import SamplingPlan
from netwright.measure.targets import parse_target
from netwright.nets.families.bert import bert
from netwright.nets.families.ofa_mobilenet import ofa_mobilenet_v3
from netwright.nets.families.ofa_resnet import ofa_resnet50
from netwright.nets.supernet import SuperNet

LEVELS = 101
"""Cuts of one kind that are counted at most, from the whole network to the least of it."""


FEW = 0.9
"""Kinds that save less are left out."""


def mobilenet() -> SuperNet:
    """Once-for-all's MobileNetV3 at 224 pixels."""
    return ofa_mobilenet_v3(resolutions=(128, 144, 160, 176, 192, 208, 224))


def resnet() -> SuperNet:
    """Once-for-all's ResNet-50 at 224 pixels."""
    return ofa_resnet50(resolutions=(128, 144, 160, 176, 192, 208, 224))


def minilm() -> SuperNet:
    """A BERT of MiniLM's sizes (6 layers of 384, 12 heads, FFN of 1536), 128 tokens, and widths of its stream."""
    return bert(_minilm(), length=128)


def _minilm() -> torch.nn.Module:
    stub()
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig(hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536)
    return BertForSequenceClassification(config).eval()


def wrapped_minilm() -> SuperNet:
    """The same, with what ``wrap`` finds: the widths of the stream and of what is between queries and keys, too."""
    ids = torch.randint(0, 1000, (1, 128))
    return nw.wrap(_minilm(), {"input_ids": ids, "attention_mask": torch.ones_like(ids)})


NETWORKS: dict[str, Callable[[], SuperNet]] = {
    "mobilenetv3": mobilenet,
    "resnet50": resnet,
    "bert": minilm,
    "bert-wrapped": wrapped_minilm,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--share", type=float, default=0.7, help="of the multiply-accumulates (default: %(default)s)")
    parser.add_argument("--targets", default="onnxruntime,openvino", help="with commas (default: %(default)s)")
    parser.add_argument("--only", choices=NETWORKS, action="append", help="these networks; by default all")
    parser.add_argument("--seconds", type=float, default=4.0, help="for each comparison (default: %(default)s)")
    given = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    targets = [f"{name},threads=1" for name in given.targets.split(",")]
    print(f"{'network':14}{'axes':30}{'MACs':>7}{'weights':>9}" + "".join(f"{t:>34}" for t in targets))
    for name in given.only or NETWORKS:
        net = NETWORKS[name]()
        whole = net.count(net.largest)
        for kind, candidate in cuts(net, given.share):
            counts = net.count(candidate)
            if counts.macs > FEW * whole.macs:
                continue
            line = f"{name:14}{kind:30}{counts.macs / whole.macs:7.0%}{counts.weight_bytes / whole.weight_bytes:9.0%}"
            for target in targets:
                try:
                    found = ratio(net, candidate, target, given.seconds)
                except NetwrightError as error:
                    found = str(error)[:32]
                line += f"{found:>34}"
            print(line, flush=True)


def cuts(net: SuperNet, share: float) -> Iterator[tuple[str, Candidate]]:
    """For every kind of axis, the cut by it alone that comes nearest to a share of the MACs."""
    whole = net.count(net.largest)
    kinds = sorted({kind_of(axis) for axis in net.axes})
    for kind in kinds:
        own = [axis for axis in net.axes if kind_of(axis) == kind]

        def at(steps: int, own: list[nw.Axis] = own) -> Candidate:
            options = dict(net.largest)
            for i, axis in enumerate(own):  # all go down a step before one goes down two
                down = min(steps // len(own) + (i < steps % len(own)), len(axis.options) - 1)
                options[axis.name] = axis.options[-1 - down]
            return net.space.candidate(options)

        most = len(own) * max(len(axis.options) - 1 for axis in own)
        candidates = {at(steps) for steps in np.linspace(0, most, LEVELS).astype(int)} - {net.largest}
        if candidates:
            yield kind, min(candidates, key=lambda c: (abs(net.count(c).macs / whole.macs - share), c.key))


def kind_of(axis: nw.Axis) -> str:
    """What the axis is named for: ``stage1.block0.kernel`` and ``stage4.block3.kernel`` are kernels."""
    parts = axis.name.split(".")
    numbered = [i for i, part in enumerate(parts) if any(map(str.isdigit, part))]
    return ".".join(parts[numbered[-1] + 1 :] if numbered else parts[-2:])


def ratio(net: SuperNet, candidate: Candidate, target: str, seconds: float) -> str:
    """The candidate's latency as a share of the whole network's, with its 95 % interval."""
    latency = Latency(target, SamplingPlan(max_seconds=seconds))
    files, feeds = [], []
    with tempfile.TemporaryDirectory() as folder:
        for i, each in enumerate((net.largest, candidate)):
            network = net.extract(each).eval()
            path = Path(folder) / f"{i}{latency.runtime.suffix}"
            latency.write(network, net.example_inputs, path)
            files.append(path)
            feeds.append(feeds_of(net.example_inputs))
        found = compare(parse_target(target), files, feeds, latency.plan)
    return f"{found.ratio:.0%} ({found.low:.0%} to {found.high:.0%})"


if __name__ == "__main__":
    main()
