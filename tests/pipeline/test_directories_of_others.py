"""Output directories that somebody else has made: nothing outside is read or written, nothing waits, no code is run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fuzz import mutations, swaps
from hypothesis import given, settings
from test_run_directory import INFO, TRAINING

from netwright.cli.main import main
from netwright.core.candidate import Candidate
from netwright.core.errors import CheckpointError, NetwrightError, StoreError
from netwright.core.metric import Measurement
from netwright.core.record import Record
from netwright.pipeline.export import is_complete
from netwright.pipeline.run_directory import RunDirectory, read_manifest

RECORD = Record(
    Candidate({"k": 3}),
    {"accuracy": Measurement(0.9, n=100), "latency": Measurement(1.5, "ms", 0.1, 30)},
    provenance={"strategy": "random", "target": {"runtime": "onnxruntime", "threads": 1}},
)
MANIFEST: dict[str, Any] = {
    "format": 1, "id": RECORD.id, "role": "most accurate", "key": "k", "candidate": {"k": 3},
    "validation": {"accuracy": Measurement(0.9, n=100).to_json()},
    "test": {"latency": Measurement(1.5, "ms").to_json()},
    "files": {"model.onnx": {"sha256": "0" * 64, "bytes": 12}}, "run": "print(1)", "versions": {"torch": "2"},
}  # fmt: skip


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunDirectory:
    """A directory with a study of one record, that was exported."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    found = RunDirectory(tmp_path / "out")
    found.network(RECORD.id).mkdir(parents=True)
    found.supernet.mkdir()
    found.write_info(INFO)
    found.write_training(TRAINING)
    (found.network(RECORD.id) / "manifest.json").write_text(json.dumps(MANIFEST))
    store = found.open_store()
    objectives = [["accuracy", "", "max", False], ["latency", "ms", "min", False]]
    store.append("study", {"objectives": objectives, "choices": {"k": [3, 5]}})
    store.append("record", RECORD.to_json())
    return found


