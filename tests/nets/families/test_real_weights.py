"""Published weights, through our own loading and the largest sub-network: the figures that are on record for them.

``benchmarks/real_weights.py`` has the table, and prints all of it on all images.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import netwright as nw
from netwright.core.errors import CheckpointError
from netwright.formats.safetensors import load_weights
from netwright.nets.families.mobilenet import mobilenet_v2
from netwright.testing import check_supernet

ROOT = Path(__file__).resolve().parents[3]
DATA = ROOT.parent / "shared" / "data"

pytestmark = [
    pytest.mark.data,
    pytest.mark.skipif(not DATA.is_dir(), reason=f"the shared data is not at {DATA}"),
]


def benchmark() -> Any:
    spec = importlib.util.spec_from_file_location("real_weights", ROOT / "benchmarks" / "real_weights.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["real_weights"] = module  # its dataclasses look themselves up
    spec.loader.exec_module(module)
    return module


real_weights = benchmark()
published = {one.name: one for one in real_weights.PUBLISHED}


def classes(name: str, images: slice, count: int = 1) -> tuple[Tensor, Tensor, Any]:
    """The classes that the largest sub-network gives, the labels, and the row of the table."""
    pytest.importorskip("PIL", reason="Pillow reads the images")
    one = published[name]
    if not one.path(DATA).exists():
        pytest.skip(f"{one.path(DATA)} is not there")
    inputs, labels = one.inputs(DATA, images)
    return real_weights.top(one.network(DATA), inputs, count), labels, one


def percent(found: Tensor, labels: Tensor) -> float:
    return round(100 * float((found == labels[:, None]).any(1).float().mean()), 2)


@pytest.mark.parametrize("name", ["mlperf_tiny_resnet8", "resnet20", "resnet32", "resnet44"])
def test_accuracy_on_the_whole_test_set(name: str) -> None:
    found, labels, one = classes(name, slice(None))
    assert len(labels) == 10_000 and percent(found, labels) == one.stored[0]


def test_accuracy_of_the_deepest_on_a_part() -> None:
    """On the whole test set, as the benchmark finds, it is the 93.39 on record."""
    found, labels, _ = classes("resnet56", slice(2000))
    assert int((found[:, 0] == labels).sum()) == 1873


@pytest.mark.parametrize("name", ["proxyless-w0.25-r112", "proxyless-w0.3-r176", "mcunet-320kb-1mb"])
def test_small_networks_give_every_class_on_record(name: str) -> None:
    found, labels, one = classes(name, slice(None), 5)
    assert torch.equal(found[:, 0], one.golden(DATA, slice(None)))
    assert (percent(found[:, :1], labels), percent(found, labels)) == one.stored


@pytest.mark.parametrize("name", [name for name in published if name.startswith("mobilenet")])
def test_mobilenets_give_the_classes_on_record(name: str) -> None:
    """Of all 1,000 images V1 0.75 misses one, number 918: it lies within what storing as float16 changes."""
    images = slice(0, 1000, 7)
    found, _, one = classes(name, images)
    assert torch.equal(found[:, 0], one.golden(DATA, images))


def test_sub_networks_of_real_weights_keep_the_contract() -> None:
    one = published["mcunet-320kb-1mb"]
    net = one.build(DATA)
    load_weights(net.module, one.path(DATA))
    images = torch.randn(2, 3, 176, 176, generator=torch.Generator().manual_seed(0))
    check_supernet(net, candidates=1, inputs=images, trains=False)


def test_weights_of_another_form_are_refused_with_what_differs() -> None:
    path = published["mobilenet_v2_1.0_224_ptq"].path(DATA)
    with pytest.raises(
        CheckpointError, match=r"it lacks stem\.conv\.weight \[32, 3, 3, 3\], .* and \d+ more; it holds"
    ):
        load_weights(mobilenet_v2(image=32, norm=True).module, path)
    net: nw.SuperNet = mobilenet_v2(0.5, 32, norm=False)
    with pytest.raises(CheckpointError, match=r"stem\.weight is \[32, 3, 3, 3\] and should be \[16, 3, 3, 3\]"):
        load_weights(net.module, path)
