"""One network in the precisions of each runtime that is installed: speed, and how far its outputs are from PyTorch's.

    python benchmarks/precisions.py [--networks mobilenet,encoder] [--targets onnxruntime,openvino,...]

Weights are random: that tells the speed, and nothing of what quantisation does to accuracy.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from netwright.core.errors import NetwrightError, format_error
from netwright.measure.base import EvaluationContext
from netwright.measure.latency import Latency
from netwright.measure.runtimes import RUNTIMES, runtime_class
from netwright.measure.targets import parse_target
from netwright.nets.families.ofa_mobilenet import ofa_mobilenet_v3
from netwright.nets.recalibrate import recalibrate
from netwright.nets.supernet import SuperNet


def mobilenet() -> tuple[nn.Module, torch.Tensor]:
    """MobileNetV3 of once-for-all, depth 3, expansion 4, kernel 5, at 224 pixels."""
    net = ofa_mobilenet_v3()
    middle = net.space.build(lambda c: c.options[1])
    network = recalibrate(net.extract(middle), [torch.randn(16, 3, 224, 224)])
    return network.eval(), torch.randn(1, 3, 224, 224)


def encoder() -> tuple[nn.Module, torch.Tensor]:
    """Four layers, 256 wide, 128 tokens."""
    layer = nn.TransformerEncoderLayer(256, 4, 1024, batch_first=True)
    return nn.TransformerEncoder(layer, 4, enable_nested_tensor=False).eval(), torch.randn(1, 128, 256)


NETWORKS: dict[str, Callable[[], tuple[nn.Module, torch.Tensor]]] = {"mobilenet": mobilenet, "encoder": encoder}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", default=",".join(NETWORKS))
    parser.add_argument(
        "--targets", default=",".join([*RUNTIMES.names(), "torch+compile=aot"]), help="+ before a setting"
    )
    given = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    for name in given.networks.split(","):
        network, inputs = NETWORKS[name]()
        macs = SuperNet(network, [], inputs).count(SuperNet(network, [], inputs).largest).macs
        print(f"{name}: {macs / 1e6:.0f} M MACs")
        print(f"{'target':22}{'precision':>10}{'ms':>9}{'±':>7}{'speed-up':>10}{'off by':>9}")
        for text in given.targets.split(","):
            whole = None
            target = text.replace("+", ",")
            for precision in runtime_class(target.split(",")[0]).precisions:
                whole = row(target, precision, network, inputs, whole)


def row(target: str, precision: str, network: nn.Module, inputs: torch.Tensor, whole: float | None) -> float | None:
    """Measure and print one; returns the latency in the runtime's first precision."""
    try:
        latency = Latency(parse_target(f"{target},precision={precision}"))
        _ = latency.target
        found = latency.measure(EvaluationContext(_One(network, inputs), None, ()))["latency"]  # type: ignore[arg-type]
    except NetwrightError as error:
        print(f"{target:22}{precision:>10}  {format_error(error)[:150]}", flush=True)
        return whole
    times = f"{whole / found.value:.2f}x" if whole else ""
    width, off = found.ci95 / found.value, found.details.get("difference", float("nan"))
    print(f"{target:22}{precision:>10}{found.value:9.3f}{width:7.1%}{times:>10}{off:9.1e}", flush=True)
    return whole or found.value


class _One:
    """A super-network of one network."""

    space: Any = None

    def __init__(self, network: nn.Module, inputs: torch.Tensor) -> None:
        self._network, self.example_inputs = network, inputs

    def extract(self, candidate: Any) -> nn.Module:
        return self._network


if __name__ == "__main__":
    main()
