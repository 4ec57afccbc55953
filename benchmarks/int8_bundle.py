"""8-bit bundles: ResNet-56 with real weights on CIFAR-10, and the digits recipe, for ``onnxruntime,precision=int8``.

First the four forms of 8-bit products of ResNet-56 on this machine: latency, RMS error and agreement with float32
(PyTorch's), accuracy; and the same with the ranges of noise. Then two bundles by the ordinary job. Of each network that
is handed back, the manifest's accuracy must be what ONNX Runtime alone finds with the file, to the example; that of the
most accurate must be within half a point of float32's. Needs ``cifar10`` and ``weights_cifar10_resnet`` of the shared
data, and three minutes of a quiet core.

    python benchmarks/int8_bundle.py --data ../shared/data
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnxruntime
import torch
from torch import nn

import netwright as nw
from netwright.core.precision import FORMS
from netwright.formats.safetensors import load_weights
from netwright.measure.latency import Latency
from netwright.measure.runtimes.onnxruntime import OnnxRuntime
from netwright.measure.sampling import SamplingPlan
from netwright.measure.target_quality import FileOnTarget
from netwright.nets.families.cifar_resnet import CifarResNet
from netwright.pipeline.fit import fit

TARGET = "onnxruntime,precision=int8"
DATA = "NETWRIGHT_SHARED_DATA"
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
EXAMPLE = torch.zeros(1, 3, 32, 32)
RECIPE = """\
model: int8_bundle:resnet56
data: int8_bundle:cifar
objectives: [accuracy, latency]
evaluations: 2
train: {epochs: 0}
search: {calibration: 512}
export: {epochs: 0, formats: [onnx]}
latency: {max_seconds: 0.5}
"""


def network() -> nn.Module:
    """ResNet-56 with its published weights."""
    module = CifarResNet(9)
    load_weights(module, Path(os.environ[DATA]) / "weights_cifar10_resnet" / "resnet56.safetensors")
    return module.eval()


def resnet56() -> nw.SuperNet:
    """Two candidates: the network as it is, and one with a thinner last block."""
    return nw.SuperNet(network(), [nw.wrap(network(), EXAMPLE, axes=["width"], only=["layer3.8*"]).axes[0]], EXAMPLE)


def cifar() -> nw.Data:
    """2,000 images to calibrate with, 500 to choose by, and 3,000 of the test set."""
    sys.path.insert(0, os.environ[DATA])
    images: Callable[[str, str], Any] = importlib.import_module("images").load
    mean, deviation = (torch.tensor(values).reshape(1, 3, 1, 1) for values in (MEAN, DEVIATION))

    def part(split: str, begin: int, end: int) -> nw.Split:
        pixels, labels = images("cifar10", split)
        inputs = (torch.from_numpy(pixels[begin:end]).permute(0, 3, 1, 2) / 255 - mean) / deviation
        return nw.Split(inputs.contiguous(), torch.from_numpy(labels[begin:end]).long())

    return nw.Data(part("train", 0, 2000), part("test", 9500, 10000), part("test", 0, 3000))


def forms(data: nw.Data, folder: Path) -> None:
    """Print the table of forms."""
    module, plan = network(), SamplingPlan(max_seconds=0.5)
    images, labels = data.test.inputs[:1500], data.test.targets[:1500]
    with torch.no_grad():
        whole = torch.cat([module(part) for part in images.split(128)])
    calibration = [(part, None) for part in data.train.inputs[:256].split(64)]
    rows: list[tuple[str, Latency, Any]] = [("float32", Latency(OnnxRuntime(), plan), None)]
    for form in FORMS:
        rows.append((form, Latency(OnnxRuntime(precision="int8", form=form), plan), calibration))
    rows.append(("u8u8, ranges of noise", Latency(OnnxRuntime(precision="int8", form="u8u8"), plan), None))
    print(f"{'form':24}{'ms':>8}{'RMS error':>11}{'agreement':>11}{'accuracy':>10}")
    for name, latency, real in rows:
        path = folder / "network.onnx"
        latency.write(module, EXAMPLE, path, real)
        scores = FileOnTarget(latency, path, module, EXAMPLE)(images)
        error = float((scores - whole).square().mean().sqrt() / whole.square().mean().sqrt())
        agree = float((scores.argmax(1) == whole.argmax(1)).float().mean())
        right = float((scores.argmax(1) == labels).float().mean())
        found = latency.of(path, data.test.inputs[:1])["latency"]
        warning = f"  {found.details['warning']}" if "VNNI" in found.details.get("warning", "") else ""
        print(f"{name:24}{found.value:8.2f}{error:11.1%}{agree:11.1%}{right:10.1%}{warning}", flush=True)


def bundle(recipe: str, flags: dict[str, Any], out: Path) -> None:
    """Do the job, and judge what is handed back by ONNX Runtime alone."""
    fit(recipe, out, overrides={"target": TARGET, **flags})
    latency = nw.Latency(TARGET)
    print(f"  {latency.target['suited']['why']}")
    with np.load(out / "test.npz") as held:
        images, labels = held["inputs"], held["labels"]
    for path in sorted(out.glob("networks/*/manifest.json")):
        about = json.loads(path.read_text())
        told = {name: about["test"][name]["value"] for name in ("accuracy", "accuracy_float32")}
        for name, file in zip(told, (latency.file_name, "model.onnx"), strict=True):
            session = onnxruntime.InferenceSession(str(path.with_name(file)), providers=["CPUExecutionProvider"])
            parts = np.split(images, range(100, len(images), 100))
            scores = np.concatenate([session.run(None, {session.get_inputs()[0].name: part})[0] for part in parts])
            right = int((scores.argmax(1) == labels).sum())
            assert told[name] == 100 * (right / len(labels)), f"{path}: {name} is {told[name]}, the file has {right}"
        apart = abs(told["accuracy"] - told["accuracy_float32"])
        assert apart <= 0.5 or "most accurate" not in about["role"], f"{path}: more than half a point: {told}"
        print(
            f"  {about['role']}: {told['accuracy']:.2f} % by the manifest and by ONNX Runtime ({len(labels)} images); "
            f"float32 {told['accuracy_float32']:.2f} %; {about['test']['latency']['value']:.3g} ms; "
            f"{about['files'][latency.file_name]['bytes'] / 1000:.0f} kB for "
            f"{about['files']['model.onnx']['bytes'] / 1000:.0f}",
            flush=True,
        )


def main() -> None:
    """Print the table and the bundles."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    os.environ[DATA] = str(parser.parse_args().data.resolve())
    torch.set_num_threads(1)
    with TemporaryDirectory() as place:
        folder = Path(place)
        forms(cifar(), folder)
        (folder / "resnet56.yaml").write_text(RECIPE)
        print("ResNet-56")
        bundle(str(folder / "resnet56.yaml"), {}, folder / "resnet56")
        print("digits")
        flags = {"train.epochs": 12, "evaluations": 12, "export.epochs": 2, "export.formats": ["onnx"]}
        bundle("digits", flags, folder / "digits")


if __name__ == "__main__":
    main()
