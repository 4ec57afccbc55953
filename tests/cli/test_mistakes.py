"""What people do wrong: exit code 2, one line, and the line names the fix."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
import yaml

from .running import TINY, command, contents, done, finished, process, records

# -- what was typed


@pytest.mark.parametrize(
    "typed, words",
    [
        (["fitt"], ["'fitt'", "did you mean 'fit'"]),
        (["exprot"], ["did you mean 'export'"]),
        (["make"], ["fit", "train", "search", "records", "front", "export", "report"]),
        (["fit"], ["recipe"]),
        (["fit", "digit"], ["'digit'", "did you mean 'digits'", ".yaml"]),
        (["fit", "mnist"], ["digits", ".yaml"]),
        (["fit", "nowhere/my.yaml"], ["no recipe file", "nowhere/my.yaml"]),
        (["fit", TINY, "--evalutions", "3"], ["'--evalutions'", "did you mean '--evaluations'"]),
        (["fit", TINY, "--evaluation", "3"], ["'--evaluation'", "did you mean '--evaluations'"]),
        (["fit", TINY, "--limits", "macs <= 3"], ["did you mean '--limit'"]),
        (["fit", TINY, "--train.epoch=3"], ["did you mean '--train.epochs'"]),
        (["fit", TINY, "--epochs", "3"], ["'--epochs'", "'--train.epochs'"]),
        (["fit", TINY, "--evaluations"], ["--evaluations"]),
        (["fit", TINY, "--evaluations", "many"], ["evaluations", "many"]),
        (["fit", TINY, "--evaluations", "-3"], ["evaluations must be more than 0"]),
        (["measure", "x.onnx", "--max-seconds", "1e30"], ["--max-seconds", "86,400"]),
        (["measure", "x.onnx", "--precision", "nan"], ["--precision", "more than 0"]),
        (["fit", TINY, "--train.optimizer", "adamw,lr=fast"], ["train.optimizer", "fast"]),
        (["fit", TINY, "--search.strategy", "guidet"], ["search.strategy", "did you mean 'guided'"]),
        (["fit", TINY, "--objectives", "accuracy,mac"], ["objectives", "'macs'"]),
        (["fit", TINY, "--objectives", "accuracy", "latency"], ["'latency'", "accuracy,latency"]),
        (["fit", TINY, "--optimizer", "adamw"], ["did you mean '--train.optimizer' or '--export.optimizer'"]),
        (["fit", TINY, "runs/mine"], ["'runs/mine'", "--out"]),
        (["fit", TINY, "--limit", "macs <= 3M", "params <= 3k"], ["'params'", "its own --limit"]),
        (["fit", TINY, "--train", "epochs=3"], ["'train'", "--train.epochs"]),
        (["fit", "mine.py"], ["'mine.py'", ".yaml", "model: mine:supernet"]),
        (["fit", "DIGITS"], ["did you mean 'digits'"]),
        (["front", "--jsn", "."], ["did you mean '--json'"]),
        (["search", TINY, "--retry", "all"], ["--retry", "'all'", "failed"]),
        (["fit", TINY, "--model", "x"], ["nothing of the name 'x'", "module:function"]),
        (["fit"], ["name a recipe (digits", "--model"]),
        (["records"], ["study"]),
        (["export", "somewhere", "elsewhere"], ["'elsewhere'"]),
    ],
    ids=lambda x: "_".join(x[-3:]).replace(TINY, "tiny"),
)
def test_typed(typed, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    told = command(*typed)
    said = told.mistake
    assert len(told.lines) == 1 and told.out == ""
    for word in words:
        assert word in said, said
    assert not list(tmp_path.iterdir())  # nothing was begun


def test_a_mistake_in_a_process_of_its_own(tmp_path):
    told = finished(process("fit", "digit", cwd=tmp_path))
    assert told.code == 2 and told.out == "" and told.err.count("\n") == 1
    assert told.err.startswith("netwright: there is no recipe 'digit'")


# -- limits


@pytest.mark.parametrize(
    "limit, words",
    [
        ("latency", ["'latency'", "latency <= 5 ms"]),
        ("", ["latency <= 5 ms"]),
        ("latency = 5 ms", ["latency <= 5 ms"]),
        ("latency <= five ms", ["latency <= 5 ms"]),
        ("1 ms <= latency <= 5 ms", ["latency <= 5 ms"]),
        ("latency <= 5", ["no unit", "ms"]),
        ("accuracy >= 0.9", ["no unit", "%"]),
        ("latency <= 5 MB", ["'MB'", "ms"]),
        ("macs <= 3 ms", ["'ms'", "macs", "M"]),
        ("file_bytes <= 3 %", ["'%'", "MB"]),
        ("latencie <= 5 ms", ["latencie", "did you mean 'latency'"]),
        ("flops <= 5M", ["flops", "macs"]),
        ("macs <= 1", ["no candidate keeps macs <= 1", "nearest", "macs 10"]),
        ("params <= 1", ["no candidate keeps params <= 1", "nearest"]),
    ],
)
def test_limits(limit, words, tmp_path):
    said = command("fit", TINY, "--out", tmp_path / "out", "--limit", limit).mistake
    for word in words:
        assert word in said, said
    assert not (tmp_path / "out" / "supernet").exists()  # said before training


def test_a_measured_limit_that_nothing_can_meet(tmp_path):
    """Said before training, every time; the study is kept and serves with another limit."""
    out = tmp_path / "out"
    for _ in range(2):
        said = command("fit", TINY, "--out", out, "--limit", "latency <= 0.0000001 ms").mistake
        assert "no candidate keeps latency <= 1e-07 ms: the nearest has latency 0.0" in said and "kept" in said
        assert not (out / "supernet").exists()
    before = records(out)
    assert len(before) == 1 and before[0]["status"] == "infeasible" and "latency" in before[0]["reason"]
    done("fit", TINY, "--out", out, "--limit", "latency <= 1 s", "--evaluations", 4)
    after = records(out)
    assert len(after) == 4 and {r["status"] for r in after} == {"ok"}
    assert after[0]["id"] != before[0]["id"] or "accuracy" in after[0]["measurements"]


def test_a_limit_on_accuracy_that_nothing_meets(tmp_path):
    said = command("fit", TINY, "--out", tmp_path, "--limit", "accuracy >= 100.5 %").mistake
    assert "nearest has accuracy" in said and "kept" in said
    assert {r["status"] for r in records(tmp_path)} == {"infeasible"}


def test_a_limit_may_be_set_and_dropped_later(tmp_path):
    """On any metric, also one that was not measured before."""
    done("train", TINY, "--out", tmp_path, "--train.epochs", 1)
    for limit in ([], ["--limit", "latency <= 1 s"], ["--limit", "macs <= 600"], []):
        done("search", TINY, "--out", tmp_path, "--train.epochs", 1, "--evaluations", 4, *limit)
        assert len(records(tmp_path)) >= 4


# -- recipes


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"trian": {}}, ["'trian'", "did you mean 'train'"]),
        ({"train": {"epoch": 3}}, ["'train.epoch'", "did you mean"]),
        ({"objectives": ["accuracy", "flops"]}, ["objectives", "'macs'"]),
        ({"objectives": "accuracy"}, ["objectives", "list"]),
        ({"limits": "macs <= 3M"}, ["limits", "list"]),
        ({"data": None}, ["'data'", "missing"]),
        ({"train": {"clip_norm": float("inf")}}, ["train.clip_norm", "finite"]),
        ({"train": {"device": "gpu"}}, ["train.device is cpu, cuda or auto, not 'gpu'"]),
        ({"train": {"weights": "runs/none"}}, ["train.weights", "no trained super-network in runs/none"]),
    ],
)
def test_recipes(recipe, tmp_path, changes, words):
    said = command("fit", recipe(**changes), "--out", tmp_path / "out").mistake
    assert all(word in said for word in words), said
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "train, words", [("", ["train", "epochs"]), ("5", ["train", "epochs"])], ids=["empty", "a number"]
)
def test_a_flag_below_a_key_that_holds_no_keys(tmp_path, train, words):
    path = tmp_path / "my.yaml"
    path.write_text(f"model: tiny:supernet\ndata: tiny:data\ntrain: {train}\n")
    said = command("train", path, "--out", tmp_path / "out", "--train.epochs", 1).mistake
    assert all(word in said for word in words), said


@pytest.mark.parametrize("content", [b"", b"just text", b"- a\n- b\n", b"model: [", b"\xff\xfe\x00a", b"\x00"])
def test_files_that_are_no_recipe(tmp_path, content):
    path = tmp_path / "my.yaml"
    path.write_bytes(content)
    said = command("fit", path, "--out", tmp_path / "out").mistake
    assert "my.yaml" in said and ("YAML" in said or "model: and data:" in said)


# -- a person's own functions


@pytest.mark.parametrize(
    "model, words",
    [
        ("mistakes", ["module:function", "'mistakes'"]),
        ("mistakes:", ["module:function"]),
        ("nowhere_at_all:supernet", ["model", "cannot import 'nowhere_at_all'"]),
        ("broken_import:supernet", ["cannot import 'broken_import'", "a_package_that_nobody_has"]),
        ("tiny:supernett", ["tiny has no 'supernett'", "did you mean 'supernet'"]),
        ("mistakes:not_a_function", ["not a function"]),
        ("mistakes:nothing_to_cut", ["nothing in mistakes:nothing_to_cut can be cut"]),
        ("mistakes:wants_an_argument", ["wants_an_argument()", "'size'"]),
        ("mistakes:raises", ["mistakes:raises()", "no weights found at ~/weights.pt"]),
        ("mistakes:raises_on_example", ["raises on its example inputs", "the mask is missing"]),
        ("mistakes:wrong_width", ["no module 'heed'"]),
        ("mistakes:few_scores", ["(2, 3)", "labels go up to 3", "4 or more"]),
        ("mistakes:gives_a_vector", ["(2,)", "4 or more"]),
        ("mistakes:gives_a_tuple", ["tuple", "scores"]),
    ],
)
def test_models(recipe, tmp_path, model, words):
    out = tmp_path / "out"
    said = command("fit", recipe(model=model), "--out", out).mistake
    assert all(word in said for word in words), said
    assert not (out / "supernet").exists()


@pytest.mark.parametrize(
    "data, words",
    [
        ("mistakes:a_pair", ["netwright.Data", "gave a tuple"]),
        ("mistakes:raises", ["data: mistakes:raises()", "no weights"]),
        ("mistakes:other_inputs", ["cannot take the data", "shape (7,)"]),
        ("mistakes:other_validation", ["validation", "(7,)"]),
        ("mistakes:short_labels", ["192 inputs and 191 labels"]),
        ("mistakes:labels_beyond", ["labels go up to 4"]),
        ("mistakes:double_inputs", ["float"]),
        ("mistakes:numpy_inputs", ["ensor"]),
        ("mistakes:numpy_labels", ["targets", "tensor"]),
        ("mistakes:int_labels", ["labels", "int64"]),
        ("mistakes:float_labels", ["labels", "int64"]),
        ("mistakes:column_labels", ["labels", "(192, 1)"]),
        ("mistakes:negative_labels", ["labels", "-1"]),
    ],
)
def test_data(recipe, tmp_path, data, words):
    out = tmp_path / "out"
    said = command("fit", recipe(data=data), "--out", out).mistake
    assert all(word in said for word in words), said
    assert not (out / "supernet").exists()


@pytest.mark.parametrize(
    "mistake", [{"data": "mistakes:nan_inputs"}, {"train": {"optimizer": "sgd,lr=1e9,momentum=0.9", "epochs": 4}}]
)
def test_a_loss_that_is_not_a_number(recipe, tmp_path, mistake):
    out = tmp_path / "out"
    said = command("fit", recipe(**mistake), "--out", out).mistake
    assert "the loss of" in said and "epoch" in said and "learning rate" in said and "finite" in said
    assert not (out / "supernet" / "weights.safetensors").exists()


def test_a_network_that_the_runtime_cannot_take(recipe, tmp_path, capfd):
    """Nothing can be measured: that is not an empty success."""
    path = recipe(model="mistakes:cannot_be_exported", objectives=["accuracy", "latency"])
    said = command("fit", path, "--out", tmp_path / "out").mistake
    assert "digamma" in said and "ONNX" in said and "limits" not in said
    assert capfd.readouterr().out == ""  # torch prints its graph


# -- directories


def test_a_directory_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("mine")
    for out in (tmp_path / "file", tmp_path / "file" / "out"):
        said = command("fit", TINY, "--out", out).mistake
        assert str(out) in said and "cannot write" in said and "--out" in said
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize(
    "flags, word",
    [
        (["--seed", "1"], "seed"),
        (["--train.epochs", "2"], "train"),
        (["--objectives", "accuracy,params"], "objectives"),
        (["--search.calibration", "50"], "calibration"),
    ],
)
def test_a_directory_of_another_study(tiny, flags, word):
    before = contents(tiny)
    for verb in ("fit", "search", "train"):
        said = command(verb, TINY, "--out", tiny, *flags).mistake
        assert str(tiny) in said and "another study" in said and word in said and "another output directory" in said
        assert "[[" not in said and "None" not in said
    assert contents(tiny) == before


def test_a_directory_of_another_model(tiny, recipe):
    before = contents(tiny)
    kept = yaml.safe_load(Path(TINY).read_text())
    said = command("fit", recipe(**{**kept, "data": "mistakes:interrupted"}), "--out", tiny).mistake
    assert "another study" in said and "data" in said
    assert contents(tiny) == before


@pytest.mark.parametrize("verb", ["report", "export"])
def test_a_directory_that_is_none(verb, tmp_path):
    (tmp_path / "empty").mkdir()
    for out in ("nothing", "empty"):
        said = command(verb, tmp_path / out).mistake
        assert str(tmp_path / out) in said and "netwright" in said
    assert not (tmp_path / "nothing").exists() and not list((tmp_path / "empty").iterdir())


@pytest.mark.parametrize("verb", ["records", "front"])
def test_a_study_that_is_none(verb, tmp_path):
    (tmp_path / "text").write_text("mine")
    for path in (tmp_path / "nothing", tmp_path):
        assert "there is no study" in command(verb, path).mistake
    assert "text" in command(verb, tmp_path / "text").mistake
    assert (tmp_path / "text").read_text() == "mine" and not (tmp_path / "study.db").exists()


def test_search_before_training(tmp_path):
    assert "netwright train" in command("search", TINY, "--out", tmp_path / "out").mistake


def test_export_and_report_before_the_search(tmp_path):
    done("train", TINY, "--out", tmp_path)
    for verb in ("export", "report"):
        assert "netwright search" in command(verb, tmp_path).mistake
    assert not (tmp_path / "report.html").exists()


def test_an_unknown_network(copy):
    before = contents(copy)
    said = command("export", copy, "--network", "zzz").mistake
    assert "'zzz'" in said and "netwright records" in said
    assert contents(copy) == before


def test_two_processes_at_once(tmp_path):
    first = process("train", TINY, "--out", tmp_path / "out", "--train.epochs", "50", TINY_PAUSE="0.1")
    try:
        while not (tmp_path / "out" / "study.db").exists():
            assert first.poll() is None, first.communicate()
        for verb in (["fit", TINY, "--out"], ["train", TINY, "--out"]):
            said = command(*verb, tmp_path / "out").mistake
            assert "another netwright is working on" in said and str(tmp_path / "out") in said
    finally:
        first.kill()
        first.communicate()


# -- damage: said, and left as it is


def spoil(path: Path, how: str) -> None:
    content = bytearray(path.read_bytes())
    if how == "cut":
        del content[len(content) // 2 :]
    elif how == "flipped":
        content[-300] ^= 0xFF
    elif how == "text":
        content = bytearray(b"not what it was\n" * 10)
    path.write_bytes(bytes(content))


@pytest.mark.parametrize("how", ["cut", "flipped", "text"])
@pytest.mark.parametrize("name", ["study.db", "supernet/weights.safetensors", "supernet/manifest.json"])
def test_damage(copy, name, how):
    spoil(copy / name, how)
    before = contents(copy)
    for verb in (["fit", TINY, "--out"], ["export"]):
        said = command(*verb, copy).mistake
        assert str(copy / name) in said and "left as it is" in said and len(said) < 400
        if verb[0] == "fit":
            assert "move" in said
    assert contents(copy) == before


def test_a_study_of_nonsense(copy):
    """An entry that is none: no search goes on with it, who reads is told of it, and repair leaves it out."""
    told_before = {verb: done(verb, copy).out for verb in ("records", "front", "report")}
    with sqlite3.connect(copy / "study.db") as connection:
        connection.execute("INSERT INTO journal (kind, body) VALUES ('record', '{\"id\": 3}')")
        (number,) = connection.execute("SELECT max(seq) FROM journal").fetchone()
    connection.close()
    damaged = (copy / "study.db").read_bytes()
    said = command("fit", TINY, "--out", copy).mistake
    assert f"entry {number} cannot be read" in said and f"netwright repair {copy / 'study.db'}" in said
    for verb, before in told_before.items():
        told = done(verb, copy)
        assert told.out == before
        (line,) = told.lines
        assert line.startswith("netwright: ") and f"entry {number} cannot be read" in line and "repair" in line
    out = done("repair", copy).out
    assert f"left out: entry {number}" in out and f"kept: {number - 1} entries" in out
    assert (copy / "study.db.damaged").read_bytes() == damaged
    assert "nothing to repair" in done("repair", copy / "study.db").out
    done("fit", TINY, "--out", copy)
    assert {verb: done(verb, copy).out for verb in told_before} == told_before


@pytest.mark.parametrize("how", ["cut", "flipped", "text"])
def test_a_damaged_checkpoint(recipe, tmp_path, how):
    import mistakes

    path = recipe(data="mistakes:interrupted", train={"epochs": 3})
    mistakes.stop_in_step = 5
    assert command("train", path, "--out", tmp_path / "out").code == 130
    checkpoint = tmp_path / "out" / "supernet" / "checkpoint.safetensors"
    spoil(checkpoint, how)
    before = checkpoint.read_bytes()
    said = command("fit", path, "--out", tmp_path / "out").mistake
    assert str(checkpoint) in said and "left as it is" in said and "move" in said
    assert checkpoint.read_bytes() == before
    assert not (tmp_path / "out" / "supernet" / "weights.safetensors").exists()


@pytest.mark.parametrize("content", ["{", "[]", '"x"', '{"name": 3}', '{"name": "", "folder": null, "recipe": []}'])
def test_a_damaged_recipe_json(copy, content):
    (copy / "recipe.json").write_text(content)
    for verb in ("report", "export"):
        assert "recipe.json" in command(verb, copy).mistake
    assert (copy / "recipe.json").read_text() == content


def test_search_mends_a_damaged_recipe_json(copy):
    (copy / "recipe.json").write_text("{")
    done("search", TINY, "--out", copy)
    done("report", copy)


@pytest.mark.parametrize("content", ["{", "{}", "[]"])
def test_a_damaged_manifest_of_a_network(copy, content):
    manifest = next(copy.glob("networks/*/manifest.json"))
    manifest.write_text(content)
    assert str(manifest) in command("report", copy).mistake
    assert manifest.read_text() == content


@pytest.mark.parametrize("name, how", [("model.onnx", "cut"), ("weights.safetensors", "gone"), ("README.md", "gone")])
def test_an_exported_file_that_is_lost_is_made_again(copy, name, how):
    path = next(copy.glob(f"networks/*/{name}"))
    size = path.stat().st_size
    if how == "gone":
        path.unlink()
    else:
        spoil(path, how)
    done("fit", TINY, "--out", copy)
    assert path.stat().st_size == size
