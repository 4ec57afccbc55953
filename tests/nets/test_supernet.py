"""The super-network itself: its space, activation and its end, extraction, and what it refuses."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from netwright.core.candidate import Candidate
from netwright.core.errors import NetError, NetwrightError, SpaceError
from netwright.nets.axes import Axis, ChannelSlice, Depth, Kernel, Width
from netwright.nets.inputs import call
from netwright.nets.supernet import SuperNet

Make = Callable[[str], Any]


class Small(nn.Module):
    """Two residual blocks and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.blocks = nn.Sequential(*(Residual(4, 6) for _ in range(2)))
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(F.relu(self.norm(self.stem(x)))).mean((2, 3)))


class Residual(nn.Module):
    def __init__(self, size: int, hidden: int) -> None:
        super().__init__()
        self.a = nn.Conv2d(size, hidden, 1)
        self.b = nn.Conv2d(hidden, size, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.b(F.relu(self.a(x)))


IMAGE = torch.linspace(-1, 1, 32).reshape(2, 1, 4, 4)


def small() -> tuple[Small, list[Axis]]:
    torch.manual_seed(0)
    net = Small().eval()
    axes: list[Axis] = [
        Width.tie(
            net,
            "width",
            (2, 4),
            out_of=["stem", "blocks.0.b", "blocks.1.b"],
            through=["norm"],
            into=["blocks.0.a", "blocks.1.a", "head"],
        ),
        Kernel("kernel", "stem", (1, 3)),
        Depth("depth", ("blocks.0", "blocks.1"), (0, 1, 2)),
        *(Width.tie(net, f"hidden{i}", (3, 6), out_of=[f"blocks.{i}.a"], into=[f"blocks.{i}.b"]) for i in range(2)),
    ]
    return net, axes


def agree(net: SuperNet, candidate: Candidate, inputs: Any) -> None:
    """Active, extracted and counted are one network."""
    with torch.no_grad(), net.active(candidate) as module:
        active = call(module, inputs)
    network = net.extract(candidate)
    with torch.no_grad():
        torch.testing.assert_close(call(network, inputs), active)
    counts, alone = net.count(candidate), SuperNet(network, [], net.example_inputs)
    assert counts.params == sum(p.numel() for p in network.parameters())
    assert counts == alone.count(alone.largest)


# -- the space -------------------------------------------------------------------------------------------------


def test_axes_in_skipped_blocks_are_absent() -> None:
    net = SuperNet(*small(), IMAGE)
    assert net.space.size == 2 * 2 * (1 + 2 + 4)
    none = net.space.candidate({"width": 4, "kernel": 3, "depth": 0, "hidden0": 3, "hidden1": 6})
    assert set(none) == {"width", "kernel", "depth"}
    one = net.space.candidate({"width": 4, "kernel": 3, "depth": 1, "hidden0": 3, "hidden1": 6})
    assert set(one) == {"width", "kernel", "depth", "hidden0"}
    assert set(net.largest) == {"width", "kernel", "depth", "hidden0", "hidden1"}
    for candidate in net.space.enumerate():
        agree(net, candidate, IMAGE)


def test_depths_may_be_nested(make: Make) -> None:
    net = make("tied").net
    full = {c.name: c.options[-1] for c in net.space}
    one = net.space.candidate({**full, "depth": 1, "b0.depth": 1})
    assert set(one) == {"depth", "size", "b0.depth", "b0.kernel", "b0.i0.hidden"}
    two = net.space.candidate({**full, "depth": 2, "b0.depth": 0, "b1.depth": 2})
    assert set(two) == {
        *("depth", "size", "b0.depth", "b1.depth", "b0.kernel", "b1.kernel", "b1.i0.hidden", "b1.i1.hidden")
    }
    first = 3 * (1 + 2 + 4)  # kernel; no, one or two inner layers with two hidden sizes
    assert net.space.size == 3 * (first + first**2 + first**2 * 3 * 2)


@pytest.mark.parametrize("order", [0, 1, 2])
def test_an_axis_over_several_homes_exists_while_one_of_them_runs(order: int) -> None:
    """The hidden size is shared by a layer in a nested block and one in another block."""

    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.outer = nn.Sequential(nn.Sequential(Residual(2, 4)), Residual(2, 3))
            self.tail = nn.Sequential(Residual(2, 4))

        def forward(self, x: Tensor) -> Tensor:
            return self.tail(self.outer(x))

    slices = []
    for path in ("outer.0.0", "tail.0"):
        slices += [
            ChannelSlice(f"{path}.a.weight", 0),
            ChannelSlice(f"{path}.a.bias", 0),
            ChannelSlice(f"{path}.b.weight", 1),
        ]
    depths: list[Axis] = [
        Depth("inner", ("outer.0.0",), (0, 1)),
        Depth("outer", ("outer.0", "outer.1"), (0, 1, 2)),
        Depth("tail", ("tail.0",), (0, 1)),
    ]
    axes: list[Axis] = [*depths[order:], *depths[:order], Width("shared", tuple(slices), (2, 4))]
    net = SuperNet(Two(), axes, torch.randn(1, 2, 3, 3))
    for candidate in net.space.enumerate():
        runs = candidate["tail"] == 1 or candidate.get("inner") == 1
        assert ("shared" in candidate) == runs, candidate
    outer = 1 + 2 * 2  # no outer block; one or two of them, with or without what is inside the first
    assert net.space.size == 2 * outer + (outer + 2)  # the tail runs; it does not


def test_an_axis_over_many_stages_is_no_burden(work: Callable[[Callable[[], object]], int]) -> None:
    """Conditions of the form "any of these blocks runs" grow with the number of stages, not exponentially."""
    stages = 7
    module = nn.Sequential(*(nn.Sequential(*(Residual(2, 4) for _ in range(3))) for _ in range(stages)))
    shared: list[ChannelSlice] = []
    for s in range(stages):
        shared += [
            ChannelSlice(f"{s}.2.a.weight", 0),
            ChannelSlice(f"{s}.2.a.bias", 0),
            ChannelSlice(f"{s}.2.b.weight", 1),
        ]
    depths = [Depth(f"d{s}", tuple(f"{s}.{b}" for b in range(3)), (0, 1, 2, 3)) for s in range(stages)]
    axes: list[list[Axis]] = [[*depths], [*depths, Width("shared", tuple(shared), (2, 4))]]
    nets: list[SuperNet] = []
    alone, beside = (work(lambda own=own: nets.append(SuperNet(module, own, torch.randn(1, 2, 2, 2)))) for own in axes)
    assert nets[1].space.size == 3**stages + 2 * (4**stages - 3**stages)
    assert beside < 3 * alone


def test_depths_at_different_levels_are_put_in_order() -> None:
    """One depth has blocks at two levels, each within a block of another depth."""

    class Towers(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Sequential(Residual(2, 3), Residual(2, 3))
            self.b = nn.Sequential(nn.Sequential(nn.Sequential(Residual(2, 3), Residual(2, 3))))

        def forward(self, x: Tensor) -> Tensor:
            return self.b(self.a(x))

    axes: list[Axis] = [
        Depth("both", ("a.1", "b.0.0.1"), (0, 2)),
        Depth("first", ("a",), (0, 1)),
        Depth("second", ("b.0.0",), (0, 1)),
    ]
    net = SuperNet(Towers(), axes, torch.randn(1, 2, 3, 3))
    assert net.space.size == 1 + 3 * 2
    for candidate in net.space.enumerate():
        agree(net, candidate, torch.randn(2, 2, 3, 3))


# -- activation ------------------------------------------------------------------------------------------------


class Broken(Exception):
    pass


def snapshot(module: nn.Module) -> list[Any]:
    found: list[Any] = []
    for path, part in module.named_modules(remove_duplicate=False):
        for table in (part._parameters, part._buffers, part._modules):
            found += [(path, own, id(value)) for own, value in table.items()]
        found += [(path, k, repr(v)) for k, v in sorted(part.__dict__.items()) if k not in ("_parameters", "_buffers")]
    return found


@pytest.mark.parametrize("name", ["inverted_residual", "flat", "concat", "tied"])
def test_everything_is_as_before_also_when_the_body_raises(make: Make, name: str) -> None:
    case = make(name)
    net, before = case.net, snapshot(case.net.module)
    values = {k: v.clone() for k, v in net.module.state_dict().items()}
    with pytest.raises(Broken), net.active(net.smallest) as module:
        assert snapshot(module) != before
        raise Broken
    assert snapshot(net.module) == before
    assert all(torch.equal(v, values[k]) for k, v in net.module.state_dict().items())
    with net.active(net.largest) as module:
        call(module, case.inputs)
    assert snapshot(net.module) == before


def test_a_forward_that_raises_half_way_keeps_the_statistics_of_what_ran(make: Make) -> None:
    case = make("concat")
    case.net.module.train()
    before = case.net.module.norm.running_mean.clone()
    with pytest.raises(RuntimeError), case.net.active(case.net.smallest) as module:
        call(module, {**case.inputs, "scale": torch.zeros(5, 5, 5, 5)})
    changed = case.net.module.norm.running_mean != before
    assert changed.tolist() == [True, *[False] * 3, *[True] * 3, *[True] * 2, *[False] * 4]
    assert case.net.module.norm.running_mean.shape == (13,)


def test_two_activations_at_once_are_refused() -> None:
    net = SuperNet(*small(), IMAGE)
    with net.active(net.smallest) as module:
        inside = module(IMAGE)
        for ask in (lambda: net.active(net.largest).__enter__(), lambda: net.extract(net.largest)):
            with pytest.raises(NetError, match="active"):
                ask()
        assert torch.equal(module(IMAGE), inside), "the refusal leaves the first as it was"
    with net.active(net.largest) as module:
        assert module(IMAGE).shape == inside.shape


@pytest.mark.parametrize("counted_before", [False, True])
def test_counting_while_active_is_right_or_refused(counted_before: bool) -> None:
    """A training loop that logs costs inside the block must not get (and keep) the costs of another network."""
    fresh = SuperNet(*small(), IMAGE)
    wanted = {c: fresh.count(c) for c in fresh.space.enumerate()}
    net = SuperNet(*small(), IMAGE)
    if counted_before:
        net.count(net.largest)
    with net.active(net.smallest):
        for candidate, counts in wanted.items():
            try:
                assert net.count(candidate) == counts
            except NetError as error:
                assert "active" in str(error)
    assert {c: net.count(c) for c in wanted} == wanted
    for candidate in wanted:
        agree(net, candidate, IMAGE)


def test_the_caller_may_train_with_parts_in_evaluation_mode() -> None:
    """Making a super-network changes nothing of the module, such as statistics that its owner froze."""
    net, axes = small()
    net.train()
    net.norm.eval()
    before = snapshot(net)
    values = {k: v.clone() for k, v in net.state_dict().items()}
    made = SuperNet(net, axes, IMAGE)
    assert not net.norm.training
    assert net.training
    made.count(made.smallest)
    assert str(made.report)
    assert snapshot(net) == before
    assert all(torch.equal(v, values[k]) for k, v in net.state_dict().items())
    assert all(p.grad is None for p in net.parameters())


def test_buffers_that_a_module_replaces_reach_the_whole() -> None:
    """``self.mean = ...`` is as common as an in-place update."""

    class Running(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.make = nn.Linear(3, 4)
            self.register_buffer("mean", torch.zeros(4))
            self.register_buffer("steps", torch.zeros(()))
            self.read = nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            x = self.make(x)
            if self.training:
                self.mean = 0.5 * self.mean + 0.5 * x.mean(0).detach()
                self.steps = self.steps + 1
            return self.read(x - self.mean)

    module = Running()
    slices = (
        ChannelSlice("make.weight", 0),
        ChannelSlice("make.bias", 0),
        ChannelSlice("mean", 0),
        ChannelSlice("read.weight", 1),
    )
    net = SuperNet(module, [Width("w", slices, (2, 4))], torch.randn(3, 3))
    extracted: Any = net.extract(net.smallest).train()
    module.train()
    x = torch.randn(5, 3)
    extracted(x)
    with net.active(net.smallest) as active:
        active(x)
    assert module.steps == 1
    assert module.mean.shape == (4,)
    torch.testing.assert_close(module.mean[:2], extracted.mean)
    assert not module.mean[2:].any()


def test_the_whole_shares_its_weights_with_the_caller() -> None:
    module, axes = small()
    net = SuperNet(module, axes, IMAGE)
    with torch.no_grad():
        module.head.weight.zero_()
        module.head.bias.fill_(3.0)
    with net.active(net.smallest) as active:
        assert active(IMAGE).tolist() == [[3.0, 3.0]] * 2
    assert call(net.extract(net.smallest), IMAGE).tolist() == [[3.0, 3.0]] * 2


# -- tied and shared -------------------------------------------------------------------------------------------


class Shared(nn.Module):
    """One layer, registered in a block that may be skipped and again in the head that always runs."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Linear(3, 4)
        self.blocks = nn.Sequential(nn.Sequential(nn.Linear(4, 4), nn.Tanh()))
        self.head = nn.Sequential(self.blocks[0][0], nn.Linear(4, 2))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(self.stem(x)))


@pytest.mark.parametrize("depth", [0, 1])
@pytest.mark.parametrize("width", [2, 4])
def test_a_module_shared_with_a_skipped_block_still_runs_elsewhere(depth: int, width: int) -> None:
    torch.manual_seed(0)
    slices = [ChannelSlice(f"stem.{own}", 0) for own in ("weight", "bias")] + [ChannelSlice("head.1.weight", 1)]
    slices += [
        ChannelSlice("blocks.0.0.weight", 0),
        ChannelSlice("blocks.0.0.weight", 1),
        ChannelSlice("blocks.0.0.bias", 0),
    ]
    axes: list[Axis] = [Depth("depth", ("blocks.0",), (0, 1)), Width("width", tuple(slices), (2, 4))]
    net = SuperNet(Shared(), axes, torch.randn(1, 3))
    agree(net, net.space.candidate({"depth": depth, "width": width}), torch.randn(5, 3))


def test_a_block_that_stands_twice_is_skipped_everywhere_or_refused() -> None:
    torch.manual_seed(0)
    block = Residual(2, 3)
    module = nn.Sequential(block, block)
    try:
        net = SuperNet(module, [Depth("depth", ("0",), (0, 1))], torch.randn(1, 2, 3, 3))
    except NetError:
        return
    agree(net, net.smallest, torch.randn(2, 2, 3, 3))


def test_a_weight_shared_with_a_skipped_block_is_counted() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Sequential(nn.Linear(3, 3)), nn.Linear(3, 3))
    module[1].weight = module[0][0].weight
    net = SuperNet(module, [Depth("depth", ("0",), (0, 1))], torch.randn(1, 3))
    assert net.count(net.smallest).params == 12
    agree(net, net.smallest, torch.randn(2, 3))


def test_tie_understands_tied_tensors() -> None:
    """A head that shares the embedding's tensor reads the width where the embedding makes it."""

    class Language(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Embedding(7, 4)
            self.norm = nn.LayerNorm(4)
            self.head = nn.Linear(4, 7, bias=False)
            self.head.weight = self.embed.weight

        def forward(self, tokens: Tensor) -> Tensor:
            return self.head(self.norm(self.embed(tokens)))

    module, tokens = Language(), torch.tensor([[1, 2, 3]])
    width = Width.tie(module, "size", (2, 4), out_of=["embed"], through=["norm"], into=["head"])
    net = SuperNet(module, [width], tokens)
    agree(net, net.smallest, tokens)


# -- what is refused -------------------------------------------------------------------------------------------


def refused(axes: Callable[[Small], list[Axis]], *names: str) -> None:
    module = Small()
    with pytest.raises(NetError) as caught:
        SuperNet(module, axes(module), IMAGE)
    for name in names:
        assert name in str(caught.value), str(caught.value)


BLOCKS = ("blocks.0", "blocks.1")


def test_paths_that_the_network_does_not_have() -> None:
    refused(lambda m: [Depth("d", ("blocks.0", "blocks.7"), (1, 2))], "'blocks.7'")
    refused(lambda m: [Kernel("k", "stemm", (1, 3))], "'stemm'")
    refused(lambda m: [Width.tie(m, "w", (2, 4), out_of=["stam"])], "'stam'")
    refused(lambda m: [Width.tie(m, "w", (2, 4), out_of=["stem"], through=["nrm"])], "'nrm'")
    refused(lambda m: [Width.tie(m, "w", (2, 4), out_of=["stem"], into=["haed"])], "'haed'")
    refused(lambda m: [Width("w", (ChannelSlice("stem.wieght", 0),), (2, 4))], "'w'", "stem.wieght")
    refused(lambda m: [Width("w", (ChannelSlice("stem.weight", 0, offset=2),), (2, 4))], "'w'", "stem.weight", "6")
    refused(lambda m: [Width("w", (ChannelSlice("stem.weight", 4),), (2, 4))], "'w'", "stem.weight")
    refused(lambda m: [Width("w", (ChannelSlice("stem.weight", 0, block=2),), (2, 4))], "'w'", "stem.weight", "8")


def test_options_that_cannot_be() -> None:
    refused(lambda m: [Depth("d", BLOCKS, (1, 3))], "'d'", "0", "2", "[1, 3]")
    refused(lambda m: [Depth("d", BLOCKS, (0, 1))], "'d'", "2, the whole", "[0, 1]")
    refused(lambda m: [Depth("d", BLOCKS, (-1, 2))], "'d'", "[-1, 2]")
    refused(lambda m: [Depth("d", BLOCKS, ())], "'d'")
    refused(lambda m: [Kernel("k", "stem", (2, 3))], "'k'", "odd")
    refused(lambda m: [Kernel("k", "stem", (1, 5))], "'k'", "stem", "5")
    refused(lambda m: [Kernel("k", "stem", (-1, 3))], "'k'", "positive")
    refused(lambda m: [Kernel("k", "head", (1, 3))], "'k'", "head")
    refused(lambda m: [Width.tie(m, "w", (2, 3), out_of=["stem"])], "'w'", "4, the whole", "[2, 3]")
    refused(lambda m: [Width.tie(m, "w", (0, 4), out_of=["stem"])], "'w'", "[0, 4]")
    refused(lambda m: [Width.tie(m, "w", (), out_of=["stem"])], "'w'")
    refused(lambda m: [Width.tie(m, "w", (2, 4), out_of=["norm"])], "'w'", "norm", "BatchNorm2d")
    refused(lambda m: [Width.tie(m, "w", (2, 4), out_of=["stem"], through=["stem"])], "'w'", "stem")
    refused(lambda m: [Width.tie(m, "w", (2, 4), out_of=["stem"], through=["blocks"])], "'w'", "Sequential")
    refused(lambda m: [Width.tie(m, "w", (2, 4), out_of=["stem", "blocks.0.a"])], "'w'", "stem.weight", "6")


@pytest.mark.parametrize("options", [(4, 2), (2, 2, 4), (), (0, 4), (-2, 4)])
def test_a_width_made_by_hand_is_checked_too(options: tuple[int, ...]) -> None:
    slices = (ChannelSlice("0.weight", 0), ChannelSlice("0.bias", 0), ChannelSlice("2.weight", 1))
    module = nn.Sequential(nn.Conv2d(1, 4, 1), nn.ReLU(), nn.Conv2d(4, 1, 1))
    try:
        net = SuperNet(module, [Width("w", slices, options)], IMAGE)
    except NetwrightError as error:
        assert "'w'" in str(error)
    else:  # or understood: the largest is the whole and the smallest is not
        assert net.count(net.largest).params == 13
        assert net.count(net.smallest).params == 7


def test_a_dimension_counted_from_the_end_is_understood_or_refused() -> None:
    module = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    slices = (ChannelSlice("0.weight", 0), ChannelSlice("0.bias", -1), ChannelSlice("1.weight", -1))
    try:
        net = SuperNet(module, [Width("w", slices, (2, 4))], torch.randn(1, 3))
    except NetwrightError as error:
        assert "'w'" in str(error)
    else:
        agree(net, net.smallest, torch.randn(2, 3))


def test_axes_that_contradict_one_another() -> None:
    refused(
        lambda m: [Width.tie(m, n, (2, 4), out_of=["stem"], through=["norm"]) for n in ("one", "two")],
        "'one'",
        "'two'",
        "stem.weight",
    )
    refused(lambda m: [Kernel(n, "stem", (1, 3)) for n in ("one", "two")], "'one'", "'two'", "stem.weight")
    refused(lambda m: [Depth(n, BLOCKS, (1, 2)) for n in ("one", "two")], "'one'", "'two'", "blocks.1")
    refused(
        lambda m: [
            Width("one", (ChannelSlice("head.weight", 1, 0),), (2, 3)),
            Width("two", (ChannelSlice("head.weight", 1, 2),), (1, 2)),
        ],
        "'one'",
        "'two'",
        "head.weight",
    )
    with pytest.raises(NetwrightError, match="'same'"):
        SuperNet(Small(), [Kernel("same", "stem", (1, 3)), Depth("same", BLOCKS, (1, 2))], IMAGE)


def test_axes_that_do_not_fit_the_network_are_found_at_once() -> None:
    refused(lambda m: [Width.tie(m, "w", (2, 4), out_of=["stem"])], "raises on its example inputs")
    with pytest.raises(NetError, match="raises on its example inputs"):
        SuperNet(Small(), [], torch.randn(1, 5, 4, 4))
    module = nn.Sequential()
    module.stem = nn.Conv2d(1, 2, 3)
    with pytest.raises(NetError, match=r"'k'.*stem.*padded by 0"):
        SuperNet(module, [Kernel("k", "stem", (1, 3))], torch.randn(1, 1, 5, 5))


@pytest.mark.parametrize(
    "foreign",
    [
        {"depht": 1},
        {"width": 3, "kernel": 3, "depth": 0},
        {"width": 2, "kernel": 3, "depth": 5},
        {"width": 2, "kernel": 3},
        {},
    ],
)
def test_candidates_of_another_space_are_refused(foreign: dict[str, int]) -> None:
    """A mistyped or incomplete candidate must not silently become the whole network."""
    net = SuperNet(*small(), IMAGE)
    candidate = Candidate(foreign)
    with pytest.raises(SpaceError):
        net.count(candidate)
    with pytest.raises((SpaceError, NetError)):
        net.extract(candidate)
    with pytest.raises((SpaceError, NetError)), net.active(candidate):
        pass


def test_choices_without_meaning_change_nothing() -> None:
    """A candidate that was read with inactive choices in it is the canonical one."""
    net = SuperNet(*small(), IMAGE)
    canonical = net.space.candidate({"width": 2, "kernel": 3, "depth": 0})
    long = Candidate({**canonical, "hidden0": 3, "hidden1": 6})
    assert net.count(long) == net.count(canonical)
    torch.testing.assert_close(call(net.extract(long), IMAGE), call(net.extract(canonical), IMAGE))


def test_the_report_says_what_is_rigid() -> None:
    module, axes = small()
    net = SuperNet(module, [a for a in axes if a.name in ("kernel", "hidden0")], IMAGE)
    report = net.report
    assert report.elastic == {"kernel": (1, 3), "hidden0": (3, 6)}
    assert set(report.rigid) == {"norm", "blocks.1.a", "blocks.1.b", "head"}
    assert report.space_size == 4
    assert (report.smallest, report.largest) == (net.count(net.smallest), net.count(net.largest))
    assert "kernel: 1, 3" in str(report)


def test_extracted_networks_do_not_change_with_the_whole() -> None:
    module, axes = small()
    net = SuperNet(module, axes, IMAGE)
    network = net.extract(net.smallest)
    before = call(network, IMAGE).detach().clone()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(1.0)
    assert torch.equal(call(network, IMAGE), before)
    assert network.example_inputs is IMAGE  # type: ignore[comparison-overlap]
    again = SuperNet(copy.deepcopy(network), [], IMAGE)
    assert call(again.extract(again.largest), IMAGE).equal(before)


def test_what_is_no_candidate_is_refused() -> None:
    net = SuperNet(nn.Linear(2, 2), [], torch.zeros(1, 2))
    for use in (net.extract, net.cut, lambda c: net.active(c).__enter__()):
        with pytest.raises(NetError, match="is no candidate: no choice is called 'width'"):
            use({"width": 8})  # type: ignore[arg-type]


def same(net: SuperNet) -> SuperNet:
    copied: SuperNet = pickle.loads(pickle.dumps(net))
    return copied


@pytest.mark.parametrize("how", [copy.deepcopy, same])
@pytest.mark.parametrize("used", [False, True])
def test_a_copy_is_a_network_of_its_own(how: Callable[[SuperNet], SuperNet], used: bool) -> None:
    net = SuperNet(*small(), IMAGE)
    candidates = [net.largest, net.smallest, net.space.candidate({**net.largest, "depth": 1, "hidden0": 3})]
    if used:
        for candidate in candidates:
            net.count(candidate)
            net.extract(candidate)
    other = how(net)
    assert other.space.fingerprint == net.space.fingerprint
    for candidate in candidates:
        agree(other, candidate, IMAGE)
        with torch.no_grad(), net.active(candidate) as here, other.active(candidate) as there:
            assert torch.equal(here(IMAGE), there(IMAGE))
        assert net.count(candidate) == other.count(candidate)
    with torch.no_grad():
        other.module.stem.weight.zero_()
    assert not torch.equal(net.extract(net.largest)(IMAGE), other.extract(net.largest)(IMAGE))


def test_an_active_one_is_not_copied() -> None:
    net = SuperNet(*small(), IMAGE)
    with net.active(net.smallest), pytest.raises(NetError, match="this super-network is active"):
        pickle.dumps(net)
