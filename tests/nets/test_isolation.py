"""What a run changes is put back, and is not shared by copies."""

from __future__ import annotations

import functools
import random
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from small import criterion
from torch import Tensor, nn
from torch.nn import functional as F

import netwright as nw
from netwright.core.errors import NetError
from netwright.nets.cut import Cut, ModuleIndex
from netwright.nets.extract import extract
from netwright.nets.isolation import isolated

X, Y = torch.randn(2, 8, generator=torch.Generator().manual_seed(0)), torch.ones(2, 8)


class Base(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(8, 32), nn.Linear(32, 4)

    def note(self, x: Tensor) -> None:
        """Writes something somewhere."""

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.first(x))
        self.note(h)
        return self.second(h)


class Buffers(Base):
    """A cache, a counter, a queue that is replaced, and a statistic that is changed behind PyTorch's back."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("past", torch.zeros(32))
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))
        self.register_buffer("queue", torch.zeros(3, 32), persistent=False)
        self.register_buffer("silent", torch.zeros(32))

    def note(self, x: Tensor) -> None:
        self.past[: x.shape[1]] = x.mean(0)
        self.steps += 1
        self.queue = torch.cat([self.queue[1:, : x.shape[1]], x[:1]])
        self.silent.data[: x.shape[1]] += x[0]

    def state(self) -> Any:
        return [*(t.clone() for t in self.buffers()), id(self.queue)]


class Plain(Base):
    """Python's own things."""

    def __init__(self) -> None:
        super().__init__()
        self.calls, self.last, self.seen = 0, None, deque([1], maxlen=2)
        self.table: dict[str, Any] = {"sizes": [], "set": {1}, "ordered": OrderedDict(a=1, b=2)}
        self.array = np.zeros(3)

    def note(self, x: Tensor) -> None:
        self.calls += 1
        self.last = x
        self.seen.append(2)
        self.table["sizes"].append(len(x))
        self.table["set"].add(2)
        self.table["ordered"].move_to_end("a")
        self.table["more"] = x
        self.array += 1
        self.new = 3

    def state(self) -> Any:
        table = self.table
        plain = (self.calls, self.last, list(self.seen), list(table), table["sizes"][:], set(table["set"]))
        return (*plain, list(table["ordered"]), self.array.tolist(), hasattr(self, "new"))


COUNTS: dict[str, int] = {}
TOTAL = 0


@functools.lru_cache
def scale(size: int) -> Tensor:
    return torch.ones(size)


class Beyond(Base):
    """Attributes of the class, globals, a function's own attribute, a default, and a cache."""

    calls: ClassVar[int] = 0
    log: ClassVar[list[int]] = []

    def note(self, x: Tensor, default: list[int] = []) -> None:  # noqa: B006
        global TOTAL
        TOTAL += 1
        Beyond.calls += 1
        Beyond.log.append(1)
        COUNTS["calls"] = COUNTS.get("calls", 0) + 1
        default.append(1)
        scale(x.shape[1])

    def state(self) -> Any:
        defaults = type(self).note.__defaults__ or ([],)
        return TOTAL, self.calls, list(self.log), dict(COUNTS), list(defaults[0]), scale(32).is_meta


class Draws(Base):
    """Random numbers of every kind."""

    def __init__(self) -> None:
        super().__init__()
        self.torch, self.numpy, self.python = torch.Generator(), np.random.default_rng(0), random.Random(0)

    def note(self, x: Tensor) -> None:
        torch.rand(1), np.random.rand(1), random.random()
        torch.rand(1, generator=self.torch), self.numpy.random(), self.python.random()

    def state(self) -> Any:
        common = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
        return (*common, self.torch.get_state(), self.numpy.bit_generator.state["state"], self.python.getstate())


class Hooked(Base):
    """A closure over a dict, a variable of its own, and a bound method of something else."""

    def __init__(self) -> None:
        super().__init__()
        count, kept = 0, {}

        def hook(module: nn.Module, args: Any, output: Tensor) -> None:
            nonlocal count
            count += 1
            kept["last"] = output

        self.first.register_forward_hook(hook)
        self.peek = lambda: (count, sorted(kept))

    def state(self) -> Any:
        return self.peek()


class InPlace(Base):
    """Changes its own parameters."""

    def note(self, x: Tensor) -> None:
        self.second.bias.data.mul_(0.5)

    def state(self) -> Any:
        return self.second.bias.detach().clone()


