"""Blocks that are trained in one form and run in another: merged exactly, cut before, and annealed by training."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import netwright as nw
from netwright.core.errors import NetError
from netwright.nets.annealing import Annealed, anneal
from netwright.nets.blocks.large_kernel import BESIDE
from netwright.nets.blocks.merging import merged
from netwright.nets.blocks.parts import conv_norm
from netwright.nets.noise import apart

FORMS = {
    "reparam": 2,
    "reparam,kernel=5,copies=2": 2,
    "reparam,depthwise=true,copies=3": 4,
    "large_kernel": 2,
    "large_kernel,kernel=5": 2,
    "vanilla": 2,
}
"""What is tried, and how many modules are folded in :func:`network`."""


def used(module: nn.Module) -> nn.Module:
    """With statistics and factors as training leaves them: zeros and ones would hide what is forgotten."""
    generator = torch.Generator().manual_seed(1)
    for each in module.modules():
        if isinstance(each, nn.BatchNorm2d):
            for tensor, low, high in (
                (each.running_mean, -1, 1),
                (each.running_var, 0.5, 2),
                (each.weight, 0.5, 1.5),
                (each.bias, -1, 1),
            ):
                nn.init.uniform_(tensor, low, high, generator)
    return module.eval()


def network(text: str) -> nn.Module:
    torch.manual_seed(0)
    make = nw.blocks.BLOCKS.make
    return used(
        nn.Sequential(
            conv_norm(3, 16, 3, 2),
            nn.ReLU(),
            make(text, inputs=16, outputs=16),
            make(text, inputs=16, outputs=24, stride=2),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(24, 5),
        )
    )


@settings(max_examples=25, deadline=None)
@given(
    kernels=st.lists(st.tuples(st.sampled_from((1, 3, 5)), st.integers(1, 3)), min_size=1, max_size=4),
    groups=st.sampled_from((1, 2, 6)),
    stride=st.integers(1, 2),
    plain=st.booleans(),
    size=st.integers(1, 9),
)
def test_any_branches_are_one_convolution(kernels, groups, stride, plain, size):
    """Against the sum of what the branches compute themselves."""
    torch.manual_seed(size)
    branches = [conv_norm(6, 6, k, stride, groups=groups, dilation=d) for k, d in kernels]
    if plain and stride == 1:
        branches.append(nn.BatchNorm2d(6))
    branches = [used(each) for each in branches]
    x = torch.randn(2, 6, size, size + 1)
    with torch.no_grad():
        wanted = sum(branch(x) for branch in branches)
        assert apart([wanted], [merged(branches)(x)]) < 1e-5


@pytest.mark.parametrize("text", FORMS)
def test_blocks_are_folded_whatever_is_cut_of_them(text):
    """Active, extracted, folded and the ONNX file of the folded one compute the same."""
    whole, x = network(text), torch.randn(2, 3, 16, 16)
    anneal(whole, 1.0)
    made = nw.fold(whole, x)
    assert len(made.folded_modules) == FORMS[text]
    assert sum(isinstance(m, nn.BatchNorm2d) for m in made[2:].modules()) == (4 if text.startswith("large") else 0)
    net = nw.wrap(whole, x)
    assert any(axis.name.startswith("3.") for axis in net.axes) and "0.conv.width" in net.report.elastic, net.report
    some = net.space.sample(np.random.default_rng(1))
    nw.testing.check_supernet(net, candidates=[some], formats=("onnx",))


@pytest.mark.parametrize("kernel", BESIDE)
def test_the_windows_beside_a_large_one_lie_within_it(kernel):
    assert all(dilation * (window - 1) + 1 <= kernel for window, dilation in BESIDE[kernel])
    block = nw.blocks.BLOCKS.make(f"large_kernel,kernel={kernel}", inputs=4, outputs=4).eval()
    assert nw.fold(block, torch.randn(1, 4, 20, 20)).window.kernel_size == (kernel, kernel)


def test_a_window_that_there_is_not_is_told():
    with pytest.raises(NetError, match=r"one of 5, 7, .*, not 6"):
        nw.blocks.BLOCKS.make("large_kernel,kernel=6", inputs=4, outputs=4)
    with pytest.raises(NetError, match=r"until is a share .*, not 0"):
        nw.blocks.BLOCKS.make("vanilla,until=0", inputs=4, outputs=4)


def test_an_activation_is_trained_away_and_not_before_that_folded():
    whole, x = network("vanilla"), torch.randn(2, 3, 16, 16)
    shares = []
    for share in (0.0, 0.4, 0.2, 0.8, 1.0):
        anneal(whole, share)
        shares.append(float(whole[2].share))
        assert nw.fold(whole, x).folded_modules == (["2", "3"] if share >= 0.8 else [])
    assert shares == [0.0, 0.5, 0.5, 1.0, 1.0]  # it never goes back: fine-tuning begins anew


def test_training_says_how_far_it_has_got(tmp_path):
    torch.manual_seed(0)
    x, y = torch.randn(24, 3, 16, 16), torch.randint(5, (24,))
    seen: list[float] = []
    net = nw.wrap(network("vanilla"), x[:2])
    part = next(m for m in net.module.modules() if isinstance(m, Annealed))
    nw.train(
        net, nw.TensorLoader(nw.Split(x, y), 4), epochs=2, ema=0.99, rule="single-path",
        callback=lambda progress: seen.append(float(part.share)),
    )  # fmt: skip
    assert seen == sorted(seen) and seen[0] == 0 and seen[-1] == 1 and 0.5 < seen[5] < 0.6
    assert part.complete and part.progress.dtype is torch.int64  # an average of weights does not lag behind
    network_of = net.extract(net.smallest)
    nw.finetune(network_of, nw.TensorLoader(nw.Split(x, y), 8), epochs=1)
    assert nw.fold(network_of).folded_modules == ["2", "3"]


def test_counts_are_those_of_the_form_that_runs_whenever_they_are_asked_for():
    """Before the training as after it, and without data; from a table."""
    whole, x = network("vanilla"), torch.randn(2, 3, 16, 16)
    before = nw.SuperNet(whole, [], x)
    counts = before.count(before.largest)
    with torch.device("meta"):
        bare = nw.SuperNet(network("vanilla"), [], torch.randn(2, 3, 16, 16))
    assert bare.count(bare.largest) == counts
    anneal(whole, 1.0)
    made = nw.fold(whole, x)
    plain = nw.SuperNet(made, [], x)
    assert plain.count(plain.largest) == counts
    assert counts.params == sum(p.numel() for p in made.parameters()) < sum(p.numel() for p in whole.parameters())
    assert int(whole[2].progress) == 1000 and "progress" in dict(whole[2].named_buffers())


def test_counts_of_cuts_are_those_of_folded_cuts():
    whole, x = network("reparam"), torch.randn(1, 3, 16, 16)
    net = nw.wrap(whole, x, round_to=1)
    some = [net.space.sample(np.random.default_rng(seed)) for seed in range(4)]
    many = net.counts(some)
    for i, candidate in enumerate(some):
        plain = nw.SuperNet(nw.fold(net.extract(candidate)), [], x)
        assert many[i] == plain.count(plain.largest)


def test_a_menu_of_blocks_that_fold_counts_the_chosen_one_folded():
    make, x = nw.blocks.BLOCKS.make, torch.randn(1, 3, 16, 16)
    menu = nw.oneof(
        branches=make("reparam", inputs=8, outputs=12, stride=2),
        shallow=make("vanilla", inputs=8, outputs=12, stride=2),
    )
    whole = used(nn.Sequential(conv_norm(3, 8, 3, 2), nn.ReLU(), menu, nn.AdaptiveAvgPool2d(1), nn.Flatten()))
    anneal(whole, 1.0)
    net = nw.wrap(whole, x, axes=["oneof"])
    assert net.space.size == 2
    nw.testing.check_supernet(net, candidates=net.space.enumerate(), formats=("onnx",))
