"""Blocks of a network, and a table of what they take."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import netwright as nw
from netwright.core.errors import MeasureError
from netwright.core.metric import Measurement
from netwright.measure.blocks import blocks
from netwright.measure.convert import feeds_of
from netwright.measure.lookup import LEAST, LookupTable, build
from netwright.measure.runtimes.base import Feeds
from netwright.nets.families.cifar_resnet import cifar_resnet
from netwright.nets.families.mobilenet import mobilenet_v2
from netwright.nets.families.ofa_mobilenet import ofa_mobilenet_v3
from netwright.nets.inputs import call


def test_blocks_of_residual_networks_are_their_blocks() -> None:
    net = cifar_resnet(20)
    found = blocks(net.extract(net.largest).eval(), torch.randn(1, 3, 32, 32))
    names = [b.name for b in found]
    assert names == ["conv1", *(f"layer{s}.{i}" for s in (1, 2, 3) for i in range(3)), "linear"]
    assert len({b.key for b in found}) < len(found), "equal blocks have one key"


def test_blocks_that_are_lists_of_layers_are_not_taken_apart() -> None:
    net = ofa_mobilenet_v3()
    found = blocks(net.extract(net.largest).eval(), torch.randn(1, 3, 64, 64))
    assert {"stem", "stage1.block0", "stage5.block3", "classifier"} <= {b.name for b in found}
    assert not any("expand" in b.name for b in found)


@pytest.mark.parametrize("make", [cifar_resnet, mobilenet_v2, ofa_mobilenet_v3])
def test_a_block_computes_what_it_computed_in_the_network(make: Callable[[], nw.SuperNet]) -> None:
    torch.manual_seed(0)
    net = make()
    network, x = net.extract(net.space.sample(np.random.default_rng(3))).eval(), torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        found = blocks(network, x)
        outputs = [call(b.network, b.inputs) for b in found]
        # every block but the first takes what the one before gave, up to what lies between them
        same = sum(
            any(t.shape == out.shape and torch.equal(t, out) for t in after.inputs)
            for out, after in zip(outputs, found[1:], strict=False)
        )
    assert same >= len(found) - 4
    assert all(torch.isfinite(out).all() for out in outputs)


def test_weights_do_not_change_a_key_and_shapes_and_attributes_do() -> None:
    def key(width: int, stride: int, size: int, seed: int) -> str:
        torch.manual_seed(seed)
        layer = nn.Conv2d(3, width, 3, stride=stride)
        return blocks(nn.Sequential(layer), torch.randn(1, 3, size, size))[0].key

    same = key(8, 1, 16, 0)
    assert key(8, 1, 16, 1) == same
    assert len({same, key(9, 1, 16, 0), key(8, 2, 16, 0), key(8, 1, 17, 0)}) == 4


class Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(4, 4)

    def forward(self, x: Tensor, scale: float, *, mask: Tensor | None = None) -> Tensor:
        return self.body(x) * scale + (0 if mask is None else mask)


class Masked(nn.Module):
    """Blocks with arguments that are no tensors, by keyword too."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Layer() for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x, 0.5, mask=x.relu())
        return x


def test_arguments_of_all_kinds_are_kept() -> None:
    network, x = Masked().eval(), torch.randn(1, 4)
    first, second = blocks(network, x)
    assert first.key == second.key and len(first.inputs) == 2
    with torch.no_grad():
        torch.testing.assert_close(second.network(*second.inputs), network(x))


class Clockwork(nw.Latency):
    """A device whose blocks take 0.1 ms for each megabyte of inputs and 1 ms, and whole networks 80 % of them."""

    def __init__(self) -> None:
        super().__init__(nw.targets.OnnxRuntime())
        self.blocks = self.networks = 0

    def run(self, path: Path, feeds: Feeds, expected: object = None, trust: bool = False) -> dict[str, Measurement]:
        self.blocks += 1
        ms = 1.0 + 0.1 * sum(x.nbytes / 1e6 for x in feeds.values())
        return {"latency": Measurement(ms, "ms", ci95=0.01 * ms, n=30)}

    def measure(self, context: object) -> dict[str, Measurement]:
        self.networks += 1
        found = blocks(context.module, torch.randn(1, 3, 32, 32))  # type: ignore[attr-defined]
        return {
            "latency": Measurement(
                0.5 + 0.8 * sum(self.run(Path(), feeds_of(b.inputs))["latency"].value for b in found), "ms"
            )
        }


def test_a_table_measures_each_block_once_and_learns_what_is_between_them(tmp_path: Path) -> None:
    net, clock = cifar_resnet(20), Clockwork()
    table = LookupTable(clock, tmp_path / "table.json")
    looked = list(build(table, net, 12, np.random.default_rng(0)))
    assert len(table.whole) == clock.networks == 12 and len(looked) >= 12
    weights, error = table.overhead()
    rng = np.random.default_rng(1)
    for _ in range(5):
        network = net.extract(net.space.sample(rng)).eval()
        rows, told = len(table.rows), table.predict(network, net.example_inputs)
        truth = 0.5 + 0.8 * table.sums(network, net.example_inputs).value
        assert told.value == pytest.approx(truth, rel=0.02) and told.ci95 < 0.1 * truth
        assert told.kind == "predicted" and told.details["predictor"] == "lookup table" and len(table.rows) >= rows
    again = LookupTable(clock, tmp_path / "table.json")
    list(build(again, net, 12, np.random.default_rng(0)))
    assert len(again.whole) == 12, "a table that is filled again learns nothing twice"
    assert again.rows == table.rows and np.allclose(again.overhead()[0], weights) and again.overhead()[1] == error


def test_a_table_is_asked_too_early(tmp_path: Path) -> None:
    net = cifar_resnet(20)
    table = LookupTable(Clockwork())
    with pytest.raises(MeasureError, match=f"needs {LEAST} networks measured whole"):
        table.predict(net.extract(net.largest).eval(), net.example_inputs)


def test_a_table_of_another_target_or_that_is_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    net, table = cifar_resnet(20), LookupTable(Clockwork(), path)
    table.sums(net.extract(net.smallest).eval(), net.example_inputs)
    kept = json.loads(path.read_text())
    path.write_text(json.dumps({**kept, "target": {**kept["target"], "threads": 7, "fingerprint": "other"}}))
    with pytest.raises(MeasureError, match=r"another target: its threads is 7, here it is 1"):
        LookupTable(Clockwork(), path)
    path.write_text("{}")
    with pytest.raises(MeasureError, match="is not a lookup table"):
        LookupTable(Clockwork(), path)
