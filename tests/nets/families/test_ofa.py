"""Once-for-all's super-networks against the package that published them, and against published figures."""

from __future__ import annotations

import csv
import math
import random
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor, nn
from zoo.packages import torchvision

import netwright as nw
from netwright.core.errors import CheckpointError, NetError, SpaceError
from netwright.nets.families.ofa import from_ofa, load_ofa, ofa_mobilenet_v3, ofa_proxyless, ofa_resnet50, to_ofa
from netwright.testing.nets import check_supernet

SIDE = 64
SHARED = Path(__file__).parents[4] / "shared" / "bench" / "ofa_mbv3" / "ofa_mbv3_w10_imagenet.csv"

NETS: dict[str, Callable[..., nw.SuperNet]] = {
    "mbv3-1.0": lambda: ofa_mobilenet_v3(1.0, (SIDE,)),
    "mbv3-1.2": lambda: ofa_mobilenet_v3(1.2, (SIDE,)),
    "proxyless-1.3": lambda: ofa_proxyless(1.3, (SIDE,)),
    "resnet50": lambda: ofa_resnet50((SIDE,)),
}


def networks() -> Any:
    """The package's super-networks; skips where it does not import."""
    with suppress(ImportError):
        torchvision()  # ofa needs none of it but the import
    return pytest.importorskip("ofa.imagenet_classification.elastic_nn.networks", exc_type=ImportError)


def published(name: str) -> Any:
    """The package's own network of one published configuration, with weights and statistics of all kinds."""
    package = networks()
    mobile = {"ks_list": [3, 5, 7], "expand_ratio_list": [3, 4, 6], "depth_list": [2, 3, 4], "dropout_rate": 0}
    if name == "resnet50":
        net = package.OFAResNets(
            depth_list=[0, 1, 2],
            expand_ratio_list=[0.2, 0.25, 0.35],
            width_mult_list=[0.65, 0.8, 1.0],
            dropout_rate=0,
        )
    elif name == "proxyless-1.3":
        net = package.OFAProxylessNASNets(width_mult=1.3, **mobile)
    else:
        net = package.OFAMobileNetV3(width_mult=float(name.removeprefix("mbv3-")), **mobile)
    generator = torch.Generator().manual_seed(0)
    for own, tensor in net.state_dict().items():
        if own.endswith("matrix"):
            tensor += 0.1 * torch.randn(tensor.shape, generator=generator)
        elif tensor.dim() > 1:
            fan_in = tensor[0].numel()
            tensor.copy_(torch.randn(tensor.shape, generator=generator) * math.sqrt(2 / fan_in))
        elif own.endswith(("running_var", "bn.weight")):
            tensor.uniform_(0.5, 1.5, generator=generator)
        elif tensor.is_floating_point():
            tensor.normal_(0, 0.2, generator=generator)
    return net.eval()


@pytest.fixture(scope="module", params=list(NETS))
def pair(request: Any) -> Iterator[tuple[Any, nw.SuperNet]]:
    """The package's network, and ours with its weights."""
    theirs = published(request.param)
    ours = NETS[request.param]()
    load_ofa(ours, theirs.state_dict())
    ours.module.eval()
    yield theirs, ours


@torch.no_grad()
def test_any_candidate_is_the_network_that_the_package_makes(pair: tuple[Any, nw.SuperNet]) -> None:
    theirs, ours = pair

    @settings(max_examples=5)
    @given(st.integers(0, 2**32 - 1), st.booleans())
    def check(seed: int, sampled_here: bool) -> None:
        images = torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(seed))
        if sampled_here:
            candidate = ours.space.sample(np.random.default_rng(seed))
            setting = to_ofa(ours, candidate)
            assert from_ofa(ours, setting) == candidate
            theirs.set_active_subnet(**setting)
        else:
            random.seed(seed)
            candidate = from_ofa(ours, theirs.sample_active_subnet())
        expected = theirs.get_active_subnet(preserve_weight=True).eval()
        network = ours.extract(candidate).eval()
        assert sum(p.numel() for p in network.parameters()) == sum(p.numel() for p in expected.parameters())
        wanted = expected(images)
        assert wanted.std(0).mean() > 1e-3 * wanted.abs().max(), "the images decide"
        close(network(images), wanted)
        with ours.active(candidate) as module:
            close(module(images), theirs(images))

    check()


def close(found: Tensor, wanted: Tensor) -> None:
    assert found.shape == wanted.shape
    assert (found - wanted).abs().max() <= 1e-5 * wanted.abs().max()


def test_normalisation_is_as_published(pair: tuple[Any, nw.SuperNet]) -> None:
    theirs, ours = pair
    wanted = theirs.get_bn_param()
    for layer in ours.module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            assert (layer.eps, layer.momentum) == (wanted["eps"], wanted["momentum"])


