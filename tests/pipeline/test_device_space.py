"""The space that pays on a target."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from cli.running import TINY, command, done

import netwright as nw
from netwright.core.errors import MeasureError, RecipeError
from netwright.measure.explain import LayerReport
from netwright.measure.latency import Latency
from netwright.measure.lookup import LookupTable, Row
from netwright.pipeline import space
from netwright.pipeline.space import find_space
from netwright.recipe.load import load

FEWER = {"width": [4, 8, 15, 16]}
TARGET = "onnxruntime,precision=int8,form=u8u8"


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A recipe of a person's own, beside which another one is written."""
    return Path(shutil.copy(TINY, tmp_path / "tiny.yaml"))


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A device whose time goes in steps of 8 channels, and on which 8 bits make some layers faster."""
    made = SimpleNamespace(measured=0, explained=0, speed={"linear layer": 0.5})

    def row(table: LookupTable, block: Any) -> Row:
        made.measured += 1
        sizes = [m.weight.shape for m in block.network.modules() if hasattr(m, "weight") and m.weight.dim() == 2]
        time = sum(-(-rows // 8) * -(-columns // 8) for rows, columns in sizes)
        return Row(block.name, tuple(tuple(t.shape) for t in block.inputs), 0.001 + 0.01 * time, 0.0)

    def explained(file: Path, target: object, against: Path, inputs: Mapping[str, Any], **_: Any) -> SimpleNamespace:
        assert file.exists() and against.exists() and [each.shape for each in inputs.values()] == [(1, 6)]
        made.explained += 1
        paths = [f"blocks.{i}.{own}" for i in range(3) for own in ("up", "down")]
        return SimpleNamespace(
            layers=[LayerReport(p, "linear layer", 8, 1.0, made.speed["linear layer"], 0, "int8", ()) for p in paths]
        )

    monkeypatch.setattr(LookupTable, "_row", row)
    monkeypatch.setattr(space, "explain", explained)
    return made


@pytest.fixture
def no_export(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of networks are empty, as nobody looks into them here."""
    monkeypatch.setattr(Latency, "write", lambda self, network, inputs, path, *_: path.write_bytes(b""))


def test_widths_between_steps_are_left_out(device: SimpleNamespace, tiny: Path, tmp_path: Path) -> None:
    found = find_space(
        tiny, tmp_path / "out", overrides={"target": TARGET, "objectives": ["accuracy", "latency"], "choices": FEWER}
    )
    assert found.path == tiny.with_name("tiny-space.yaml")
    kept = found.recipe.choices
    assert kept["width"] == [8, 16] and kept["blocks.0.hidden"] == [8, 16, 24]
    assert found.recipe.bits.options == ["int8"] and found.recipe.target == TARGET
    assert "8 bits are an option of 3 choices" in found.page.read_text()
    page = found.page.read_text()
    assert "| width | 15 | 16 | 0% +- 0% " in page and "| left out |" in page and "| pays |" in page
    assert "linear layer | 12 | 12.000 | 6.000 | 50% | pays" in page


@pytest.mark.usefixtures("no_export")
def test_what_was_measured_is_kept(device: SimpleNamespace, tiny: Path, tmp_path: Path) -> None:
    more: Any = {"target": TARGET, "objectives": ["accuracy", "latency"], "choices": FEWER}
    first = find_space(tiny, tmp_path / "out", overrides=more, seconds=1e-9)
    assert "the time was up before 5 of 5 choices" in first.page.read_text() and first.recipe.choices == FEWER
    assert device.measured == 0 and device.explained == 2
    second = find_space(tiny, tmp_path / "out", overrides=more)
    measured = device.measured
    third = find_space(tiny, tmp_path / "out", overrides=more, seconds=1e-9)
    assert third.recipe == second.recipe and (device.measured, device.explained) == (measured, 2)
    (tmp_path / "out" / "layers.json").write_text("{")
    find_space(tiny, tmp_path / "out", overrides=more)
    assert device.explained == 4, "what cannot be read is measured anew"


