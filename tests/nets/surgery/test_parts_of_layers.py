"""Parts that are left out: attentions and feed-forward networks, found in traces and brought into order."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import netwright as nw
from netwright.core.errors import NetError
from netwright.formats.bundle import run_onnx
from netwright.formats.onnx import write_onnx
from netwright.nets.stand_ins import Instead
from netwright.nets.surgery import part_importance
from netwright.nets.surgery.parts import find_parts
from netwright.testing import check_axis, check_supernet

SIZE = 16


class Attention(nn.Module):
    """Gives its weights as well, which nobody reads."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(SIZE, 3 * SIZE), nn.Linear(SIZE, SIZE)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        q, k, v = self.qkv(x).chunk(3, -1)
        weights = (q @ k.transpose(-1, -2) / 4).softmax(-1)
        return self.out(weights @ v), weights


class Layer(nn.Module):
    """In one of the ways in which Transformers are written."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way = way
        self.norm, self.attention = nn.LayerNorm(SIZE), Attention()
        self.other_norm, self.up, self.down = nn.LayerNorm(SIZE), nn.Linear(SIZE, 24), nn.Linear(24, SIZE)

    def forward(self, x: Tensor) -> Tensor:
        if self.way == "after":
            x = self.norm(x + self.attention(x)[0])
            return self.other_norm(x + self.down(torch.relu(self.up(x))))
        if self.way == "beside":
            return x + self.attention(self.norm(x))[0] + self.down(torch.relu(self.up(self.other_norm(x))))
        if self.way == "in place":
            x = x.clone()
            x += self.attention(self.norm(x))[0] * 0.5
            x += self.down(torch.relu(self.up(self.other_norm(x))))
            return x
        x = x + self.attention(self.norm(x))[0]
        return x + self.down(torch.relu(self.up(self.other_norm(x))))


class Net(nn.Module):
    def __init__(self, way: str = "before", layers: int = 3) -> None:
        super().__init__()
        self.enter, self.leave = nn.Linear(4, SIZE), nn.Linear(SIZE, 3)
        self.layers = nn.ModuleList(Layer(way) for _ in range(layers))

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x)
        for layer in self.layers:
            x = layer(x)
        return self.leave(x)


def made(way: str = "before", layers: int = 3) -> tuple[Net, Tensor]:
    torch.manual_seed(0)
    return Net(way, layers).eval(), torch.randn(2, 5, 4)


def given(net: nw.SuperNet, candidate: dict[str, int], x: Tensor) -> Tensor:
    with torch.no_grad(), net.active(candidate) as module:
        return module(x)


WAYS = ("before", "after", "beside", "in place")


@pytest.mark.parametrize("way", WAYS)
def test_what_is_left_out_adds_nothing(way: str, tmp_path: Path) -> None:
    module, x = made(way)
    net = nw.wrap(module, x, axes=["parts"])
    assert {a.name: a.options for a in net.axes} == dict.fromkeys(
        ("layers.attention.parts", "layers.up.parts"), (0, 1, 2, 3)
    )
    check_supernet(net, candidates=2, trains=way != "in place")  # which autograd refuses
    left = {"layers.attention.parts": 2, "layers.up.parts": 1}
    now = given(net, left, x)
    network = net.extract(left)
    path = tmp_path / "m.onnx"
    write_onnx(network, x, path)
    assert torch.allclose(torch.from_numpy(run_onnx(path, x)), now, atol=1e-5)
    with torch.no_grad():
        for i, layer in enumerate(module.layers):
            for out, kept in ((layer.attention.out, i < 2), (layer.down, i < 1)):
                out.weight.mul_(kept), out.bias.mul_(kept)
        assert torch.allclose(module(x), now, atol=1e-5)


def test_no_candidate_is_another_ones_network() -> None:
    module, x = made(layers=2)
    net = nw.wrap(module, x, axes=["width", "depth", "parts"], round_to=12)
    assert not [a.name for a in net.axes if isinstance(a, nw.Depth)]  # all parts of a layer are the layer
    without = net.space.candidate({**net.largest, "layers.up.parts": 0})
    assert [name for name in without if ".up.width" in name] == []
    assert [name for name in without if ".qkv.width" in name]
    names = [a.name for a in net.axes if not a.name.startswith("enter")]
    options = [net.space[name].options for name in names]
    candidates = {net.space.candidate({**net.largest, **dict(zip(names, o, strict=True))}) for o in product(*options)}
    assert len({given(net, dict(c), x).numpy().tobytes() for c in candidates}) == len(candidates)


def test_blocks_beside_parts_keep_their_depth() -> None:
    torch.manual_seed(0)

    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.text = Net()
            self.lifts = nn.ModuleList(nn.Linear(3, 3) for _ in range(2))

        def forward(self, x: Tensor) -> Tensor:
            x = self.text(x)
            for lift in self.lifts:
                x = lift(x).tanh()
            return x

    net = nw.wrap(Twice().eval(), torch.randn(2, 5, 4), axes=["parts", "depth"])
    assert {a.name for a in net.axes} == {"text.layers.attention.parts", "text.layers.up.parts"}


def test_the_importance_is_the_cosine_of_what_a_part_changes() -> None:
    module, x = made()
    with torch.no_grad():
        for scale, layer in zip((0.0, 3.0, 1.0), module.layers, strict=True):
            layer.attention.out.weight.mul_(scale), layer.attention.out.bias.mul_(scale)
    net = nw.wrap(module, x, axes=["parts"])
    found = part_importance(net, [x, x[:1]])
    layer: Any = module.layers[1]
    batch = torch.cat([x, x[:1]])
    with torch.no_grad():
        before = module.layers[0](module.enter(batch))
        after = before + layer.attention(layer.norm(before))[0]
        last = after + layer.down(torch.relu(layer.up(layer.other_norm(after))))
    for name, a, b in (("layers.1.attention", before, after), ("layers.1.up", after, last)):
        wanted = 1 - torch.cosine_similarity(a, b, dim=-1).mean()
        assert found[name] == pytest.approx(float(wanted), rel=1e-4)
    assert found["layers.0.attention"] == pytest.approx(0, abs=1e-6)
    ordered = nw.sort_parts(net, [x])
    attention = next(a for a in ordered.axes if a.name == "layers.attention.parts")
    assert isinstance(attention, nw.Parts)
    assert [part.name for part in attention.parts] == [f"layers.{i}.attention" for i in (1, 2, 0)]
    check_supernet(ordered, candidates=1)
    with torch.no_grad():
        assert torch.allclose(given(ordered, {**ordered.largest, "layers.attention.parts": 2}, x), module(x), atol=1e-6)


@pytest.mark.parametrize("way", WAYS)
def test_where_the_sum_is_seen_does_not_matter(way: str) -> None:
    module, x = made(way)
    net = nw.wrap(module, x, axes=["parts"])
    for name, worth in part_importance(net, [x]).items():
        assert 0 < worth < 2, name


class Skipping(nn.Module):
    """Adds what it is given besides to what its layer makes of the stream."""

    def __init__(self, scale: float | None = None) -> None:
        super().__init__()
        self.f, self.scale = nn.Linear(SIZE, SIZE), scale

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        return x + (self.f(x) if self.scale is None else self.f(x) * self.scale) + skip


class Skips(nn.Module):
    def __init__(self, scale: float | None = None) -> None:
        super().__init__()
        self.enter, self.beside = nn.Linear(4, SIZE), nn.Linear(4, SIZE)
        self.blocks = nn.ModuleList(Skipping(scale) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        skip, x = self.beside(x), self.enter(x)
        for block in self.blocks:
            x = block(x, skip)
        return x


def test_what_is_added_besides_stays() -> None:
    torch.manual_seed(0)
    module, x = Skips().eval(), torch.randn(2, 5, 4)
    net = nw.wrap(module, x, axes=["parts"])
    assert [axis.name for axis in net.axes] == ["blocks.f.parts"]
    check_supernet(net, candidates=1)
    with torch.no_grad():
        skip, stream = module.beside(x), module.enter(x)
        assert torch.allclose(given(net, {"blocks.f.parts": 0}, x), stream + 2 * skip, atol=1e-6)
        after = stream + module.blocks[0].f(stream)
    found = part_importance(net, [x])
    wanted = 1 - torch.cosine_similarity(stream, after, dim=-1).mean()
    assert found["blocks.0.f"] == pytest.approx(float(wanted), rel=1e-4)


def test_a_part_that_no_module_gives_as_it_is_has_no_importance_but_can_be_left_out() -> None:
    torch.manual_seed(0)
    net = nw.wrap(Skips(0.5).eval(), torch.randn(2, 5, 4), axes=["parts"])
    check_supernet(net, candidates=1)
    with pytest.raises(NetError, match="no module gives what is added as it is"):
        part_importance(net, [torch.randn(2, 5, 4)])


class Adds(nn.Module):
    def __init__(self, size: int = SIZE) -> None:
        super().__init__()
        self.f = nn.Linear(size, size)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.f(x)


class AddsMore(Adds):
    """Of another kind."""


def test_axes_have_names_in_a_root_sequential() -> None:
    x = torch.randn(2, SIZE)
    alone = nw.wrap(nn.Sequential(Adds(), Adds()).eval(), x, axes=["parts"])
    assert [axis.name for axis in alone.axes] == ["parts"]
    check_supernet(alone, candidates=1)
    several = nw.wrap(nn.Sequential(Adds(), AddsMore(), Adds(), AddsMore()).eval(), x, axes=["parts"])
    assert {a.name: a.options for a in several.axes} == {"Adds.parts": (0, 1, 2), "AddsMore.parts": (0, 1, 2)}


class Folding(nn.Module):
    """Is one layer, of another name, in the form in which it runs."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(SIZE, 8), nn.Linear(8, SIZE)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x))

    def folded(self) -> nn.Module:
        one = nn.Linear(SIZE, SIZE)
        one.weight.copy_(self.second.weight @ self.first.weight)
        one.bias.copy_(self.second.weight @ self.first.bias + self.second.bias)
        return nn.Sequential(one)


