"""Every block that there is keeps one contract: shapes, widths through it, parity, gradients."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import netwright as nw

BLOCKS = nw.blocks.BLOCKS
FORMS = ["uib,start=3", "uib,start=3,middle=0", "uib,middle=0", "uib,expansion=2,middle=5"]
"""Of blocks that have several forms, those besides the default."""


def make(text: str, inputs: int, outputs: int, stride: int = 1) -> nn.Module:
    torch.manual_seed(0)
    return BLOCKS.make(text, inputs=inputs, outputs=outputs, stride=stride)


def network(text: str) -> nn.Module:
    """Two blocks between a stem and a head."""
    torch.manual_seed(0)
    stride = 1 if text == "uib,middle=0" else 2
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, 2, 1, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        make(text, 16, 16),
        make(text, 16, 24, stride),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(24, 5),
    )


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
    net = nw.wrap(network(text).eval(), torch.randn(2, 3, 16, 16))
    found = {axis.name for axis in net.axes}
    inner = {name for name in found if name.startswith(("3.", "4."))}
    assert "0.width" in found and inner, (text, found, net.report)
    some = net.space.sample(np.random.default_rng(0))
    nw.testing.check_supernet(net, candidates=[some], formats=("safetensors", "onnx"))
