"""Jobs that begin from a pre-trained model: from flags alone to directories that transformers reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tiny_checkpoints as tiny

import netwright as nw
from netwright.cli.main import main
from netwright.cli.recipes import asked, read, recipe_parser
from netwright.core.errors import NetwrightError, RecipeError
from netwright.core.files import read_json
from netwright.pipeline.context import open_run
from netwright.recipe.load import load
from netwright.recipe.pretrained import is_checkpoint
from netwright.recipe.schema import Recipe


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with a model and texts for it."""
    monkeypatch.chdir(tmp_path)
    tiny.bert(tmp_path / "model")
    tiny.written(tmp_path / "train.tsv", tiny.sentences(300))
    return tmp_path


SHORT = ["--train.optimizer", "adamw,lr=3e-3", "--export.epochs", "0", "--export.formats", "onnx,transformers"]
SHORT += ["--evaluations", "3", "--search.strategy", "random", "--objectives", "accuracy,macs"]
SHORT += ["--latency.max_seconds", "0.02"]


def test_from_flags_alone_to_a_directory_that_transformers_reads(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["fit", "--model", "model", "--task", "text-classification", "--data", "train.tsv", "--limit", "macs <= 0.9x",
          "--out", "runs/mine", *SHORT])  # fmt: skip
    said = capsys.readouterr().err
    for words in ("with a new head of 2 classes", "elastic are depth", "'sentence' to 'label'",
                  "it learns for 55 steps, and small networks are worth little before some 300",
                      "fine-tuned: it is the given model"):  # fmt: skip
        assert words in said, said
    (network, *_) = (folder / "runs" / "mine" / "networks").iterdir()
    transformers = tiny.library()
    with tiny.quiet():
        again = transformers.AutoModelForSequenceClassification.from_pretrained(network / "transformers")
        tokenizer = transformers.AutoTokenizer.from_pretrained(network / "transformers")
    right = 0
    for text, label in tiny.sentences(100, seed=1):
        right += int(again(**tokenizer(text, return_tensors="pt")).logits.argmax()) == label
    assert right > 90, "it has learned, and is read as it was written"
    assert not network.joinpath("model.pt2").exists()
    main(["trim", "--model", str(network / "transformers"), "--data", "train.tsv", "--limit", "macs <= 0.99x", "--out",
          "runs/cut", "--export.epochs", "0", "--export.formats", "onnx", "--latency.max_seconds", "0.02"])  # fmt: skip
    told = capsys.readouterr()
    assert "with its own head" in told.err and "trimmed" in told.out and "MACs" in told.out


def test_a_recipe_of_a_checkpoint_has_defaults_of_its_own(tmp_path: Path) -> None:
    found = load({"model": "some/model", "data": "train.tsv", "train": {"epochs": 9}})
    assert (found.train.epochs, found.train.batch_size, found.train.importance) == (9, 16, "taylor")
    assert load({"model": "some/model", "objectives": ["macs"]}).train.importance == "", "there is nothing to judge on"
    assert load({"model": "mine:supernet", "data": "mine:data"}).train == Recipe("mine:supernet", "mine:data").train
    (tmp_path / "r.yaml").write_text("model: some/model\ndata: train.tsv\nexport: {epochs: 7}\n")
    assert load(tmp_path / "r.yaml", {"train.epochs": 1}).export.epochs == 7
    with pytest.raises(RecipeError, match="train holds keys"):
        load({"model": "some/model", "data": "train.tsv", "train": 3})


@pytest.mark.parametrize(
    ("model", "yes"),
    [("models/bert", True), ("org/name,length=3", True), ("mine:net,weights=w.safetensors", True), ("mine:net", False),
     ("", False), (3, False)],
)  # fmt: skip
def test_checkpoints_are_told_from_functions(model: Any, yes: bool) -> None:
    assert is_checkpoint(model) is yes


