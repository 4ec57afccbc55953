"""What is exported is what was given."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import netwright as nw
from netwright.core.errors import BundleError
from netwright.formats import STANDARD
from netwright.formats import onnx as onnx_format
from netwright.formats.bundle import export
from netwright.formats.onnx import write_onnx
from netwright.formats.pt2 import load_pt2
from netwright.formats.safetensors import Safetensors, load_weights
from netwright.nets.families.inverted_residual import inverted_residual
from netwright.nets.inputs import Inputs, call, each_tensor
from netwright.nets.state import state_of, write_tensors


class Pair(nn.Module):
    """Two inputs of one shape, not interchangeable."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 3), nn.Linear(4, 3)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.a(x) - 2 * self.b(y).relu()


class Words(nn.Module):
    """Integers in, and an input that is optional."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.out = nn.Embedding(11, 6), nn.Linear(6, 2)

    def forward(self, ids: Tensor, mask: Tensor | None = None) -> Tensor:
        x = self.embed(ids)
        if mask is not None:
            x = x * mask[..., None]
        return self.out(x.mean(dim=1))


class Named(nn.Module):
    """A dict comes out."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"scores": self.body(x), "aux": x.exp()}


class Scaled(nn.Module):
    """A buffer that is not saved: its constructor makes it (rotary embeddings have one)."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(4, 3)
        self.register_buffer("scale", torch.tensor([1.0, 2.0, 3.0, 4.0]), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x * self.scale)


class Tied(nn.Module):
    """One tensor in two places."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False)
        self.two.weight = self.one.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.two(self.one(x).tanh())


def normed() -> nn.Module:
    network = nn.Sequential(nn.Conv2d(2, 5, 3, padding=1), nn.BatchNorm2d(5), nn.ReLU(), nn.Identity(), nn.Flatten())
    network.train()
    with torch.no_grad():
        for _ in range(3):
            network(torch.randn(9, 2, 4, 4) * 2 + 1)
    return network


CASES: dict[str, Callable[[], tuple[nn.Module, Inputs]]] = {
    "tensor": lambda: (nn.Sequential(nn.Linear(4, 8), nn.GELU(), nn.Linear(8, 3)), torch.randn(1, 4)),
    "batch norm, skipped": lambda: (normed(), torch.randn(1, 2, 4, 4)),
    "skipped": lambda: (nn.Sequential(nn.Identity(), nn.Linear(4, 3), nn.Identity()), torch.randn(1, 4)),
    "tuple": lambda: (Pair(), (torch.randn(1, 4), torch.randn(1, 4))),
    "keywords": lambda: (Pair(), {"x": torch.randn(1, 4), "y": torch.randn(1, 4)}),
    "keywords in another order": lambda: (Pair(), {"y": torch.randn(1, 4), "x": torch.randn(1, 4)}),
    "integers": lambda: (Words(), torch.randint(11, (1, 5))),
    "keyword left out": lambda: (Words(), {"ids": torch.randint(11, (1, 5)), "mask": torch.rand(1, 5)}),
    "dict output": lambda: (Named(), torch.randn(1, 4)),
    "buffer not saved": lambda: (Scaled(), torch.randn(1, 4)),
    "tied": lambda: (Tied(), torch.randn(1, 4)),
    "example of five": lambda: (nn.Linear(4, 3), torch.randn(5, 4)),
}


def made(name: str) -> tuple[nn.Module, Inputs]:
    torch.manual_seed(len(name))
    return CASES[name]()


def of_size(inputs: Inputs, size: int) -> Inputs:
    def resized(t: Tensor) -> Tensor:
        return torch.randint(11, (size, *t.shape[1:])) if not t.is_floating_point() else torch.rand(size, *t.shape[1:])

    return each_tensor(inputs, resized)


def first(output: Any) -> np.ndarray:
    output = next(iter(output.values())) if isinstance(output, dict) else output
    return output.detach().numpy()


def run_onnx(path: Path, inputs: Inputs) -> np.ndarray:
    """ONNX Runtime alone, by name where there are names."""
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [i.name for i in session.get_inputs()]
    if isinstance(inputs, dict):
        assert set(names) == set(inputs)
        return session.run(None, {k: v.numpy() for k, v in inputs.items()})[0]
    values = inputs if isinstance(inputs, tuple) else (inputs,)
    assert names == (["input"] if len(values) == 1 else ["input0", "input1"])
    return session.run(None, {n: v.numpy() for n, v in zip(names, values, strict=True)})[0]


