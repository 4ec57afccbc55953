"""8-bit ONNX files."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from cases import NETWORKS, difference, most, network, others
from onnx import numpy_helper
from torch import nn

from netwright.core.errors import MeasureError
from netwright.core.precision import FORMS
from netwright.formats import onnx as onnx_format
from netwright.formats.forms import extremes, write_extremes
from netwright.formats.onnx import write_onnx
from netwright.formats.quantised import METADATA, NOISY, noisy, quantise_onnx
from netwright.formats.saturation import may_saturate
from netwright.measure.agreement import TOLERANCE
from netwright.measure.convert import feeds_of, outputs_of
from netwright.measure.runtimes.onnxruntime import OnnxRuntime, chosen, gains_nothing

EXACT = [form for form in FORMS if form != "u8s8"]
"""What every CPU computes exactly: tests must not depend on which CPU they run on."""


def written(module: nn.Module, inputs: Any, path: Path, form: str = "u8s7") -> str:
    write_onnx(module.eval(), inputs, path)
    return quantise_onnx(path, [feeds_of(each) for each in others(inputs, 8)], form)


def difference_of(module: nn.Module, inputs: Any, path: Path) -> float:
    (got, *_), (want, *_) = OnnxRuntime().open(path, feeds_of(inputs)).outputs(), outputs_of(module, inputs)
    return float(np.linalg.norm(got - want) / np.linalg.norm(want))


def saturating(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """A product of matrices as x86 CPUs without VNNI compute it: ``vpmaddubsw`` adds pairs of products in 16 bits and
    saturates, ``vpmaddwd`` and ``vpaddd`` add the sums up in 32 bits."""
    terms = rows.astype(np.int64)[:, :, None] * columns.astype(np.int64)[None]
    pairs = terms.reshape(len(rows), -1, 2, columns.shape[1]).sum(axis=2)
    return pairs.clip(-(2**15), 2**15 - 1).sum(axis=1)


@pytest.mark.parametrize(
    ("name", "form"), [*((name, "u8u8") for name in NETWORKS), *(("inverted residual", form) for form in EXACT)]
)
def test_computes_about_what_the_network_computes(name: str, form: str, tmp_path: Path) -> None:
    found = difference(OnnxRuntime(precision="int8", form=form), *network(name), tmp_path / "n.onnx")
    # Signed activations have half as many steps behind a ReLU; by CPU the rest is rounded otherwise.
    assert 1e-6 < found < most(name, "int8") * (2 if form == "s8s8" else 1)


def test_the_full_range_saturates_without_vnni_and_the_reduced_one_cannot() -> None:
    wrong = {}
    for form, (activations, *_) in FORMS.items():
        if activations != "QUInt8" or form == "u8u8":  # those go through vpmaddwd, in 16 bits times 16
            continue
        rows, columns = extremes(form)
        wrong[form] = bool((saturating(rows, columns) != rows.astype(np.int64) @ columns.astype(np.int64)).any())
    assert wrong == {"u8s8": True, "u8s7": False}


def test_this_machine_is_exact_or_saturates_as_foretold(tmp_path: Path) -> None:
    feeds, expected = write_extremes(tmp_path / "n.onnx")
    found = OnnxRuntime().open(tmp_path / "n.onnx", feeds).outputs()
    for form, got, want in zip(FORMS, found, expected, strict=True):
        foretold = form == "u8s8" and np.array_equal(got, saturating(*extremes(form)))
        assert foretold or np.array_equal(got, want), form


@pytest.mark.parametrize("form", FORMS)
def test_the_weights_of_a_file_stay_within_their_form(form: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    module, inputs = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3)), torch.randn(1, 3, 8, 8)
    assert written(module, inputs, tmp_path / "n.onnx", form).startswith(f"{form}, static QDQ")
    model = onnx.load(tmp_path / "n.onnx")
    constants = {each.name: numpy_helper.to_array(each) for each in model.graph.initializer}
    held = [n.input[0] for n in model.graph.node if n.op_type == "DequantizeLinear" and n.input[0] in constants]
    weights = [constants[name] for name in held if constants[name].ndim == 4]
    points = {constants[n.input[2]].dtype for n in model.graph.node if n.op_type == "QuantizeLinear"}
    assert points == {np.dtype(np.int8 if form == "s8s8" else np.uint8)}
    assert len(weights) == 2
    assert all(each.dtype == (np.uint8 if form == "u8u8" else np.int8) for each in weights)
    largest = max(int(np.abs(each.astype(int)).max()) for each in weights)
    # The largest activations times a column of a file's own weights, in the arithmetic of a CPU without VNNI.
    column = weights[0].reshape(8, -1)[:, :26].T
    rows = np.full((1, 26), 255, dtype=np.uint8)
    if form == "u8s7":
        assert largest == 64
        np.testing.assert_array_equal(saturating(rows, column), rows.astype(int) @ column.astype(int))
    if form == "u8s8":
        assert largest == 127
        assert (saturating(rows, column) != rows.astype(int) @ column.astype(int)).any()
    assert may_saturate(tmp_path / "n.onnx") == (form == "u8s8")
    assert json.loads(model.metadata_props[0].value)["form"] == form and model.metadata_props[0].key == METADATA


def test_a_file_in_float32_and_one_that_is_none_do_not_saturate(tmp_path: Path) -> None:
    write_onnx(nn.Conv2d(3, 4, 3).eval(), torch.randn(1, 3, 8, 8), tmp_path / "n.onnx")
    (tmp_path / "none.onnx").write_text("no network")
    assert not may_saturate(tmp_path / "n.onnx") and not may_saturate(tmp_path / "none.onnx")


@pytest.mark.parametrize(
    ("exact", "times", "form"),
    [
        (FORMS, {"u8s8": 1.05, "u8s7": 1.05, "u8u8": 2.7, "s8s8": 3.2}, "u8s8"),  # with VNNI
        (EXACT, {"u8s8": 3.13, "u8s7": 4.53, "u8u8": 4.84, "s8s8": 6.57}, "u8u8"),  # with AVX2 alone
        (FORMS, {"u8s8": 2.0, "u8s7": 2.0, "u8u8": 2.0, "s8s8": 1.0}, "s8s8"),  # where both have a sign
        (EXACT, {"u8s8": 1.0, "u8s7": 2.0, "u8u8": 4.0, "s8s8": 4.0}, "u8s7"),
    ],
)
def test_the_form_is_the_most_precise_of_the_fast_ones_among_the_exact(
    exact: Any, times: dict[str, float], form: str
) -> None:
    assert chosen({each: each in exact for each in FORMS}, times) == form


def device(saturates: bool) -> Any:
    """A trial on a device that has VNNI, or has not."""

    def trial(files: Any, feeds: Any, expected: Any) -> Any:
        errors = [[1e6 if saturates and form == "u8s8" else 0.0 for form in FORMS][: len(expected)] for _ in files]
        return {"ms": [1.0, 0.5, 1.3, 0.9, 0.8][: len(files)], "errors": errors}

    return trial


@pytest.mark.parametrize(("ms", "said"), [(0.5, ""), (0.96, ""), (1.0, "u8u8 takes 1.00 of the time"), (1.3, "1.30")])
def test_a_device_where_8_bits_gain_nothing_is_told(ms, said):
    found = gains_nothing("u8u8", {"float32": 2.0, "u8s8": 0.2, "u8u8": 2.0 * ms})
    assert said in found and bool(found) == bool(said)


def test_the_device_is_asked_for_the_form() -> None:
    with_it, found = OnnxRuntime(precision="int8").suited(device(saturates=False))
    assert with_it == OnnxRuntime(precision="int8", form="u8s8") and "every form is exact" in found["why"]
    without, found = OnnxRuntime(precision="int8").suited(device(saturates=True))
    assert without.form == "u8s7" and not found["exact"]["u8s8"] and "u8s8 saturates" in found["why"]
    asked, found = OnnxRuntime(precision="int8", form="u8s8").suited(device(saturates=True))
    assert asked.form == "u8s8" and "as asked for; u8s8 saturates" in found["why"]
    assert OnnxRuntime().suited(device(saturates=True)) == (OnnxRuntime(), {})


def test_a_file_for_another_cpu_says_so(tmp_path: Path) -> None:
    module, inputs = network("inverted residual")
    written(module, inputs, tmp_path / "full.onnx", "u8s8")
    written(module, inputs, tmp_path / "reduced.onnx", "u8s7")
    assert "no VNNI" in OnnxRuntime().warning(tmp_path / "full.onnx", {}, device(saturates=True))
    assert OnnxRuntime().warning(tmp_path / "full.onnx", {}, device(saturates=False)) == ""
    assert OnnxRuntime().warning(tmp_path / "reduced.onnx", {}, device(saturates=True)) == ""


@pytest.mark.parametrize(
    ("settings", "words"),
    [({"form": "u8s9", "precision": "int8"}, "no form 'u8s9'"), ({"form": "u8s8"}, "needs precision=int8")],
)
def test_a_form_that_is_none_is_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(MeasureError, match=words):
        OnnxRuntime(**settings)


@pytest.mark.parametrize("exporter", onnx_format.EXPORTERS)
def test_products_are_dynamic(exporter: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_format, "EXPORTERS", {exporter: onnx_format.EXPORTERS[exporter]})
    module, inputs = network("vit")  # with one convolution
    assert written(module, inputs, tmp_path / "n.onnx", "u8u8").startswith("u8u8, dynamic, 13 products")
    kinds = Counter(n.op_type for n in onnx.load(tmp_path / "n.onnx").graph.node)
    assert kinds["MatMulInteger"] == 13 and kinds["Conv"] == 1 and "ConvInteger" not in kinds


def test_ranges_of_each_input_have_no_sign(tmp_path: Path) -> None:
    assert written(*network("bert"), tmp_path / "n.onnx", "s8s8").startswith("u8u8, dynamic")


class Words(nn.Module):
    """A table of words, and one that is used otherwise too."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.tied = nn.Embedding(400, 32), nn.Embedding(16, 32)
        self.layer = nn.Linear(32, 32)
        with torch.no_grad():
            self.table.weight *= torch.logspace(-2, 1, 400)[:, None]  # rare words and frequent ones

    def forward(self, words: torch.Tensor) -> torch.Tensor:
        hidden = self.layer(self.table(words)) + self.tied(words % 16)
        return hidden @ self.tied.weight.T


