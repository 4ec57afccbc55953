"""MobileNets, small and wide ResNets, SimpleNet, networks from JSON: the contract of super-networks, own promises."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from fuzz import mutations, swaps
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

import netwright as nw
from netwright.core.errors import NetError
from netwright.formats.onnx import write_onnx
from netwright.nets.families.cifar_resnet import cifar_resnet
from netwright.nets.families.mobilenet import mobilenet_v1, mobilenet_v2
from netwright.nets.families.parts import halve, same
from netwright.nets.families.resnet8 import resnet8
from netwright.nets.families.simplenet import SimpleNet, simplenet
from netwright.nets.families.tinynas import from_json, read
from netwright.nets.families.wide_resnet import WideResNet, wide_resnet
from netwright.testing import check_supernet


def block(into: int, out: int, kernel: int = 3, stride: int = 1, ratio: float = 3, **more: Any) -> dict[str, Any]:
    shape = {"in_channels": into, "out_channels": out, "kernel_size": kernel, "stride": stride, "expand_ratio": ratio}
    own = {"mid_channels": None, "use_se": False, "act": "relu6", "shortcut": into == out and stride == 1}
    return {**shape, **own, **more}


DESCRIPTION = {
    "resolution": 18,
    "bn_eps": 1e-3,
    "first_conv": {"kernel_size": 3, "stride": 2, "out_channels": 8, "act": "relu6"},
    "blocks": [
        block(8, 8, ratio=1, shortcut=False),
        block(8, 16, 5, 2),
        block(16, 16, 7, mid_channels=40),
        None,
        block(16, 16),
        None,
    ],
    "feature_mix": {"out_channels": 24, "act": "relu6"},
    "num_classes": 5,
}
SMALL = (64, 32, 32, 32, 32, 32, 64, 64, 64, 128, 256, 64, 64)
"""The channels of the SimpleNet of 310,000 parameters."""


def described(folder: Path, **changes: Any) -> Path:
    path = folder / "net.json"
    path.write_text(json.dumps({**DESCRIPTION, **changes}))
    return path


MAKERS: dict[str, Callable[[Path], nw.SuperNet]] = {
    "mobilenet_v1": lambda folder: mobilenet_v1(0.25, 20, 5),
    "mobilenet_v2": lambda folder: mobilenet_v2(0.25, 36, 5, kernels=(3, 5), norm=False),
    "resnet8": lambda folder: resnet8(5),
    "simplenet": lambda folder: simplenet(5, 18, SMALL, shares=(0.5,), round_to=4),
    "wide_resnet": lambda folder: wide_resnet(16, (2, 3), 5),
    "cifar_resnet": lambda folder: cifar_resnet(20, 5, depths=(1, 3), shares=(0.5,), between=(0.5, 0.75)),
    "from_json": lambda folder: from_json(described(folder)),
    "from_json, between": lambda folder: from_json(described(folder), round_to=4, between=(0.5,)),
}


@pytest.fixture(scope="module", params=[*MAKERS])
def net(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> nw.SuperNet:
    """Small super-networks whose statistics fit noise. The images' sides become odd on the way down."""
    torch.manual_seed(0)
    made = MAKERS[request.param](tmp_path_factory.mktemp("described"))
    nw.recalibrate(made.module, [torch.randn(16, *made.example_inputs.shape[1:])])
    return made


def test_the_ends_keep_the_contract(net: nw.SuperNet) -> None:
    check_supernet(net, candidates=0)


@given(seed=st.integers(0, 2**32))
@settings(max_examples=5)
def test_random_candidates_keep_the_contract(net: nw.SuperNet, seed: int) -> None:
    shape = net.example_inputs.shape[1:]
    inputs = torch.randn(2, *shape, generator=torch.Generator().manual_seed(seed))
    check_supernet(net, candidates=[net.space.sample(np.random.default_rng(seed))], inputs=inputs)


def test_onnx_computes_the_same() -> None:
    net = resnet8(5)
    nw.recalibrate(net.module, [torch.randn(16, 3, 32, 32)])
    check_supernet(net, candidates=[net.space.sample(np.random.default_rng(1))], formats=("onnx", "safetensors"))


def test_padding_is_constant_in_onnx_of_the_search(tmp_path: Path) -> None:
    """The older exporter traces: a size that it takes for a variable makes a graph that computes its padding."""
    net = mobilenet_v2(0.25, 36, 5)
    write_onnx(net.extract(net.smallest), net.example_inputs, tmp_path / "net.onnx")
    kinds = {node.op_type for node in onnx.load(tmp_path / "net.onnx").graph.node}
    assert "Pad" in kinds and not kinds & {"Shape", "Mod", "If"}


