"""Runs of blocks that other blocks run between: U-Nets, two streams, encoders and decoders, one list run twice."""

import pytest
import torch
from torch import nn

from netwright.nets.axes import Depth, Width
from netwright.nets.wrap import wrap
from netwright.testing import check_supernet


class Block(nn.Module):
    """Gives what it takes, and something that it makes of that and of what stands beside it."""

    def __init__(self, size=16):
        super().__init__()
        self.up, self.beside, self.down = nn.Linear(size, 24), nn.Linear(size, 24), nn.Linear(24, size)

    def forward(self, x, beside=None):
        return x + self.down(torch.relu(self.up(x) + self.beside(x if beside is None else beside)))


class Net(nn.Module):
    """Lists of blocks, run as a function says."""

    def __init__(self, run, **lists):
        super().__init__()
        self.enter, self.leave, self.run = nn.Linear(4, 16), nn.Linear(16, 3), run
        for name, count in lists.items():
            self.add_module(name, nn.ModuleList(Block() for _ in range(count)))

    def forward(self, x):
        return self.leave(self.run(self, self.enter(x)))


def in_turn(net, x):
    for one, other in zip(net.one, net.other, strict=True):
        x = other(one(x))
    return x


def one_longer(net, x):
    x = net.one[0](x)
    for one, other in zip(net.one[1:], net.other, strict=True):
        x = one(other(x))
    return x


def two_streams(net, x):
    y = x.tanh()
    for one, other in zip(net.one, net.other, strict=True):
        x, y = one(x, y), other(y, x)
    return x + y


def encoder_decoder(net, x):
    for one in net.one:
        x = one(x)
    seen, y = x, x.tanh()
    for other, third in zip(net.other, net.third, strict=True):
        y = third(other(y, seen), seen)
    return y


def every_second(net, x):
    for at, one in enumerate(net.one):
        x = one(x) if at % 2 else net.other[at // 2](one(x))
    return x


KINDS = {
    "in turn": (in_turn, {"one": 3, "other": 3}, {"one": 1, "other": 0}),
    "one longer": (one_longer, {"one": 3, "other": 2}, {"one": 1, "other": 0}),
    "two streams": (two_streams, {"one": 2, "other": 2}, {"one": 1, "other": 0}),
    "encoder and decoder": (encoder_decoder, {"one": 2, "other": 2, "third": 2}, {"one": 1, "other": 1, "third": 0}),
    "every second": (every_second, {"one": 4, "other": 2}, {"one": 1, "other": 0}),
}


@pytest.mark.parametrize("kind", KINDS)
def test_each_list_has_a_depth_of_its_own(kind: str) -> None:
    torch.manual_seed(0)
    run, lists, least = KINDS[kind]
    net = wrap(Net(run, **lists).eval(), torch.randn(2, 4))
    depths = {axis.name: axis for axis in net.axes if isinstance(axis, Depth)}
    assert {name: axis.options[0] for name, axis in depths.items()} == {f"{n}.depth": k for n, k in least.items()}
    for name, count in lists.items():
        assert depths[f"{name}.depth"].blocks == tuple(f"{name}.{i}" for i in range(count))
    check_supernet(net, candidates=2)


def test_one_list_run_twice() -> None:
    def twice(net, x):
        for _ in range(2):
            for one in net.one:
                x = one(x)
        return x

    torch.manual_seed(0)
    net = wrap(Net(twice, one=2).eval(), torch.randn(2, 4))
    assert net.axes
    check_supernet(net, candidates=2)


def test_an_axis_of_the_callers_may_have_the_name_of_one_that_is_found() -> None:
    torch.manual_seed(0)
    module = Net(in_turn, one=2, other=2).eval()
    own = Width.tie(module, "one.depth", (8, 24), out_of=["one.0.up", "one.0.beside"], into=["one.0.down"])
    net = wrap(module, torch.randn(2, 4), extra=[own])
    assert {"one.depth", "one.depth'"} <= {axis.name for axis in net.axes}
    check_supernet(net, candidates=1)


def test_the_active_candidate_is_extracted_while_it_is_active() -> None:
    torch.manual_seed(0)
    net = wrap(Net(in_turn, one=2, other=2).eval(), x := torch.randn(2, 4))
    with torch.no_grad(), net.active(net.smallest) as module:
        before = module(x)
        assert torch.allclose(net.extract(net.smallest)(x), before, atol=1e-6)
        assert torch.equal(module(x), before)
    assert net.extract(net.largest)(x).shape == before.shape


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize(("groups", "out"), [(32, 32), (32, 64), (8, 32), (4, 16)])
def test_grouped_and_depthwise_transposed_convolutions(dims: int, groups: int, out: int) -> None:
    torch.manual_seed(0)
    conv, up = (getattr(nn, f"{kind}{dims}d") for kind in ("Conv", "ConvTranspose"))
    norm = getattr(nn, f"BatchNorm{dims}d")
    module = nn.Sequential(conv(3, 32, 1), nn.ReLU(), up(32, out, 4, 2, 1, groups=groups), norm(out), conv(out, 4, 1))
    net = wrap(module.eval(), torch.randn(2, 3, *[4] * dims))
    cut = {(tensor, dim) for axis in net.axes for tensor, dim, *_ in axis.regions(net.index)}
    assert cut >= {("0.weight", 0), ("2.weight", 0), ("2.bias", 0), ("3.weight", 0), ("4.weight", 1)}
    check_supernet(net, candidates=2)


def test_a_block_that_takes_a_part_of_a_tensor_may_be_skipped() -> None:
    class Halves(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.enter, self.leave = nn.Linear(4, 32), nn.Linear(32, 3)
            self.blocks = nn.ModuleList(Block() for _ in range(2))

        def forward(self, x):
            one, other = self.enter(x).chunk(2, -1)
            for block in self.blocks:
                other = block(other)
            return self.leave(torch.cat([one, other], -1))

    torch.manual_seed(0)
    net = wrap(Halves().eval(), torch.randn(2, 4))
    assert {path for axis in net.axes for path in axis.skipped_modules()} == {"blocks.1"}
    check_supernet(net, candidates=2)


def test_a_layer_that_nobody_listens_to_shrinks_with_what_it_reads() -> None:
    class Deaf(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.enter, self.leave, self.last = nn.Linear(4, 16), nn.Linear(16, 3), Block()
            self.norm = nn.LayerNorm(16)

        def forward(self, x):
            x = self.enter(x)
            self.norm(self.last(x))
            return self.leave(x)

    torch.manual_seed(0)
    net = wrap(Deaf().eval(), torch.randn(2, 4))
    (width,) = (axis for axis in net.axes if isinstance(axis, Width))
    cut = {(tensor, dim) for tensor, dim, *_ in width.regions(net.index)}
    assert cut >= {("enter.weight", 0), ("last.up.weight", 1), ("last.down.weight", 0), ("norm.weight", 0)}
    check_supernet(net, candidates=1)
