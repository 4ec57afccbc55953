"""Several axes on one tensor: the result is that of all, in the order of the kinds, or they are refused."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from making import LowRank, Making, Masked, Mixed, Rounded
from torch import Tensor, nn

from netwright.core.errors import NetError
from netwright.nets.axes import Attribute, Axis, Depth, Kernel, TiedAxes, Width, add_transforms
from netwright.nets.importance import sort_channels
from netwright.nets.supernet import SuperNet
from netwright.nets.transforms import Stored, Transform
from netwright.testing import check_supernet

IMAGES = torch.linspace(-1, 1, 2 * 3 * 6 * 6).reshape(2, 3, 6, 6).sin()
SECOND, SCORES = ("1.second",), ("1.scores",)
MATRIX = "1.5to3_matrix"
KINDS = ("kernel", "crop", "width", "inputs", "mix", "mask", "rank", "round")


def network() -> nn.Sequential:
    """Three convolutions; the middle one has learned matrices, a second set of weights and scores for a mask."""
    torch.manual_seed(0)
    middle = nn.Conv2d(6, 8, 5, padding=2)
    add_transforms(middle, (3, 5))
    with torch.no_grad():
        middle.get_parameter("5to3_matrix").add_(0.3 * torch.randn(9, 9))
    middle.second = nn.Parameter(torch.randn(middle.weight.shape))
    middle.scores = nn.Parameter(torch.randn(middle.weight.shape))
    return nn.Sequential(nn.Conv2d(3, 6, 1), middle, nn.Conv2d(8, 2, 1)).eval()


def axis(kind: str, module: nn.Module) -> Axis:
    """One axis of the middle layer."""
    made: dict[str, Any] = {
        "kernel": lambda: Kernel("kernel", "1", (3, 5)),
        "crop": lambda: Kernel("crop", "1", (3, 5), transformed=True),
        "width": lambda: Width.tie(module, "width", (4, 8), out_of=["1"], into=["2"]),
        "inputs": lambda: Width.tie(module, "inputs", (2, 6), out_of=["0"], into=["1"]),
        "mix": lambda: Making("mix", "1.weight", tuple(Mixed(s, SECOND, SECOND) for s in (0.7, 0.2)), SECOND),
        "mask": lambda: Making("mask", "1.weight", (Masked(SCORES, SCORES),), SCORES),
        "rank": lambda: Making("rank", "1.weight", (LowRank(2),)),
        "round": lambda: Making("round", "1.weight", (Rounded(3), Rounded(6))),
    }
    return made[kind]()


def by_hand(module: Any, options: dict[str, Any]) -> Tensor:
    """The middle layer's weight: the recipe of each kind, in the order of the documentation."""
    layer, out, into = module[1], options.get("width", 8), options.get("inputs", 6)
    sets = [t.detach()[:out, :into] for t in (layer.weight, layer.second, layer.scores)]
    if options.get("kernel") == 3:
        sets = [t[..., 1:-1, 1:-1] for t in sets]
    if options.get("crop") == 3:
        matrix = layer.get_parameter("5to3_matrix").detach()
        sets = [*((t[..., 1:-1, 1:-1].flatten(2) @ matrix.T).unflatten(2, (3, 3)) for t in sets[:2]), sets[2]]
    weight, second, scores = sets
    share = (0.7, 0.2, 0)[options.get("mix", 2)]
    weight = (1 - share) * weight + share * second
    if options.get("mask") == 0:
        weight = torch.where(scores < 0, 0, weight)
    if options.get("rank") == 0:
        u, s, v = torch.linalg.svd(weight.flatten(1), full_matrices=False)
        weight = (u[:, :2] @ s[:2].diag() @ v[:2]).reshape(weight.shape)
    if options.get("round", 2) < 2:
        most = 3 if options["round"] == 0 else 31
        step = weight.abs().flatten(1).max(1).values[:, None, None, None] / most
        weight = (weight / step).round() * step
    return weight


