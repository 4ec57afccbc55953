"""Recipes: read, checked, changed by flags, and written into what is kept."""

from __future__ import annotations

import dataclasses
import math
import sys

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

import netwright as nw
from netwright.core.errors import NetwrightError, RecipeError
from netwright.recipe.load import builtin, load, parse, resolve
from netwright.recipe.schema import Bits, Export, Latency, Recipe, Report, Search, Train, Trim
from netwright.strategies import STRATEGIES
from netwright.strategies.evolution import Nsga2

LEAST = {"model": "m:f", "data": "m:g"}


@pytest.fixture(autouse=True)
def same_path(monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))


def written(tmp_path, text):
    path = tmp_path / "my.yaml"
    path.write_text(text)
    return str(path)


def refused(values, *words):
    with pytest.raises(RecipeError) as caught:
        parse(values, "my.yaml")
    text = str(caught.value)
    assert "\n" not in text and all(word in text for word in words), text


# -- what is read


def test_every_built_in_recipe_is_whole():
    assert "digits" in builtin()
    for name in builtin():
        recipe = load(name)
        assert callable(getattr(__import__(recipe.model.split(":")[0], fromlist=["x"]), recipe.model.split(":")[1]))


def test_defaults():
    recipe = parse(LEAST, "my.yaml")
    assert recipe == Recipe("m:f", "m:g")
    assert recipe.objectives == ["accuracy", "latency"] and recipe.train == Train() and recipe.export == Export()


@pytest.mark.parametrize("name", STRATEGIES.names())
def test_every_strategy_may_be_named(name):
    assert parse({**LEAST, "search": {"strategy": name}}, "my.yaml").search.strategy == name


def test_a_strategy_may_have_settings():
    recipe = parse({**LEAST, "search": {"strategy": "nsga2,population=50"}}, "my.yaml")
    assert STRATEGIES.make(recipe.search.strategy) == Nsga2(population=50)


@pytest.mark.parametrize(
    "text, value",
    [("1e-3", 1e-3), ("1.e-3", 1e-3), ("1.0e-3", 1e-3), (".001", 1e-3), ("1E-3", 1e-3), ("2", 2.0), ("0.1", 0.1)],
)
def test_forms_of_numbers(tmp_path, text, value):
    recipe = load(
        written(tmp_path, f"model: m:f\ndata: m:g\ntrain:\n  clip_norm: {text}\nlatency:\n  max_seconds: {text}\n")
    )
    assert recipe.train.clip_norm == value and isinstance(recipe.train.clip_norm, float)
    assert recipe.latency.max_seconds == value


def test_lists(tmp_path):
    text = "model: m:f\ndata: m:g\nobjectives:\n- macs\n- accuracy\nlimits: [macs <= 3M, 'latency <= 5 ms']\n"
    recipe = load(written(tmp_path, text + "export: {formats: [pt2]}\n"))
    assert recipe.objectives == ["macs", "accuracy"] and recipe.limits == ["macs <= 3M", "latency <= 5 ms"]
    assert recipe.export.formats == ["pt2"]


def test_flags_stand_above_the_file(tmp_path):
    path = written(tmp_path, "model: m:f\ndata: m:g\nseed: 5\ntrain:\n  epochs: 3\n  clip_norm: 0.5\n")
    recipe = load(path, {"train.epochs": 7, "search.strategy": "random", "evaluations": 9, "limits": ["macs <= 1M"]})
    assert recipe.train == Train(epochs=7, clip_norm=0.5) and recipe.search.strategy == "random"
    assert (recipe.seed, recipe.evaluations, recipe.limits) == (5, 9, ["macs <= 1M"])


@pytest.mark.parametrize("train", ["", "5", "[1]", "text"])
def test_flags_below_a_key_that_holds_no_keys(tmp_path, train):
    path = written(tmp_path, f"model: m:f\ndata: m:g\ntrain: {train}\n")
    for flags in ({}, {"train.epochs": 1}):
        with pytest.raises(RecipeError, match="train holds keys such as epochs"):
            load(path, flags)


