"""Documentation is run: every command of the tutorials, and every name and flag that any page mentions."""

import ast
import contextlib
import importlib.util
import inspect
import json
import re
import shlex
import shutil
import sqlite3
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

import private_postgresql
import pytest
import tiny_checkpoints
import yaml
from zoo.packages import torchvision

import netwright as nw
from netwright.cli import serve
from netwright.cli.main import VERBS, main
from netwright.cli.recipes import read, recipe_parser, search_parser
from netwright.core import errors
from netwright.recipe.load import parse
from netwright.recipe.schema import Recipe

ROOT = Path(__file__).parents[1]
WRITTEN = {"python.md", "recipe-reference.md"}
"""Pages that docs/reference.py writes."""
PAGES = [ROOT / "README.md", *(p for p in sorted((ROOT / "docs").glob("*.md")) if p.name not in WRITTEN)]


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), flags=re.MULTILINE | re.DOTALL)


def commands(page: Path) -> list[list[str]]:
    lines = [line for block in blocks(page, "console") for line in block.splitlines() if line.startswith("$ netwright")]
    return [shlex.split(line[2:], comments=True)[1:] for line in lines]


# Tutorials are run with less training, one file format and fewer examples than they say: a third of the time.
LESS = ["--export.formats", "onnx", "--search.calibration", "64"]
SHORTER = {"first": [*LESS, "--train.epochs", "1"], "recipes": LESS, "targets": LESS, "overnight": LESS}


