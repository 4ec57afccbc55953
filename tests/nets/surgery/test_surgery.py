"""Surgery computes what was computed: all outputs, in every mode, and so do the axes that it makes."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import netwright as nw
from netwright.core.errors import NetError
from netwright.formats.bundle import run_onnx
from netwright.formats.onnx import write_onnx
from netwright.nets.axes.rank import Factorised
from netwright.nets.inputs import tensors_in


class Conv1D(nn.Module):
    """As transformers has it: the weight is (inputs, outputs)."""

    def __init__(self, nf: int, nx: int) -> None:
        super().__init__()
        self.nf, self.nx = nf, nx
        self.weight, self.bias = nn.Parameter(torch.randn(nx, nf) / nx**0.5), nn.Parameter(torch.randn(nf))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight + self.bias


class Block(nn.Module):
    def __init__(self, size: int, hidden: int) -> None:
        super().__init__()
        self.norm, self.up, self.down = nn.LayerNorm(size), nn.Linear(size, hidden), nn.Linear(hidden, size)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.down(torch.nn.functional.gelu(self.up(self.norm(x))))


class Text(nn.Module):
    """Several outputs; one layer whose weight is read by itself, two that share theirs."""

    def __init__(self, layers: int = 2, size: int = 24, hidden: int = 40) -> None:
        super().__init__()
        self.embed = nn.Embedding(11, size)
        self.blocks = nn.ModuleList(Block(size, hidden) for _ in range(layers))
        self.turned, self.read = Conv1D(32, size), nn.Linear(32, 32)
        self.head = nn.Linear(size, 11, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, ids: Tensor) -> dict[str, Tensor]:
        x = self.embed(ids)
        for block in self.blocks:
            x = block(x)
        y = self.turned(x)
        return {"logits": self.head(x), "beside": self.read(y) * self.read.weight.mean(), "norms": y.norm(dim=-1)}


class Image(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Sequential(nn.Conv2d(3, 24, 3, 2, 1, padding_mode="reflect", bias=False), nn.BatchNorm2d(24))
        self.each, self.mix = nn.Conv2d(24, 24, 3, groups=24), nn.Conv2d(24, 32, 1)
        self.head = nn.Linear(32, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.mix(self.each(self.one(x).relu())).mean((2, 3)))


def text(**sizes: int) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    return noisy(Text(**sizes)), torch.randint(11, (2, 5))


def image() -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    return noisy(Image()), torch.randn(2, 3, 9, 9)


def noisy(module: nn.Module) -> nn.Module:
    """Fresh biases and norms are zeros and ones, and hide mistakes."""
    with torch.no_grad():
        for tensor in module.parameters():
            tensor.add_(0.1 * torch.randn(tensor.shape))
    return module.eval()


@dataclass(frozen=True)
class Case:
    """A network, what is done to it in place, and the kinds of axes that it then has."""

    network: Callable[[], tuple[nn.Module, Any]]
    operate: Callable[[nn.Module, Any], object]
    axes: tuple[str, ...]


CASES = {
    "to_low_rank, a text": Case(text, lambda m, x: nw.to_low_rank(m, x, least=4), ("rank",)),
    "to_low_rank, an image": Case(image, lambda m, x: nw.to_low_rank(m, x, least=4), ("rank", "width")),
    "share_layers": Case(
        lambda: alike(), lambda m, x: nw.share_layers(m, [f"blocks.{i}" for i in range(3)]), ("width", "depth")
    ),
    "to_experts": Case(lambda: mixed(), lambda m, x: split(m, x), ()),
}


def outputs(module: nn.Module, x: Any) -> list[Tensor]:
    with torch.no_grad():
        return [t.clone() for t in tensors_in(module(x))]


@pytest.mark.parametrize("case", CASES)
def test_computes_what_it_computed(case: str, tmp_path: Path) -> None:
    module, x = CASES[case].network()
    twin = copy.deepcopy(module)
    CASES[case].operate(module, x)
    assert [(n, p.shape) for n, p in module.named_parameters()] != [(n, p.shape) for n, p in twin.named_parameters()]
    for training in (False, True):
        for one, other in zip(outputs(twin.train(training), x), outputs(module.train(training), x), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
    if not CASES[case].axes:
        return
    net = nw.wrap(module.eval(), x, axes=CASES[case].axes, round_to=4)
    nw.testing.check_supernet(net, candidates=1, tolerance=1e-4)
    network = net.extract(net.smallest)
    write_onnx(network, x, tmp_path / "m.onnx")
    exported = torch.from_numpy(run_onnx(tmp_path / "m.onnx", x))
    torch.testing.assert_close(exported, outputs(network, x)[0], rtol=1e-4, atol=1e-4)


# -- low rank ------------------------------------------------------------------------------------------------------


def test_only_layers_for_which_it_pays_are_factorised() -> None:
    module, x = text()
    assert nw.to_low_rank(module, x, least=4) == (
        *(f"blocks.{i}.{own}" for i in range(2) for own in ("up", "down")),
        "turned",
    )
    assert type(module.read) is nn.Linear, "something reads its weight by itself"
    other, _ = text()
    assert nw.to_low_rank(other, x, least=14) == tuple(f"blocks.{i}.{o}" for i in range(2) for o in ("up", "down"))
    with pytest.raises(NetError, match=r"none is cheaper with a rank of 4"):
        nw.to_low_rank(other, x, least=4, only=["head", "read", "embed"])
    with pytest.raises(NetError, match="no module matches 'blosck"):
        nw.to_low_rank(other, x, except_=["blosck.*"])


def test_options_are_ranks_that_pay_and_the_whole() -> None:
    module, x = text()
    nw.to_low_rank(module, x, least=4)
    net = nw.wrap(module, x, axes=["rank"], round_to=4)
    up = next(a for a in net.axes if a.name == "blocks.0.up.rank")
    assert up.options == (4, 8, 12, 24)  # two of 15 cost what one does
    plain, _ = text()
    with pytest.raises(NetError, match=r"netwright.to_low_rank\(model, example_inputs\) makes those"):
        nw.wrap(plain, x, axes=["rank"])


def test_what_costs_no_less_is_folded_into_one_layer() -> None:
    module, x = image()
    sizes = {name: tensor.shape for name, tensor in module.state_dict().items()}
    wanted = outputs(module, x)
    nw.to_low_rank(module, x, least=4)
    net = nw.wrap(module, x, axes=["rank"], round_to=4)
    folded = nw.fold(net.extract(net.largest))
    assert {name: tensor.shape for name, tensor in folded.state_dict().items()} == sizes
    torch.testing.assert_close(outputs(folded, x), wanted, rtol=1e-4, atol=1e-4)
    low = nw.fold(net.extract(net.smallest))
    assert not any(isinstance(m, Factorised) for m in low.modules())
    assert sum(p.numel() for p in low.parameters()) < sum(s.numel() for s in sizes.values())


# -- shared layers -------------------------------------------------------------------------------------------------


def alike() -> tuple[nn.Module, Tensor]:
    """Blocks that differ in their norms alone."""
    module, x = text(layers=3)
    for block in module.blocks[1:]:  # type: ignore[union-attr, index]
        norms = copy.deepcopy(block.norm)
        block.load_state_dict(module.blocks[0].state_dict())  # type: ignore[union-attr, index]
        block.norm = norms
    return module, x


def test_shared_layers_are_held_once_and_are_their_mean() -> None:
    module, x = text(layers=3)
    paths = [f"blocks.{i}" for i in range(3)]
    ups = [module.get_submodule(f"{path}.up").weight.detach().clone() for path in paths]
    before = sum(p.numel() for p in module.parameters())
    nw.share_layers(module, paths)
    assert before - sum(p.numel() for p in module.parameters()) == 2 * (2 * 24 * 40 + 24 + 40)
    torch.testing.assert_close(module.get_submodule("blocks.2.up").weight, sum(ups) / 3)
    assert len({id(module.get_submodule(f"{path}.norm").weight) for path in paths}) == 3
    net = nw.wrap(module, x)
    assert {"blocks.depth", "blocks.0.up.width"} <= {axis.name for axis in net.axes}
    assert not any(axis.name.startswith("blocks.1.") for axis in net.axes)
    for layers, told in (
        (["blocks.0"], "two layers or more"),
        (["blocks.0", "turned"], "not alike"),
        (["blocks.0", "blocks.7"], "no module 'blocks.7'"),
    ):
        with pytest.raises(NetError, match=told):
            nw.share_layers(module, layers)


# -- experts -------------------------------------------------------------------------------------------------------


class Gated(nn.Module):
    """A feed-forward network as LLaMA has it, with biases."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.up, self.down = nn.Linear(8, 24), nn.Linear(8, 24), nn.Linear(24, 8)

    def forward(self, hidden: Tensor) -> Tensor:
        return self.down(torch.nn.functional.silu(self.gate(hidden)) * self.up(hidden))


