"""What files promise: sizes that stay free, plain tensors, nothing but what a README names, all outputs."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from small import Of
from torch import Tensor, nn

import netwright as nw
from netwright.core.errors import BundleError, NetError
from netwright.formats import onnx as onnx_format
from netwright.formats.bundle import export
from netwright.formats.onnx import parts_of, write_onnx
from netwright.formats.pt2 import load_pt2, write_pt2
from netwright.formats.sizes import find_sizes
from netwright.nets.batch import batch_dims_of
from netwright.nets.inputs import Inputs, call, each_tensor, tensors_in


class Text(nn.Module):
    """Tokens with a mask, by name, as a model of text takes them."""

    def __init__(self, longest: int) -> None:
        super().__init__()
        self.words, self.places, self.mix = (
            nn.Embedding(11, 8),
            nn.Embedding(longest, 8),
            nn.GRU(8, 8, batch_first=True),
        )

    def forward(self, ids: Tensor, mask: Tensor | None = None) -> Tensor:
        x = self.words(ids) + self.places(torch.arange(ids.shape[1]))
        y = self.mix(x)[0]
        return y if mask is None else y * mask[..., None]


def attended(layer: nn.Module, memory: nn.Module, source: Tensor, target: Tensor) -> Tensor:
    return layer(target, source, source, need_weights=False)[0]


CASES: dict[str, tuple[nn.Module, Inputs, set[str]]] = {
    "images of any size": (
        nn.Sequential(nn.Conv2d(3, 4, 3, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)),
        torch.randn(1, 3, 16, 12),
        {"batch", "height", "width"},
    ),
    "images of one size": (
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(144, 2)),
        torch.randn(1, 3, 8, 8),
        {"batch"},
    ),
    "texts": (Text(64), {"ids": torch.randint(11, (1, 8)), "mask": torch.ones(1, 8)}, {"batch", "length"}),
    "texts of at most the example's length": (Text(8), {"ids": torch.randint(11, (1, 8))}, {"batch", "length"}),
    "time first": (nn.GRU(4, 6), torch.randn(9, 1, 4), {"batch", "length"}),
    "signals": (nn.Conv1d(2, 3, 5, padding=2), torch.randn(2, 2, 20), {"batch", "length"}),
    "a point cloud without a batch": (
        Of(lambda a, x: a(x).relu().sum(0) - a(x).amax(0), nn.Linear(3, 4)), torch.randn(7, 3), {"length"}
    ),
    "edges": (
        Of(lambda a, x, e: torch.zeros(x.shape[0], 4).index_add(0, e[1], a(x)[e[0]]), nn.Linear(3, 4)),
        (torch.randn(7, 3), torch.randint(7, (2, 9))),
        {"length", "length1"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_sizes_that_may_be_others_stay_free(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network, inputs, free = CASES[name]
    how = write_onnx(network, inputs, tmp_path / "model.onnx")
    assert set(how["free"]) == free
    sizes = find_sizes(network, inputs)
    session = ort.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
    assert {d for i in session.get_inputs() for d in i.shape if isinstance(d, str)} == free
    for other in (inputs, sizes.changed(how["free"])):
        feeds = {i.name: t.numpy() for i, t in zip(session.get_inputs(), tensors_in(other), strict=True)}
        wanted = [t.detach().numpy() for t in tensors_in(call(network.eval(), other))]
        for got, want in zip(session.run(None, feeds), wanted, strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


def test_a_program_of_torch_keeps_them_free_too(tmp_path: Path) -> None:
    network, inputs, free = CASES["signals"]
    assert set(write_pt2(network, inputs, tmp_path / "model.pt2")["free"]) == free
    x = torch.randn(5, 2, 33)
    torch.testing.assert_close(load_pt2(tmp_path / "model.pt2")(x), network(x))


def test_what_the_older_exporter_fixes_the_newer_writes(tmp_path: Path) -> None:
    """It takes the number of time steps of nn.MultiheadAttention for a constant."""
    network = Of(attended, nn.MultiheadAttention(8, 2, batch_first=True), nn.Identity())
    how = write_onnx(network, (torch.randn(1, 6, 8), torch.randn(1, 4, 8)), tmp_path / "model.onnx")
    assert how["exporter"] == "torch.onnx, dynamo=True" and len(how["free"]) == 3


def test_no_exporter_writes_one_side_of_a_decision_by_values(tmp_path: Path) -> None:
    network = Of(lambda a, x: a(x) if bool((x.mean() > -100).all()) else x, nn.Linear(4, 4))
    with pytest.raises(BundleError, match="decides by the values of its inputs"):
        write_onnx(network, torch.randn(1, 4), tmp_path / "model.onnx")


def test_a_decision_by_sizes_is_checked(tmp_path: Path) -> None:
    network = Of(lambda a, x: a(x) if x.shape[1] < 9 else -a(x), nn.Linear(4, 4))
    assert "length" not in write_onnx(network, torch.randn(1, 8, 4), tmp_path / "model.onnx")["free"]


def test_the_file_holds_nothing_but_the_network(tmp_path: Path) -> None:
    write_onnx(*CASES["signals"][:2], tmp_path / "a.onnx")
    write_onnx(*CASES["signals"][:2], tmp_path / "b.onnx")
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()
    model = onnx.load(tmp_path / "a.onnx")
    assert not model.graph.value_info and not model.metadata_props
    assert not any(node.doc_string or node.metadata_props for node in model.graph.node)


def test_what_is_measured_is_what_is_handed_back(tmp_path: Path) -> None:
    from netwright.measure.latency import Latency
    from netwright.measure.runtimes.onnxruntime import OnnxRuntime

    net = nw.wrap(nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 4, 3)), torch.zeros(1, 3, 9, 9))
    network = net.extract(net.smallest).eval()
    Latency(OnnxRuntime()).write(network, net.example_inputs, tmp_path / "measured.onnx")
    export(network, tmp_path / "out", ["onnx"])
    assert (tmp_path / "measured.onnx").read_bytes() == (tmp_path / "out" / "model.onnx").read_bytes()


@dataclass
class Found:
    scores: Tensor
    inner: tuple[Tensor, list[Tensor]]
    note: str = "x"
    nothing: None = None


class Asked(NamedTuple):
    x: Tensor
    options: Any


def of_structures(a: nn.Module, x: Tensor, options: Any) -> Found:
    y = a(x) * options["scale"] + options["shift"][0]
    return Found(y, (y > 0, [y.argmax(1), y[:1].sum()]))


@pytest.mark.parametrize("inputs", [(torch.randn(2, 4), {"scale": 2.0, "shift": [torch.ones(3), None]})])
def test_structures_become_plain_tensors(inputs: Inputs, tmp_path: Path) -> None:
    network = Of(of_structures, nn.Linear(4, 3))
    done = export(network, tmp_path, example_inputs=inputs)
    session = ort.InferenceSession(str(done.files["model.onnx"]), providers=["CPUExecutionProvider"])
    assert [i.name for i in session.get_inputs()] == ["input0", "input1"]
    assert [o.name for o in session.get_outputs()] == ["scores", "inner_0", "inner_1", "inner_2"]
    found = load_pt2(done.files["model.pt2"])(*tensors_in(inputs))
    assert {name: type(value) for name, value in found.items()} == dict.fromkeys(
        ("scores", "inner_0", "inner_1", "inner_2"), Tensor
    )


def test_all_outputs_are_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network, x = Of(lambda a, b, x: (a(x), b(x)), nn.Linear(4, 3), nn.Linear(4, 3)), torch.randn(1, 4)
    whole = onnx_format._save

    def other(model: Any, path: Path, apart: bool) -> None:
        model.graph.node[-1].input[1] = model.graph.node[0].input[1]  # the second output with the first's weights
        whole(model, path, apart)

    monkeypatch.setattr(onnx_format, "_save", other)
    with pytest.raises(BundleError, match=r"model.onnx differs from PyTorch by"):
        export(network, tmp_path, ["onnx"], example_inputs=x)
    assert not (tmp_path / "manifest.json").exists()


def test_a_file_runs_where_the_model_is_not_known(tmp_path: Path) -> None:
    """Its output's class is of a package that only this process has."""
    package = ModuleType("their_package")

    class Output(dict[str, Tensor]):
        """As those of transformers: a mapping that torch is told of."""

    Output.__module__, Output.__qualname__ = "their_package", "Output"
    package.Output = Output  # type: ignore[attr-defined]
    sys.modules["their_package"] = package
    torch.utils._pytree.register_pytree_node(
        Output,
        lambda o: (list(o.values()), list(o)),
        lambda values, names: Output(zip(names, values, strict=True)),
        serialized_type_name="their_package.Output",
    )
    try:
        network = Of(lambda a, x: Output(y=a(x)), nn.Linear(4, 3))
        done = export(network, tmp_path, ["pt2"], example_inputs={"x": torch.randn(1, 4)})
        assert type(load_pt2(done.files["model.pt2"])(x=torch.randn(3, 4))) is dict
    finally:
        del sys.modules["their_package"]


