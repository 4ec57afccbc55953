"""Documentation is run: every command of the tutorials, and every name and flag that any page mentions."""

import ast
import re
import shlex
from pathlib import Path

import pytest

import netwright as nw
from netwright.cli.arguments import read, recipe_parser
from netwright.cli.main import VERBS, main

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), flags=re.MULTILINE | re.DOTALL)


def commands(page: Path) -> list[list[str]]:
    lines = [line for block in blocks(page, "console") for line in block.splitlines() if line.startswith("$ netwright")]
    return [shlex.split(line[2:], comments=True)[1:] for line in lines]


@pytest.mark.parametrize("page", ["first", "recipes"])
def test_every_command_of_a_tutorial_runs(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    for command in commands(ROOT / "docs" / f"{page}.md"):
        try:
            main(command)
        except SystemExit as end:
            assert end.code == 0, f"netwright {shlex.join(command)}: {capsys.readouterr().err}"


@pytest.mark.parametrize("page", ["elastic", "axis", "strategies"])
def test_every_example_of_a_page_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": page}
    for block in blocks(ROOT / "docs" / f"{page}.md", "python"):
        exec(compile(block, f"{page}.md", "exec"), names)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_every_command_that_is_mentioned_exists(page):
    for verb, *rest in commands(page):
        if verb == "--help":
            continue
        assert verb in VERBS
        if verb in ("fit", "train", "search") and "--help" not in rest:
            assert read(recipe_parser(verb, ""), rest)["recipe"]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_every_name_of_the_python_api_that_is_mentioned_exists(page):
    for block in blocks(page, "python"):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "nw":
                assert hasattr(nw, node.attr), f"nw.{node.attr}"
    for directive in re.findall(r"auto(?:class|function):: netwright\.(\w+)", page.read_text()):
        assert directive in nw.__all__


def test_every_command_stands_in_the_documentation():
    mentioned = {command[0] for page in PAGES for command in commands(page)}
    assert set(VERBS) <= mentioned | {"train"}
    assert "`train`" in (ROOT / "README.md").read_text()