# -- padding -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kernel", [3, 5, 7])
@pytest.mark.parametrize("stride", [1, 2])
def test_padding_is_that_of_tensorflow(kernel: int, stride: int) -> None:
    for height in range(1, 10):
        images, window = torch.randn(2, 1, height, height + 1), torch.randn(1, 1, kernel, kernel)
        sides: list[int] = []
        for size in (height + 1, height):  # F.pad wants the last dimension first
            total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
            sides += [total // 2, total - total // 2]
        wanted = F.conv2d(F.pad(images, sides), window, stride=stride)
        found = F.conv2d(halve(images) if stride == 2 else images, window, stride=stride, padding=same(kernel, stride))
        assert found.shape == wanted.shape and torch.allclose(found, wanted, atol=1e-5)


def test_a_cropped_window_is_padded_as_a_network_built_with_it() -> None:
    net = mobilenet_v2(0.25, 36, 5, kernels=(3, 5, 7))
    built = mobilenet_v2(0.25, 36, 5, kernels=(3,)).module
    cropped = net.extract(net.space.build(lambda c: c.options[0] if c.name.endswith("kernel") else c.options[-1]))
    built.load_state_dict(cropped.state_dict())
    images = torch.randn(2, 3, 36, 36)
    assert torch.equal(built.eval()(images), cropped.eval()(images))


def test_windows_below_3_are_refused() -> None:
    with pytest.raises(NetError, match="at least 3"):
        mobilenet_v2(0.25, 32, 5, kernels=(1, 3))


# -- sizes and names of the published networks -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("module", "parameters", "names"),
    [
        (lambda: mobilenet_v1().module, 4_231_976, {"stem.conv.weight", "blocks.12.pointwise.bn.running_var"}),
        (lambda: mobilenet_v2().module, 3_504_872, {"head.conv.weight", "blocks.1.expand.bn.weight"}),
        (lambda: mobilenet_v2(norm=False).module, 3_487_816, {"stem.bias", "blocks.16.project.weight"}),
        (lambda: resnet8().module, 78_186, {"stem.bias", "stem.bn.weight", "block3.shortcut.weight"}),
        (SimpleNet, 5_498_378, {"layers.10.conv.weight", "classifier.weight"}),  # the paper has 5.48 million
        (lambda: SimpleNet(SMALL), 312_362, {"layers.12.bn.running_var"}),  # 310 thousand
        (lambda: WideResNet(28, 10), 36_479_194, {"stages.0.0.shortcut.weight", "norm.weight"}),  # 36.5 million
        (lambda: WideResNet(40, 4), 8_949_210, {"stages.2.5.conv2.weight"}),  # 8.9 million
    ],
)
def test_sizes_and_names_are_those_of_the_published_networks(module: Any, parameters: int, names: set[str]) -> None:
    found = module()
    assert sum(p.numel() for p in found.parameters()) == parameters
    assert names <= found.state_dict().keys()


def test_a_multiplier_of_widths_gives_the_wide_network_of_the_paper() -> None:
    net = wide_resnet(16, (2, 3), 5)
    narrow = net.extract(net.space.build(lambda c: c.options[0] if c.name == "widen" else c.options[-1]))
    built = WideResNet(16, 2, 5)
    built.load_state_dict(narrow.state_dict())
    images = torch.randn(2, 3, 32, 32)
    assert torch.equal(built.eval()(images), narrow.eval()(images))
    assert net.space.size == 2 * 2**3
    assert net.report.rigid.keys() == {"stem", "stages.0.0.bn1"}


def test_widths_between_blocks_of_a_padded_network_are_those_of_a_network_built_with_them() -> None:
    """The shortcut of a narrower stage pads fewer channels, as many on either side."""
    net = cifar_resnet(14, 5, between=(0.5,), shares=())
    assert {axis.name: axis.options for axis in net.axes} == {
        "layer1.depth": (1, 2), "layer2.depth": (1, 2), "layer3.depth": (1, 2),
        "layer1.width": (8, 16), "layer2.added": (8, 16), "layer3.added": (16, 32),
    }  # fmt: skip
    cut = net.extract({**net.largest, "layer2.added": 8, "layer3.added": 16})
    assert [cut.get_submodule(f"layer{s}.0").pad for s in (2, 3)] == [4, 8]
    assert [cut.get_submodule(f"layer{s}.1.conv2").out_channels for s in (1, 2, 3)] == [16, 24, 40]
    images, whole = torch.randn(2, 3, 32, 32), net.module.eval()
    before = whole(images)
    nw.sort_channels(net, "l2")
    assert torch.allclose(whole(images), before, atol=1e-5)


