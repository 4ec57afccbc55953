"""Checkpoints of transformers: heads, classes, tokenizers, and what is told of those that cannot be used."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tiny_checkpoints as tiny
import torch
from torch import nn

from netwright.core.errors import RecipeError
from netwright.nets.families.pretrained import Pretrained
from netwright.sources.base import Source
from netwright.sources.checkpoints import checkpoint_of
from netwright.sources.load import load_data
from netwright.tasks import TASKS
from netwright.tasks.data import Data

transformers = tiny.library()


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint without a head, with texts beside it."""
    folder = tiny.bert(tmp_path_factory.mktemp("base") / "model")
    tiny.written(folder.parent / "train.tsv", tiny.sentences(60))
    tiny.written(folder.parent / "named.tsv", [(t, ("dull", "fun")[k]) for t, k in tiny.sentences(60)])
    tiny.written(folder.parent / "five.tsv", [(t, i % 5) for i, (t, _) in enumerate(tiny.sentences(60))])
    return folder


@pytest.fixture(scope="module")
def headed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One that comes with a head of two named classes."""
    names: dict[str, Any] = {"id2label": {0: "Fun", 1: "Dull"}, "label2id": {"Fun": 0, "Dull": 1}}
    return tiny.bert(tmp_path_factory.mktemp("headed") / "model", "BertForSequenceClassification", **names)


def opened(model: str | Path, data: str | Path = "", task: str = "text-classification") -> tuple[Source, Data | None]:
    made = TASKS.make(task)
    checkpoint = checkpoint_of(str(model))
    assert checkpoint is not None
    prepared = checkpoint.preparation(made)
    read = load_data(str(data), made, None, prepared) if data else None
    source = checkpoint.source(made, read)
    if read is not None:
        made.check(source.largest().eval(), read)
    return source, read


def test_a_body_gets_a_head_for_the_classes_of_the_data(base: Path) -> None:
    source, data = opened(base, base.parent / "named.tsv")
    net = source.supernet()
    assert isinstance(net, Pretrained) and source.pretrained and set(net.report.elastic) == {"depth", "ffn"}
    model: Any = net.module
    assert model.config.id2label == {0: "dull", 1: "fun"} and model.num_labels == 2
    body = transformers.AutoModel.from_pretrained(base)
    torch.testing.assert_close(model.bert.state_dict(), body.state_dict())
    assert "with a new head of 2 classes" in source.notes[0] and "elastic are depth 1 to 3" in source.notes[1]
    assert data is not None and set(data.train.inputs) == set(net.example_inputs)


def test_other_weights_are_another_study(base: Path, tmp_path: Path) -> None:
    for file in base.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    before, again = (opened(folder, base.parent / "train.tsv")[0].fingerprint for folder in (base, tmp_path))
    weights = bytearray((tmp_path / "model.safetensors").read_bytes())
    weights[-2] ^= 1
    (tmp_path / "model.safetensors").write_bytes(weights)
    assert before == again != opened(tmp_path, base.parent / "train.tsv")[0].fingerprint


def test_which_networks_there_are_can_be_said(base: Path) -> None:
    found = {}
    for sizes in ("ordinary", "alike", "own"):
        source, _ = opened(f"{base},sizes={sizes}", base.parent / "train.tsv")
        found[sizes] = source.supernet().report.elastic
    assert set(found["ordinary"]) == {"depth", "ffn"} and found["ordinary"]["ffn"] == (16, 32, 48, 64)
    assert set(found["alike"]) == {"depth", "heads", "ffn"} and "layer2.heads" in found["own"]
    source, _ = opened(f"{base},depths=(2,3),ffn=(0.5,),sizes=alike,heads=(0.5,)", base.parent / "train.tsv")
    assert source.supernet().report.elastic == {"depth": (2, 3), "heads": (2, 4), "ffn": (32, 64)}


def test_latency_is_of_a_text_of_a_length_that_can_be_named(base: Path) -> None:
    for settings, length in (("", 8), (",length=17", 17)):
        source, _ = opened(f"{base}{settings}", base.parent / "train.tsv")
        assert {tuple(t.shape) for t in source.supernet().example_inputs.values()} == {(1, length)}
    with pytest.raises(RecipeError, match="length is a number of tokens up to the 24"):
        opened(f"{base},length=25", base.parent / "train.tsv")


def test_a_trained_head_is_kept_and_classes_are_in_its_order(headed: Path, base: Path) -> None:
    source, data = opened(headed, base.parent / "named.tsv")
    own = transformers.AutoModelForSequenceClassification.from_pretrained(headed)
    torch.testing.assert_close(source.supernet().module.classifier.weight, own.classifier.weight)
    assert data is not None and data.classes == ("Fun", "Dull") and "its own head" in source.notes[0]
    other, _ = opened(f"{headed},head=new", base.parent / "named.tsv")
    assert not torch.equal(other.supernet().module.classifier.weight, own.classifier.weight)


def test_labels_that_do_not_match_the_head_are_told(headed: Path, base: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"has 2 outputs .Fun, Dull., and the data need 5"):
        opened(headed, base.parent / "five.tsv")
    some = tiny.written(tmp_path / "some.tsv", [(t, ("dull", "funny")[k]) for t, k in tiny.sentences(60)])
    with pytest.raises(RecipeError, match="a class 'funny', which the head of the model does not have; did you mean"):
        opened(headed, some)


def test_numbers_and_words_have_heads_of_their_own(base: Path, tmp_path: Path) -> None:
    source, _ = opened(base, tiny.written(tmp_path / "n.tsv", [(t, i / 60) for i, (t, _) in
                       enumerate(tiny.sentences(60))], "text score"), "regression")  # fmt: skip
    assert source.supernet().module.num_labels == 1
    rows = [(t, " ".join("G" if w in tiny.GOOD else "O" for w in t.split())) for t, _ in tiny.sentences(60)]
    source, data = opened(base, tiny.written(tmp_path / "w.tsv", rows, "text tags"), "token-classification")
    assert type(source.supernet().module).__name__ == "BertForTokenClassification"
    assert data is not None and data.classes == ("G", "O")


def test_an_unknown_architecture_is_wrapped_with_its_report(base: Path, tmp_path: Path) -> None:
    sizes = {**tiny.SIZES, "num_hidden_layers": 2, "vocab_size": len(tiny.WORDS), "embedding_size": 32}
    groups = dict.fromkeys(
        (f"{which}_groups" for which in ("q", "k", "v", "post_attention", "intermediate", "output")), 1
    )
    with tiny.quiet():
        config = transformers.SqueezeBertConfig(**sizes, **groups)
        transformers.SqueezeBertModel(config).save_pretrained(tmp_path)
        transformers.BertTokenizer(str(base / "vocab.txt")).save_pretrained(tmp_path)
    source, _ = opened(tmp_path, base.parent / "train.tsv")
    told = " ".join(source.notes)
    assert "is no architecture that netwright knows" in told and "elastic are" in told
    assert source.space.size > 10


def test_a_missing_tokenizer_is_told(tmp_path: Path, base: Path) -> None:
    bare = tiny.bert(tmp_path / "bare", tokenizer=False)
    with pytest.raises(RecipeError, match=r"holds no tokenizer that can be read .* put the tokenizer's files"):
        opened(bare, base.parent / "train.tsv")


def test_a_hub_id_without_a_network_says_how_to_give_a_path(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(RecipeError, match=r"'some/model' is no local directory, .* give the path of a directory"):
        opened("some/model")


def test_what_is_no_checkpoint_is_told(tmp_path: Path, base: Path) -> None:
    with pytest.raises(RecipeError, match="is no pre-trained model: give a directory"):
        checkpoint_of(str(tmp_path))
    with pytest.raises(RecipeError, match=r"nothing of the name '\./models/mine' .a local path that does not exist"):
        checkpoint_of("./models/mine")
    assert checkpoint_of("mine:supernet") is None
    with pytest.raises(RecipeError, match="no setting 'lenght'; did you mean 'length'"):
        checkpoint_of(f"{base},lenght=3")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "nonsense"}))
    with pytest.raises(RecipeError, match="cannot be read: "):
        opened(tmp_path)
    with pytest.raises(RecipeError, match="which transformers has no model of for the task Segmentation"):
        opened(base, task="segmentation")


def test_weights_that_are_pickles_are_not_read(base: Path, tmp_path: Path) -> None:
    for file in base.iterdir():
        if file.suffix != ".safetensors":
            (tmp_path / file.name).write_bytes(file.read_bytes())
    torch.save({}, tmp_path / "pytorch_model.bin")
    with pytest.raises(RecipeError, match=r"holds no model.safetensors"):
        opened(tmp_path, base.parent / "train.tsv")


def test_images_are_of_the_size_that_the_model_was_trained_with(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image", reason="pillow is not installed")
    sizes = {**tiny.SIZES, "image_size": 8, "patch_size": 4, "num_channels": 3}
    model = tmp_path / "vit"
    with tiny.quiet():
        transformers.ViTForImageClassification(transformers.ViTConfig(**sizes, num_labels=9)).save_pretrained(model)
    (model / "preprocessor_config.json").write_text(json.dumps({"image_mean": [0.5] * 3, "image_std": [0.25] * 3}))
    for name, value in (("cat", 255), ("dog", 0)):
        (tmp_path / "images" / name).mkdir(parents=True)
        for i in range(12):
            image.new("RGB", (12, 10), (value,) * 3).save(tmp_path / "images" / name / f"{i}.png")
    source, data = opened(model, tmp_path / "images", "image-classification")
    assert data is not None and data.train.inputs.shape[1:] == (3, 8, 8) and data.classes == ("cat", "dog")
    assert float(data.train.inputs.max()) == 2.0 and float(data.train.inputs.min()) == -2.0
    assert isinstance(source.supernet(), Pretrained) and source.supernet().module.num_labels == 2


def built() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 3))


def test_a_state_dict_with_what_builds_its_module(tmp_path: Path) -> None:
    from safetensors.torch import save_model

    torch.manual_seed(1)
    trained = built()
    save_model(trained, str(tmp_path / "w.safetensors"))
    (tmp_path / "t.csv").write_text("a,b,c,d,k\n" + "".join(f"{i},{i % 7},{i % 5},{-i},{i % 3}\n" for i in range(60)))
    source, _ = opened(f"{__name__}:built,weights={tmp_path / 'w.safetensors'}", tmp_path / "t.csv", "classification")
    torch.testing.assert_close(source.largest().state_dict(), trained.state_dict())
    assert source.pretrained and source.space.size > 1
    save_model(nn.Linear(2, 2), str(tmp_path / "other.safetensors"))
    with pytest.raises(RecipeError, match=r"weights=.*it lacks 0.weight"):
        opened(f"{__name__}:built,weights={tmp_path / 'other.safetensors'}", tmp_path / "t.csv", "classification")
