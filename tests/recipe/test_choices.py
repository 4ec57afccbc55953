"""Options of choices that a recipe keeps."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli.running import TINY

import netwright as nw
from netwright.core.errors import NetwrightError, RecipeError, StoreError
from netwright.pipeline.context import open_run
from netwright.pipeline.search import open_study
from netwright.recipe.load import folder_of, load


def test_what_a_recipe_keeps_is_the_space(tmp_path: Path) -> None:
    whole, few = load(TINY), load(TINY, {"choices": {"wid*": [8, 16]}})
    with open_run(whole, tmp_path / "a", "tiny", folder_of(TINY)) as context:
        options = {choice.name: choice.options for choice in context.source.space}
    with open_run(few, tmp_path / "b", "tiny", folder_of(TINY)) as context:
        kept = {choice.name: choice.options for choice in context.source.space}
    assert kept == {name: (8, 16) if name == "width" else own for name, own in options.items()} != options
    assert few.key(*few.space) != whole.key(*whole.space), "what is trained is another super-network"


@pytest.mark.parametrize(
    ("choices", "says"),
    [
        ({"widht": [8]}, "choices: there is no choice 'widht'; did you mean 'width'"),
        ({"width": [33]}, "has no option 33"),
        ({"width": []}, "the whole, stays among its options"),
        ({"width": 8}, "the key 'choices'"),
        ([8], "choices"),
        ({8: [8]}, "which are texts, not 8"),
    ],
)
def test_what_cannot_be_kept_is_said(tmp_path: Path, choices: object, says: str) -> None:
    with pytest.raises(NetwrightError, match=says):
        nw.fit(TINY, tmp_path / "out", overrides={"choices": choices})


def test_other_spaces_are_not_made_smaller(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text("width,quality\n1,2\n2,3\n")
    (tmp_path / "tables_of_mine.py").write_text(
        f"import netwright as nw\n\nTABLE = {str(tmp_path / 'table.csv')!r}\n\n\ndef model():\n"
        "    return nw.TabularBenchmark.read(TABLE, choices=['width'], metrics={'quality': 'max'})\n"
    )
    (tmp_path / "recipe.yaml").write_text("model: tables_of_mine:model\nobjectives: [quality]\nchoices: {width: [2]}\n")
    with pytest.raises(RecipeError, match=r"gives no netwright\.SuperNet, of which alone options can be left out"):
        nw.fit(tmp_path / "recipe.yaml", tmp_path / "out")


def test_a_study_of_other_options_is_another_one(tmp_path: Path) -> None:
    for choices, fails in (({}, False), ({"wid*": [8, 16]}, True)):
        with open_run(load(TINY, {"choices": choices}), tmp_path / "out", "tiny", folder_of(TINY)) as context:
            if fails:
                with pytest.raises(StoreError, match="its space is another one"):
                    open_study(context)
            else:
                open_study(context)