@pytest.mark.parametrize("page", SHORTER)
def test_every_command_of_a_tutorial_runs(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    for command in commands(ROOT / "docs" / f"{page}.md"):
        if command[0] in ("fit", "train", "search") and "--help" not in command:
            command += SHORTER[page]
        try:
            main(command)
        except SystemExit as end:
            assert end.code == 0, f"netwright {shlex.join(command)}: {capsys.readouterr().err}"


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed (netwright[ray])")
def test_a_cluster_of_one_machine_runs_the_page_s_command(tmp_path, monkeypatch, capfd):
    import ray

    monkeypatch.chdir(tmp_path)
    (command,) = commands(ROOT / "docs" / "many-machines.md")
    try:
        main([*command, *LESS])
    finally:
        ray.shutdown()
    assert Path("runs/ray/report.html").exists()
    main(["records", "runs/ray", "--json"])
    told = [json.loads(line) for line in capfd.readouterr().out.splitlines() if line.startswith("{")]
    assert len(told) == 8 and {each["status"] for each in told} <= {"ok", "infeasible"}


@pytest.mark.skipif(bool(private_postgresql.missing()), reason=private_postgresql.missing() or "-")
def test_several_drivers_search_with_one_study(tmp_path, monkeypatch, capsys):
    """The page's commands; then what else reads such a study."""
    monkeypatch.chdir(tmp_path)
    with private_postgresql.server() as server:
        for variable, value in server.environment.items():
            monkeypatch.setenv(variable, value)
        first, *rest = commands(ROOT / "docs" / "several-drivers.md")
        less = ["--search.calibration", "64"]
        main(first + less)
        shutil.copytree("runs/a", "runs/b")
        for command in rest:
            main(command + (less if command[0] == "search" else []))
        for command in (["records", "runs/a", "--json"], ["report", "runs/a"]):
            main(command)
        told = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
        assert len(told) == len({each["id"] for each in told}) == 12
        assert not Path("runs/a/study.db").exists() and Path("runs/a/report.html").exists()
        feed = serve._feed("runs/a", False)
        assert feed.about()["count"] == 12 and not feed.about()["problem"]


def test_a_bert_goes_from_folder_to_folder(tmp_path, monkeypatch, capsys):
    """The page's commands and code, with little training, and limits that no machine's speed moves."""
    tiny_checkpoints.library()
    monkeypatch.chdir(tmp_path)
    in_their_order("bert", "--export.formats", "transformers")
    said = capsys.readouterr()
    assert "with a new head of 2 classes" in said.err and "torch.Size([1, 2])" in said.out
    assert len(list(Path("runs").glob("*/networks/*/transformers/tokenizer.json"))) >= 3


def test_a_network_of_images_goes_from_folder_to_file(tmp_path, monkeypatch, capsys):
    """Likewise."""
    pytest.importorskip("PIL", reason="pillow is not installed")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    in_their_order("images", "--export.formats", "onnx")
    said = capsys.readouterr()
    assert "with a new head of 2 outputs, 5" in said.err and "fine-tuned: it is the given model" in said.err
    assert list(Path("runs/photos").glob("networks/*/model.onnx"))


def in_their_order(name, *flags):
    """Run the commands and the code of a page that begins with a command, for which the code after it is needed."""
    names: dict[str, object] = {"__name__": name}
    short = ["--train.epochs", "1", "--evaluations", "2", "--export.epochs", "0", *flags]
    short += ["--latency.max_seconds", "0.02", "--search.calibration", "32", "--search.strategy", "random"]
    page = (ROOT / "docs" / f"{name}.md").read_text()
    found = re.findall(r"^```(python|console)\n(.*?)^```", page, flags=re.MULTILINE | re.DOTALL)
    begins, toy, *rest = found
    sys.modules.pop("mine", None)  # another page's
    try:
        for language, block in (toy, begins, *rest):
            if language == "python":
                exec(compile(block, f"{name}.md", "exec"), names)
                continue
            for line in filter(None, block.splitlines()):
                main([*shlex.split(line.removeprefix("$ netwright").replace("latency <=", "macs <=")), *short])
    finally:
        sys.modules.pop("mine", None)


@pytest.mark.parametrize(
    "page",
    [
        "elastic",
        "surgery",
        "axis",
        "block",
        "trim",
        "mixed-precision",
        "tasks",
        "training",
        "extending",
        "strategies",
        "targets",
        "devices",
        "energy",
        "explain",
        "faults",
    ],
)
def test_every_example_of_a_page_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": page}
    for block in blocks(ROOT / "docs" / f"{page}.md", "python"):
        exec(compile(block, f"{page}.md", "exec"), names)


def test_the_page_of_directories_runs(tmp_path, monkeypatch):
    with contextlib.suppress(ImportError):
        torchvision()  # transformers imports it wherever it is installed
    pytest.importorskip("transformers", reason="transformers is not installed")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.setattr("sys.path", [*sys.path])
    names: dict[str, object] = {"__name__": "directories"}
    for block in blocks(ROOT / "docs" / "directories.md", "python"):
        exec(compile(block, "directories.md", "exec"), names)


def test_the_commands_for_a_damaged_study_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("runs/mine").mkdir(parents=True)
    nw.search({"a": (1, 2, 3)}, lambda c: {"q": c["a"]}, {"q": "max"}, store="runs/mine/study.db", evaluations=3)
    with contextlib.closing(sqlite3.connect("runs/mine/study.db")) as journal, journal:
        journal.execute("UPDATE journal SET body = replace(body, '\"a\":2', '\"a\":9') WHERE kind = 'record'")
    for command in commands(ROOT / "docs" / "faults.md"):
        if command[0] != "fit":
            main(command)
    said = capsys.readouterr()
    assert "left out: entry" in said.out and "the file as it was" in said.out and "cannot be read" in said.err


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_every_command_that_is_mentioned_exists(page):
    for verb, *rest in commands(page):
        if verb == "--help":
            continue
        assert verb in VERBS
        if verb in ("fit", "trim", "train", "search") and "--help" not in rest:
            parser = recipe_parser if verb in ("trim", "train") else search_parser
            given = read(parser(verb, ""), rest)
            assert given.get("recipe") or given["model"]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_every_name_of_the_python_api_that_is_mentioned_exists(page):
    for block in blocks(page, "python"):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "nw":
                assert hasattr(nw, node.attr), f"nw.{node.attr}"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_every_name_that_prose_mentions_exists(page, reference):
    prose = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    groups = {kind.group for kind in map(reference.registry, reference.KINDS)}
    for name in re.findall(r"`(nw(?:\.\w+)+|netwright(?:\.\w+)+)", prose):
        parts = name.split(".")[1:]
        source = ROOT.joinpath("src", "netwright", *parts[:-1])
        if name in groups or source.joinpath(parts[-1]).is_dir() or source.joinpath(f"{parts[-1]}.py").is_file():
            continue
        if source.with_suffix(".py").is_file() and parts[0] == "adapters":  # whose packages need not be here
            assert f"class {parts[-1]}(" in source.with_suffix(".py").read_text(), name
            continue
        found = nw if parts[0] in nw.__all__ else import_module(".".join(["netwright", *parts[:-1]]))
        for part in parts if found is nw else parts[-1:]:
            assert hasattr(found, part), name
            found = getattr(found, part)


def test_every_command_stands_in_the_documentation():
    mentioned = {command[0] for page in PAGES for command in commands(page)}
    assert set(VERBS) <= mentioned | {"train"}
    assert "`train`" in (ROOT / "README.md").read_text()


@pytest.fixture(scope="module")
def reference() -> ModuleType:
    """What writes the reference pages when the documentation is built."""
    spec = importlib.util.spec_from_file_location("reference", ROOT / "docs" / "reference.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_key_of_a_recipe_stands_in_its_reference_with_a_text(reference):
    rows = dict(re.findall(r"^\| `([\w.]+)` \| .* \| (.*) \|$", reference.recipe_page(), flags=re.MULTILINE))
    for key, value in Recipe(model="mine:supernet").to_json().items():
        for name in [f"{key}.{inner}" for inner in value] if isinstance(value, dict) else [key]:
            assert rows.get(name), f"{name} is missing, or has no text"


def test_every_registry_stands_in_the_reference_with_its_names(reference):
    page = reference.recipe_page()
    pattern = re.compile(r"^([A-Z_]+)(?:: \S+)? = \w*Registry\(", flags=re.MULTILINE)
    found = {name for path in (ROOT / "src").rglob("*.py") for name in pattern.findall(path.read_text())}
    assert found == {place.partition(":")[2] for place in reference.KINDS}
    for kind in map(reference.registry, reference.KINDS):
        assert kind.group in page
        for name in kind.names():
            assert re.search(rf"^\| `{re.escape(name)}` \| .* \| \S.* \|$", page, flags=re.MULTILINE), name


def test_extending_knows_every_kind_and_every_contract(reference):
    page = (ROOT / "docs" / "extending.md").read_text()
    for kind in map(reference.registry, reference.KINDS):
        assert re.search(rf"^\| \[(file )?{kind.kind}\]", page, flags=re.MULTILINE), kind.kind
    for contract in nw.testing.__all__:
        assert f"`{contract}`" in page


def test_every_public_name_stands_in_the_python_reference_with_a_sentence(reference):
    page = reference.python_page().splitlines()
    names = {f"netwright.{name}": getattr(nw, name) for name in nw.__all__ if name != "__version__"}
    for module in nw._MODULES:
        names |= {f"netwright.{module}.{name}": getattr(getattr(nw, module), name) for name in reference.public(module)}
    for name, value in names.items():
        if name.removeprefix("netwright.") in nw._MODULES:
            assert f"## `nw.{name.removeprefix('netwright.')}`" in page
        else:
            assert f"   {name}" in page, f"{name} is not listed"
        assert reference.sentence(value), f"{name} has no docstring"


def texts_of(path: Path) -> list[str]:
    """The texts in a file, without what is filled in."""
    constants = (n.value for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Constant))
    return [" ".join(value.split()) for value in constants if isinstance(value, str)]


def test_troubleshooting_knows_every_error_and_quotes_what_is_said():
    page = (ROOT / "docs" / "troubleshooting.md").read_text()
    classes = [k for k, v in vars(errors).items() if inspect.isclass(v) and v.__module__ == errors.__name__]
    assert set(re.findall(r"^## (\w+)$", page, flags=re.MULTILINE)) == set(classes) - {"NetwrightError"}
    said = "\n".join(text for path in (ROOT / "src").rglob("*.py") for text in texts_of(path))
    quoted = re.findall(r"^\| `(.*?)` \|", page, flags=re.MULTILINE)
    assert len(quoted) > 40
    for message in quoted:
        for piece in filter(None, map(str.strip, message.split("…"))):
            assert piece in said, f"no message holds {piece!r} of {message!r}"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_every_recipe_that_is_shown_has_keys_and_names_that_there_are(page):
    for block in blocks(page, "yaml"):
        values = yaml.safe_load(re.sub(r"^.*\bmine:.*\n", "", block, flags=re.MULTILINE)) or {}
        parse({"model": "mine:supernet", "data": "mine:data", **values}, page.name)