@pytest.mark.usefixtures("no_export")
def test_bits_that_gain_nothing_are_left_out(device: SimpleNamespace, tiny: Path, tmp_path: Path) -> None:
    device.speed["linear layer"] = 1.1
    more: Any = {"target": TARGET, "objectives": ["accuracy", "latency"], "choices": FEWER}
    found = find_space(tiny, tmp_path / "out", overrides=more)
    assert not found.recipe.bits.options and found.recipe.target == "onnxruntime"
    assert not any(name.endswith(".bits") for name in found.recipe.choices)
    assert "8 bits pay in no choice of bits here" in found.page.read_text()
    given = find_space(tiny, tmp_path / "out", overrides={**more, "bits.options": ["int8"]})
    assert given.recipe.choices["blocks.0.bits"] == ["float32"], "where the recipe has them, its choices say it"


def test_the_recipe_is_taken_as_it_is(device: SimpleNamespace, tiny: Path, tmp_path: Path) -> None:
    told = command("space", tiny, "--target", TARGET, "--objectives", "accuracy,latency", "--out", tmp_path / "out")
    assert told.code == 0 and "options that were measured" in told.out
    path = tmp_path / "tiny-space.yaml"
    values = yaml.safe_load(path.read_text())
    assert values["choices"]["width"] == [8, 16] and values["evaluations"] == 12
    done("fit", path, "--train.epochs", 1, "--evaluations", 2, "--export.epochs", 0, "--out", tmp_path / "fitted")


def test_what_no_space_is_found_for_is_said(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="a space is found for one of them"):
        find_space(tiny, tmp_path / "a", overrides={"target": ["onnxruntime", "b=onnxruntime,threads=2"]})
    (tmp_path / "own_space.py").write_text(
        "import netwright as nw\n\n\nclass Own:\n    space = nw.Space([nw.Choice('a', (1, 2))])\n\n"
        "    def extract(self, candidate):\n        raise ValueError\n\n\ndef model():\n    return Own()\n"
    )
    (tmp_path / "own.yaml").write_text("model: own_space:model\nobjectives: [latency]\n")
    with pytest.raises(RecipeError, match=r"gives no netwright\.SuperNet, of which alone options can be left out"):
        find_space(tmp_path / "own.yaml", tmp_path / "b")
    told = command("space", tiny, "--seconds", "0", "--out", tmp_path / "c")
    assert "--seconds must be more than 0" in told.mistake


@pytest.mark.usefixtures("no_export")
def test_a_runtime_without_layers_in_8_bits_and_one_that_fails(
    device: SimpleNamespace, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise MeasureError("no operator is told")

    monkeypatch.setattr(space, "explain", fails)
    found = find_space(tiny, tmp_path / "out", overrides={"target": TARGET, "choices": FEWER})
    assert "layers in 8 bits are not judged: no operator is told" in found.notes and not found.bits
    assert any("no objective and no limit is a time" in note for note in found.notes)
    other = find_space(tiny, tmp_path / "torch", overrides={"target": "torch", "choices": FEWER})
    assert any("has no single layers in 8 bits" in note for note in other.notes)
    assert other.recipe.choices["width"] == [8, 16]


def test_a_written_recipe_is_read_again() -> None:
    recipe = load(TINY, {"choices": {"width": [8, 16], "a.b": [[1, 2]]}, "bits.options": ["int8"], "train.epochs": 3})
    from netwright.recipe.text import parse_yaml, written

    assert load(parse_yaml(written(recipe), "own")) == recipe
    assert isinstance(recipe, nw.Recipe)


def test_precisions_that_a_recipe_has_not_are_not_judged(device: SimpleNamespace, tiny: Path, tmp_path: Path) -> None:
    more: Any = {"bits.options": ["float32"], "target": "onnxruntime", "choices": FEWER}
    found = find_space(tiny, tmp_path / "out", overrides=more)
    assert device.explained == 0 and not found.kinds and found.recipe.target == "onnxruntime"
    assert any("8 bits are not among the recipe's bits.options" in note for note in found.notes)
    assert found.recipe.choices["width"] == [8, 16]
