"""Models of timm: by a directory as its hub has them, by a name with a file of weights; their own head or a new one."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from zoo.packages import torchvision

from netwright.core.errors import RecipeError
from netwright.sources.base import Source
from netwright.sources.checkpoints import checkpoint_of
from netwright.sources.load import load_data
from netwright.tasks import TASKS
from netwright.tasks.data import Data

with suppress(ImportError):
    torchvision()
timm: Any = pytest.importorskip("timm", reason="timm is not installed")
image: Any = pytest.importorskip("PIL.Image", reason="pillow is not installed")
NAME = "test_resnet"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the weights of a small network for three classes, and images of others beside it."""
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp("timm") / "model"
    folder.mkdir()
    torch.manual_seed(0)
    save_file(timm.create_model(NAME, num_classes=3).state_dict(), folder / "model.safetensors")
    told = {"input_size": [3, 32, 32], "mean": [0.5] * 3, "std": [0.25] * 3}
    (folder / "config.json").write_text(json.dumps({"architecture": NAME, "num_classes": 3, "pretrained_cfg": told}))
    for classes in (("cat", "dog", "owl"), ("red", "blue")):
        for i, name in enumerate(classes):
            place = folder.parent / "-".join(classes) / name
            place.mkdir(parents=True)
            for k in range(12):
                image.new("RGB", (40, 36), (80 * i, 7 * k, 255 - 80 * i)).save(place / f"{k}.png")
    return folder


def opened(model: str | Path, data: Path, task: str = "image-classification") -> tuple[Source, Data]:
    made = TASKS.make(task)
    checkpoint = checkpoint_of(str(model))
    assert checkpoint is not None
    read = load_data(str(data), made, None, checkpoint.preparation(made))
    source = checkpoint.source(made, read)
    made.check(source.largest().eval(), read)
    return source, read


def test_a_directory_gives_weights_sizes_and_a_head(model: Path) -> None:
    source, data = opened(model, model.parent / "cat-dog-owl")
    torch.manual_seed(0)
    torch.testing.assert_close(source.largest().state_dict(), timm.create_model(NAME, num_classes=3).state_dict())
    assert data.train.inputs.shape[1:] == (3, 32, 32) and float(data.train.inputs.min()) == -2.0
    assert source.space.size > 10 and source.pretrained and "its own head" in source.notes[0]
    assert any("elastic are" in note for note in source.notes)


def test_other_classes_have_a_new_head(model: Path) -> None:
    source, _ = opened(model, model.parent / "red-blue")
    assert "with a new head of 2 outputs" in source.notes[0]
    assert source.largest()(torch.zeros(1, 3, 32, 32)).shape == (1, 2)


def test_a_name_with_a_file_of_weights(model: Path) -> None:
    checkpoint = checkpoint_of(f"timm/{NAME},weights=model.safetensors", str(model))
    assert checkpoint is not None
    with pytest.raises(RecipeError, match=rf"timm/{NAME}: .*holds|lacks|should be"):  # it is of three classes, not 1000
        checkpoint.source(TASKS.make("image-classification"), None)


def test_latency_is_of_images_as_the_data_have_them(model: Path) -> None:
    source, _ = opened(model, Path(f"{model.parent / 'cat-dog-owl'},size=24"))
    assert source.example_of(source.largest()).shape == (1, 3, 24, 24)  # type: ignore[union-attr]


def test_what_a_directory_says_its_model_is_built_with_is_heeded(model: Path) -> None:
    told = json.loads((model / "config.json").read_text())
    other = model.parent / "other"
    other.mkdir()
    (other / "model.safetensors").write_bytes((model / "model.safetensors").read_bytes())
    arguments = {"drop_rate": 0.5, "checkpoint_path": "/nowhere", "pretrained": True}
    (other / "config.json").write_text(json.dumps({**told, "model_args": arguments}))
    source, _ = opened(other, model.parent / "cat-dog-owl")
    assert source.largest().drop_rate == 0.5, "and no file is read that it names"


def test_what_timm_does_not_give_is_told(model: Path) -> None:
    with pytest.raises(RecipeError, match=r"timm does not give 'no_such_net' .* give a directory with its config.json"):
        opened("timm/no_such_net", model.parent / "red-blue")
    with pytest.raises(RecipeError, match="is a model of images, which has no head for TokenClassification"):
        opened(model, model.parent / "red-blue", "token-classification")
