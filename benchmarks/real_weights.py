"""Published weights through our own loading: what the largest sub-network scores beside what is on record.

For CIFAR-10 the whole test set, in percent; for ImageNet 1,000 images, top-1 and top-5, and for how many images the
top-1 class is the one on record (``predictions_imagenet_sample.csv``). Weights that are not in the folder are said to
be absent. Needs the folders ``cifar10``, ``imagenet_sample`` and ``weights_*`` of the shared data, and Pillow.

    python benchmarks/real_weights.py --data ../shared/data
"""

from __future__ import annotations

import argparse
import csv
import io
import sys
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

import netwright as nw
from netwright.formats.safetensors import load_weights
from netwright.nets.families.cifar_resnet import cifar_resnet
from netwright.nets.families.mobilenet import mobilenet_v1, mobilenet_v2
from netwright.nets.families.resnet8 import resnet8
from netwright.nets.families.tinynas import from_json

CIFAR, MOBILE, TINY = "weights_cifar10_resnet", "weights_imagenet_mobilenet", "weights_imagenet_tinynas"
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Published:
    """One file of weights.

    Args:
        folder, name: of the file, in the shared data.
        build: the super-network whose largest sub-network it belongs to, given the data's folder.
        image: side in pixels.
        scale: what the network expects of pixels of 0 to 255.
        stored: accuracies on record: top-1, and top-5 where there is one.
    """

    folder: str
    name: str
    build: Callable[[Path], nw.SuperNet]
    image: int
    scale: Callable[[Tensor], Tensor]
    stored: tuple[float, ...]

    def path(self, data: Path) -> Path:
        """The file."""
        return data / self.folder / f"{self.name}.safetensors"

    def network(self, data: Path) -> torch.nn.Module:
        """The largest sub-network of a super-network that holds the weights."""
        net = self.build(data)
        load_weights(net.module, self.path(data))
        return net.extract(net.largest).eval()

    def inputs(self, data: Path, images: slice) -> tuple[Tensor, Tensor]:
        """What the network is given, and the labels."""
        if self.folder == CIFAR:
            pixels, labels = cifar(data)
        else:
            pixels, labels = imagenet(data)
        pixels = pixels[images].permute(0, 3, 1, 2).float()
        if self.folder != CIFAR:
            pixels = resized(pixels, self.image)
        return self.scale(pixels), labels[images]

    def golden(self, data: Path, images: slice) -> Tensor | None:
        """The classes on record, where there are any."""
        path = data / self.folder / "predictions_imagenet_sample.csv"
        if not path.exists():
            return None
        with path.open() as file:
            return torch.tensor([int(row[self.name]) for row in csv.DictReader(file)])[images]


def standard(pixels: Tensor) -> Tensor:
    """Scaled by the mean and the deviation of ImageNet."""
    return (pixels / 255 - torch.tensor(MEAN).reshape(3, 1, 1)) / torch.tensor(DEVIATION).reshape(3, 1, 1)


def symmetric(pixels: Tensor) -> Tensor:
    """From -1 to 1."""
    return pixels / 127.5 - 1


def raw(pixels: Tensor) -> Tensor:
    """As they are."""
    return pixels


def described(data: Path, name: str) -> nw.SuperNet:
    """The super-network of a JSON file."""
    return from_json(data / TINY / f"{name}.json")