def test_names_of_every_age_are_read(pair: tuple[Any, nw.SuperNet], tmp_path: Path) -> None:
    """The published files have short names of wrapped layers, and an older name for the layers of a block."""
    theirs, ours = pair
    state = theirs.state_dict()
    old = {
        re.sub(r"^(blocks\.\d+)\.conv\.", r"\1.mobile_inverted_conv.", name)
        .replace(".bn.bn.", ".bn.")
        .replace(".conv.conv.weight", ".conv.weight")
        .replace(".linear.linear.", ".linear."): tensor
        for name, tensor in state.items()
        if not name.endswith("num_batches_tracked")
    }
    assert old.keys() != state.keys()
    before = {name: tensor.clone() for name, tensor in ours.module.state_dict().items()}
    for source in (old, tmp_path / "old.safetensors"):
        if isinstance(source, Path):
            save_file({name: tensor.contiguous() for name, tensor in old.items()}, source)
        with torch.no_grad():
            for parameter in ours.module.parameters():
                parameter.zero_()
        load_ofa(ours, source)
        assert all(torch.equal(tensor, before[name]) for name, tensor in ours.module.state_dict().items())


# -- published figures -----------------------------------------------------------------------------------------

STAGE = sum(9**depth for depth in (2, 3, 4))


def test_spaces_are_as_large_as_published() -> None:
    assert STAGE == 7371
    assert ofa_mobilenet_v3(1.0, (32,)).space.size == STAGE**5
    assert ofa_mobilenet_v3(1.2, (32,)).space.size == STAGE**5
    assert ofa_proxyless(1.3, (32,)).space.size == STAGE**5 * 9
    assert ofa_mobilenet_v3(resolutions=range(128, 225, 4)).space.size == 25 * STAGE**5


@pytest.mark.parametrize("pair", ["resnet50"], indirect=True)
def test_the_resnet_space_holds_every_network_of_the_package_once(pair: tuple[Any, nw.SuperNet]) -> None:
    theirs, ours = pair
    stem = theirs.input_stem
    sizes = [len(set(stem[0].out_channel_list)), len(set(stem[2].out_channel_list)), 2]
    for blocks in theirs.grouped_block_index:
        first = theirs.blocks[blocks[0]]
        assert len(set(first.out_channel_list)) == 3
        sizes.append(3 * sum(3 ** (len(blocks) - gone) for gone in theirs.depth_list))
    assert sizes[0] == 2, "0.65 and 0.8 leave the same 24 channels"
    assert ours.space.size == math.prod(sizes) == 1639276531308


@pytest.mark.data
@pytest.mark.skipif(not SHARED.exists(), reason=f"{SHARED} is not there")
def test_counts_are_those_of_every_published_row() -> None:
    net = ofa_mobilenet_v3(1.0)
    with SHARED.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2162
    for row in rows:
        candidate = from_ofa(net, {key: list(map(int, row[key])) for key in ("ks", "e", "d")})
        counts = net.count(candidate)
        assert (counts.macs, counts.params) == (int(row["macs"]), int(row["params"])), candidate


# -- the contract ----------------------------------------------------------------------------------------------


def test_the_mobile_super_network_keeps_the_contract() -> None:
    net = ofa_mobilenet_v3(resolutions=(32, 64), classes=10)
    images = torch.randn(2, 3, 64, 64)
    check_supernet(net, inputs=images, candidates=[net.smallest, net.space.sample(np.random.default_rng(0))])


@pytest.mark.slow
@pytest.mark.parametrize("name", list(NETS))
def test_every_super_network_keeps_the_contract(name: str) -> None:
    check_supernet(NETS[name](), inputs=torch.randn(2, 3, SIDE, SIDE), seed=1)


@pytest.mark.slow
@pytest.mark.parametrize("name", list(NETS))
def test_what_is_exported_computes_the_same(name: str, tmp_path: Path) -> None:
    net = NETS[name]()
    candidate = net.space.sample(np.random.default_rng(3))
    bundle = nw.export(net.extract(candidate), tmp_path, formats=["onnx"])
    assert bundle.differences["onnx"] < 1e-4


@torch.no_grad()
def test_the_resolution_is_that_of_the_image_within() -> None:
    net = ofa_mobilenet_v3(resolutions=(32, 64), classes=10)
    twin = ofa_mobilenet_v3(resolutions=(32,), classes=10)
    twin.module.load_state_dict(net.module.state_dict())
    for module in (net.module, twin.module):
        module.eval()
    images = torch.randn(2, 3, 64, 64)
    candidate = net.space.candidate({**net.smallest, "resolution": 32})
    small = nn.functional.interpolate(images, size=(32, 32), mode="bilinear", align_corners=False)
    close(net.extract(candidate)(images), twin.extract(twin.smallest)(small))
    assert not hasattr(twin.module, "resize")
    for wrong in ((), (0, 32)):
        with pytest.raises(NetError, match="resolutions"):
            ofa_mobilenet_v3(resolutions=wrong)


