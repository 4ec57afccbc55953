"""Menus: one of several modules runs at a place, active, extracted, traced, counted and exported alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from small import Added
from torch import Tensor, nn

import netwright as nw
from netwright.core.errors import NetError
from netwright.nets.menu import Menu

IMAGES = torch.linspace(-2, 2, 2 * 3 * 8 * 8).reshape(2, 3, 8, 8).sin()


def conv(into: int, out: int, window: int = 3) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(into, out, window, padding=window // 2), nn.BatchNorm2d(out), nn.ReLU())


class Pair(nn.Module):
    """Two arguments, two results."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.into, self.out = nn.Linear(8, width), nn.Linear(width, 8)

    def forward(self, x: Tensor, scale: Tensor) -> tuple[Tensor, Tensor | None]:
        return self.out(self.into(x).relu()) * scale, None


class Twice(nn.Module):
    """A menu that is called twice, of modules with two arguments and two results."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(8, 8)
        self.menu = nw.oneof(
            none=nw.Instead((nw.Zeros(), None)), same=nw.Instead((0, None)), narrow=Pair(8), wide=Pair(16)
        )

    def forward(self, x: Tensor) -> Tensor:
        scale = torch.ones_like(x)
        x = self.first(x)
        x = x + self.menu(x, scale=scale)[0]
        added, _ = self.menu(x, scale)
        return x + added


class Spectrum(nn.Module):
    """Of which nobody counts the multiply-accumulates."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.fft.fft(x).real