def test_tables_of_embeddings_are_quantised_row_by_row(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module, words = Words(), torch.arange(0, 400, 7)[None]
    assert "2 products and 2 tables" in written(module, words, tmp_path / "n.onnx")
    assert (tmp_path / "n.onnx").stat().st_size < 400 * 32 * 2
    assert difference_of(module, words, tmp_path / "n.onnx") < 0.05
    for row in (0, 399):  # the smallest and the largest are as precise as one another
        assert difference_of(module, torch.full_like(words, row), tmp_path / "n.onnx") < 0.05


def test_weights_that_layers_share_are_not_turned_round_twice(tmp_path: Path) -> None:
    torch.manual_seed(0)
    layer = nn.Linear(8, 8)
    module, inputs = nn.Sequential(layer, nn.ReLU(), layer), torch.randn(4, 8)
    written(module, inputs, tmp_path / "n.onnx")
    assert difference_of(module, inputs, tmp_path / "n.onnx") < 0.05


def test_the_batch_stays_free(tmp_path: Path) -> None:
    for name in ("inverted residual", "bert"):
        written(*network(name), tmp_path / "n.onnx")
        module, inputs = network(name, 3)
        assert difference_of(module, inputs, tmp_path / "n.onnx") < TOLERANCE["int8"]


def test_nothing_to_quantise_is_an_error_and_the_file_is_kept(tmp_path: Path) -> None:
    write_onnx(nn.Sequential(nn.ReLU(), nn.Softmax(-1)), torch.randn(1, 4), tmp_path / "n.onnx")
    before = (tmp_path / "n.onnx").read_bytes()
    with pytest.raises(MeasureError, match="nothing to quantise"):
        quantise_onnx(tmp_path / "n.onnx", [{"input": np.zeros((1, 4), np.float32)}], "u8s7")
    assert (tmp_path / "n.onnx").read_bytes() == before


def test_without_real_inputs_ranges_are_of_noise_around_what_is_given() -> None:
    feeds = {"x": np.random.default_rng(0).standard_normal((2, 5)).astype(np.float32), "i": np.arange(3)}
    found = noisy(feeds)
    assert len(found) == NOISY and all(f["x"].dtype == np.float32 for f in found)
    assert np.array_equal(found[0]["x"], feeds["x"]) and not np.array_equal(found[1]["x"], feeds["x"])
    assert all(np.array_equal(f["i"], feeds["i"]) for f in found)


def test_ranges_are_those_of_the_real_inputs(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module, inputs = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 3)).eval(), torch.randn(1, 1, 8, 8)
    runtime, path = OnnxRuntime(precision="int8", form="u8s7"), tmp_path / "n.onnx"
    real = 5 * torch.randn(1, 1, 8, 8)
    assert "ranges of 1 inputs" in runtime.convert(module, inputs, path, [real])["quantised"]
    assert difference_of(module, real, path) < 0.05
    assert f"ranges of {NOISY} inputs" in runtime.convert(module, inputs, path)["quantised"]
    assert difference_of(module, real, path) > 0.2, "the ranges are too narrow for it"
