"""Axes beyond width, depth and plain kernels: each does what its definition says, computed here in another way."""

from __future__ import annotations

import copy
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from netwright.core.errors import NetError
from netwright.nets.axes import (
    Attribute,
    Axis,
    Depth,
    Experts,
    Heads,
    Kernel,
    Rank,
    Resize,
    Resolution,
    TiedAxes,
    Width,
    add_transforms,
    factorise,
)
from netwright.nets.importance import sort_channels
from netwright.nets.supernet import SuperNet
from netwright.testing import check_axis, check_supernet

IMAGES = torch.linspace(-1, 1, 2 * 4 * 9 * 9).reshape(2, 4, 9, 9).sin()


def close(found: Tensor, wanted: Tensor, relative: float = 1e-5) -> None:
    assert found.shape == wanted.shape
    assert float((found - wanted).detach().abs().max()) <= relative * float(wanted.detach().abs().max())


# -- kernels with learned matrices -----------------------------------------------------------------------------


def transformed(conv: nn.Module, sizes: tuple[int, ...]) -> SuperNet:
    """A layer alone in a network, with matrices that are not identities."""
    add_transforms(conv, sizes)
    with torch.no_grad():
        for name, parameter in conv.named_parameters():
            if name.endswith("matrix"):
                parameter.add_(0.3 * torch.randn(parameter.shape))
    example = torch.randn(2, conv.in_channels, *[9] * len(conv.kernel_size))  # type: ignore[arg-type]
    return SuperNet(nn.Sequential(conv), [Kernel("k", "0", sizes, transformed=True)], example)


def window(conv: Any, sizes: tuple[int, ...], size: int) -> Tensor:
    """The recipe, element by element: from each size to the next, the centre is flattened and multiplied."""
    weight: Tensor = conv.weight
    for larger, smaller in pairwise(sorted((s for s in sizes if s >= size), reverse=True)):
        first = larger // 2 - smaller // 2
        inside = torch.arange(first, first + smaller)
        for dim in range(2, weight.dim()):
            weight = weight.index_select(dim, inside)
        square = conv.get_parameter(f"{larger}to{smaller}_matrix")
        weight = torch.einsum("oib,ab->oia", weight.flatten(2), square).reshape(weight.shape)
    return weight