def same(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor):
        return isinstance(other, Tensor) and torch.equal(one, other)
    if isinstance(one, tuple | list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


@pytest.mark.parametrize("make", [Buffers, Plain, Beyond, Draws, Hooked, InPlace])
@pytest.mark.parametrize("keeps", [False, True], ids=["run", "wrapped"])
def test_what_a_run_changes_is_put_back(make: Callable[[], Any], keeps: bool) -> None:
    network = make().eval()
    network(X)
    before, given = network.state(), X.clone()
    if keeps:
        net = nw.wrap(network, X)
        assert "first.width" in net.report.elastic
        net.extract(net.smallest)
    else:
        with isolated(network):
            network(X), network.train()(X)
            assert not same(network.state(), before)
        assert not network.training
    assert same(network.state(), before)
    assert torch.equal(X, given)


class Reads(Base):
    """The output is made of what hooks have stored; subclasses say where."""

    def forward(self, x: Tensor) -> Tensor:
        self.first(x)
        return self.second(F.relu(self.stored()))

    def stored(self) -> Tensor:
        raise NotImplementedError


class InAttribute(Reads):
    def __init__(self) -> None:
        super().__init__()
        kept = self.kept = {}
        self.first.register_forward_hook(lambda module, args, output: kept.update(h=output))

    def stored(self) -> Tensor:
        return self.kept["h"]


class InClosures(Reads):
    """What is stored is seen by closures alone."""

    def __init__(self) -> None:
        super().__init__()
        kept: dict[str, Tensor] = {}
        self.first.register_forward_hook(lambda module, args, output: kept.update(h=output))
        self.stored = lambda: kept["h"]  # type: ignore[method-assign]


class InVariable(Reads):
    """A variable that two functions share, one of them decorated."""

    def __init__(self) -> None:
        super().__init__()
        last: Any = None

        def decorated(function: Callable[..., None]) -> Callable[..., None]:
            @functools.wraps(function)
            def call(*args: Any) -> None:
                return function(*args)

            return call

        @decorated
        def hook(module: nn.Module, args: Any, output: Tensor) -> None:
            nonlocal last
            last = output

        def stored() -> Tensor:
            return last

        self.first.register_forward_hook(hook)
        self.stored = stored  # type: ignore[method-assign]


class Collector:
    def __init__(self) -> None:
        self.outputs: list[Tensor] = []

    def collect(self, module: nn.Module, args: Any, output: Tensor) -> None:
        self.outputs[:] = [output]


class InObject(Reads):
    """A bound method of an object of another kind, and a partial function."""

    def __init__(self) -> None:
        super().__init__()
        self.collector = Collector()
        self.first.register_forward_hook(functools.partial(Collector.collect, self.collector))

    def stored(self) -> Tensor:
        return self.collector.outputs[0]


KEPT: dict[str, Tensor] = {}


def store_globally(module: nn.Module, args: Any, output: Tensor) -> None:
    KEPT["h"] = output


class ByGlobalHook(Reads):
    """The hook knows by a global name what the network has as an attribute."""

    def __init__(self) -> None:
        super().__init__()
        self.kept = KEPT
        self.first.register_forward_hook(store_globally)

    def stored(self) -> Tensor:
        return self.kept["h"]


class AllGlobal(Reads):
    def __init__(self) -> None:
        super().__init__()
        self.first.register_forward_hook(store_globally)

    def stored(self) -> Tensor:
        return KEPT["h"]


def around_class() -> Reads:
    """The class's own code reads a variable around it, which the hook writes."""
    kept: dict[str, Tensor] = {}

    class AroundClass(Reads):
        def __init__(self) -> None:
            super().__init__()
            self.first.register_forward_hook(lambda module, args, output: kept.update(h=output))

        def stored(self) -> Tensor:
            return kept["h"]

    return AroundClass()


STORING = [InAttribute, InClosures, InVariable, InObject, ByGlobalHook, AllGlobal, around_class]


@pytest.mark.parametrize("ran", [False, True], ids=["new", "used"])
@pytest.mark.parametrize("make", STORING)
def test_copies_store_for_themselves(make: Callable[[], nn.Module], ran: bool) -> None:
    KEPT.clear()
    network = make().eval()
    if ran:
        network(X)
    net = nw.wrap(network, X)
    assert "first.width" in net.report.elastic
    assert not any(t.is_meta for t in KEPT.values())
    nw.testing.check_supernet(net)
    whole, small = net.extract(net.largest).eval(), net.extract(net.smallest).eval()
    with torch.no_grad():
        expected = network(Y)
        one, other = small(X), small(Y)
        assert not torch.equal(one, other)
        assert torch.equal(whole(Y), expected)
        with net.active(net.smallest) as active:
            assert torch.allclose(active(X), one)
        assert torch.equal(small(Y), other)


@pytest.mark.parametrize("make", STORING[:5])
def test_what_is_a_network_s_own_its_copies_do_not_write_into(make: Callable[[], Any]) -> None:
    KEPT.clear()
    network = make().eval()
    network(X)
    before = network.stored()
    twin: Any = extract(ModuleIndex(network), Cut())
    twin(Y)
    assert network.stored() is before
    assert not torch.equal(twin.stored(), before)


def test_functions_that_hold_nothing_are_not_copied() -> None:
    network = Base()
    network.act, network.log = F.gelu, store_globally  # type: ignore[assignment]
    twin: Any = extract(ModuleIndex(network), Cut())
    assert twin.act is F.gelu
    assert twin.log is store_globally


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(32, 64), nn.Linear(64, 32)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.down(F.relu(self.up(x)))


class Taps(nn.Module):
    """The head reads what hooks store of blocks, or of what lies inside them."""

    def __init__(self, inner: bool) -> None:
        super().__init__()
        self.stem, self.head = nn.Linear(8, 32), nn.Linear(64 if inner else 32, 4)
        self.blocks = nn.ModuleList(Block() for _ in range(3))
        self.kept: dict[int, Tensor] = {}
        for at in (0, 2):
            tapped = self.blocks[at].up if inner else self.blocks[at]
            tapped.register_forward_hook(functools.partial(self.keep, at))

    def keep(self, at: int, module: nn.Module, args: Any, output: Tensor) -> None:
        self.kept[at] = output

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        return self.head(self.kept[0] + self.kept[2])


@pytest.mark.parametrize("ran", [False, True], ids=["new", "used"])
def test_hooks_of_a_skipped_block_see_what_it_gives_on(ran: bool) -> None:
    network = Taps(inner=False).eval()
    if ran:
        network(X)
    net = nw.wrap(network, X)
    assert "blocks.depth" in net.report.elastic
    nw.testing.check_supernet(net)
    shallow = net.space.candidate({**net.largest, "blocks.depth": 1})
    with torch.no_grad(), net.active(shallow) as active:
        first = network.blocks[0](network.stem(Y))
        assert torch.allclose(active(Y), network.head(first + first), atol=1e-6)


@pytest.mark.parametrize("ran", [False, True], ids=["new", "used"])
def test_a_block_whose_inside_is_read_is_not_skipped(ran: bool) -> None:
    network = Taps(inner=True).eval()
    if ran:
        network(X)
    net = nw.wrap(network, X)
    assert "blocks.depth" not in net.report.elastic
    nw.testing.check_supernet(net)


class Tagged(nn.Parameter):
    """A parameter of a class of its own."""


def test_parameters_keep_their_class_and_attributes() -> None:
    network = Base()
    network.second.bias = Tagged(torch.ones(4))
    network.first.weight.decays = {"rate": 0.1}  # type: ignore[attr-defined]
    twin: Any = extract(ModuleIndex(network), Cut())
    assert type(twin.second.bias) is Tagged
    assert twin.second.bias.requires_grad
    assert twin.first.weight.decays == {"rate": 0.1}
    assert twin.first.weight.decays is not network.first.weight.decays


def test_copies_made_in_inference_mode_can_be_trained() -> None:
    network = Base()
    with torch.inference_mode():
        net = nw.wrap(network, X)
        small = net.extract(net.smallest)
    assert "first.width" in net.report.elastic
    small(X).sum().backward()
    assert small.get_parameter("first.weight").grad is not None


def test_parameters_made_in_inference_mode_are_refused_in_words() -> None:
    with torch.inference_mode():
        network = Base()
    with pytest.raises(NetError, match=r"first.weight was made in inference mode.*copy.deepcopy"):
        nw.wrap(network, X)


class Double(Tensor):
    """A tensor that wraps another one, as those of quantisation libraries do."""

    @staticmethod
    def __new__(cls, inner: Tensor) -> Double:
        return Tensor._make_wrapper_subclass(cls, inner.shape, dtype=inner.dtype)

    def __init__(self, inner: Tensor) -> None:
        self.inner = inner

    def __tensor_flatten__(self) -> tuple[list[str], None]:
        return ["inner"], None

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten.detach.default:
            return args[0]
        args = [a.inner * 2 if isinstance(a, Double) else a for a in args]
        return func(*args, **kwargs or {})


def test_tensors_with_operators_of_their_own_are_refused_in_words() -> None:
    network = Base()
    network.second.weight = nn.Parameter(Double(torch.ones(4, 32)), requires_grad=False)
    with torch.no_grad():
        assert network(X).shape == (2, 4)
    with pytest.raises(NetError, match=r"second.weight is a Double, a tensor with operators of its own"):
        nw.wrap(network, X)


@pytest.mark.parametrize("by", ["activation", "taylor"])
def test_sorting_and_recalibration_leave_state_alone(by: Any) -> None:
    network = nn.Sequential(Buffers(), nn.BatchNorm1d(4)).eval()
    net, before = nw.wrap(network, X), [t.clone() for t in network[0].buffers()]
    nw.sort_channels(net, criterion(by, [X, Y]))
    nw.recalibrate(network, [X, Y])
    assert same([t.clone() for t in network[0].buffers()], before)
    assert not torch.equal(network[1].running_mean, torch.zeros(4))
    assert not network[0].first._forward_pre_hooks
