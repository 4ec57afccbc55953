"""A module that offers folded() is trained, cut and judged as it is, and measured and exported folded."""

from __future__ import annotations

import json

import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

import netwright as nw
from netwright.core.errors import NetError
from netwright.measure.convert import converted, example
from netwright.nets.foldable import foldable
from netwright.nets.isolation import outputs_of
from netwright.nets.noise import apart


class Scaled(nn.Module):
    """A layer, and a factor for each of its outputs that it can do without."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.layer = layer
        self.factor = nn.Parameter(torch.linspace(0.5, 2.0, layer.out_features))

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) * self.factor

    def folded(self) -> nn.Module:
        made = nn.Linear(self.layer.in_features, self.layer.out_features)
        made.weight.copy_(self.layer.weight * self.factor[:, None])
        made.bias.copy_(self.layer.bias * self.factor)
        return made


class Two(nn.Module):
    """Two layers without an activation between them; each may be folded already."""

    def __init__(self, first: nn.Module, second: nn.Module) -> None:
        super().__init__()
        self.first, self.second = first, second

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x))

    def folded(self) -> nn.Module:
        first, second = self.first, self.second  # their folded forms: inner ones come first
        made = nn.Linear(first.in_features, second.out_features)
        made.weight.copy_(second.weight @ first.weight)
        made.bias.copy_(second.weight @ first.bias + second.bias)
        return made


def scaled(inputs: int = 6, outputs: int = 6) -> Scaled:
    return Scaled(nn.Linear(inputs, outputs))


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    shared = scaled()
    return nn.Sequential(scaled(4, 6), nn.ReLU(), Two(scaled(6, 8), scaled(8, 6)), nn.ReLU(), shared, nn.GELU(), shared)


def test_everything_is_folded_inner_modules_first_and_the_network_stays_as_it_is():
    whole, x = network().train(), torch.randn(3, 4)
    before = {name: tensor.clone() for name, tensor in whole.state_dict().items()}
    made = nw.fold(whole, x)
    assert [type(each).__name__ for each in made] == ["Linear", "ReLU", "Linear", "ReLU", "Linear", "GELU", "Linear"]
    assert made[4] is made[6] and not made.training  # one module stays one
    assert apart(outputs_of(whole.eval(), x), outputs_of(made, x)) < 1e-6
    assert whole.state_dict().keys() == before.keys()
    assert all(torch.equal(tensor, before[name]) for name, tensor in whole.state_dict().items())
    assert not {p.data_ptr() for p in made.parameters()} & {p.data_ptr() for p in whole.parameters()}
    assert foldable(whole) == ["0", "2", "2.first", "2.second", "4"] and foldable(made) == []
    assert nw.fold(made, x) is made


def test_the_network_itself_may_be_what_is_folded():
    whole = Two(scaled(4, 6), scaled()).train()
    whole.example_inputs, whole.candidate = torch.randn(2, 4), {"a": 1}
    made = nw.fold(whole)
    assert type(made) is nn.Linear and made.example_inputs.shape == (2, 4) and made.candidate == {"a": 1}
    assert whole.training


def test_hooks_go_with_what_is_folded():
    whole, x, seen = nn.Sequential(scaled(), nn.ReLU()), torch.randn(2, 6), []
    whole[0].register_forward_hook(lambda module, args, output: seen.append(type(module).__name__) or output + 1)
    made = nw.fold(whole, x)
    seen.clear()
    assert torch.allclose(made(x), whole(x), atol=1e-5)


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 5), st.integers(1, 5), st.integers(1, 4), st.integers(0, 99))
def test_a_cut_comes_before_the_fold(inner, outer, batch, seed):
    """Of any cut, active == extracted == folded; folding the cut is cutting the tensors that are folded."""
    torch.manual_seed(seed)
    whole = nn.Sequential(scaled(4, 5), nn.ReLU(), Two(scaled(5, 7), scaled(7, 5)), nn.ReLU(), nn.Linear(5, 2))
    x = torch.randn(batch, 4)
    net = nw.wrap(whole.eval(), x, round_to=1)
    names = [axis.name for axis in net.axes]
    options = dict(zip(names, (net.space[n].options for n in names), strict=True))
    picks = [(inner if i % 2 else outer) % len(options[name]) for i, name in enumerate(names)]
    candidate = {name: options[name][at] for name, at in zip(names, picks, strict=True)}
    assert len(names) >= 2, names
    with net.active(candidate) as module:
        active = outputs_of(module, x)
    cut = net.extract(candidate)
    made = nw.fold(cut)
    assert apart(active, outputs_of(cut.eval(), x)) < 1e-6 and apart(active, outputs_of(made, x)) < 1e-5
    assert type(made[0]) is nn.Linear and made[0].out_features == cut[0].layer.out_features


class Wrong(Scaled):
    def folded(self) -> nn.Module:
        made = super().folded()
        made.weight.mul_(1.1)
        return made


class WrongShape(Scaled):
    def folded(self) -> nn.Module:
        return nn.Identity()


class Raises(Scaled):
    def folded(self) -> nn.Module:
        return self.nowhere


class NoModule(Scaled):
    def folded(self) -> nn.Module:
        return self.factor


class RaisesLater(Scaled):
    def folded(self) -> nn.Module:
        return nn.Linear(3, 3)


class OneOnly(Scaled):
    """What it takes for a constant is right for a batch of one alone."""

    def folded(self) -> nn.Module:
        made = super().folded()
        made.register_forward_hook(lambda module, args, output: output * (1 + 0.1 * (len(output) - 1)))
        return made


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        (Wrong, r"1 \(Wrong\) computes something else when it is folded: its outputs differ by 0\.\d+ of the largest"),
        (
            WrongShape,
            r"1 \(WrongShape\) .*: it gives a tensor of shape \(1, 6\) and .*, not a tensor of shape \(1, 5\)",
        ),
        (Raises, r"1 \(Raises\) cannot be folded: folded\(\) raises .*nowhere"),
        (NoModule, r"1 \(NoModule\): folded\(\) returns a torch.nn.Module .*, not a tensor of shape \(5,\)"),
        (RaisesLater, r"1 \(RaisesLater\) computes something else .*: it raises RuntimeError"),
        (OneOnly, r"1 \(OneOnly\) computes something else .*: its outputs differ by 0\.1"),
    ],
)
def test_a_fold_that_changes_the_outputs_is_refused_everywhere(kind, says, tmp_path):
    torch.manual_seed(0)
    whole, x = nn.Sequential(nn.Linear(6, 6), kind(nn.Linear(6, 5)), nn.ReLU()), torch.randn(1, 6)
    for refused in (
        lambda: nw.fold(whole, x),
        lambda: nw.export(whole, tmp_path / "out", example_inputs=x),
        lambda: converted(nw.targets.OnnxRuntime(threads=1), whole, x, tmp_path / "file.onnx"),
    ):
        with pytest.raises(NetError, match=says):
            refused()
    assert not list(tmp_path.rglob("*.onnx"))
    whole.train()
    assert whole(x).shape == (1, 5)  # and trains as before


def test_what_runs_by_another_name_than_its_own_is_said():
    class Holds(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.part = scaled()
            self.others = [self.part]

        def forward(self, x: Tensor) -> Tensor:
            return self.others[0](x)

    with pytest.raises(NetError, match=r"part \(Scaled\) still runs when it is folded: .* nn.ModuleList"):
        nw.fold(Holds(), torch.randn(2, 6))


def test_a_fold_is_asked_for_a_network_and_its_inputs():
    with pytest.raises(NetError, match="fold\\(\\) needs example_inputs="):
        nw.fold(network())
    with pytest.raises(nw.NetwrightError, match="fold"):
        nw.fold("network")


def test_what_is_exported_is_folded_and_weights_are_as_they_are_trained(tmp_path):
    whole, x = network().eval(), torch.randn(1, 4)
    net = nw.SuperNet(whole, [], x)
    cut = net.extract(net.largest)
    nw.export(cut, tmp_path, formats=["onnx", "pt2", "safetensors"])
    told = json.loads((tmp_path / "manifest.json").read_text())
    assert told["folded"] == ["0", "2", "2.first", "2.second", "4"]
    products = [node.op_type for node in onnx.load(tmp_path / "model.onnx").graph.node]
    assert products.count("Gemm") + products.count("MatMul") == 4 and "Mul" not in products
    program = torch.export.load(tmp_path / "model.pt2")
    assert not any("factor" in name for name in program.state_dict)
    again = nw.load(tmp_path, net)
    assert type(again[0]) is Scaled and apart(outputs_of(again, x), outputs_of(whole, x)) == 0


def test_what_is_measured_is_folded(tmp_path):
    whole, x = network().eval(), torch.randn(1, 4)
    path = tmp_path / "file.onnx"
    example(x, 1, whole)  # finds out what the batch is, on which a file depends
    how = converted(nw.targets.OnnxRuntime(threads=1), whole, x, path)
    assert how["folded"] == 5
    assert "Mul" not in [node.op_type for node in onnx.load(path).graph.node]
    again = converted(nw.targets.OnnxRuntime(threads=1), whole, x, path)
    assert again["cached"] and again["folded"] == 5


def test_a_network_that_offers_nothing_stays_as_it_is(tmp_path):
    plain, x = nn.Sequential(nn.Linear(4, 3), nn.ReLU()), torch.randn(1, 4)
    assert nw.fold(plain, x) is plain and not plain.training
    nw.export(plain, tmp_path, example_inputs=x, formats=["safetensors"])
    assert "folded" not in json.loads((tmp_path / "manifest.json").read_text())


def test_numbers_of_half_precision_are_compared_as_they_are_rounded():
    torch.manual_seed(0)
    whole = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Flatten(), scaled(4 * 4 * 4, 6)).to(torch.bfloat16)
    made = nw.fold(whole, torch.randn(2, 3, 4, 4, dtype=torch.bfloat16))
    assert type(made[2]) is nn.Linear


def test_layers_that_run_several_times_are_compared_each_time():
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.part = Wrong(nn.Linear(6, 6, bias=False))

        def forward(self, x: Tensor) -> Tensor:
            first = self.part(torch.zeros_like(x))
            return F.relu(first) + self.part(x)

    whole = Twice()
    whole.part.layer.bias = nn.Parameter(torch.zeros(6))
    with pytest.raises(NetError, match="part \\(Wrong\\)"):  # of zeros alone, both give zeros
        nw.fold(whole, torch.randn(2, 6))


def test_what_is_not_written_folded_is_not_folded(tmp_path):
    class Unfoldable(Scaled):
        def folded(self) -> nn.Module:
            raise RuntimeError("not now")

    whole, x = nn.Sequential(Unfoldable(nn.Linear(4, 3))).eval(), torch.randn(2, 4)
    nw.export(whole, tmp_path, ["safetensors"], example_inputs=x)
    assert "folded" not in json.loads((tmp_path / "manifest.json").read_text())
    with pytest.raises(NetError, match="cannot be folded"):
        nw.export(whole, tmp_path, ["onnx"], example_inputs=x)