PUBLISHED = (
    Published(CIFAR, "mlperf_tiny_resnet8", lambda _: resnet8(), 32, raw, (87.19,)),
    Published(CIFAR, "resnet20", lambda _: cifar_resnet(20), 32, standard, (91.73,)),
    Published(CIFAR, "resnet32", lambda _: cifar_resnet(32), 32, standard, (92.63,)),
    Published(CIFAR, "resnet44", lambda _: cifar_resnet(44), 32, standard, (93.10,)),
    Published(CIFAR, "resnet56", lambda _: cifar_resnet(56), 32, standard, (93.39,)),
    Published(MOBILE, "mobilenet_v1_0.25_128_qat", lambda _: mobilenet_v1(0.25, 128, norm=False), 128, symmetric,
              (44.6, 71.1)),
    Published(MOBILE, "mobilenet_v1_0.5_160_qat", lambda _: mobilenet_v1(0.5, 160, norm=False), 160, symmetric,
              (65.7, 87.1)),
    Published(MOBILE, "mobilenet_v1_0.75_224", lambda _: mobilenet_v1(0.75), 224, symmetric, (84.1, 95.9)),
    Published(MOBILE, "mobilenet_v2_1.0_224_ptq", lambda _: mobilenet_v2(norm=False), 224, symmetric, (86.2, 97.6)),
    Published(TINY, "proxyless-w0.25-r112", partial(described, name="proxyless-w0.25-r112"), 112, symmetric,
              (51.2, 74.7)),
    Published(TINY, "proxyless-w0.3-r176", partial(described, name="proxyless-w0.3-r176"), 176, symmetric,
              (62.3, 83.4)),
    Published(TINY, "mcunet-320kb-1mb", partial(described, name="mcunet-320kb-1mb"), 176, symmetric, (69.9, 89.3)),
)  # fmt: skip


@cache
def cifar(data: Path) -> tuple[Tensor, Tensor]:
    """CIFAR-10's test images (10000, 32, 32, 3) and labels."""
    sys.path.insert(0, str(data))
    try:
        from images import load  # type: ignore[import-not-found]
    finally:
        sys.path.remove(str(data))
    images, labels = load("cifar10", "test")
    return torch.from_numpy(images), torch.from_numpy(labels).long()


@cache
def imagenet(data: Path) -> tuple[Tensor, Tensor]:
    """The sample's images (1000, 224, 224, 3), cut from the centre of 256 x 256, and labels."""
    from PIL import Image

    folder, images, labels = data / "imagenet_sample", [], []
    with zipfile.ZipFile(folder / "images_256.zip") as archive, (folder / "labels.csv").open() as file:
        for row in csv.DictReader(file):
            image = np.asarray(Image.open(io.BytesIO(archive.read(row["file"]))).convert("RGB"))
            images.append(torch.from_numpy(image[16:240, 16:240].copy()))
            labels.append(int(row["label"]))
    return torch.stack(images), torch.tensor(labels)


def resized(pixels: Tensor, side: int) -> Tensor:
    """Images of 224 brought to another side the way the classes on record were found: as floats, antialiased."""
    if pixels.shape[-1] == side:
        return pixels
    return F.interpolate(pixels, size=(side, side), mode="bilinear", antialias=True)


@torch.no_grad()
def top(network: torch.nn.Module, inputs: Tensor, count: int) -> Tensor:
    """The ``count`` classes with the highest scores, of shape (images, count)."""
    return torch.cat([network(batch).topk(count).indices for batch in inputs.split(50)])


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    data = parser.parse_args().data
    torch.set_num_threads(1)
    print(f"{'weights':<26} {'images':>6} {'stored':>13} {'found':>13} {'agree':>6} {'seconds':>8}")
    for published in PUBLISHED:
        stored = " / ".join(f"{a:.2f}" for a in published.stored)
        if not published.path(data).exists():
            print(f"{published.name:<26} {'':>6} {stored:>13} {'absent':>13}")
            continue
        begin, every = time.perf_counter(), slice(None)
        inputs, labels = published.inputs(data, every)
        classes = top(published.network(data), inputs, 5)
        ranks = (1, 5)[: len(published.stored)]
        right = [100 * float((classes[:, :k] == labels[:, None]).any(1).float().mean()) for k in ranks]
        golden = published.golden(data, every)
        agree = "" if golden is None else str(int((classes[:, 0] == golden).sum()))
        found = " / ".join(f"{a:.2f}" for a in right)
        took = time.perf_counter() - begin
        print(f"{published.name:<26} {len(labels):>6} {stored:>13} {found:>13} {agree:>6} {took:>8.1f}", flush=True)


if __name__ == "__main__":
    main()
