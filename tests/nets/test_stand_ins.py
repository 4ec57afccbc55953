"""Stand-ins: what runs in the place of a module is the same active, extracted, traced and counted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from making import Making, Rounded
from torch import Tensor, nn
from zoo.packages import torchvision

from netwright.core.candidate import Option
from netwright.core.errors import NetError
from netwright.nets.axes import Axis, Depth, Width
from netwright.nets.axes.base import Region
from netwright.nets.cut import CutBuilder, ModuleIndex
from netwright.nets.stand_ins import Around, Instead, Passthrough, Scaled, StandIn, Zeros
from netwright.nets.supernet import SuperNet
from netwright.testing import check_supernet

TOKENS = torch.linspace(-2, 2, 2 * 5 * 8).reshape(2, 5, 8).sin()


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(8, 24), nn.Linear(8, 8)

    def forward(self, hidden: Tensor, scale: float = 1.0) -> tuple[Tensor, Tensor | None]:
        q, k, v = self.qkv(hidden).chunk(3, -1)
        weights = (q @ k.transpose(1, 2) * scale).softmax(-1)
        return self.out(weights @ v), None


class Layer(nn.Module):
    """What a decoder's layer is: its parts give what is added outside of them."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.attention = nn.LayerNorm(8), Attention()
        self.ffn = nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 8))

    def forward(self, x: Tensor) -> Tensor:
        added, _ = self.attention(hidden=self.norm(x), scale=0.5)
        x = x + added
        return x + self.ffn(self.norm(x))


def layers() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(Layer(), Layer(), nn.Linear(8, 3)).eval()


def parts(attention: str = "attention", ffn: str = "ffn", prefix: str = "") -> list[Axis]:
    """Every attention and every FFN of two layers may be left out."""
    axes: list[Axis] = []
    for i in range(2):
        axes.append(Depth(f"{i}.a", (f"{prefix}{i}.{attention}",), (0, 1), ((Zeros(), None),)))
        axes.append(Depth(f"{i}.f", (f"{prefix}{i}.{ffn}",), (0, 1), (Zeros(),)))
    return axes


@pytest.mark.parametrize("left_out", [(), ("0.a",), ("1.f",), ("0.f", "1.a"), ("0.a", "0.f", "1.a", "1.f")])
def test_what_is_added_outside_may_be_left_out(left_out: tuple[str, ...]) -> None:
    module = layers()
    net = SuperNet(module, parts(), TOKENS)
    candidate = net.space.candidate({axis.name: int(axis.name not in left_out) for axis in net.axes})

    def by_hand(x: Tensor) -> Tensor:
        for i in range(2):
            layer: Any = module[i]
            x = x if f"{i}.a" in left_out else x + layer.attention(layer.norm(x), 0.5)[0]
            x = x if f"{i}.f" in left_out else x + layer.ffn(layer.norm(x))
        return module[2](x)  # type: ignore[no-any-return]

    extracted = net.extract(candidate)
    with net.active(candidate) as active:
        assert torch.equal(active(TOKENS), by_hand(TOKENS))
    assert torch.equal(extracted(TOKENS), by_hand(TOKENS))
    alone = SuperNet(extracted, [], TOKENS)
    assert net.count(candidate) == alone.count(alone.largest)


def test_the_contract_with_zeros_and_widths() -> None:
    module = layers()
    hidden = Width.tie(module, "hidden", (4, 16), out_of=["0.ffn.0"], into=["0.ffn.2"])
    net = SuperNet(module, [*parts(), hidden], TOKENS)
    assert net._counter._table is not None, "zeros are counted from the table"
    assert "hidden" not in net.space.candidate({"0.a": 1, "0.f": 0, "1.a": 1, "1.f": 1})
    check_supernet(net, candidates=2)
    check_supernet(net, candidates=[net.smallest], formats=("pt2", "onnx"))


def test_a_small_llama_without_attention_or_ffn() -> None:
    with suppress(ImportError):
        torchvision()  # transformers imports it wherever it is installed
    transformers = pytest.importorskip("transformers")
    config = transformers.LlamaConfig(
        hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2, vocab_size=11, use_cache=False
    )
    torch.manual_seed(0)
    module = transformers.LlamaForCausalLM(config).eval()
    inputs = {"input_ids": torch.tensor([[1, 5, 7, 2, 9]])}
    net = SuperNet(module, parts("self_attn", "mlp", "model.layers."), inputs)
    assert net._counter._table is not None
    ends = [f"model.layers.{i}.{end}" for i in range(2) for end in ("self_attn.o_proj", "mlp.down_proj")]
    for candidate in (net.smallest, *({**dict(net.largest), axis.name: 0} for axis in net.axes)):
        candidate = net.space.candidate(candidate)
        with net.active(candidate) as active, torch.no_grad():
            found = active(**inputs).logits
        with torch.no_grad():
            assert torch.equal(net.extract(candidate)(**inputs).logits, found)
            kept = {end: module.get_parameter(f"{end}.weight").clone() for end in ends}
            for end, axis in zip(ends, net.axes, strict=True):
                module.get_parameter(f"{end}.weight").mul_(candidate[axis.name])  # type: ignore[arg-type]
            assert torch.equal(module(**inputs).logits, found), "what adds zero is left out"
            for end, weight in kept.items():
                module.get_parameter(f"{end}.weight").copy_(weight)
    check_supernet(net, candidates=[net.smallest])