class Mixed(nn.Module):
    def __init__(self, ffn: nn.Module) -> None:
        super().__init__()
        self.enter, self.norm, self.ffn, self.leave = nn.Linear(4, 8), nn.LayerNorm(8), ffn, nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x)
        return self.leave(
            x + self.ffn(hidden=self.norm(x)) if isinstance(self.ffn, Gated) else x + self.ffn(self.norm(x))
        )


def mixed() -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    return noisy(Mixed(Gated())), torch.randn(6, 5, 4)


def split(module: nn.Module, x: Tensor) -> None:
    nw.to_experts(module, "ffn", 4, [x, (x, torch.zeros(6))])


def test_each_number_of_experts_is_a_network() -> None:
    module, x = mixed()
    split(module, x)
    axis = nw.Experts.of(module, "experts", (1, 2, 4), router="ffn.router", experts="ffn.experts")
    nw.testing.check_axis(module, axis, x)
    small = nw.SuperNet(module, [axis], x).extract({"experts": 1})
    assert sum(p.numel() for p in small.parameters()) < sum(p.numel() for p in module.parameters()) / 2


def test_a_token_runs_its_experts_alone() -> None:
    module, x = mixed()
    split(module, x)
    mixture: Any = module.get_submodule("ffn")
    mixture.active = 2
    rows = torch.randn(7, 8)
    with torch.no_grad():
        best = mixture.router(rows).topk(2, 1).indices
        wanted = torch.stack(
            [sum(mixture.experts[e](row) for e in own) for row, own in zip(rows, best.tolist(), strict=True)]
        )
        wanted = wanted + mixture.bias
        torch.testing.assert_close(mixture(rows), wanted)
        torch.testing.assert_close(mixture.train()(rows), wanted)
    mixture(rows).sum().backward()
    assert mixture.router.weight.grad.abs().sum() > 0