def test_a_network_that_remembers_is_no_onnx_file(tmp_path: Path) -> None:
    class Counts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Linear(4, 3)
            self.register_buffer("seen", torch.zeros(()))

        def forward(self, x: Tensor) -> Tensor:
            self.seen += 1
            return self.body(x) * self.seen

    network = Counts()
    with pytest.raises(BundleError, match="keeps values from one call to the next"):
        export(network, tmp_path, ["onnx"], example_inputs=torch.randn(1, 4))
    export(network, tmp_path, ["pt2", "safetensors"], example_inputs=torch.randn(1, 4))
    assert int(network.seen) == 0, "left as it was"


def test_weights_may_lie_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network, x = nn.Linear(4, 300), torch.randn(1, 4)
    done = export(network, tmp_path, ["onnx,external_data=true"], example_inputs=x)
    assert set(done.files) == {"model.onnx", "model.onnx.data"}
    assert done.files["model.onnx"].stat().st_size < 1000 < done.files["model.onnx.data"].stat().st_size
    assert json.loads((tmp_path / "manifest.json").read_text())["files"].keys() == set(done.files)
    assert export(network, tmp_path, ["onnx"], example_inputs=x).files.keys() == {"model.onnx"}, (
        "what was apart is gone"
    )
    monkeypatch.setattr(onnx_format, "LARGEST", 1000)
    write_onnx(network, x, tmp_path / "large.onnx")
    assert [p.name for p in parts_of(tmp_path / "large.onnx")] == ["large.onnx", "large.onnx.data"]


