"""Near names are near: a misspelt one is recognised, another one is not taken for it."""

import pytest

from netwright.core.errors import did_you_mean

FLAGS = ["--help", "--objectives", "--limit", "--train.epochs", "--json", "--out", "--retry"]


@pytest.mark.parametrize(
    "name, known, near",
    [
        ("--objektives", FLAGS, "--objectives"), ("--outt", FLAGS, "--out"), ("objectives", FLAGS, "--objectives"),
        ("--Limit", FLAGS, "--limit"), ("latncy", ["latency", "macs"], "latency"),
        ("MACs", ["latency", "macs"], "macs"),
        ("detph", ["depth", "width"], "depth"),
    ],
)  # fmt: skip
def test_misspelt(name: str, known: list[str], near: str) -> None:
    assert did_you_mean(name, known) == f"did you mean {near!r}?"


@pytest.mark.parametrize(
    "name, known",
    [("--model", FLAGS), ("--data", FLAGS), ("--self", FLAGS), ("wide", ["depth", "heads"])],
)  # fmt: skip
def test_another_one(name: str, known: list[str]) -> None:
    assert did_you_mean(name, known) == f"known are: {', '.join(known)}"


def test_no_names() -> None:
    assert did_you_mean("x", []) == "none are known"