class SharedParts(nn.Module):
    """Options that hold one another's modules and tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv(3, 16)
        shared, other = conv(16, 16), conv(16, 16)
        other[0].weight = shared[0].weight
        self.menu = nw.oneof(nn.Identity(), shared, other, nn.Sequential(shared, conv(16, 16)))
        self.last = nn.Conv2d(16, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.menu(self.stem(x)))


def plain() -> nn.Module:
    return nn.Sequential(
        conv(3, 16),
        nw.oneof(nn.Identity(), conv(16, 16), nn.Sequential(conv(16, 24, 5), conv(24, 16, 1))),
        nn.Conv2d(16, 4, 1),
    )


def nested() -> nn.Module:
    inner = nw.oneof(nn.Identity(), conv(16, 16))
    return nn.Sequential(
        conv(3, 16),
        nw.oneof(conv(16, 16), nw.oneof(nn.Identity(), nn.Sequential(conv(16, 16), inner, conv(16, 16)))),
        nn.Conv2d(16, 4, 1),
    )


def in_blocks() -> nn.Module:
    """Menus in residual blocks, of residual blocks, and where blocks are left out."""
    return nn.Sequential(
        conv(3, 16),
        nn.Sequential(
            Added(nw.oneof(nw.Zeros(), conv(16, 16), conv(16, 16, 5))),
            nw.oneof(Added(conv(16, 16)), Added(nn.Sequential(conv(16, 24), conv(24, 16)))),
            Added(nw.oneof(nn.AvgPool2d(3, 1, 1), conv(16, 16))),
        ),
        nn.Conv2d(16, 4, 1),
    )


def layers() -> nn.Module:
    """A block with a menu that runs at two places."""
    block = Added(nw.oneof(conv(16, 16), nn.Sequential(conv(16, 24), conv(24, 16))))
    return nn.Sequential(conv(3, 16), block, nn.ReLU(), block, nn.Conv2d(16, 4, 1))


NETWORKS: dict[str, tuple[Callable[[], nn.Module], Any]] = {
    "plain": (plain, IMAGES),
    "nested": (nested, IMAGES),
    "in blocks": (in_blocks, IMAGES),
    "called twice": (Twice, IMAGES.reshape(-1, 8)[:6]),
    "shared parts": (SharedParts, IMAGES),
    "at two places": (layers, IMAGES),
    "the whole network": (lambda: nw.oneof(nn.Conv2d(3, 4, 1), conv(3, 4)), IMAGES),
}


def made(name: str) -> tuple[nn.Module, Any]:
    torch.manual_seed(0)
    build, inputs = NETWORKS[name]
    network = build().eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-0.2, 0.2)
            module.running_var.uniform_(0.5, 2)
    return network, inputs


@pytest.mark.parametrize("name", NETWORKS)
def test_menus_keep_the_contract(name):
    net = nw.wrap(*made(name), round_to=4)
    assert any(axis.name.endswith("option") for axis in net.axes)
    nw.testing.check_supernet(net, candidates=3)
    nw.testing.check_supernet(net, candidates=[net.space.sample(np.random.default_rng(1))], formats=["onnx"])


@pytest.mark.parametrize("name", NETWORKS)
def test_menus_are_counted_from_the_table(name):
    net = nw.wrap(*made(name), round_to=4)
    rng = np.random.default_rng(2)
    some = [net.space.sample(rng) for _ in range(8)]
    table = net._counter._table
    assert table is not None
    assert [net.count(c) for c in some] == [net._counter._trace(c) for c in some]


def test_one_choice_for_menus_and_what_lies_in_them_is_counted_from_the_table():
    """A block that is nothing, narrow or wide, and two places with one choice."""
    network, images = made("plain")
    menu = nw.OneOf.of(network, "1")
    narrow = nw.Width.tie(network, "", (12, 24), out_of=["1.2.0.0"], through=["1.2.0.1"], into=["1.2.1.0"])
    both = nw.TiedAxes(
        "block", ("none", "conv", "narrow", "wide"), ((menu, ("0", "1", "2", "2")), (narrow, (24, 24, 12, 24)))
    )
    net = nw.SuperNet(network, [both], images)
    assert net._counter._table is not None
    nw.testing.check_supernet(net, candidates=[net.space.candidate({"block": o}) for o in both.options])


def test_the_counts_of_an_option_that_nobody_can_count_are_said_only_where_it_runs():
    network = nn.Sequential(nn.Linear(8, 8), nw.oneof(nn.Identity(), Spectrum(), nn.Linear(8, 8)))
    net = nw.wrap(network.eval(), torch.randn(2, 3, 8))
    assert net._counter._table is not None
    said = {option: net.count({**net.largest, "1.option": option}).uncounted for option in "012"}
    assert said == {"0": (), "1": ("_fft_r2c",), "2": ()}


@pytest.mark.parametrize("name", NETWORKS)
def test_an_extracted_network_holds_no_menu_and_no_other_option(name):
    net = nw.wrap(*made(name), round_to=4)
    for candidate in (net.smallest, net.largest):
        network = net.extract(candidate)
        assert not any(isinstance(module, Menu) for module in network.modules())
        assert sum(p.numel() for p in network.parameters()) == net.count(candidate).params


def test_what_lies_in_an_option_has_a_meaning_only_there():
    net = nw.wrap(*made("nested"), round_to=4)
    assert net.space["1.1.option"].when == [{"1.option": ("1",)}]
    assert net.space["1.1.1.1.option"].when == [{"1.option": ("1",), "1.1.option": ("1",)}]
    first = net.space.candidate({**net.largest, "1.option": "0"})
    assert first == net.space.candidate({**net.largest, "1.option": "0", "1.1.option": "0"})
    assert all(name == "1.option" or not name.startswith("1.1") for name in first)


def test_blocks_are_left_out_with_their_menus_and_menus_as_blocks():
    net = nw.wrap(*made("in blocks"), round_to=4)
    assert net.space["1.depth"].options == (1, 2, 3)
    assert net.space["1.1.option"].when == [{"1.depth": (2, 3)}]
    assert "1.1.option" not in net.space.candidate({**net.largest, "1.depth": 1})


def test_a_menu_with_the_option_of_nothing_is_no_block_that_may_be_left_out():
    same = nn.Sequential(conv(3, 16), nn.Sequential(*(nw.oneof(nn.Identity(), Added(conv(16, 16))) for _ in range(2))))
    assert not any(isinstance(axis, nw.Depth) for axis in nw.wrap(same.eval(), IMAGES).axes)


def test_all_options_read_and_make_the_same_outer_channels():
    net = nw.wrap(*made("plain"), round_to=4)
    (outer,) = [axis for axis in net.axes if isinstance(axis, nw.Width) and axis.name == "0.0.width"]
    assert {s.tensor for s in outer.slices if s.tensor.endswith("0.weight")} == {
        "0.0.weight", "1.1.0.weight", "1.2.0.0.weight", "1.2.1.0.weight",
    }  # fmt: skip


def test_only_the_chosen_option_learns():
    net = nw.wrap(*made("plain"), round_to=4)
    net.module.train()
    with net.active({**net.largest, "1.option": "1"}) as module:
        module(IMAGES).square().sum().backward()
    learned = {name for name, p in net.module.named_parameters() if p.grad is not None}
    assert "1.1.0.weight" in learned and not any(name.startswith("1.2") for name in learned)


def test_until_an_option_is_chosen_the_last_runs():
    network, images = made("plain")
    menu = network[1]
    x = network[0](images)
    assert torch.equal(menu(x), menu._modules["2"](x))
    with nw.wrap(network, images).active({"1.option": "0", "0.0.width": 16}) as module:
        assert torch.equal(module[1](x), x)
    assert torch.equal(menu(x), menu._modules["2"](x))


def test_the_report_says_what_the_options_are():
    report = str(nw.wrap(*made("in blocks"), round_to=4).report)
    assert "1.0.inner.option: 0 (Zeros(like=0)), 1 (Sequential), 2 (Sequential)" in report
    fixed = nw.wrap(*made("plain"), axes=["width"])
    assert "one option alone: 1 2" in str(fixed.report)
    assert not any(isinstance(module, Menu) for module in fixed.extract(fixed.smallest).modules())


def two(*options: Any, inputs: Any = IMAGES) -> nw.SuperNet:
    network = nn.Sequential(nw.oneof(*options), nn.Flatten())
    return nw.SuperNet(network, [nw.OneOf.of(network, "0")], inputs)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: nw.oneof(), "a menu of 0 options leaves no choice"),
        (lambda: nw.oneof(nn.Identity()), "a menu of 1 options leaves no choice"),
        (lambda: nw.oneof(nn.Identity, nn.Identity()), "a menu is a torch.nn.Module, not the class Identity"),
        (lambda: nw.oneof(a=nn.Identity(), b=3), "option 'b' of a menu is a torch.nn.Module, not a int"),
        (lambda: nw.oneof(*[nn.Identity()] * 2), "options '0' and '1' of a menu are one module"),
        (
            lambda: two(nn.Conv2d(3, 8, 3), nn.Conv2d(3, 8, 1)),
            r"the menu at 0 give different shapes: '0' \(Conv2d\) gives a tensor of \(2, 8, 6, 6\), '1' \(Conv2d\) a "
            r"tensor of \(2, 8, 8, 8\)",
        ),
        (lambda: two(nw.Zeros(), nn.Conv2d(3, 8, 1)), r"shapes: '0' \(Zeros\(like=0\)\) gives a tensor of \(2, 3"),
        (lambda: two(nn.Bilinear(3, 3, 8), nn.Conv2d(3, 8, 1)), r"option '0' \(Bilinear\) of the menu at 0 raises on"),
        (lambda: nw.SuperNet(plain(), [nw.OneOf("a", "0", ("0", "1"))], IMAGES), "0 is a Sequential and no menu"),
        (lambda: nw.SuperNet(plain(), [nw.OneOf("a", "1", ("0", "2"))], IMAGES), r"\['0', '1', '2'\], in that order"),
        (
            lambda: nw.SuperNet(plain(), [nw.OneOf(n, "1", ("0", "1", "2")) for n in "ab"], IMAGES),
            "axes 'a' and 'b' contradict one another: both choose of the menu at 1",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(make, said):
    with pytest.raises(NetError, match=said):
        make()


def test_wrap_says_the_same_of_a_menu_that_cannot_be():
    with pytest.raises(NetError, match="options of the menu at 0 give different shapes"):
        nw.wrap(nn.Sequential(nw.oneof(nn.Conv2d(3, 8, 3), nn.Conv2d(3, 8, 1)), nn.Flatten()), IMAGES)


def test_all_options_run_in_turn_for_what_is_found_on_data():
    network, images = made("nested")
    net = nw.wrap(network, images, round_to=4)
    assert [turn["1.option"] for turn in net.turns] == ["1", "1", "1", "0"]
    assert [turn.get("1.1.option") for turn in net.turns] == ["1", "1", "0", None]
    (alone,) = nw.wrap(conv(3, 16).eval(), IMAGES).turns
    assert alone == nw.wrap(conv(3, 16).eval(), IMAGES).largest


@pytest.mark.parametrize("criterion", ["l1", nw.importance.Activation([IMAGES]), nw.importance.Taylor([IMAGES])])
def test_sorting_leaves_what_every_option_computes(criterion):
    network, images = made("plain")
    network[1] = nw.oneof(nn.Identity(), nn.Sequential(conv(16, 24, 5), conv(24, 16, 1)), conv(16, 16))
    net = nw.wrap(network.eval(), images, round_to=4)

    def computed() -> list[Tensor]:
        found = []
        for turn in net.turns:
            with net.active(turn) as module:
                found.append(module(images).detach().clone())
        return found

    before = computed()
    worth = nw.sort_channels(net, criterion)
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(before, computed(), strict=True))
    (inner,) = worth.channels["1.1.0.0.width"]  # of an option that the whole network does not run
    assert inner[0] > inner[-1] > 0
    limit = 0.6 * net.count(net.largest).macs
    assert net.count(nw.prune_to_budget(net, worth, limits=[f"macs <= {limit}"])).macs <= limit


def test_the_sandwich_trains_what_it_chooses_and_nothing_else():
    network, images = made("plain")
    loader = [(images, torch.tensor([0, 1]))]
    network.append(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()))
    net = nw.wrap(network, images, round_to=4)
    before = {name: p.detach().clone() for name, p in net.module.named_parameters()}
    nw.train(net, loader, rule=nw.rules.Sandwich(random=0), optimizer="sgd,lr=0.1", epochs=1)
    changed = {name for name, p in net.module.named_parameters() if not torch.equal(p, before[name])}
    assert any(name.startswith("1.2") for name in changed) and not any(name.startswith("1.1") for name in changed)
