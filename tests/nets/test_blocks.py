"""Every block that there is keeps one contract: shapes, widths through it, parity, gradients."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import netwright as nw
from netwright.core.registry import settings_of
from netwright.nets.blocks.attention import attend
from netwright.nets.blocks.dynamic import DynamicConv
from netwright.nets.blocks.hypercomplex import HypercomplexConv
from netwright.nets.folding import fold

BLOCKS = nw.blocks.BLOCKS
FORMS = ["uib,start=3", "uib,start=3,middle=0", "uib,middle=0", "attention,kind=linear", "attention,kind=cosine",
         "attention,kind=none"]  # fmt: skip
"""Of blocks that have several forms, those besides the default."""


def having(setting: str) -> list[str]:
    """The blocks that have a setting."""
    return [name for name in BLOCKS.names() if setting in settings_of(BLOCKS.cls(name))]


KERNELS, EXPANSIONS = having("kernel"), having("expansion")


def make(text: str, inputs: int, outputs: int, stride: int = 1) -> nn.Module:
    torch.manual_seed(0)
    return BLOCKS.make(text, inputs=inputs, outputs=outputs, stride=stride)


def network(*blocks: nn.Module) -> nn.Module:
    """Two blocks between a stem and a head."""
    head = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, 5)
    return nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(), *blocks, *head).eval()


@pytest.mark.parametrize("text", [*BLOCKS.names(), *FORMS])
@pytest.mark.parametrize(("inputs", "outputs", "stride"), [(16, 16, 1), (16, 24, 1), (16, 16, 2), (24, 16, 2)])
def test_a_block_gives_the_shape_it_is_asked_for(text, inputs, outputs, stride):
    if text == "uib,middle=0" and stride > 1:
        with pytest.raises(nw.NetwrightError, match="cannot have stride 2: give start=3"):
            make(text, inputs, outputs, stride)
        return
    block = make(text, inputs, outputs, stride).eval()
    with torch.no_grad():
        for size in (8, 7):  # also odd ones, as networks have them at the end
            images = torch.randn(2, inputs, size, size + 2)
            out = block(images)
            assert out.shape == (2, outputs, -(-size // stride), -(-(size + 2) // stride))
            assert torch.equal(out, block(images))


@pytest.mark.parametrize("text", [*BLOCKS.names(), *FORMS])
def test_every_parameter_of_a_block_learns(text):
    block = make(text, 16, 16)
    block(torch.randn(4, 16, 8, 8)).square().mean().backward()
    for name, parameter in block.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("text", [*BLOCKS.names(), *FORMS])
def test_widths_are_found_through_a_block_and_cut_exactly(text):
    stride = 1 if text == "uib,middle=0" else 2
    net = nw.wrap(network(make(text, 16, 16), make(text, 16, 24, stride)), torch.randn(2, 3, 16, 16), round_to=4)
    found = {axis.name for axis in net.axes}
    inner = {name for name in found if name.startswith(("3.", "4."))}
    assert "0.width" in found and inner, (text, found, net.report)
    some = net.space.sample(np.random.default_rng(0))
    nw.testing.check_supernet(net, candidates=[some], formats=("safetensors", "onnx"))


@pytest.mark.slow
def test_a_menu_of_all_blocks_is_cut_exactly():
    def menu(inputs: int, outputs: int, stride: int) -> nn.Module:
        return nw.oneof(**{name: make(name, inputs, outputs, stride) for name in BLOCKS.names()})

    net = nw.wrap(network(menu(16, 16, 1), menu(16, 24, 2)), torch.randn(2, 3, 16, 16))
    assert net.report.elastic["3.option"] == net.report.elastic["4.option"] == tuple(BLOCKS.names())
    assert {"3.uib.expand.conv.width", "4.star.gate.width", "4.attention.queries.width"} <= {a.name for a in net.axes}
    nw.testing.check_supernet(net, candidates=6)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("uib,expansion=-1", "expansion is a number above 0, not -1"),
        ("uib,expansion=0.01", "expansion=0.01 of 16 channels is none: give 0.062 or more"),
        ("uib,start=-3", "start is the side of a window, an odd number from 1, not -3"),
        ("uib,middle=4", "middle is the side of a window, an odd number from 1, not 4"),
        ("multi_scale_attention,scale=-1", "scale is the side of a window"),
        *((f"{name},kernel=4", "window") for name in KERNELS),
        *((f"{name},kernel=0", "window") for name in KERNELS),
        *((f"{name},expansion=0", "expansion is a number above 0") for name in EXPANSIONS),
        *((f"{name},expansion=0.01", "expansion=0.01 of 16 channels is none") for name in EXPANSIONS),
        ("grouped,group_size=5", "16 channels cannot be parted by group_size=5: give one that divides them"),
        ("hypercomplex,n=3", "16 channels cannot be parted by n=3"),
        ("attention,head_dim=7", "16 channels cannot be parted by head_dim=7"),
        ("attention,kind=soft", "kind must be one of softmax, linear, cosine, none"),
        ("attention,kinds=none", "attention has no setting 'kinds'; did you mean"),
        ("start", "there is no block 'start'; did you mean 'star'"),
    ],
)
def test_what_no_block_can_have_is_refused(text, message):
    with pytest.raises(nw.NetwrightError, match=message):
        make(text, 16, 16)


@pytest.mark.parametrize("kind", ["softmax", "linear", "cosine"])
def test_attention_weighs_every_value_by_the_likeness_of_query_and_key(kind):
    torch.manual_seed(0)
    q, k, v = torch.randn(3, 2, 4, 8, 9, dtype=torch.float64)  # (n, heads, channels, positions)
    likeness = {
        "softmax": lambda a, b: torch.exp(a @ b / 8**0.5),
        "linear": lambda a, b: F.relu(a) @ F.relu(b),
        "cosine": lambda a, b: a @ b / (a.norm() * b.norm()) / 3,
    }[kind]
    found = attend(kind, q, k, v)
    for n, head, at in ((0, 0, 0), (1, 3, 8), (1, 2, 4)):
        shares = torch.stack([likeness(q[n, head, :, at], k[n, head, :, each]) for each in range(9)])
        shares = shares if kind == "cosine" else shares / shares.sum()
        torch.testing.assert_close(found[n, head, :, at], v[n, head] @ shares, rtol=1e-5, atol=1e-5)


def test_a_hypercomplex_weight_is_a_sum_of_kronecker_products():
    conv = HypercomplexConv(8, 12, 1, 1, n=4)
    products = sum(torch.kron(conv.filters[m, :, :, 0, 0], conv.rules[m]) for m in range(4))
    torch.testing.assert_close(conv.weight()[:, :, 0, 0], products)
    assert sum(p.numel() for p in conv.parameters()) == 8 * 12 // 4 + 4**3
    images = torch.randn(2, 8, 5, 5)
    block, found = make("hypercomplex", 8, 8).eval(), []
    for network in (block, fold(block, images)):
        found.append(network(images))
        assert isinstance(network.first, nn.Conv2d) == (network is not block)
    torch.testing.assert_close(*found)


def test_a_dynamic_convolution_is_another_one_for_each_image():
    conv, images = DynamicConv(8, 6, experts=3), torch.randn(4, 8, 5, 5)
    shares = conv.choose(F.relu(conv.squeeze(images.mean((2, 3))))).softmax(1)
    for image, share, out in zip(images, shares, conv(images), strict=True):
        own = torch.einsum("k,koc->oc", share, conv.weight)
        torch.testing.assert_close(out, F.conv2d(image[None], own[:, :, None, None])[0], rtol=1e-4, atol=1e-5)
    assert (shares[0] - shares[1]).abs().max() > 1e-3