# -- mistakes --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mobile() -> nw.SuperNet:
    return ofa_mobilenet_v3(1.0, (32,))


def state_like(net: nw.SuperNet) -> dict[str, Tensor]:
    """A state that fits, under the package's names."""
    from netwright.nets.families.ofa import _published

    own = net.module.state_dict()
    return dict(zip(_published(own), own.values(), strict=True))


def test_all_faults_of_a_state_are_told_at_once(mobile: nw.SuperNet) -> None:
    state: dict[str, Any] = state_like(mobile)
    before = {name: tensor.clone() for name, tensor in mobile.module.state_dict().items()}
    load_ofa(mobile, state)
    del state["blocks.3.conv.depth_conv.conv.7to5_matrix"]
    state["classifier.linear.weight"] = torch.zeros(10, 1280)
    state["first_conv.conv.bias"] = torch.zeros(16)
    state["first_conv.bn.bn.bias"] = torch.zeros(16)
    state["blocks.1.conv.point_linear.conv.weight"] = [1, 2]
    with pytest.raises(CheckpointError) as told:
        load_ofa(mobile, state)
    for part in (
        "blocks.3.conv.depth_conv.conv.7to5_matrix (25, 25) is missing",
        "classifier.linear.weight is (10, 1280), not (1000, 1280)",
        "first_conv.conv.bias is left over",
        "first_conv.bn.bn.bias is there twice",
        "blocks.1.conv.point_linear.conv.weight is a list, not a tensor",
    ):
        assert part in str(told.value)
    with pytest.raises(CheckpointError, match=r"is missing\n  and \d\d\d more"):
        load_ofa(mobile, {})
    assert all(torch.equal(tensor, before[name]) for name, tensor in mobile.module.state_dict().items())


def test_a_state_of_another_width_is_refused(mobile: nw.SuperNet) -> None:
    with pytest.raises(CheckpointError, match=r"first_conv.conv.weight is \(24, 3, 3, 3\), not \(16, 3, 3, 3\)"):
        load_ofa(mobile, state_like(ofa_mobilenet_v3(1.2, (32,))))


def test_pickles_are_not_read(mobile: nw.SuperNet, tmp_path: Path) -> None:
    torch.save(state_like(mobile), tmp_path / "ofa.pth")
    with pytest.raises(CheckpointError, match=r"does not read.*save_file"):
        load_ofa(mobile, tmp_path / "ofa.pth")
    with pytest.raises(CheckpointError, match="ofa"):
        load_ofa(mobile, tmp_path / "no_such_ofa.safetensors")


def test_settings_are_read_as_the_package_does(mobile: nw.SuperNet) -> None:
    assert from_ofa(mobile, {}) == from_ofa(mobile, {"ks": None, "e": [None] * 20}) == mobile.largest
    assert from_ofa(mobile, {"ks": 3, "e": 3, "d": 2, "image_size": 32}) == mobile.smallest
    unused = [3, 3, 0, 99] * 5
    assert from_ofa(mobile, {"ks": unused, "e": np.array(unused), "d": [2] * 5, "r": [32]}) == mobile.smallest
    assert to_ofa(mobile, mobile.smallest) == {"ks": [3, 3, 0, 0] * 5, "e": [3, 3, 0, 0] * 5, "d": [2] * 5}
    several = ofa_mobilenet_v3(resolutions=(32, 64))
    assert from_ofa(several, {"r": [32]})["resolution"] == 32
    assert to_ofa(several, several.largest)["image_size"] == 64


def test_proxyless_settings_may_leave_the_last_block_out() -> None:
    net = ofa_proxyless(1.3, (32,))
    short = {"ks": [3] * 20, "e": [3] * 20, "d": [2] * 5}
    assert from_ofa(net, short) == net.space.candidate(
        {**net.smallest, "stage6.block0.kernel": 7, "stage6.block0.expand": 6}
    )
    assert to_ofa(net, net.smallest)["d"] == [2, 2, 2, 2, 2, 1]


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ({"ks": [3] * 19}, "'ks' of this network has 20 entries, the setting 19"),
        ({"ks": 9}, r"9 for stage1.block0.kernel; its options are \[3, 5, 7\]"),
        ({"d": [2, 3, 4, 5, 2]}, r"5 for stage4.depth"),
        ({"kernel": 3}, "no 'kernel'"),
        ({"w": 1}, "no 'w'"),
        ({"image_size": 224}, r"224 for resolution; its options are \[32\]"),
    ],
)
def test_settings_of_other_networks_are_refused(mobile: nw.SuperNet, setting: dict[str, Any], told: str) -> None:
    with pytest.raises(SpaceError, match=told):
        from_ofa(mobile, setting)
