"""What wrap finds in each model of the zoo, how long that takes, and how well its sub-networks hold.

Per model: axes by kind, candidates, the range of the multiply-accumulates, seconds of wrapping, the largest difference
between active and extracted sub-networks, that of an ONNX file of the smallest, and the layers that stay rigid.
Models of torchvision, timm and transformers come with ``--packages``; names choose models of either kind.

    python benchmarks/zoo.py --packages
"""

from __future__ import annotations

import argparse
import importlib
import logging
import sys
import time
import warnings
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import netwright as nw
from netwright.core.errors import NetwrightError, format_error
from netwright.core.space import about
from netwright.core.units import format_value
from netwright.nets.inputs import Inputs, call, tensors_in

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))


def main() -> None:
    """Print a line per model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", help="names; all hand-written ones by default")
    parser.add_argument("--packages", action="store_true", help="those of torchvision, timm and transformers too")
    parser.add_argument("--onnx", action="store_true", help="write and compare ONNX files, which takes longer")
    parser.add_argument("--rigid", action="store_true", help="say which layers stay rigid, and why")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    zoo = importlib.import_module("zoo.models")
    cases = {**zoo.PLAIN, **(zoo.PACKAGES if arguments.packages or arguments.models else {})}
    print(
        f"{'model':<20}{'axes':<34}{'candidates':>16}  {'MACs':<20}{'wrap s':>7}{'parity':>9}{'ONNX':>9}{'rigid':>7}"
        f"{'missing':>9}"
    )
    for name in arguments.models or cases:
        try:
            print(line(cases[name], arguments.onnx, arguments.rigid), flush=True)
        except (NetwrightError, ImportError) as error:
            print(f"{name:<20}{type(error).__name__}: {format_error(error)}", flush=True)


def line(case: Any, onnx: bool, rigid: bool) -> str:
    """What is found in one model; ``missing`` counts what its case asks for and wrap does not find."""
    module, inputs = case.build()
    begin = time.perf_counter()
    net = nw.wrap(module, inputs, **case.options)
    seconds = time.perf_counter() - begin
    kinds = Counter(type(axis).__name__ for axis in net.axes)
    found = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items())) or "none"
    report = net.report
    macs = f"{format_value(report.smallest.macs, '')} to {format_value(report.largest.macs, '')}"
    text = (
        f"{case.name:<20}{found:<34}{about(net.space.size):>16}  {macs:<20}{seconds:>7.1f}{parity(net, inputs):>9.1e}"
        f"{onnx_parity(net, case) if onnx else '-':>9}{len(report.rigid):>7}{len(case.missing(net)):>9}"
    )
    reasons: dict[str, list[str]] = {}
    for path, reason in report.rigid.items() if rigid else ():
        reasons.setdefault(reason, []).append(path)
    return "\n".join([text, *(f"    {', '.join(paths)}: {reason}" for reason, paths in reasons.items())])


def parity(net: nw.SuperNet, inputs: Inputs) -> float:
    """The largest difference of active and extracted, relative to the output: smallest, largest, three at random."""
    rng = np.random.default_rng(0)
    worst = 0.0
    net.module.eval()
    for candidate in (net.smallest, net.largest, *(net.space.sample(rng) for _ in range(3))):
        extracted = outputs(net.extract(candidate).eval(), inputs)
        with net.active(candidate) as active:
            for a, b in zip(outputs(active, inputs), extracted, strict=True):
                worst = max(worst, float((a - b).abs().max() / b.abs().max().clamp_min(1e-12)))
    return worst


def outputs(network: nn.Module, inputs: Inputs) -> list[Tensor]:
    """The floating-point outputs."""
    with torch.no_grad():
        return [t.float() for t in tensors_in(call(network, inputs)) if t.is_floating_point()]


def onnx_parity(net: nw.SuperNet, case: Any) -> str:
    """The difference of an ONNX file of the smallest sub-network."""
    if case.onnx:
        return "no"
    with TemporaryDirectory() as folder:
        try:
            written = nw.export(net.extract(net.smallest), folder, ["onnx"], check_inputs=net.example_inputs)
        except NetwrightError:
            return "failed"
        return f"{written.differences['onnx']:.1e}"


if __name__ == "__main__":
    main()