def test_the_router_finds_the_neurons_that_are_active_together() -> None:
    """Two kinds of tokens, each with neurons of its own: the router tells them apart, and half of the experts do."""
    torch.manual_seed(0)
    ffn = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 8))
    shuffled = torch.randperm(16)
    with torch.no_grad():
        weight = torch.zeros(16, 8)
        weight[:8, :4], weight[8:, 4:] = torch.rand(8, 4), torch.rand(8, 4)
        ffn[0].weight.copy_(weight[shuffled])
        ffn[0].bias.zero_()
    x = torch.zeros(64, 8)
    x[:32, :4], x[32:, 4:] = torch.rand(32, 4), torch.rand(32, 4)
    module = nn.Sequential(ffn)
    wanted = module(x)
    nw.to_experts(module, "0", 2, [x])
    module[0].active = 1  # type: ignore[assignment]
    torch.testing.assert_close(module(x), wanted)


def test_what_is_no_feed_forward_network_stays() -> None:
    module, x = mixed()
    for ffn, count, told in (
        ("enter", 2, "enter is no feed-forward network that could be split: .* it has"),
        ("", 2, "no feed-forward network"),
        ("nothing", 2, "no module 'nothing'"),
        ("ffn", 5, "divides the 24 neurons of ffn, not 5"),
        ("ffn", 1, "from 2"),
    ):
        with pytest.raises(NetError, match=told):
            nw.to_experts(module, ffn, count, [x])
    between = nn.Sequential(nn.Linear(4, 8), nn.Softmax(-1), nn.Linear(8, 4))
    with pytest.raises(NetError, match="something in it mixes them"):
        nw.to_experts(nn.Sequential(between), "0", 2, [torch.randn(3, 4)])
    assert "Mixture" not in repr(module)