@pytest.mark.parametrize("groups", [1, 4])
@pytest.mark.parametrize("kind", [nn.Conv1d, nn.Conv2d])
@given(sizes=st.sets(st.sampled_from([1, 3, 5, 7]), min_size=1), dilation=st.integers(1, 2))
@settings(max_examples=8)
def test_a_transformed_kernel_is_once_for_alls_recipe(kind: Any, groups: int, sizes: set[int], dilation: int) -> None:
    options, largest = tuple(sizes), max(sizes)
    conv = kind(4, 8, largest, padding=largest // 2 * dilation, dilation=dilation, groups=groups)
    net = transformed(conv, options)
    x = net.example_inputs
    convolve = F.conv1d if kind is nn.Conv1d else F.conv2d
    for size in options:
        candidate = net.space.candidate({"k": size})
        wanted = convolve(x, window(conv, options, size), conv.bias, 1, size // 2 * dilation, dilation, groups)
        with net.active(candidate) as module:
            close(module(x), wanted)
        close(net.extract(candidate)(x), wanted)


def test_new_matrices_crop() -> None:
    conv = nn.Conv2d(4, 8, 7, padding=3)
    plain = SuperNet(nn.Sequential(copy.deepcopy(conv)), [Kernel("k", "0", (3, 5, 7))], IMAGES)
    add_transforms(conv, (5, 7, 3))
    net = SuperNet(nn.Sequential(conv), [Kernel("k", "0", (3, 5, 7), transformed=True)], IMAGES)
    for candidate in net.space.enumerate():
        close(net.extract(candidate)(IMAGES), plain.extract(candidate)(IMAGES))


def test_no_sub_network_holds_the_matrices() -> None:
    net = transformed(nn.Conv2d(4, 8, 7, padding=3), (3, 5, 7))
    assert set(net.module.state_dict()) == {"0.weight", "0.bias", "0.7to5_matrix", "0.5to3_matrix"}
    for candidate in net.space.enumerate():
        size: Any = candidate["k"]
        network = net.extract(candidate)
        plain = nn.Sequential(nn.Conv2d(4, 8, size, padding=size // 2))
        plain.load_state_dict(network.state_dict())
        assert repr(plain) == repr(network)
        close(plain(IMAGES), network(IMAGES), 0)
        assert net.count(candidate).params == 4 * 8 * size**2 + 8
        alone = SuperNet(network, [], net.example_inputs)
        assert net.count(candidate) == alone.count(alone.largest)


def test_gradients_reach_the_window_and_the_matrices() -> None:
    conv = nn.Conv2d(4, 8, 7, padding=3)
    net, sizes = transformed(conv, (3, 5, 7)), (3, 5, 7)
    for size in sizes:
        conv.zero_grad()
        F.conv2d(IMAGES, window(conv, sizes, size), conv.bias, padding=size // 2).square().mean().backward()
        wanted = {name: p.grad for name, p in conv.named_parameters()}
        conv.zero_grad()
        with net.active(net.space.candidate({"k": size})) as module:
            module(IMAGES).square().mean().backward()
        for name, parameter in conv.named_parameters():
            if wanted[name] is None:
                assert parameter.grad is None, f"{name} has no part in {size}"
            else:
                close(parameter.grad, wanted[name], 1e-4)
        if size < 7:
            assert not conv.weight.grad[:, :, 0].any(), "the ring of the largest is not used"
            assert conv.get_parameter("7to5_matrix").grad.any()


def test_a_transformed_kernel_and_what_else_may_be_cut() -> None:
    """The layer's channels, a block that holds it, and a second place where the same module runs."""

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.up, self.each, self.down = nn.Conv2d(4, 6, 1), nn.Conv2d(6, 6, 5, 1, 2, groups=6), nn.Conv2d(6, 4, 1)

        def forward(self, x: Tensor) -> Tensor:
            return x + self.down(self.each(self.each(self.up(x)).relu()))

    module = nn.Sequential(Block(), Block(), nn.Conv2d(4, 1, 1))
    axes: list[Axis] = [Depth("depth", ("0", "1"), (1, 2))]
    for i in range(2):
        add_transforms(module[i].each, (3, 5))
        axes.append(Kernel(f"{i}.k", f"{i}.each", (3, 5), transformed=True))
        tie = {"out_of": [f"{i}.up"], "through": [f"{i}.each"], "into": [f"{i}.down"]}
        axes.append(Width.tie(module, f"{i}.w", (2, 6), **tie))
    net = SuperNet(module, axes, IMAGES[:1])
    assert net.space.size == 4 + 4**2
    check_supernet(net, inputs=IMAGES, candidates=list(net.space.enumerate()))
    assert not any("matrix" in name for name, _ in net.extract(net.smallest).named_parameters())


def test_matrices_that_are_missing_are_told() -> None:
    conv = nn.Conv2d(4, 8, 7, padding=3)
    axis = Kernel("k", "0", (3, 5, 7), transformed=True)
    with pytest.raises(NetError, match=r"'k': 0 has no 7to5_matrix; call add_transforms"):
        SuperNet(nn.Sequential(conv), [axis], IMAGES)
    add_transforms(conv, (5, 7))
    with pytest.raises(NetError, match=r"'k': 0 has no 5to3_matrix; call add_transforms"):
        SuperNet(nn.Sequential(conv), [axis], IMAGES)


# -- joint -----------------------------------------------------------------------------------------------------


class Squeezed(nn.Module):
    """An inverted residual whose squeeze layer is a quarter of the expansion."""

    def __init__(self, expanded: int = 16, squeezed: int = 4) -> None:
        super().__init__()
        self.up, self.down = nn.Conv2d(4, expanded, 1), nn.Conv2d(expanded, 4, 1)
        self.squeeze, self.excite = nn.Conv2d(expanded, squeezed, 1), nn.Conv2d(squeezed, expanded, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.up(x).relu()
        return x + self.down(y * self.excite(self.squeeze(y.mean((2, 3), keepdim=True)).relu()).sigmoid())


def expansion(module: nn.Module) -> tuple[Width, Width]:
    inner = Width.tie(module, "inner", (4, 8, 16), out_of=["up", "excite"], into=["squeeze", "down"])
    return inner, Width.tie(module, "squeezed", (1, 2, 4), out_of=["squeeze"], into=["excite"])


def test_the_squeeze_follows_the_expansion() -> None:
    module = Squeezed()
    inner, squeezed = expansion(module)
    joint = TiedAxes("expand", ("a quarter", "half", "all"), ((inner, (4, 8, 16)), (squeezed, (1, 2, 4))))
    net = SuperNet(module, [joint], IMAGES)
    assert [c["expand"] for c in net.space.enumerate()] == ["a quarter", "half", "all"]
    for candidate, (wide, narrow) in zip(net.space.enumerate(), ((4, 1), (8, 2), (16, 4)), strict=True):
        smaller = Squeezed(wide, narrow)
        network = net.extract(candidate)
        smaller.load_state_dict(network.state_dict())
        close(network(IMAGES), smaller(IMAGES), 0)
        assert torch.equal(network.squeeze.weight, module.squeeze.weight[:narrow, :wide])
    check_axis(module, joint, IMAGES)


def test_a_joint_may_take_one_option_twice_and_skip_blocks() -> None:
    module = nn.Sequential(Squeezed(), Squeezed())
    inner = Width.tie(module, "inner", (4, 16), out_of=["0.up", "0.excite"], into=["0.squeeze", "0.down"])
    joint = TiedAxes("size", (1, 2, 3), ((Depth("d", ("1",), (0, 1)), (0, 0, 1)), (inner, (4, 16, 16))))
    own = Width.tie(module, "own", (2, 16), out_of=["1.up", "1.excite"], into=["1.squeeze", "1.down"])
    net = SuperNet(module, [own, joint], IMAGES)
    assert [dict(c) for c in net.space.enumerate()] == [
        {"size": 1},
        {"size": 2},
        {"size": 3, "own": 2},
        {"size": 3, "own": 16},
    ]
    check_supernet(net, candidates=list(net.space.enumerate()))


@pytest.mark.parametrize("taken", [(4, 16), (4, 8, 16, 16), (4, 9, 16), (4, 16, 8)])
def test_a_joint_whose_axes_have_other_options_is_refused(taken: tuple[int, ...]) -> None:
    inner, _ = expansion(Squeezed())
    with pytest.raises(
        NetError, match=r"'expand': inner takes one of its options \[4, 8, 16\] for each of \[1, 2, 3\]"
    ):
        TiedAxes("expand", (1, 2, 3), ((inner, taken),))


def test_channels_of_joint_axes_are_sorted() -> None:
    module = Squeezed()
    before = module(IMAGES)
    joint = TiedAxes("expand", (1, 2, 3), tuple((axis, axis.options) for axis in expansion(module)))
    sort_channels(SuperNet(module, [joint], IMAGES), "l2")
    close(module(IMAGES), before)
    norms = sum(
        x.square().sum(d) / x.square().sum()
        for x, d in ((module.squeeze.weight, (1, 2, 3)), (module.excite.weight, (0, 2, 3)))
    )
    assert torch.equal(norms.argsort(descending=True), torch.arange(4))


# -- settings and resolutions ----------------------------------------------------------------------------------


def test_a_setting_changes_an_attribute_and_nothing_else() -> None:
    module = nn.Sequential(nn.Conv2d(4, 6, 3, padding=1), nn.MaxPool2d(3, 1, 1), nn.ELU(0.5), nn.MaxPool2d(3, 1, 1))
    strides = Attribute("stride", (("1", "stride"), ("3", "stride")), (3, 2, 1))
    net = SuperNet(module, [strides, Attribute("slope", (("2", "alpha"),), (0.1, 0.5))], IMAGES)
    assert not list(strides.regions(net.index))
    for candidate in net.space.enumerate():
        s, a = candidate["stride"], candidate["slope"]
        y = F.elu(F.max_pool2d(module[0](IMAGES), 3, s, 1), a)  # type: ignore[arg-type]
        close(net.extract(candidate)(IMAGES), F.max_pool2d(y, 3, s, 1), 0)  # type: ignore[arg-type]
    check_supernet(net, candidates=list(net.space.enumerate()))


@pytest.mark.parametrize(("attribute", "is_now"), [("stride", "1"), ("strid", "None"), ("forward", "None")])
def test_a_setting_ends_with_what_is(attribute: str, is_now: str) -> None:
    with pytest.raises(NetError, match=rf"'s': 0\.{attribute} is {is_now}; the last option must be what it is, not 2"):
        SuperNet(nn.Sequential(nn.MaxPool2d(3, 1)), [Attribute("s", (("0", attribute),), (1, 2))], IMAGES)


@given(side=st.integers(1, 40), seed=st.integers(0, 99), dtype=st.sampled_from([torch.float32, torch.float16]))
def test_images_of_the_own_size_stay_bit_for_bit(side: int, seed: int, dtype: torch.dtype) -> None:
    images = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(seed)).mul(300).to(dtype)
    assert torch.equal(Resize(side)(images), images)
    turned = images.contiguous(memory_format=torch.channels_last)
    assert torch.equal(Resize(side)(turned), images)


@pytest.mark.parametrize("side", [(9, 9), (12, 7)])
def test_every_resolution_takes_the_same_images(side: tuple[int, int]) -> None:
    body = nn.Sequential(nn.Conv2d(4, 6, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3))
    module = nn.Sequential(Resize(9), body)
    images = F.interpolate(IMAGES, size=side)
    net = SuperNet(module, [Resolution("r", "0", (9, 5, 7))], images)
    assert net.space["r"].options == (5, 7, 9)
    for candidate in net.space.enumerate():
        r: Any = candidate["r"]
        small = F.interpolate(images, size=(r, r), mode="bilinear", align_corners=False)
        close(net.extract(candidate)(images), body(small), 0)
        assert net.count(candidate).macs == 2 * ((r - 1) // 2) ** 2 * 4 * 6 * 9 + 2 * 6 * 3
    check_supernet(net, candidates=list(net.space.enumerate()))


def test_a_resolution_ends_with_the_modules_own() -> None:
    for layer, told in (("0", "0.size is 9"), ("1", "1.size is None")):
        with pytest.raises(NetError, match=rf"'r': {told}; the last option must be what it is, not 11"):
            SuperNet(nn.Sequential(Resize(9), nn.ReLU()), [Resolution("r", layer, (5, 11))], IMAGES)


# -- heads -----------------------------------------------------------------------------------------------------


class Attention(nn.Module):
    """Grouped-query attention, whose values may have another size than its queries and keys."""

    def __init__(self, heads: int, kept: int, size: int = 3, value: int = 3, bias: bool = True) -> None:
        super().__init__()
        self.query, self.key = nn.Linear(8, heads * size, bias), nn.Linear(8, kept * size, bias)
        self.value, self.out = nn.Linear(8, kept * value, bias), nn.Linear(heads * value, 8, bias)
        self.kept, self.each = kept, heads // kept

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (layer(x).unflatten(-1, (self.kept, -1)) for layer in (self.query, self.key, self.value))
        q = q.unflatten(-1, (self.each, -1))  # (batch, tokens, kept, each, size)
        weights = torch.einsum("bqhgs,bkhs->bhgqk", q, k).softmax(-1)
        return self.out(torch.einsum("bhgqk,bkhs->bqhgs", weights, v).flatten(2))


TOKENS = IMAGES[:, :, 1:3, 1:9].flatten(1, 2)  # (2, 8, 8)


def heads_of(module: nn.Module, options: Any, size: int = 3, **other: str) -> Heads:
    layers = {"query": "query", "key": "key", "value": "value", "out": "out", **other}
    return Heads.of(module, "heads", options, size=size, size_attributes=[("", "kept")], **layers)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("each", "value"), [(1, 3), (1, 6), (2, 3), (3, 6)])
def test_fewer_heads_are_a_smaller_attention(each: int, value: int, bias: bool) -> None:
    module = Attention(4 * each, 4, value=value, bias=bias)
    net = SuperNet(module, [heads_of(module, (1, 2, 4))], TOKENS)
    for candidate in net.space.enumerate():
        kept: Any = candidate["heads"]
        written = Attention(kept * each, kept, value=value, bias=bias)
        with torch.no_grad():
            for name in ("query", "key", "value"):
                layers = module.get_submodule(name), written.get_submodule(name)
                for whole, part in zip(*(layer.parameters() for layer in layers), strict=True):
                    part.copy_(whole.unflatten(0, (4, -1))[:kept].flatten(0, 1))
            written.out.weight.copy_(module.out.weight.unflatten(1, (4, -1))[:, :kept].flatten(1))
            if bias:
                written.out.bias.copy_(module.out.bias)
        wanted = written(TOKENS)
        close(net.extract(candidate)(TOKENS), wanted)
        with net.active(candidate) as active:
            close(active(TOKENS), wanted)
        assert net.count(candidate).params == sum(p.numel() for p in written.parameters())
    check_axis(module, net.axes[0], TOKENS)
    before = module(TOKENS)
    sort_channels(net)
    close(module(TOKENS), before)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"options": (1, 2)}, r"options must hold 4, the whole; got \[1, 2\]"),
        ({"options": (1, 8)}, r"options must hold 4, the whole; got \[1, 8\]"),
        ({"options": (0, 4)}, r"between 1 and 4 and hold 4, the whole; got \[0, 4\]"),
        ({"size": 5}, "key has 12 channels, not 2 groups of 5 each"),
        ({"size": 24}, "key has 12 channels, not 0 groups of 24 each"),
        ({"value": "pool"}, "pool is a ReLU, not a linear layer"),
        ({"out": "output"}, "no module 'output'"),
        ({"value": "odd"}, "odd has 10 channels, not 4 groups of 3 each"),
        ({"out": "odd"}, "odd has 8 channels, not 4 groups of 3 each"),
    ],
)
def test_heads_of_other_sizes_are_told(change: dict[str, Any], told: str) -> None:
    module = Attention(8, 4)
    module.pool, module.odd = nn.ReLU(), nn.Linear(8, 10)
    with pytest.raises(NetError, match=told):
        heads_of(module, **{"options": (2, 4), **change})


# -- ranks -----------------------------------------------------------------------------------------------------


@given(into=st.integers(1, 9), out=st.integers(1, 9), rank=st.integers(1, 9), bias=st.booleans(), seed=st.integers(0))
def test_a_rank_is_the_best_approximation(into: int, out: int, rank: int, bias: bool, seed: int) -> None:
    torch.manual_seed(seed % 2**32)
    layer = nn.Linear(into, out, bias)
    whole, rank = min(into, out), min(rank, into, out)
    x, module = torch.randn(5, into), nn.Sequential(layer)
    wanted = layer(x)
    factorise(module, "0")
    assert torch.allclose(module(x), wanted, atol=1e-5)
    net = SuperNet(module, [Rank.of(module, "r", "0", {rank, whole})], x)
    first, second = net.extract(net.smallest)[0]  # type: ignore[index, misc]
    assert (first.out_features, second.in_features, first.bias) == (rank, rank, None)
    assert (second.bias is not None) == bias
    u, s, v = torch.linalg.svd(layer.weight.detach().double(), full_matrices=False)
    best = (u[:, :rank] * s[:rank]) @ v[:rank]
    found = (second.weight @ first.weight).double()
    assert torch.linalg.norm(found - best) <= 1e-5 * s[0]
    apart = torch.linalg.norm(found - layer.weight.double())
    assert abs(apart - s[rank:].square().sum().sqrt()) <= 1e-5 * s[0], "Eckart and Young's bound"


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"stride": 2, "padding": 1},
        {"padding": "same", "bias": False},
        {"padding": 2, "dilation": 2, "padding_mode": "reflect"},
        {"padding": (2, 0), "stride": (1, 2), "padding_mode": "circular"},
        {"padding": "same", "dilation": 2, "padding_mode": "replicate"},
    ],
)
def test_a_convolution_becomes_two(how: dict[str, Any]) -> None:
    layer = nn.Conv2d(4, 7, 3, **how)
    module = nn.Sequential(nn.ReLU(), layer, nn.Tanh())
    wanted = module(IMAGES)
    factorise(module, "1")
    close(module(IMAGES), wanted)
    net = SuperNet(module, [Rank.of(module, "r", "1", (2, 5, 7))], IMAGES)
    u, s, v = torch.linalg.svd(layer.weight.detach().double().flatten(1), full_matrices=False)
    for rank in (2, 5, 7):
        best = copy.deepcopy(layer).double()
        best.weight.data = ((u[:, :rank] * s[:rank]) @ v[:rank]).reshape(layer.weight.shape)
        close(net.extract(net.space.candidate({"r": rank}))(IMAGES).double(), best(IMAGES.relu().double()).tanh())
    assert net.count(net.smallest).params == 2 * 4 * 9 + 7 * 2 + (7 if layer.bias is not None else 0)
    check_axis(module, net.axes[0], IMAGES)