@pytest.mark.parametrize("name", [n for n in CASES if n not in ("keywords", "example of five", "skipped")])
def test_every_file_computes_what_the_network_does(name: str, tmp_path: Path) -> None:
    network, example = made(name)
    done = export(network, tmp_path / "deep" / "out", example_inputs=example)
    assert sorted(p.name for p in done.path.iterdir()) == [
        "manifest.json", "model.onnx", "model.pt2", "weights.safetensors",
    ]  # fmt: skip
    manifest = json.loads((done.path / "manifest.json").read_text())
    assert manifest["files"].keys() == done.files.keys()
    for file, said in manifest["files"].items():
        content = (done.path / file).read_bytes()
        assert said == {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    assert set(manifest["differences"]) == set(STANDARD) and max(manifest["differences"].values()) <= 1e-4
    assert {"python", "torch", "onnxruntime"} <= manifest["versions"].keys()
    again, _ = made(name)
    with torch.no_grad():
        for tensor in again.state_dict().values():
            tensor.zero_()
    load_weights(again, done.path / "weights.safetensors")
    again.eval()
    for size in (1, 7):
        inputs = of_size(example, size)
        expected = first(call(network, inputs))
        np.testing.assert_allclose(run_onnx(done.path / "model.onnx", inputs), expected, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(
            first(call(load_pt2(done.path / "model.pt2"), inputs)), expected, rtol=1e-5, atol=1e-5
        )
        np.testing.assert_array_equal(first(call(again, inputs)), expected)


@pytest.mark.parametrize("name", CASES)
def test_the_file_that_a_search_measures_agrees_with_the_network(name: str, tmp_path: Path) -> None:
    network, example = made(name)
    write_onnx(network, example, tmp_path / "quick.onnx")
    for size in (1, 7):
        inputs = of_size(example, size)
        expected = first(call(network.eval(), inputs))
        np.testing.assert_allclose(run_onnx(tmp_path / "quick.onnx", inputs), expected, rtol=1e-5, atol=1e-5)


def test_export_leaves_the_network_as_it_was(tmp_path: Path) -> None:
    network, example = made("batch norm, skipped")
    before = {k: v.clone() for k, v in network.state_dict().items()}
    torch.manual_seed(0)
    state = torch.random.get_rng_state()
    export(network, tmp_path, example_inputs=example)
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(q.requires_grad and q.grad is None for q in network.parameters())


def wrong(network: nn.Module, path: Path) -> dict[str, Any]:
    """The network's weights with one of them a thousandth off."""
    tensors = {name: tensor.detach().clone() for name, tensor in state_of(network).items()}
    tensors[min(tensors)] *= 1.001
    write_tensors(path, tensors)
    return {}


@pytest.mark.parametrize("how", ["wrong weights", "wrong shape", "nan", "writer raises", "about raises"])
def test_what_fails_a_check_gets_no_manifest(how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network, example = made("tensor")
    export(network, tmp_path, ["safetensors"], example_inputs=example)
    assert (tmp_path / "manifest.json").exists(), "of an earlier export"
    form = Safetensors()

    def raises(*args: Any) -> Any:
        raise BundleError("no room")

    changed = {
        "wrong weights": {"write": lambda self, net, _, path, sizes: wrong(net, path)},
        "wrong shape": {"run": lambda self, *a: [each[:, :2] for each in form.run(*a)]},
        "nan": {"run": lambda self, *a: [each * float("nan") for each in form.run(*a)]},
        "writer raises": {"write": raises},
        "about raises": {},
    }[how]
    changed_form = type("Changed", (Safetensors,), changed)()
    about = raises if how == "about raises" else lambda bundle: {}
    with pytest.raises(BundleError):
        export(network, tmp_path, [changed_form], example_inputs=example, about=about)
    assert not (tmp_path / "manifest.json").exists()


def test_a_network_that_gives_nan_is_not_exported(tmp_path: Path) -> None:
    network, example = made("tensor")
    with torch.no_grad():
        next(network.parameters()).fill_(float("nan"))
    with pytest.raises(BundleError):
        export(network, tmp_path, ["safetensors"], example_inputs=example)
    assert not (tmp_path / "manifest.json").exists()


class Branching(nn.Module):
    """What no exporter can follow."""

    def forward(self, x: Tensor) -> Tensor:
        return x * 2 if float(x.sum()) > 0 else x


@pytest.mark.parametrize("name", ["onnx", "pt2"])
def test_what_cannot_be_exported_is_told_in_one_line(name: str, tmp_path: Path) -> None:
    with pytest.raises(BundleError) as error:
        export(Branching(), tmp_path, [name], example_inputs=torch.randn(1, 4))
    assert "\n" not in str(error.value) and len(str(error.value)) < 700
    assert not (tmp_path / "manifest.json").exists()


def test_misuse_is_told(tmp_path: Path) -> None:
    network, example = made("tensor")
    with pytest.raises(BundleError, match="did you mean 'onnx'"):
        export(network, tmp_path / "no", ["onxx"], example_inputs=example)
    assert not (tmp_path / "no").exists()
    with pytest.raises(BundleError, match="example_inputs"):
        export(network, tmp_path / "no")
    (tmp_path / "file").write_text("mine")
    with pytest.raises(BundleError, match="file"):
        export(network, tmp_path / "file", ["safetensors"], example_inputs=example)
    assert (tmp_path / "file").read_text() == "mine"


def test_what_about_says_is_in_the_manifest_and_cannot_replace_the_sums(tmp_path: Path) -> None:
    network, example = made("tensor")
    seen: list[Any] = []

    def about(bundle: Any) -> dict[str, Any]:
        seen.append(bundle)
        assert all(path.exists() for path in bundle.files.values())
        assert not (tmp_path / "manifest.json").exists()
        return {"candidate": {"a": 1}, "files": "mine"}

    done = export(network, tmp_path, ["safetensors"], example_inputs=example, about=about)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["candidate"] == {"a": 1} and manifest["files"].keys() == {"weights.safetensors"}
    assert seen[0].differences == done.differences == {"safetensors": 0.0}


# -- parity: active, extracted, exported -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def net() -> nw.SuperNet:
    torch.manual_seed(1)
    made = inverted_residual(
        2, 5, 6, widths=((3, 4), (4, 7)), depths=((1, 2), (1, 2, 3)), expands=(1, 2, 3), kernels=(3, 5)
    )
    made.module.train()
    with torch.no_grad():
        for p in made.module.parameters():
            p.add_(torch.randn_like(p) * 0.2)
        for _ in range(3):
            made.module(torch.randn(16, 2, 6, 6))
    made.module.eval()
    return made


def parity(net: nw.SuperNet, seed: int, path: Path) -> None:
    candidate = net.space.sample(np.random.default_rng(seed))
    inputs = torch.randn(5, 2, 6, 6, generator=torch.Generator().manual_seed(seed))
    network = net.extract(candidate).eval()
    with torch.no_grad():
        with net.active(candidate) as module:
            active = module(inputs)
        extracted = network(inputs)
    scale = float(extracted.abs().max())
    torch.testing.assert_close(active, extracted, rtol=0, atol=1e-5 * scale)
    write_onnx(network, network.example_inputs, path)  # type: ignore[arg-type]
    np.testing.assert_allclose(run_onnx(path, inputs), extracted.numpy(), rtol=0, atol=1e-4 * scale)


@given(seed=st.integers(0, 2**32))
@settings(max_examples=12)
def test_active_is_extracted_is_exported(net: nw.SuperNet, seed: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    parity(net, seed, tmp_path_factory.mktemp("parity") / "quick.onnx")


@pytest.mark.parametrize("seed", range(2))
def test_the_newer_exporter_agrees_too(
    net: nw.SuperNet, seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    newer = "torch.onnx, dynamo=True"
    monkeypatch.setattr(onnx_format, "EXPORTERS", {newer: onnx_format.EXPORTERS[newer]})
    parity(net, seed, tmp_path / "newer.onnx")


def mlp() -> nw.SuperNet:
    return nw.wrap(nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 4)), torch.zeros(2, 8))


@pytest.mark.parametrize(
    ("manifest", "told"),
    [
        ('{"candidate": {"0.width": 99}}', "is of another super-network: '0.width' cannot be 99"),
        ('{"candidate": {"1.width": 8}}', "is of another super-network"),
        ('{"candidate": 3}', "names no candidate"),
        ("[]", "names no candidate"),
        ("{", "is not a bundle"),
    ],
)
def test_a_bundle_of_another_super_network_is_refused(tmp_path: Path, manifest: str, told: str) -> None:
    (tmp_path / "manifest.json").write_text(manifest)
    with pytest.raises(BundleError, match=told):
        nw.load(tmp_path, mlp())


@pytest.mark.parametrize("other", [None, nn.Linear(2, 2)])
def test_load_needs_a_super_network(tmp_path: Path, other: Any) -> None:
    with pytest.raises(BundleError, match="load needs the super-network"):
        nw.load(tmp_path, other)