# -- growing -------------------------------------------------------------------------------------------------------


class Heads(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.heads, self.norm = 2, nn.LayerNorm(16)
        self.q, self.k, self.v, self.out = (nn.Linear(16, 16) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(x)
        q, k, v = (f(y).unflatten(-1, (self.heads, 8)).transpose(-2, -3) for f in (self.q, self.k, self.v))
        return x + self.out(nn.functional.scaled_dot_product_attention(q, k, v).transpose(-2, -3).flatten(-2))


class Stack(nn.Module):
    """Attention, feed-forward layers, and a config that counts them."""

    def __init__(self) -> None:
        super().__init__()
        self.enter, self.leave = nn.Linear(4, 16), nn.Linear(16, 3)
        self.attention, self.num_layers = Heads(), 2
        self.blocks = nn.ModuleList(Block(16, 24) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        x = self.attention(self.enter(x))
        for block in self.blocks[: self.num_layers]:
            x = block(x)
        return self.leave(x)


class Convolutions(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.enter, self.each = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.norm, self.back = nn.BatchNorm2d(8), nn.Conv2d(8, 8, 1)
        self.head = nn.Linear(8 * 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.each(self.enter(x))).relu()
        return self.head(nn.functional.adaptive_avg_pool2d(self.back(x), 2).flatten(1))


GROWN: dict[str, tuple[Callable[[], nn.Module], Tensor, dict[str, int]]] = {
    "neurons": (Stack, torch.randn(2, 5, 4), {"blocks.0.up.width": 56}),
    "heads and blocks": (Stack, torch.randn(2, 5, 4), {"attention.q.width": 3, "blocks.depth": 4}),
    "channels": (Convolutions, torch.randn(2, 3, 8, 8), {"enter.width": 12, "back.width": 20}),
    "blocks of convolutions": (
        lambda: nw.families.cifar_resnet(14).module,
        torch.randn(2, 3, 8, 8),
        {"layer1.depth": 3},
    ),
}


@pytest.mark.parametrize("case", GROWN)
def test_what_is_grown_computes_what_it_computed(case: str) -> None:
    make, x, sizes = GROWN[case]
    torch.manual_seed(0)
    module = noisy(make())
    net = nw.wrap(module, x, round_to=1)
    before = outputs(module, x)
    grown = nw.grow(net, sizes)
    torch.testing.assert_close(outputs(grown.eval(), x), before, rtol=1e-4, atol=1e-4)
    again = nw.wrap(grown, x, round_to=1)
    assert {axis.name: axis.options[-1] for axis in again.axes if axis.name in sizes} == sizes
    nw.testing.check_supernet(again, candidates=1)
    assert all(torch.equal(a, b) for a, b in zip(outputs(module, x), before, strict=True)), "the old one stays"


def test_what_cannot_grow_is_told() -> None:
    torch.manual_seed(0)
    module, x = noisy(Stack()), torch.randn(2, 5, 4)
    net = nw.wrap(module, x, round_to=1)
    for sizes, told in (
        ({"blocks.0.up.width": 24}, "it is 24 and can only grow"),
        ({"blocks.0.up.with": 48}, "did you mean 'blocks.0.up.width'"),
        ({}, "says how large axes are to be"),
        ({"enter.width": 24}, "a norm or a softmax takes the channels together"),
    ):
        with pytest.raises(NetError, match=told):
            nw.grow(net, sizes)
    kernel = nw.SuperNet(
        nn.Sequential(nn.Conv2d(3, 4, 5, padding=2)), [nw.Kernel("k", "0", (3, 5))], torch.randn(1, 3, 8, 8)
    )
    with pytest.raises(NetError, match="k is a Kernel axis; widths and depths can grow"):
        nw.grow(kernel, {"k": 7})
