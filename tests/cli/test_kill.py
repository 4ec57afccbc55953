"""Killed at any moment, the same command finishes, and nothing that was measured is measured again."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from netwright.study.stores.sqlite import SqliteStore

from .running import TINY, command, done, finished, process, records, timeless

FLAGS = ("--evaluations", 18, "--objectives", "accuracy,macs", "--train.epochs", 4)


def killed(out: Path, when: Callable[[], bool], **environment: str) -> None:
    """Start the job and kill it (SIGKILL) as soon as ``when`` holds."""
    running = process("fit", TINY, "--out", out, *FLAGS, **environment)
    deadline = time.monotonic() + 60
    while not when():
        assert running.poll() is None, running.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.001)
    running.kill()
    running.communicate()
    assert running.returncode == -9


def measured(out: Path) -> int:
    with sqlite3.connect(f"{(out / 'study.db').absolute().as_uri()}?mode=ro", uri=True) as connection:
        (count,) = connection.execute("SELECT count(*) FROM journal WHERE kind = 'record'").fetchone()
    connection.close()
    return count


def test_killed_in_training_in_search_in_finetuning_and_in_export(tmp_path):
    out, undisturbed = tmp_path / "killed", tmp_path / "undisturbed"
    checkpoint = out / "supernet" / "checkpoint.safetensors"
    killed(out, checkpoint.exists, TINY_PAUSE="0.02")
    assert not (out / "supernet" / "weights.safetensors").exists()

    manifest = out / "supernet" / "manifest.json"
    killed(out, lambda: manifest.exists() and measured(out) >= 5)
    after_search = records(out)
    assert 5 <= len(after_search) < 18
    trained = manifest.stat().st_mtime_ns

    killed(out, lambda: any(out.glob("networks/*/checkpoint.safetensors")), TINY_PAUSE="0.02")
    assert not any(out.glob("networks/*/model.onnx"))

    killed(out, lambda: any(out.glob("networks/*/model.onnx")))
    assert not any(out.glob("networks/*/manifest.json"))
    assert records(out)[: len(after_search)] == after_search

    told = finished(process("fit", TINY, "--out", out, *FLAGS))
    assert told.code == 0, told.err
    assert manifest.stat().st_mtime_ns == trained
    assert records(out)[: len(after_search)] == after_search  # times too: they were not measured again

    done("fit", TINY, "--out", undisturbed, *FLAGS)
    weights = "supernet/weights.safetensors"
    assert (out / weights).read_bytes() == (undisturbed / weights).read_bytes()
    assert timeless(records(out)) == timeless(records(undisturbed))
    fronts = [timeless(json.loads((x / "front.json").read_text())) for x in (out, undisturbed)]
    assert fronts[0] == fronts[1]
    networks = {p.name for p in (out / "networks").iterdir()}
    assert networks == {p.name for p in (undisturbed / "networks").iterdir()}
    for name in networks:
        assert (out / "networks" / name / "README.md").is_file()
        assert not (out / "networks" / name / "checkpoint.safetensors").exists()
        path = f"networks/{name}/weights.safetensors"
        assert (out / path).read_bytes() == (undisturbed / path).read_bytes()


@pytest.mark.parametrize("statement", [1, 2, 3])
def test_stopped_while_the_study_is_made(tmp_path, monkeypatch, statement):
    """Wherever it stops, what it leaves is no damaged study."""
    left = statement

    class Stopping(sqlite3.Connection):
        def execute(self, *arguments):
            nonlocal left
            left -= 1
            if left == 0:
                raise KeyboardInterrupt
            return super().execute(*arguments)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        connect = sqlite3.connect
        patch.setattr(sqlite3, "connect", lambda *a, **k: connect(*a, **k, factory=Stopping))
        SqliteStore(tmp_path / "study.db")
    store = SqliteStore(tmp_path / "study.db")
    store.append("study", {})
    assert list(store.read()) == [("study", {})]


def test_killed_between_the_manifest_and_what_follows(copy):
    """Whatever an export leaves when it is killed, the same command completes it."""
    for readme in copy.glob("networks/*/README.md"):
        readme.unlink()
    (copy / "test.npz").unlink()
    (copy / "report.html").unlink()
    done("fit", TINY, "--out", copy)
    assert (copy / "test.npz").is_file() and (copy / "report.html").is_file()
    assert all((p / "README.md").is_file() for p in (copy / "networks").iterdir())


def test_interrupted_after_the_last_epoch(recipe, tmp_path, monkeypatch):
    """Before the weights are written: the manifest then holds what the undisturbed one holds."""
    from netwright.pipeline import train

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    path, figures = recipe(), []
    for name in ("undisturbed", "interrupted"):
        if name == "interrupted":
            with monkeypatch.context() as patch:
                patch.setattr(train, "write_tensors", interrupt)
                assert command("train", path, "--out", tmp_path / name).code == 130
            assert (tmp_path / name / "supernet" / "checkpoint.safetensors").exists()
        done("train", path, "--out", tmp_path / name)
        manifest = json.loads((tmp_path / name / "supernet" / "manifest.json").read_text())
        figures.append((manifest["validation_accuracy"], manifest["files"]))
    assert figures[0] == figures[1] and figures[0][0].keys() == {"given", "largest", "smallest"}