class Folds(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(AddsFolding() for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return x


class AddsFolding(Adds):
    def __init__(self) -> None:
        super().__init__()
        self.f = Folding()  # type: ignore[assignment]


def test_parts_that_are_folded_are_sorted_and_grow() -> None:
    torch.manual_seed(0)
    module, x = Folds().eval(), torch.randn(4, SIZE)
    net = nw.wrap(module, x, axes=["parts"])
    with torch.no_grad():
        for scale, block in zip((1.0, 0.01, 0.5), module.blocks, strict=True):
            block.f.second.weight.mul_(scale), block.f.second.bias.mul_(scale)  # type: ignore[union-attr]
    importance = part_importance(net, [x])
    assert sorted(importance, key=importance.__getitem__)[0] == "blocks.1"
    (axis,) = nw.sort_parts(net, [x]).axes
    assert isinstance(axis, nw.Parts) and axis.parts[-1].name == "blocks.1"
    deep = nw.wrap(module, x, axes=["depth"])
    grown = nw.grow(deep, {"blocks.depth": 4})
    assert torch.allclose(grown(x), module(x), atol=1e-6) and len(grown.blocks) == 4  # type: ignore[arg-type]


class Cubed(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + 0.04 * x**3


def test_what_is_no_part() -> None:
    class Cases(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.enter = nn.Linear(4, SIZE)
            self.one, self.other = nn.Linear(SIZE, SIZE), nn.Linear(SIZE, SIZE)
            self.twice, self.read = nn.Linear(SIZE, SIZE), nn.Linear(SIZE, SIZE)
            self.activation = Cubed()

        def forward(self, x: Tensor) -> Tensor:
            x = self.enter(x)
            x = self.one(x) + self.other(x)  # neither reads the other
            x = x + self.twice(x)
            x = x + self.twice(x)  # runs twice
            x = self.activation(x)  # adds to what it takes, and holds no weights
            y = self.read(x)
            return x + y + y.sum()  # read elsewhere too

    torch.manual_seed(0)
    module = Cases().eval()
    net = nw.wrap(module, torch.randn(2, 4))
    assert find_parts(net.index, net.tracer.whole) == []
    with pytest.raises(NetError, match="no parts were found: modules with weights"):
        nw.wrap(module, torch.randn(2, 4), axes=["parts"])
    with pytest.raises(NetError, match=r"wrap\(\.\.\., axes=\['parts'\]\) looks for them"):
        nw.sort_parts(net, [torch.randn(2, 4)])


def test_parts_of_ones_own() -> None:
    module, x = made()
    parts = [nw.Part(f"layers.{i}", ((f"layers.{i}", Instead(0)),)) for i in (2, 0, 1)]
    axis = nw.Parts("layers", tuple(parts), (1, 2, 3))
    check_axis(module, axis, x)
    with pytest.raises(NetError, match=r"layers\.2 is no part whose result is added to what it reads"):
        nw.sort_parts(nw.SuperNet(module, [axis], x), [x])
    with pytest.raises(NetError, match="has no modules"):
        nw.Part("nothing", ())
    with pytest.raises(NetError, match="options must lie between 0 and 3"):
        nw.Parts("layers", tuple(parts), (1, 4))


def test_a_convolutional_block_is_a_part_where_no_other_is_in_it() -> None:
    net = nw.families.cifar_resnet(8)
    found = nw.wrap(net.module.eval(), torch.randn(2, 3, 8, 8), axes=["parts"])
    assert {path for axis in found.axes for path in axis.skipped_modules()}
    check_supernet(found, candidates=1)