def weight_bytes(weight: Tensor, options: dict[str, Any]) -> int:
    """Of the middle layer's weight."""
    out, inner = weight.shape[0], weight[0].numel()
    numbers = 2 * (out + inner) if options.get("rank") == 0 else out * inner
    bits = (3, 6, 32)[options.get("round", 2)]
    scales = 4 * out if bits < 32 else 0
    return -(-numbers * bits // 8) + scales + (-(-out * inner // 8) if options.get("mask") == 0 else 0)


def refused(kinds: set[str]) -> bool:
    """Two crops of one window; scores that a learned crop cannot follow."""
    return {"kernel", "crop"} <= kinds or {"crop", "mask"} <= kinds


@given(order=st.permutations(KINDS), size=st.sampled_from([2, 2, 2, 3, 4]), seed=st.integers(0, 99))
@settings(max_examples=40)
def test_the_result_is_that_of_all_axes_or_they_are_refused(order: list[str], size: int, seed: int) -> None:
    module, kinds = network(), order[:size]
    axes = [axis(kind, module) for kind in kinds]
    if refused(set(kinds)):
        with pytest.raises(NetError, match=r"axes '(crop|kernel|mask)' and '(crop|kernel|mask)' .*1\.weight"):
            SuperNet(module, axes, IMAGES)
        return
    net = SuperNet(module, axes, IMAGES)
    for candidate in (net.smallest, net.space.sample(np.random.default_rng(seed))):
        options = dict(candidate)
        wanted, extracted = by_hand(module, options), net.extract(candidate)
        layer: Any = extracted[1]  # type: ignore[index]
        assert torch.allclose(layer.weight, wanted, atol=1e-5)
        assert tuple(layer.kernel_size) == tuple(wanted.shape[2:]) and (layer.padding[0] * 2 + 1) == wanted.shape[2]
        with net.active(candidate) as active, torch.no_grad():
            assert torch.equal(active[1].weight, layer.weight)  # type: ignore[index]
            assert torch.allclose(active(IMAGES), extracted(IMAGES), atol=1e-6)
        counts, alone = net.count(candidate), SuperNet(extracted, [], IMAGES)
        assert counts == alone.count(alone.largest)
        others = sum(p.numel() for name, p in extracted.named_parameters() if name != "1.weight")
        assert counts.weight_bytes == 4 * others + weight_bytes(wanted, options)


@pytest.mark.parametrize("first", ["crop", "round"])
def test_a_learned_window_is_rounded_whatever_the_order(first: str) -> None:
    """The fault that this was made for: in one order the window stayed, in the other it was not rounded."""
    module = network()
    axes = sorted((axis("crop", module), axis("round", module)), key=lambda a: a.name != first)
    net = SuperNet(module, axes, IMAGES)
    whole = SuperNet(module, [axis("crop", module)], IMAGES)
    candidate = net.space.candidate({"crop": 3, "round": 0})
    weight = net.extract(candidate).get_parameter("1.weight")
    assert weight.shape[2:] == (3, 3) and all(len(row.unique()) <= 7 for row in weight)
    counts, floats = net.count(candidate), whole.count(whole.smallest)
    saved = floats.weight_bytes - counts.weight_bytes
    assert saved == 4 * 8 * 6 * 9 - (8 * 6 * 9 * 3 // 8 + 4 * 8)
    assert floats.moved_bytes - counts.moved_bytes == saved, "the weight is read once"
    assert counts.macs - floats.macs == 8 * 6 * 9, "what the transform says that it adds"
    check_supernet(net, candidates=[candidate])


def test_a_mixture_of_weight_sets_works_under_a_width() -> None:
    module = network()
    net = SuperNet(module, [axis("mix", module), axis("width", module), axis("inputs", module)], IMAGES)
    check_supernet(net)
    module.zero_grad()
    with net.active(net.smallest) as active:
        active(IMAGES).square().sum().backward()
    gradient = module[1].get_parameter("second").grad
    assert gradient is not None and gradient[:4, :2].any() and not gradient[4:].any() and not gradient[:, 2:].any()


def test_what_is_alike_is_sorted_with_the_tensor() -> None:
    module = network()
    net = SuperNet(module, [axis("mix", module), axis("width", module)], IMAGES)
    mixture = net.space.candidate({"mix": 0, "width": 8})
    before = net.extract(mixture)(IMAGES)
    weight = module[1].get_parameter("weight").detach().clone()
    sort_channels(net, "l2")
    assert not torch.equal(module[1].get_parameter("weight"), weight)
    assert torch.allclose(net.extract(mixture)(IMAGES), before, atol=1e-6)


def test_a_skipped_layer_stores_nothing() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 3, padding=1))
    axes = [Depth("depth", ("0", "1"), (1, 2)), Making("bits", "1.weight", (Rounded(4),))]
    net = SuperNet(module, axes, IMAGES)
    alone = SuperNet(nn.Sequential(nn.Conv2d(3, 3, 1)), [], IMAGES)
    assert net.count(net.smallest) == alone.count(alone.largest)
    check_supernet(net, candidates=list(net.space.enumerate()))