def test_what_cannot_be_factorised_is_left_as_it_is() -> None:
    tied = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8), nn.Conv2d(4, 4, 3, groups=2), nn.ReLU(), nn.Conv1d(4, 4, 3))
    tied[1].weight = tied[0].weight
    before = repr(tied)
    for layer, told in (
        ("0", "shares its weight"),
        ("1", "shares its weight"),
        ("2", "2 is a Conv2d; .* ungrouped Conv2d"),
        ("3", "3 is a ReLU"),
        ("4", "4 is a Conv1d"),
        ("5", "no module '5'"),
    ):
        with pytest.raises(NetError, match=told):
            factorise(tied, layer)
    assert repr(tied) == before
    with pytest.raises(NetError, match=r"0 is a Linear; factorise\(net, '0'\) first"):
        Rank.of(tied, "r", "0", (2, 8))


def test_a_factorised_layer_has_its_place_precision_and_mode() -> None:
    module = nn.Sequential(nn.Sequential(nn.Linear(6, 4))).double().eval()
    factorise(module, "0.0")
    assert {p.dtype for p in module.parameters()} == {torch.float64}
    assert not any(part.training for part in module.modules())
    for options in ((2, 5), (0, 4), (2, 3)):
        with pytest.raises(NetError, match=r"'r': options must lie between 1 and 4 and hold 4, the whole"):
            Rank.of(module, "r", "0.0", options)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: Width("w", (), ("a",)), "whole numbers; got"),  # type: ignore[arg-type]
        (lambda: Attribute("s", (("0", "n"),), ()), "got none"),
        (lambda: heads_of(Attention(4, 2), (1, 2), size=0), "not 0"),
        (
            lambda: Experts.of(nn.Sequential(nn.Linear(8, 8), nn.ReLU()), "e", (1, 2), router="1", experts="0"),
            "router 1 has no weight",
        ),
        (lambda: add_transforms(nn.Linear(2, 2), (3, 5)), "need a convolution"),
        (lambda: add_transforms(nn.Conv2d(2, 2, 3), (3, 5)), "square window of 5"),
    ],
)
def test_arguments_of_another_kind_are_refused(make: Callable[[], object], told: str) -> None:
    with pytest.raises(NetError, match=told):
        make()
