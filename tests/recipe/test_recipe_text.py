"""Recipes that somebody else has written: bounded, plain, each key once."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
import yaml
from fuzz import mutations, swaps
from hypothesis import given, settings

from netwright.core.errors import RecipeError
from netwright.recipe.load import load
from netwright.recipe.schema import Recipe
from netwright.recipe.text import MOST_BYTES, parse_yaml

LAUGHS = "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 30)) + "model: *a29\n"
MERGED = "a0: &a0 {x: 1}\n" + "".join(f"a{i}: &a{i}\n  <<: [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 30))


@pytest.mark.parametrize(
    "text, said",
    [
        (LAUGHS, "more than 10,000 values"),
        (MERGED, "more than 10,000 values"),
        ("model: &a [*a]", "more than 10,000 values"),
        ("model: *nobody", "more than 10,000 values"),
        ("model: " + "[" * 100_000, "nested more than 30 deep (line 1)"),
        ("model: m:f\nmodel: m:g", "the key 'model' stands there twice"),
        ("train:\n  epochs: 1\n  epochs: 2", "the key 'epochs' stands there twice"),
        ("model: !!python/object/apply:os.system [ls]", "could not determine a constructor"),
        ("model: 2020-01-01", "model must be a text, a number, a list or keys, not a date"),
        ("model: !!binary aGVsbG8=", "not a bytes"),
        ("objectives: !!set {a, b}", "not a set"),
        ("model: 2020-99-99", "month must be in 1..12"),
        ("1: m:f", "it has 1 as a key, which must be a text"),
        ("train: {3: 4}", "train has 3 as a key"),
        (f"seed: {'9' * 5000}", "digits"),
        (f"model: {'x' * 6000}", "model has 6,000 letters"),
        ("model: a\0b", "special characters are not allowed"),
        ("model: [", "expected the node content"),
    ],
)
def test_what_no_recipe_is_made_of(text: str, said: str) -> None:
    with pytest.raises(RecipeError) as raised:
        parse_yaml(text, "my.yaml")
    message = str(raised.value)
    assert message.startswith("my.yaml") and said in message and "\n" not in message and len(message) < 500


def test_aliases_may_be_used() -> None:
    text = "one: &one {a: 1}\ntwo: *one\nthree:\n  <<: *one\n  b: 2\n"
    assert parse_yaml(text, "my.yaml") == {"one": {"a": 1}, "two": {"a": 1}, "three": {"a": 1, "b": 2}}


@pytest.mark.parametrize("content", [b"\xff\xfem\0", "modèle: x".encode("latin-1"), b"#" * (MOST_BYTES + 1)])
def test_other_files(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "my.yaml").write_bytes(content)
    with pytest.raises(RecipeError, match=r"my\.yaml is not YAML in UTF-8"):
        load(tmp_path / "my.yaml")


def test_no_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "device.yaml").symlink_to("/dev/zero")
    for name in ("pipe", "device"):
        with pytest.raises(RecipeError, match="no regular file"):
            load(tmp_path / f"{name}.yaml")
    with pytest.raises(RecipeError, match="there is no recipe file"):
        load(tmp_path / "other.yaml")


@pytest.mark.parametrize("key, most", [("seed", 2**63 - 1), ("threads", 4096), ("evaluations", 2**31 - 1)])
def test_numbers_have_an_end(key: str, most: int) -> None:
    assert getattr(Recipe("m:f", "m:g", **{key: most}), key) == most  # type: ignore[arg-type]
    for more in (most + 1, 10**400):
        with pytest.raises(RecipeError, match=f"{key} must be at most {most:,}, not"):
            Recipe("m:f", "m:g", **{key: more})  # type: ignore[arg-type]


VALUES = Recipe("netwright.recipes.digits:supernet", "netwright.recipes.digits:data").to_json()


def fuzz(path: Path, times: int) -> None:
    def check(content: bytes) -> None:
        path.write_bytes(content)
        begin = time.process_time()
        try:
            load(path)
        except RecipeError as error:
            assert "\n" not in str(error) and len(str(error)) < 6000
        assert time.process_time() - begin < 5

    some = settings(max_examples=times)
    some(given(mutations(yaml.safe_dump(VALUES).encode()))(check))()
    some(given(swaps(VALUES))(check))()


def test_whatever_stands_in_a_recipe_is_read_or_told(tmp_path: Path) -> None:
    fuzz(tmp_path / "my.yaml", 25)


@pytest.mark.slow
def test_whatever_stands_in_a_recipe_is_read_or_told_whole(tmp_path: Path) -> None:
    fuzz(tmp_path / "my.yaml", 1500)