def told(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """What a command says; that of a mistake where it is one."""
    try:
        main([str(each) for each in arguments])
    except SystemExit as end:
        assert end.code == 2
    out, error = capsys.readouterr()
    assert "Traceback" not in error
    return out + error


# -- code


CODE = "import pathlib; pathlib.Path(__file__).with_name('ran').touch()\n"


def test_nobodys_code_is_run(run: RunDirectory, capsys: pytest.CaptureFixture[str]) -> None:
    (run.path / "evil.py").write_text(CODE + "Store = Section = dict\n")
    folder = str(run.path)
    recipe = {**INFO.recipe, "report": {"sections": ["summary", "evil:Section"], "more": ["evil:Section,a=1"]}}
    run.write_info(replace(INFO, folder=folder, recipe=recipe))
    said = told(capsys, "report", run.path)
    assert "left out: evil:Section, evil:Section,a=1: code of whoever made the directory; --trust runs it" in said
    assert run.report.exists()
    assert RECORD.id in told(capsys, "front", run.path) and RECORD.id in told(capsys, "records", run.path)
    run.write_info(replace(INFO, folder=folder, recipe={**recipe, "store": "evil:Store"}))
    for verb in ("report", "front", "records"):
        assert "names the store 'evil:Store', which is code: " in told(capsys, verb, run.path)
    assert not (run.path / "ran").exists() and folder not in sys.path
    assert "evil:Store" in told(capsys, "front", run.path, "--trust") and (run.path / "ran").exists()


@pytest.mark.parametrize(
    "command", [[Path(sys.executable).with_name("netwright")], [sys.executable, "-m", "netwright"]]
)
def test_a_module_beside_is_not_taken_for_another(run: RunDirectory, command: list[Any]) -> None:
    for name in ("numpy", "rich", "plotly", "evil"):
        (run.path / f"{name}.py").write_text(CODE)
    assert subprocess.run([*command, "front", "."], cwd=run.path, check=True, capture_output=True, text=True).stdout
    assert not (run.path / "ran").exists()


def test_sections_of_installed_packages_are_shown(run: RunDirectory, install: Any, capsys: Any) -> None:
    code = """
        from netwright.report.sections.base import Section
        class Greeting(Section):
            def html(self, data):
                return "<p>hello</p>"
    """
    install("greeting", code, "netwright.report_sections: greeting = greeting:Greeting")
    run.write_info(replace(INFO, recipe={**INFO.recipe, "report": {"sections": ["greeting"], "more": []}}))
    assert "left out" not in told(capsys, "report", run.path) and "<p>hello</p>" in run.report.read_text()


# -- links, pipes and devices


def test_a_lock_that_is_a_link_empties_nothing(run: RunDirectory, tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("mine")
    (run.path / ".lock").symlink_to(tmp_path / "precious")
    with pytest.raises(StoreError, match=r"\.lock is a link"), run.locked():
        pass
    assert (tmp_path / "precious").read_text() == "mine"
    (run.path / ".lock").unlink()
    os.mkfifo(run.path / ".lock")
    with pytest.raises(StoreError, match="no regular file"), run.locked():
        pass


@pytest.mark.parametrize("part", ["supernet", "networks", f"networks/{RECORD.id}", "study.db"])
def test_nothing_is_written_through_a_link(run: RunDirectory, tmp_path: Path, part: str) -> None:
    os.rename(run.path / part, tmp_path / "elsewhere")
    (run.path / part).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreError, match=f"{part} is a link, and nothing is written through one"), run.locked():
        pass


def test_the_directory_itself_may_be_a_link(run: RunDirectory, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(run.path)
    with RunDirectory(tmp_path / "link").locked():
        pass


def test_a_report_takes_the_place_of_a_link(run: RunDirectory, tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "precious").write_text("mine")
    run.report.symlink_to(tmp_path / "precious")
    told(capsys, "report", run.path)
    assert (tmp_path / "precious").read_text() == "mine" and not run.report.is_symlink()


@pytest.mark.parametrize("part", ["recipe.json", "supernet/manifest.json", f"networks/{RECORD.id}/manifest.json"])
@pytest.mark.parametrize("kind", ["pipe", "device", "directory", "large"])
def test_what_is_no_file_is_not_waited_for(run: RunDirectory, capsys: Any, part: str, kind: str) -> None:
    path = run.path / part
    path.unlink()
    match kind:
        case "pipe":
            os.mkfifo(path)
        case "device":
            path.symlink_to("/dev/zero")
        case "directory":
            path.mkdir()
        case "large":
            with path.open("wb") as file:
                file.truncate(1 << 40)
    said = told(capsys, "report", run.path)
    assert path.name in said and "\n" not in said.strip()


@pytest.mark.parametrize(
    "name",
    ["../../etc/passwd", "/etc/passwd", "/dev/zero", "..", "", "a\0b", "a" * 300, "a//b", "a/../b", "\ud800", "a\\b"],
)
def test_manifests_name_files_beside_them(run: RunDirectory, name: str) -> None:
    folder = run.network(RECORD.id)
    (folder / "manifest.json").write_text(json.dumps({**MANIFEST, "files": {name: {"sha256": "0", "bytes": 0}}}))
    for read in (lambda: is_complete(folder, "k"), lambda: run.read_networks([RECORD])):
        with pytest.raises(CheckpointError, match="the path of a file within its directory"):
            read()


def test_exported_files_are_files(run: RunDirectory) -> None:
    folder = run.network(RECORD.id)
    (folder / "README.md").touch()
    for kind in ("pipe", "link", "file"):
        path = folder / "model.onnx"
        path.unlink(missing_ok=True)
        os.mkfifo(path) if kind == "pipe" else path.symlink_to("/dev/zero") if kind == "link" else path.touch()
        assert not is_complete(folder, "k")
    empty = {"model.onnx": {"sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", "bytes": 0}}
    (folder / "manifest.json").write_text(json.dumps({**MANIFEST, "files": empty}))
    assert is_complete(folder, "k") and not is_complete(folder, "another")


# -- what the small files say


def parts_of(run: RunDirectory) -> dict[str, Path]:
    """What the directory's small files are, by what they are called here."""
    return {"recipe": run.recipe, "training": run.training, "manifest": run.network(RECORD.id) / "manifest.json"}


def fuzz(run: RunDirectory, part: str, times: int, capsys: pytest.CaptureFixture[str]) -> None:
    path = parts_of(run)[part]
    content = path.read_bytes()

    def check(changed: bytes) -> None:
        path.write_bytes(changed)
        for read in (run.read_info, run.read_training, run.read_roles, lambda: read_manifest(path.parent)):
            try:
                read()
            except NetwrightError as error:
                assert len(str(error)) < 600
        said = told(capsys, "report", run.path)
        assert "report: " in said or (said.startswith("netwright: ") and said.count("\n") == 1)

    some = settings(max_examples=times)
    some(given(mutations(content))(check))()
    some(given(swaps(json.loads(content)))(check))()


@pytest.mark.parametrize("part", ["recipe", "training", "manifest"])
def test_whatever_the_files_hold_is_shown_or_told(run: RunDirectory, part: str, capsys: Any) -> None:
    fuzz(run, part, 10, capsys)


@pytest.mark.slow
@pytest.mark.parametrize("part", ["recipe", "training", "manifest"])
def test_whatever_the_files_hold_is_shown_or_told_whole(run: RunDirectory, part: str, capsys: Any) -> None:
    fuzz(run, part, 1000, capsys)