# -- modules before and after ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Replaced(Axis):
    """A module is replaced for every option but the last; what runs beside it is left out for the last."""

    name: str
    path: str
    stand_ins: tuple[StandIn, ...]

    @property
    def options(self) -> tuple[Any, ...]:  # type: ignore[override]
        return tuple(range(len(self.stand_ins) + 1))

    def regions(self, index: ModuleIndex) -> Iterable[Region]:
        return []

    def _helpers(self, other: StandIn) -> set[str]:
        return {path for path in (other.before, other.after) if path} if isinstance(other, Around) else set()

    def affected_modules(self, index: ModuleIndex) -> set[str]:
        return {self.path}

    def skipped_modules(self) -> Mapping[str, tuple[Option, ...]]:
        helpers = set().union(*map(self._helpers, self.stand_ins))
        return {h: tuple(i for i, other in enumerate(self.stand_ins) if h in self._helpers(other)) for h in helpers}

    def write(self, option: Any, builder: CutBuilder, index: ModuleIndex) -> None:
        for helper, runs in self.skipped_modules().items():
            if option not in runs:
                builder.skip(helper)
        if option < len(self.stand_ins):
            builder.replace(self.path, self.stand_ins[option])


class Beside(nn.Module):
    """Modules that the network holds and does not run."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Sequential(nn.Linear(8, 8), nn.Tanh()), nn.Linear(8, 3)
        self.gate, self.side = nn.Linear(8, 8), nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 8))

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.first(x))  # type: ignore[no-any-return]


AROUND = (Around("gate"), Around(after="side"), Around("gate", "side"))


def test_modules_run_before_and_after() -> None:
    module = Beside().eval()
    bits = Making("bits", "first.0.weight", (Rounded(4),))
    width = Width.tie(module, "w", (4, 16), out_of=["side.0"], into=["side.2"])
    net = SuperNet(module, [Replaced("r", "first", AROUND), bits, width], TOKENS)
    assert net._counter._table is not None
    for option, other in enumerate((*AROUND, None)):
        candidate = net.space.candidate(
            {"r": option, "bits": 1, "w": 16} if option in (1, 2) else {"r": option, "bits": 1}
        )
        x = module.gate(TOKENS) if other and other.before else TOKENS
        y = module.first(x)
        wanted = module.last(module.side(y) if other and other.after else y)
        extracted = net.extract(candidate)
        with net.active(candidate) as active:
            assert torch.equal(active(TOKENS), wanted)
        assert torch.equal(extracted(TOKENS), wanted)
        held = sum(p.numel() for p in extracted.parameters())
        assert held == sum(p.numel() for name, p in module.named_parameters() if _runs(name, other))
        for each in (candidate, net.space.candidate({**dict(candidate), "bits": 0})):
            alone = SuperNet(net.extract(each), [], TOKENS)
            assert net.count(each) == alone.count(alone.largest)
    check_supernet(net, candidates=1)


def _runs(name: str, other: Around | None) -> bool:
    head = name.partition(".")[0]
    return head in ("first", "last") or (other is not None and head in (other.before, other.after))


@pytest.mark.parametrize(
    ("passthrough", "wanted"),
    [
        (Scaled(0.5), lambda x, added: (0.5 * x, None)),
        ((Scaled(-2.0, "hidden"), None), lambda x, added: (-2.0 * x, None)),
        ((Zeros("hidden"), None), lambda x, added: (torch.zeros_like(x), None)),
    ],
)
def test_what_is_given_of_arguments(passthrough: Passthrough, wanted: Any) -> None:
    module = layers()
    passthrough = passthrough if isinstance(passthrough, tuple) else (passthrough, None)
    net = SuperNet(module, [Depth("a", ("0.attention",), (0, 1), (passthrough,))], TOKENS)
    x = module[0].norm(TOKENS)  # type: ignore[union-attr, operator]
    layer: Any = net.extract(net.smallest)[0]  # type: ignore[index]
    found, none = layer.attention(hidden=x, scale=1.0)
    assert none is None and torch.equal(found, wanted(x, None)[0])
    check_supernet(net, candidates=[net.smallest])


@pytest.mark.parametrize(
    ("axes", "told"),
    [
        (
            [Depth("d", ("2",), (0, 1), (Zeros(),))],
            r"Zeros.* stand in for 2: it gives a tensor of \(2, 5, 3\), the .*8\)",
        ),
        (
            [Depth("d", ("0.attention",), (0, 1), (Zeros(),))],
            r"for 0\.attention: it gives 2 values, the stand-in a tensor",
        ),
        ([Depth("d", ("0",), (0, 1), (Zeros("y"),))], r"stand in for 0: the stand-in raises: .*zeros_like"),
        ([Replaced("r", "0", (Around(after="gone"),))], "no module 'gone'"),
        ([Replaced("r", "0", (Around(after="0.norm"),))], r"'r' runs 0\.norm beside 0, but one lies in the other"),
        ([Replaced("r", "", (Around(after="0"),))], "replaces the network itself"),
        ([Replaced("r", "gone", (Instead(),))], "no module 'gone'"),
        ([Replaced("r", "0", (Around(),))], r"axis 'r': Around\(.*\) cannot stand in for 0: give .*Instead"),
        ([Replaced("r", "0", ("zeros",))], "axis 'r': 'zeros' cannot stand in for 0"),  # type: ignore[arg-type]
        (
            [Replaced("r", "0.ffn", (Around(after="2"),)), Depth("d", ("0.ffn",), (0, 1), (Zeros(),))],
            r"axes 'r' and 'd' contradict one another: both replace 0\.ffn; merge",
        ),
    ],
)
def test_stand_ins_that_the_place_cannot_take_are_refused(axes: list[Axis], told: str) -> None:
    with pytest.raises(NetError, match=told):
        SuperNet(layers(), axes, TOKENS)


def test_stand_ins_within_one_another_and_within_what_is_left_out() -> None:
    module = Beside().eval()
    axes = [
        Replaced("outer", "first", (Around("gate"),)),
        Replaced("inner", "first.0", (Around(after="side"),)),
        Depth("depth", ("first",), (0, 1)),
    ]
    with pytest.raises(NetError, match="'outer' and 'depth' contradict one another: both replace first"):
        SuperNet(module, axes, TOKENS)
    for kept in (axes[:2], axes[:2][::-1], axes[1:]):
        check_supernet(SuperNet(module, kept, TOKENS))
    net = SuperNet(module, axes[:2], TOKENS)
    wanted = module.last(module.first[1](module.side(module.first[0](module.gate(TOKENS)))))
    assert torch.equal(net.extract(net.smallest)(TOKENS), wanted)
    check_supernet(net, candidates=[net.smallest], formats=("pt2", "onnx"))


class Two(nn.Module):
    """Two arguments and two results."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.other = nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        return self.one(x).relu(), self.other(y)


