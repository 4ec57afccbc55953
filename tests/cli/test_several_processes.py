"""Two processes that are launched for one command: they train together, and the first does all else."""

from __future__ import annotations

import multiprocessing
import os
import socket
from collections.abc import Callable
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

import pytest

from netwright.cli.main import main
from netwright.nets.state import read_tensors
from netwright.training.run import Run


def _process(rank: int, port: int, folder: Path, arguments: list[str]) -> None:
    where = {"RANK": rank, "WORLD_SIZE": 2, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ |= {name: str(value) for name, value in where.items()}
    counted, steps = Run.prepared, folder / f"{rank}.trained"

    def prepared(run: Run) -> Any:
        steps.write_text(
            f"{run.processes.rank} of {run.processes.size}\n" + (steps.read_text() if steps.exists() else "")
        )
        return counted(run)

    Run.prepared = prepared  # type: ignore[method-assign]
    with (folder / f"{rank}.log").open("w") as log, redirect_stderr(log):
        main(arguments)


def launched(folder: Path, *arguments: object) -> list[int]:
    """The exit codes of two processes that run a command together."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]
    texts = [str(argument) for argument in arguments]
    started = [
        multiprocessing.get_context("fork").Process(target=_process, args=(rank, port, folder, texts))
        for rank in range(2)
    ]
    for process in started:
        process.start()
    for process in started:
        process.join(120)
        if process.is_alive():
            process.kill()
    return [process.exitcode or 0 for process in started]


def test_all_train_and_the_first_does_the_rest(recipe: Callable[..., Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    path = recipe(export={"epochs": 1, "formats": ["onnx"]}, evaluations=2)
    assert launched(tmp_path, "fit", path, "--out", out) == [0, 0], (tmp_path / "0.log").read_text()
    told = [(tmp_path / f"{rank}.trained").read_text().splitlines() for rank in range(2)]
    assert told[1] == ["1 of 2"], "the second ended with the training"
    assert told[0][-1] == "0 of 2" and {*told[0][:-1]} == {"0 of 1"}, "the first fine-tuned alone"
    assert (out / "report.html").exists() and [*out.glob("networks/*/model.onnx")]
    assert (tmp_path / "1.log").read_text() == ""
    weights = read_tensors(out / "supernet" / "weights.safetensors")[0]
    assert launched(tmp_path, "train", path, "--out", out) == [0, 0], "there is nothing left to do"
    assert all(
        (value == weights[name]).all()
        for name, value in read_tensors(out / "supernet" / "weights.safetensors")[0].items()
    )


def test_other_commands_are_for_one_process(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for name, value in {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "a", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as ended:
        main(["search", "digits", "--out", str(tmp_path / "out")])
    assert ended.value.code == 2
    assert "'netwright search' is for one process: torchrun is for 'fit' and 'train'" in capsys.readouterr().err