def test_the_manifest_says_what_is_free_and_what_the_example_was(tmp_path: Path) -> None:
    network, inputs, _ = CASES["time first"]
    export(network, tmp_path, ["onnx"], example_inputs=inputs)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["batch"] == "batch: dimension 1 of input 0"
    assert manifest["example"] == {"input": {"shape": [9, 1, 4], "dtype": "float32"}}
    assert set(manifest["written"]["onnx"]["free"]) == {"batch", "length"}


def test_the_batch_may_be_given(tmp_path: Path) -> None:
    network = nn.Linear(4, 4)
    export(network, tmp_path, ["onnx"], example_inputs=torch.randn(3, 3, 4), batch_dims=1)
    assert batch_dims_of(network, torch.randn(3, 3, 4)).inputs == (1,)
    with pytest.raises(NetError, match="batch_dims"):
        export(nn.GRU(4, 4), tmp_path, ["onnx"], example_inputs=torch.randn(3, 2, 4), batch_dims=0)


@pytest.mark.parametrize(
    ("what", "told"),
    [
        ("super-network", "extract one first"),
        ("text", "takes a torch.nn.Module, not a str"),
        ("format", r"formats is a list, such as \['onnx'\]"),
        ("example", "raises on its example inputs"),
        ("no tensor", "no tensor among the example inputs"),
        ("sparse", "sparse and nested tensors cannot be the inputs"),
    ],
)
def test_misuse_is_told(what: str, told: str, tmp_path: Path) -> None:
    network, x = nn.Linear(4, 3), torch.randn(1, 4)
    net = nw.wrap(nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 3)), x)
    number = Of(lambda a, n: a(torch.ones(1, 4) * n), nn.Linear(4, 3))
    product = Of(lambda a, s, x: torch.sparse.mm(s, a(x)), nn.Linear(4, 3))
    go: dict[str, Callable[[], Any]] = {
        "super-network": lambda: export(net, tmp_path),  # type: ignore[arg-type]
        "text": lambda: export("network", tmp_path),  # type: ignore[arg-type]
        "format": lambda: export(network, tmp_path, "onnx", example_inputs=x),
        "example": lambda: export(network, tmp_path, ["onnx"], example_inputs=torch.randn(1, 5)),
        "no tensor": lambda: export(number, tmp_path, ["onnx"], example_inputs=(2,)),
        "sparse": lambda: export(
            product, tmp_path, ["onnx"], example_inputs=(torch.eye(5).to_sparse(), torch.ones(5, 4))
        ),
    }
    with pytest.raises((BundleError, NetError), match=told):
        go[what]()


def test_weights_of_a_network_with_sparse_inputs_are_exported(tmp_path: Path) -> None:
    product = Of(lambda a, s, x: torch.sparse.mm(s, a(x)), nn.Linear(4, 3))
    inputs = (torch.eye(5).to_sparse(), torch.ones(5, 4))
    assert export(product, tmp_path, ["safetensors"], example_inputs=inputs).differences == {"safetensors": 0.0}
    assert each_tensor(inputs, lambda t: t)[0].is_sparse


class Warm(NamedTuple):
    x: Tensor
    temperature: Tensor


class Tempered(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(8, 32), nn.Linear(32, 4)

    def forward(self, x: Tensor, temperature: Tensor) -> Tensor:
        return self.second(self.first(x).relu()) * temperature


def test_inputs_may_be_numbers_and_named_tuples(tmp_path: Path) -> None:
    inputs = Warm(torch.randn(5, 8), torch.tensor(2.0))
    net = nw.wrap(Tempered(), inputs)
    assert list(net.report.elastic) == ["first.width"]
    assert export(net.extract(net.smallest), tmp_path, ["safetensors"]).differences["safetensors"] == 0