class Crossed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.two, self.last = nn.Linear(8, 8), Two(), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        a, b = self.two(x, y=x.tanh())
        return self.last(a + b)  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    "passthrough",
    [(0, "y"), ("y", 0), (Scaled(0.5), "y"), (Zeros("y"), Scaled(2.0, "y")), (0, Zeros()), (Scaled(0.5, "y"), 0)],
)
def test_what_is_given_is_counted_from_the_table(passthrough: Passthrough) -> None:
    torch.manual_seed(0)
    module = Crossed().eval()
    net = SuperNet(module, [Depth("d", ("two",), (0, 1), (passthrough,))], TOKENS)
    assert net._counter._table is not None
    for candidate in net.space.enumerate():
        assert net.count(candidate) == net._counter._trace(candidate)
    check_supernet(net, candidates=1)


def test_zeros_within_zeros_and_of_what_does_nothing() -> None:
    torch.manual_seed(0)
    block = nn.Sequential(nn.Linear(8, 8), nn.Sequential(nn.ReLU(), nn.Linear(8, 8)), nn.Identity())
    axes = [Depth(path, (path,), (0, 1), (Zeros(),)) for path in ("0.1", "0", "0.2")]
    for some in (axes[:2], axes):
        net = SuperNet(nn.Sequential(block, nn.Linear(8, 2)).eval(), some, TOKENS)
        assert (net._counter._table is not None) == (len(some) == 2)
        for candidate in net.space.enumerate():
            alone = SuperNet(net.extract(candidate), [], TOKENS)
            assert net.count(candidate) == alone.count(alone.largest)