def test_proportions_of_what_is_stored() -> None:
    stored = Stored((4, 4), 8, 3, more_bytes=2, macs=10)
    assert stored.bytes == 3 + 2
    assert stored.of_shape((16,)) == replace(stored, shape=(16,))
    assert stored.of_shape((3, 3)) == Stored((3, 3), 5, 3, more_bytes=2, macs=6)
    assert Stored((0,), 0, 32).of_shape((0, 3)) == Stored((0, 3), 0, 32)


class Elsewhere(Transform):
    """What it makes has another shape than it says."""

    kind = "crop"

    def __call__(self, kept: Tensor, *others: Tensor) -> Tensor:
        return kept[:-1]


def alike(name: str, tensor: str, *reads: str) -> Making:
    return Making(name, tensor, (Mixed(0.5, reads),))


@pytest.mark.parametrize(
    ("axes", "told"),
    [
        (
            [Making("a", "1.weight", (Rounded(3),)), Making("b", "1.weight", (Rounded(2),))],
            r"axes 'a' and 'b' contradict one another: both make 1\.weight by a transform of the kind 'round'; merge",
        ),
        (
            [alike("mix", "1.weight", "1.second"), Width.tie(network(), "w", (4, 8), out_of=["1"], into=["2"])],
            r"axes 'mix' and 'w' cannot live together on 1\.weight: .*alike=, or among the slices",
        ),
        (
            [Making("a", "1.weight", (Elsewhere(),))],
            r"axis 'a' cannot make 1\.weight for 0: a tensor of \(7, 6, 5, 5\)",
        ),
        ([alike("a", "1.weight", "1.gone")], r"no tensor '1\.gone'"),
        ([alike("a", "1.weight", "1.weight")], r"in a circle: 1\.weight of 1\.weight"),
        (
            [alike("a", "1.weight", "1.second"), alike("b", "1.second", "1.weight")],
            r"in a circle: 1\.weight of 1\.second of 1\.weight",
        ),
        ([Making("a", "1.weight", (Mixed(0.5, alike=("1.second",)),))], r"in alike= and not in reads="),
        ([Making("a", "1.weight", ("round",))], r"axis 'a': 'round' cannot make 1\.weight: .*crop, mix, mask"),  # type: ignore[arg-type]
        (
            [TiedAxes("t", (1, 2), tuple((Making(n, "1.weight", (Rounded(3),)), (0, 1)) for n in "ab"))],
            r"axis 't': 1\.weight has two transforms of the kind 'round'",
        ),
        (
            [Kernel("k", "1", (3, 5)), Attribute("p", (("1", "padding"),), ((1, 1), (2, 2)))],  # type: ignore[arg-type]
            r"axes 'k' and 'p' contradict one another: both set 1\.padding; merge",
        ),
    ],
)
def test_axes_that_cannot_live_together_are_refused(axes: list[Axis], told: str) -> None:
    with pytest.raises(NetError, match=told):
        SuperNet(network(), axes, IMAGES)


def test_transforms_of_a_tensor_that_is_read_are_seen() -> None:
    """The learned matrix is rounded too: the window is made of the rounded one."""
    module = network()
    net = SuperNet(module, [axis("crop", module), Making("bits", MATRIX, (Rounded(4),))], IMAGES)
    small, fine = (net.extract(net.space.candidate({"crop": 3, "bits": b})).get_parameter("1.weight") for b in (0, 1))
    matrix: Any = module[1].get_parameter("5to3_matrix").detach()
    step = matrix.abs().max(1, keepdim=True).values / 7
    for found, square in ((small, (matrix / step).round() * step), (fine, matrix)):
        wanted = (module[1].get_parameter("weight").detach()[..., 1:-1, 1:-1].flatten(2) @ square.T).unflatten(
            2, (3, 3)
        )
        assert torch.allclose(found, wanted, atol=1e-5)
    assert all(a != b for a, b in pairwise(net.count(c).macs for c in (net.smallest, net.largest)))


def test_an_attribute_of_the_networks_own_stays() -> None:
    module = network()
    module.stored_tensors = own = {"0.weight": 1}  # type: ignore[assignment]
    net = SuperNet(module, [axis("width", module)], IMAGES)
    assert net.extract(net.smallest).stored_tensors == own
