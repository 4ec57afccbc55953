"""Each kind of thing takes one from outside: a class of a person's own, or what an installed package brings."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

import netwright as nw
from netwright.cli.main import main

Install = Callable[..., None]

MODEL = """
    import pathlib
    import netwright as nw

    def model():
        path = pathlib.Path(__file__).with_name("table.csv")
        path.write_text("width,quality\\n" + "".join(f"{w},{w % 5}\\n" for w in range(1, 9)))
        return nw.TabularBenchmark.read(path, choices=["width"], metrics={"quality": "max"})
"""
"""A table of eight networks."""


def search(folder: Path, **keys: Any) -> list[dict[str, Any]]:
    """The records of a search of the table by a recipe with these keys."""
    recipe = {"model": "models:model", "objectives": ["quality"], "evaluations": 8, **keys}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    main(["search", str(folder / "recipe.yaml"), "--out", str(folder / "out")])
    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        main(["records", str(folder / "out"), "--json"])
    return [json.loads(line) for line in text.getvalue().splitlines()]


STRATEGY = """
    from dataclasses import dataclass
    import netwright as nw

    @dataclass(frozen=True)
    class Sweep(nw.Strategy):
        batch: int = 2
        first: int = 1

        def ask(self, problem, history, n):
            known = problem.proposed(history)
            widths = [*range(self.first, 9), *range(1, self.first)]
            every = [problem.space.candidate({"width": width}) for width in widths]
            return [candidate for candidate in every if candidate not in known][:n]
"""


@pytest.mark.parametrize("name", ["sweeps:Sweep", "sweep"])
def test_a_strategy(name: str, install: Install, tmp_path: Path) -> None:
    install("models", MODEL)
    install("sweeps", STRATEGY, "netwright.strategies: sweep = sweeps:Sweep")
    found = search(tmp_path, search={"strategy": f"{name},first=6"})
    assert [record["candidate"]["width"] for record in found] == [6, 7, 8, 1, 2, 3, 4, 5]
    assert found[0]["provenance"]["strategy"] == "sweep,first=6"
    space = nw.Space([nw.Choice("width", tuple(range(1, 9)))])
    records = nw.search(space, lambda c: {"q": c["width"]}, {"q": "max"}, evaluations=2, strategy=f"{name},first=3")
    assert [record.candidate["width"] for record in records] == [3, 4]