def test_the_folder_becomes_importable_once(tmp_path):
    path = written(tmp_path, "model: m:f\ndata: m:g\n")
    load(path)
    load(path)
    assert sys.path.count(str(tmp_path)) == 1


# -- what is refused


def test_unknown_recipes_name_the_nearest():
    for name, words in {"digit": "did you mean 'digits'", "mnist": "digits", "no/such.yml": "no recipe file"}.items():
        with pytest.raises(RecipeError, match=words):
            load(name)


@pytest.mark.parametrize(
    "content", [b"", b"\n", b"text", b"3", b"- a", b"model: [", b"a: b: c", b"\xff\xfe", b"x: !!python/object:os.x y"]
)
def test_files_that_are_no_recipe(tmp_path, content):
    path = tmp_path / "my.yaml"
    path.write_bytes(content)
    with pytest.raises(RecipeError, match=r"my\.yaml (is not YAML|must hold keys)") as caught:
        load(str(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "values, words",
    [
        ({"modle": "m:f"}, ["'modle'", "did you mean 'model'"]),
        ({"eval": 3}, ["'eval'", "known are", "evaluations"]),
        ({1: 2}, ["'1'"]),
        ({"train": {"epoch": 3}}, ["'train.epoch'", "did you mean", "epochs'"]),
        ({"search": {"strateg": "random"}}, ["'search.strateg'", "strategy'"]),
        ({"latency": {"max_secnods": 1}}, ["'latency.max_secnods'", "max_seconds'"]),
        ({"export": {"format": []}}, ["'export.format'", "formats'"]),
        ({"train": 5}, ["train holds keys such as epochs"]),
        ({"train": None}, ["train holds keys such as epochs"]),
        ({"export": ["onnx"]}, ["export holds keys such as epochs"]),
    ],
)
def test_unknown_keys_name_the_nearest(values, words):
    refused({**LEAST, **values}, "my.yaml", *words)


@pytest.mark.parametrize("missing", ["model", "data"])
def test_missing_keys(missing):
    refused({k: v for k, v in LEAST.items() if k != missing}, "my.yaml", f"'{missing}' is missing")
    refused({**LEAST, missing: None}, "my.yaml", f"'{missing}' is missing")


@pytest.mark.parametrize(
    "values, words",
    [
        ({"model": 5}, ["'model'"]),
        ({"seed": "x"}, ["'seed'", "got x"]),
        ({"seed": 1.5}, ["'seed'", "got 1.5"]),
        ({"evaluations": None}, ["'evaluations'", "empty"]),
        ({"objectives": "accuracy"}, ["'objectives'", "list"]),
        ({"objectives": [5]}, ["'objectives'", "got 5"]),
        ({"limits": "macs <= 3"}, ["'limits'", "list"]),
        ({"limits": [3]}, ["'limits'", "got 3"]),
        ({"search": {"strategy": 3}}, ["'search.strategy'", "got 3"]),
        ({"train": {"clip_norm": "short"}}, ["'train.clip_norm'", "got short"]),
        ({"train": {"epochs": [3]}}, ["'train.epochs'"]),
        ({"export": {"formats": [3]}}, ["'export.formats'", "got 3"]),
    ],
)
def test_wrong_types(values, words):
    refused({**LEAST, **values}, "my.yaml", *words)


@pytest.mark.parametrize(
    "values, words",
    [
        ({"export": {"formats": ["onx"]}}, ["'export.formats'", "no format 'onx'", "did you mean 'onnx'"]),
        ({"export": {"formats": ["onnx,external_data=1"]}}, ["external_data must be true or false, not '1'"]),
        ({"search": {"strategy": "guide"}}, ["'search.strategy'", "'guide'", "did you mean 'guided'"]),
        ({"search": {"strategy": "nsga2,populaton=3"}}, ["'search.strategy'", "did you mean 'population'"]),
        ({"search": {"strategy": "nsga2,population=many"}}, ["nsga2: population must be a whole number, not 'many'"]),
        ({"search": {"strategy": "nsga2,population=0"}}, ["population must be a whole number of 1 or more, not 0"]),
        ({"search": {"strategy": "no_such_module:Mine"}}, ["'search.strategy'", "cannot import 'no_such_module'"]),
        ({"search": {"timeout": -1.0}}, ["search.timeout is a number of seconds"]),
        ({"search": {"timeout": float("inf")}}, ["search.timeout is a number of seconds"]),
        ({"search": {"memory": "2"}}, ["search.memory is a size such as '2 GB', in one of B, kB", "not '2'"]),
        ({"evaluations": 0}, ["evaluations must be more than 0"]),
        ({"threads": -1}, ["threads must be more than 0"]),
        ({"seed": -1}, ["seed must be 0 or more"]),
        ({"train": {"epochs": -1}}, ["train.epochs must be 0 or more"]),
        ({"train": {"batch_size": 0}}, ["train.batch_size"]),
        ({"train": {"clip_norm": 0}}, ["train.clip_norm"]),
        ({"train": {"clip_norm": math.nan}}, ["train.clip_norm"]),
        ({"train": {"clip_norm": math.inf}}, ["train.clip_norm", "finite"]),
        ({"train": {"accumulate": 0}}, ["train.accumulate must be more than 0"]),
        ({"train": {"ema": 1}}, ["train.ema is a decay between 0 and 1"]),
        ({"train": {"checkpoint_steps": -1}}, ["train.checkpoint_steps must be 0 or more"]),
        ({"train": {"precision": "float16"}}, ["'train.precision'", "got float16"]),
        ({"train": {"rule": "sandwitch"}}, ["'train.rule'", "did you mean 'sandwich'"]),
        ({"train": {"rule": "sandwich,random=-2"}}, ["'train.rule'", "0 or more"]),
        ({"train": {"optimizer": "adamx"}}, ["'train.optimizer'", "did you mean 'adam"]),
        ({"train": {"optimizer": "adamw,rate=1"}}, ["'train.optimizer'", "adamw has no setting 'rate'"]),
        ({"train": {"schedule": "cosine,warmup=3"}}, ["'train.schedule'", "share of all steps"]),
        ({"export": {"optimizer": "sgd,lr=fast"}}, ["'export.optimizer'", "lr must be a number"]),
        ({"search": {"calibration": 0}}, ["search.calibration"]),
        ({"latency": {"max_seconds": 0}}, ["latency.max_seconds"]),
        ({"latency": {"precision": 0}}, ["latency.precision"]),
        ({"export": {"epochs": -3}}, ["export.epochs"]),
        ({"objectives": []}, ["objectives"]),
        ({"objectives": ["macs", "macs"]}, ["objectives", "different"]),
    ],
)
def test_wrong_values(values, words):
    refused({**LEAST, **values}, *words)


# -- module:function


@pytest.fixture
def module(tmp_path, monkeypatch):
    (tmp_path / "persons_module.py").write_text(
        "import math\nfrom collections import Counter\n\nnumber = 3\n\n\ndef right():\n    return 3\n\n\n"
        "def wrong():\n    raise KeyError('what\\nnow')\n\n\ndef needs(x):\n    return x\n\n\ndef leaves():\n"
        "    raise SystemExit(5)\n"
    )
    (tmp_path / "persons_broken_module.py").write_text("def f(:\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "persons_module"
    for name in ("persons_module", "persons_broken_module"):
        sys.modules.pop(name, None)


def test_resolve(module):
    assert resolve(f"{module}:right", "model", int) == 3


@pytest.mark.parametrize(
    "reference, words",
    [
        ("persons_module", ["module:function"]),
        (":right", ["module:function"]),
        ("persons_module:", ["module:function"]),
        ("persons_modul:right", ["cannot import 'persons_modul'"]),
        ("persons_broken_module:f", ["cannot import", "SyntaxError"]),
        ("persons_module:rihgt", ["has no 'rihgt'", "did you mean 'right'"]),
        ("persons_module:entirely_else", ["known are: right, wrong, needs"]),
        ("persons_module:number", ["not a function"]),
        ("persons_module:wrong", ["persons_module:wrong()", "KeyError", "what"]),
        ("persons_module:needs", ["needs()", "'x'"]),
        ("persons_module:leaves", ["persons_module:leaves()", "SystemExit"]),
        ("persons_module:right", ["must give a netwright.str", "gave a"]),
    ],
)
def test_what_cannot_be_resolved(module, reference, words):
    with pytest.raises(NetwrightError) as caught:
        resolve(reference, "model", str)
    text = str(caught.value)
    assert text.startswith("model: ") and "\n" not in text, text
    assert all(word in text for word in words), text


# -- what is kept

numbers = st.floats(1e-9, 1e9)
names = st.sampled_from(["accuracy", "latency", "file_bytes", "macs", "params", "weight_bytes"])
counts = st.integers(1, 10**6)
recipes = st.builds(
    Recipe,
    model=st.just("m:f"),
    data=st.just("m:g"),
    objectives=st.lists(names, min_size=1, unique=True),
    choices=st.dictionaries(st.sampled_from(["width", "*.bits"]), st.lists(st.integers() | st.just("int8"))),
    limits=st.lists(st.sampled_from(["latency <= 5 ms", "macs <= 3e6", "1e3", "", "no: [", "null", "ü ≤ 3"])),
    evaluations=counts,
    seed=st.integers(0, 2**40),
    threads=st.integers(1, 4096),
    train=st.builds(Train, epochs=st.integers(0, 99), batch_size=counts, clip_norm=numbers,
                    optimizer=st.sampled_from(["", "adamw,lr=0.5"]), accumulate=counts),
    search=st.builds(Search, strategy=st.sampled_from(["guided", "nsga2", "random"]), calibration=counts),
    latency=st.builds(Latency, precision=numbers, max_seconds=st.floats(1e-9, 86_400)),
    export=st.builds(Export, epochs=st.integers(0, 9), teacher=st.sampled_from(["", "largest"]),
                     formats=st.lists(st.sampled_from(["onnx", "pt2", "safetensors"]))),
)  # fmt: skip


@given(recipes)
def test_what_is_written_is_read_again(recipe):
    assert parse(recipe.to_json(), "kept") == recipe
    assert parse(yaml.safe_load(yaml.safe_dump(recipe.to_json())), "kept") == recipe


class OwnMetric(nw.tasks.OwnMetric):
    metrics = (nw.Metric("own"),)

    def update(self, outputs, targets):
        return len(targets)

    def result(self):
        return {"own": nw.Measurement(1.0)}


def test_key_changes_with_its_parts_alone():
    recipe = parse(LEAST, "my.yaml")
    every = [f.name for f in dataclasses.fields(Recipe)]
    changed = {
        "model": "m:h", "data": "m:h", "objectives": ["macs"], "limits": ["macs <= 1"], "evaluations": 3, "seed": 3,
        "threads": 3, "track": ["tensorboard"], "lengths": "8:3,32:1",
        "task": "regression", "metric": f"{__name__}:OwnMetric", "train": Train(clip_norm=0.3),
       "search": Search(calibration=3), "latency": Latency(max_seconds=3.0),
            "trim": Trim(rounds=3),
        "bits": Bits(options=["int8"]), "choices": {"width": [8]},
        "export": Export(formats=["pt2"]), "target": "onnxruntime,threads=2",
        "store": "sqlite,path=s.db", "report": Report(sections=["front"]),
    }  # fmt: skip
    assert changed.keys() == set(every)
    for name, value in changed.items():
        other = dataclasses.replace(recipe, **{name: value})
        assert other.key(name) != recipe.key(name) and other.key(*every) != recipe.key(*every)
        rest = [x for x in every if x != name]
        assert other.key(*rest) == recipe.key(*rest)
    assert recipe.key("model", "data") == recipe.key("data", "model")