def test_ranges_are_arguments() -> None:
    net = mobilenet_v2(1.0, 32, 5, depths=(2, 3), shares=(), between=(0.5,))
    options = {axis.name: axis.options for axis in net.axes}
    assert options["stage3.depth"] == (2, 3, 4) and options["stage1.depth"] == (2,)
    assert options["stage3.width"] == (32, 64) and not any("expand" in name or "head" in name for name in options)
    options = {axis.name: axis.options for axis in cifar_resnet(20, depths=(2, 3), shares=()).axes}
    assert options == dict.fromkeys(("layer1.depth", "layer2.depth", "layer3.depth"), (2, 3))
    with pytest.raises(NetError, match="depths must be at least 1"):
        mobilenet_v2(depths=(0,))
    with pytest.raises(NetError, match="between= takes shares of the whole"):
        cifar_resnet(20, between=(2.0,))


def test_blocks_keep_their_place_where_the_search_skipped_one(tmp_path: Path) -> None:
    net = from_json(described(tmp_path))
    names = {name.split(".")[1] for name in net.module.state_dict() if name.startswith("blocks.")}
    assert names == {"0", "1", "2", "4"}
    assert net.space["stage1.depth"].options == (1, 2, 3)
    assert net.space["blocks.2.expand"].options == (16, 24, 32, 40)
    assert net.space["blocks.2.kernel"].options == (3, 5, 7)
    assert "blocks.4.kernel" not in net.report.elastic
    assert set(net.report.rigid.values()) == {"the widths between blocks stay whole"}
    net = from_json(described(tmp_path), round_to=4, between=(0.5,))
    assert not net.report.rigid
    assert [net.space[f"{name}.width"].options for name in ("stem", "stage0", "stage1")] == [(4, 8), (4, 8), (8, 16)]


def test_the_last_block_is_classified_where_there_is_no_mix(tmp_path: Path) -> None:
    net = from_json(described(tmp_path, feature_mix=None))
    assert net.extract(net.smallest).classifier.linear.in_features == 16


# -- descriptions that cannot be built ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"blocks": [block(8, 8), block(16, 16)]}, r"blocks\[1\].in_channels is 16, but the block before gives 8"),
        ({"blocks": [block(8, 16, shortcut=True)]}, r"blocks\[0\].shortcut needs stride 1"),
        ({"blocks": [block(8, 8, 4)]}, r"blocks\[0\].kernel_size must be odd, not 4"),
        ({"blocks": [block(8, 8, use_se=True)]}, "squeeze-and-excitation"),
        ({"blocks": [block(8, 8, ratio=1, mid_channels=16)]}, "keeps its 8 channels"),
        ({"blocks": [block(8, 10**9)]}, r"blocks\[0\].out_channels must be a whole number from 1 to"),
        ({"blocks": [block(8, 8, ratio="3")]}, r"blocks\[0\].expand_ratio must be a number"),
        ({"blocks": [7]}, r"blocks\[0\] must be an object with 'act'"),
        ({"blocks": 7}, "blocks must be a list"),
        ({"bn_eps": 2}, "bn_eps must be a number between 0 and 1"),
        ({"num_classes": True}, "num_classes must be a whole number"),
        ({"first_conv": {}}, "first_conv must be an object with 'act'"),
    ],
)
def test_descriptions_that_cannot_be_built_say_where(changes: dict[str, Any], told: str, tmp_path: Path) -> None:
    with pytest.raises(NetError, match=told):
        from_json(described(tmp_path, **changes))


def test_files_that_are_no_description_are_refused(tmp_path: Path) -> None:
    for content in (b"", b"[]", b"\xff\xfe", b"{}"):
        (tmp_path / "net.json").write_bytes(content)
        with pytest.raises(NetError, match=r"net\.json"):
            from_json(tmp_path / "net.json")
    with pytest.raises(NetError, match="cannot be read"):
        from_json(tmp_path / "absent.json")


def fuzz_description(folder: Path, times: int) -> None:
    content = described(folder).read_bytes()

    @settings(max_examples=times, deadline=None)
    @given(st.one_of(mutations(content), swaps(json.loads(content))))
    def one(changed: bytes) -> None:
        (folder / "net.json").write_bytes(changed)
        with suppress(NetError):
            read(folder / "net.json")

    one()


def test_whatever_a_description_holds_is_read_or_refused(tmp_path: Path) -> None:
    fuzz_description(tmp_path, 60)


@pytest.mark.slow
def test_whatever_a_description_holds_is_read_or_refused_whole(tmp_path: Path) -> None:
    fuzz_description(tmp_path, 2000)
