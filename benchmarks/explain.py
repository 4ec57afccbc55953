"""Why 8 bits pay or not: networks in float32 and in 8 bits on each target, and what ``netwright explain`` says of them.

A network of depthwise convolutions, whose 8-bit file is no faster than float32 on ONNX Runtime, and ResNet-20 with its
published weights, with the ranges of 256 real images and with those of noise, which are wrong. The operators that are
responsible, and the layer that makes the error, must be named. About a minute.

    python benchmarks/explain.py --data ../shared/data
    python benchmarks/explain.py --data ../shared/data --sensitivity 56    # bits assigned without data; two minutes
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
import torch
from cifar10 import first_of, trained
from torch import nn
from torch.nn.functional import cross_entropy

import netwright as nw
from netwright.measure.explain import Explanation
from netwright.measure.explain.explanation import kinds_of
from netwright.nets.sensitivity import Sensitivity

TARGETS = ("onnxruntime", "openvino")
OPTIONS = ("uniform,weights=2,activations=8", "uniform,weights=4,activations=8", "int8", "float32")


class Case(NamedTuple):
    """A network, what its ranges are of (None: noise), and real inputs."""

    name: str
    network: nn.Module
    calibration: torch.Tensor | None
    inputs: torch.Tensor


def depthwise() -> nn.Module:
    """Seven depthwise convolutions of 5x5, each with one of 1x1 behind it."""
    torch.manual_seed(0)
    layers: list[nn.Module] = [nn.Conv2d(3, 16, 3, 2, 1), nn.ReLU()]
    for into, out, stride in ((16, 32, 1), (32, 48, 2), *[(48, 48, 1)] * 2, (48, 96, 2), *[(96, 96, 1)] * 2):
        layers += [nn.Conv2d(into, into, 5, stride, 2, groups=into), nn.ReLU(), nn.Conv2d(into, out, 1), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(96, 10)).eval()


def cases(folder: Path) -> list[Case]:
    images, real = first_of(folder, "train", 256).inputs, first_of(folder, "test", 32).inputs
    large = nn.functional.interpolate(images[:64], size=96)
    resnet = trained(folder, 20)
    return [
        Case("depthwise", depthwise(), large, large[:16]),
        Case("ResNet-20", resnet, images, real),
        Case("ResNet-20, ranges of noise", resnet, None, real),
    ]


def explained(case: Case, target: str, folder: Path) -> Explanation:
    """A network's two files on a target, explained."""
    files = {}
    for precision in ("float32", "int8"):
        latency = nw.Latency(f"{target},precision={precision}")
        files[precision] = folder / f"{precision}{latency.runtime.suffix}"
        calibration = None if case.calibration is None else [case.calibration]
        latency.write(case.network, case.inputs[:1], files[precision], calibration)
    inputs = {"input": case.inputs.numpy()}
    return nw.explain(files["int8"], f"{target},precision=int8", files["float32"], inputs)


def show(name: str, found: Explanation) -> None:
    """Print the times by kind of layer, and the sentences."""
    print(
        f"\n{name}: {found.latency.value:.3f} ms, float32 {found.float_latency.value:.3f} ms, SQNR {found.sqnr:.1f} dB"
    )
    print(f"  {'kind of layer':26}{'layers':>7}{'float32 ms':>12}{'int8 ms':>9}{'of it conv.':>13}{'slower':>8}")
    for kind in kinds_of(found.layers):
        more = sum(each.conversions_ms for each in kind.layers)
        slower = f"{kind.ms / kind.float_ms:7.2f}x" if kind.float_ms else f"{'-':>8}"
        print(f"  {kind.name:26}{len(kind.layers):7}{kind.float_ms:12.3f}{kind.ms:9.3f}{more:13.3f}{slower}")
    print("".join(f"  * {sentence}\n" for sentence in found.sentences), end="", flush=True)


def criteria(data: nw.Split, distilled: torch.Tensor) -> dict[str, Sensitivity]:
    """Criteria of sensitivity: without data, and with."""
    batches = [(data.inputs[:64], data.targets[:64])]
    return {
        "divergence, distilled inputs": nw.sensitivity.OutputError([distilled], "kl"),
        "Fisher, distilled inputs": nw.sensitivity.Fisher([distilled]),
        "Hessian, 64 images": nw.sensitivity.Hessian(batches, lambda o, batch: cross_entropy(o, batch[1]), draws=4),
    }


def assigned(folder: Path, layers: int, shares: Sequence[float], images: int) -> None:
    """Print the accuracy of bits that are assigned within bytes, beside random ones within the same."""
    net = nw.SuperNet(trained(folder, layers), (), torch.zeros(1, 3, 32, 32))
    net = net.with_axes(nw.Bits.of(net, OPTIONS))
    test, train = first_of(folder, "test", images), first_of(folder, "train", 256)

    def accuracy(candidate: nw.Candidate) -> float:
        network = nw.recalibrate(net.extract(candidate), [(train.inputs, train.targets)])
        with torch.no_grad():
            scores = torch.cat([network(part) for part in test.inputs.split(250)])
        return 100 * float((scores.argmax(1) == test.targets).float().mean())

    begin = time.perf_counter()
    distilled = nw.distil_inputs(net.module, net.example_inputs, 16, 30)
    assert isinstance(distilled, torch.Tensor)
    print(f"\nResNet-{layers}, {images} test images: inputs distilled in {time.perf_counter() - begin:.1f} s")
    whole = net.count(net.largest).weight_bytes
    print(f"  {'bits':34}{'seconds':>8}{'kB':>8}{'accuracy':>10}")
    print(f"  {'float32':34}{'':8}{whole / 1e3:8.0f}{accuracy(net.largest):10.1f}")
    rng = np.random.default_rng(0)
    for share in shares:
        for name, criterion in criteria(train, distilled).items():
            begin = time.perf_counter()
            found = nw.assign_bits(net, criterion.scores(net), share * whole)
            took, size = time.perf_counter() - begin, net.count(found).weight_bytes
            print(f"  {name:34}{took:8.1f}{size / 1e3:8.0f}{accuracy(found):10.1f}", flush=True)
        rows = []
        for _ in range(3):
            scores = {a.name: {o: float(rng.random()) for o in a.options} for a in net.axes}
            drawn = nw.assign_bits(net, nw.sensitivity.Scores(scores), share * whole)
            rows.append((net.count(drawn).weight_bytes / 1e3, accuracy(drawn)))
        print(
            f"  {'random scores, mean of 3':34}{'':8}{np.mean(rows, 0)[0]:8.0f}{np.mean(rows, 0)[1]:10.1f}", flush=True
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder of the shared data")
    parser.add_argument("--targets", nargs="*", default=TARGETS, help="runtimes (default: %(default)s)")
    parser.add_argument("--sensitivity", type=int, default=0, metavar="LAYERS", help="assign the bits of a ResNet")
    parser.add_argument("--shares", type=float, nargs="*", default=[0.11], help="of the bytes of float32")
    parser.add_argument("--images", type=int, default=1000, help="test images of that (default: %(default)s)")
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.sensitivity:
        assigned(given.data, given.sensitivity, given.shares, given.images)
        return
    for case in cases(given.data):
        for target in given.targets:
            with TemporaryDirectory() as folder:
                show(f"{case.name} on {target}", explained(case, target, Path(folder)))


if __name__ == "__main__":
    main()