def test_paths_of_flags_hold_from_anywhere(folder: Path) -> None:
    given = read(recipe_parser("fit", ""), ["--model", "model,length=9", "--data", "train.tsv,target=label"])
    recipe, out, keys = asked(given)
    assert recipe == {} and out == "runs/model"
    assert keys == {"model": f"{folder / 'model'},length=9", "data": f"{folder / 'train.tsv'},target=label"}
    with pytest.raises(NetwrightError, match="name a recipe"):
        asked({})


class Errors(nw.tasks.OwnMetric):
    """The largest error."""

    metrics = (nw.Metric("worst"),)  # type: ignore[assignment]

    def __init__(self) -> None:
        self.worst = 0.0

    def update(self, outputs: Any, targets: Any) -> int:
        self.worst = max(self.worst, float((outputs.logits[:, 0] - targets).abs().max()))
        return len(targets)

    def result(self) -> dict[str, nw.Measurement]:
        return {"worst": nw.Measurement(self.worst)}


def test_a_metric_of_ones_own_leaves_targets_and_heads_as_they_are(folder: Path) -> None:
    tiny.written(folder / "n.tsv", [(t, i % 7 / 7) for i, (t, _) in enumerate(tiny.sentences(80))], "text score")
    done = nw.fit(
        {"model": "model", "data": "n.tsv", "task": "regression", "metric": f"{__name__}:Errors", "evaluations": 1,
         "objectives": ["mae", "macs"], "train": {"epochs": 1}, "export": {"epochs": 0, "formats": ["onnx"]}},
        folder / "out",
    )  # fmt: skip
    assert {"mae", "worst"} <= set(done.networks[0].test)


def test_it_is_trimmed_without_a_recipe(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A model without a head is told to be trained first; what was trained is taken up."""
    words = ["--model", "model", "--data", "train.tsv", "--limit", "macs <= 0.8x"]
    with pytest.raises(SystemExit):
        main(["trim", *words, "--out", "runs/cut", "--export.formats", "onnx"])
    assert "comes untrained" in capsys.readouterr().err


def test_latency_is_of_texts_as_long_as_those_of_a_file(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny.written(folder / "dev.tsv", [("a film " * n, 1) for n in (1, 1, 1, 4, 8)])
    flags = ["--model", "model,length=6", "--data", "train.tsv", "--out", "runs/mine", *SHORT]
    flags += ["--objectives", "accuracy,latency", "--train.epochs", "1", "--export.formats", "onnx"]
    main(["fit", *flags, "--lengths", "dev.tsv"])
    assert "latency is the mean over texts of 4 (60 %), 10 (20 %) and 18 (20 %) tokens (lengths)" in (
        capsys.readouterr().err
    )
    (network, *_) = (folder / "runs" / "mine" / "networks").iterdir()
    told = read_json(network / "manifest.json")
    assert told["test"]["latency"]["shares"] == pytest.approx({"4": 0.6, "10": 0.2, "18": 0.2})
    assert told["recipe"]["lengths"] == str(folder / "dev.tsv")
    for others in (["--lengths", "4:1"], []):
        with pytest.raises(SystemExit):
            main(["search", *flags, *others])
        assert "holds another study" in capsys.readouterr().err
    main(["search", *flags, "--lengths", "4:3,10:1,18:1"])  # the same texts


@pytest.mark.parametrize(
    ("lengths", "words"),
    [
        ("soon", "lengths is a number of tokens, such as 24, several with weights"),
        ("none.tsv", "lengths: there is no file"),
        ("25", "lengths: the model takes 24 tokens, not 25"),
        ("train.tsv,pad_to=3", "lengths: train.tsv has no setting 'pad_to'; it takes text, max_length"),
        ("train.tsv,max_length=x", "lengths: max_length must be"),
        ("train.tsv,text=no", "lengths: train.tsv has no column 'no'"),
    ],
)
def test_lengths_that_are_none(lengths: str, words: str, folder: Path) -> None:
    recipe = load({"model": "model", "data": "train.tsv", "lengths": lengths})
    with pytest.raises(RecipeError) as error, open_run(recipe, folder / "run"):
        pass
    assert words in str(error.value)
