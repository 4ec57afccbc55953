"""Exported files, opened and run in a fresh process that has nothing but what a bundle's README names."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..core.children import run_program
from ..core.errors import BundleError
from ..core.temporary import TemporaryFolder
from ..nets.inputs import Inputs
from .compare import arrays_of
from .plain import Plain

TIMEOUT_S = 600


def read_back(
    files: Mapping[str, tuple[Path, Path]], plain: Plain, several: Mapping[str, Sequence[Inputs]]
) -> dict[str, list[list[np.ndarray]]]:
    """All outputs of files for several inputs each, computed in one fresh process.

    Args:
        files: by any names: each file, and the Python file that opens it.
        plain: how they are called.
        several: the inputs that each of them is run on.

    Raises :class:`BundleError` for a file that does not open or run there.
    """
    with TemporaryFolder() as folder:
        calls = {name: _calls(folder / str(i), plain, several[name]) for i, name in enumerate(files)}
        types = {
            name: "bfloat16"
            for name, tensor in zip(plain.names, plain.tensors(several[next(iter(files))][0]), strict=True)
            if tensor.dtype == torch.bfloat16
        }
        job = [
            {
                "path": str(path.resolve()), "reader": str(reader), "calls": calls[name], "names": plain.names,
                "types": types, "by_name": plain.by_name, "fixed": plain.fixed,
            }
            for name, (path, reader) in files.items()
        ]  # fmt: skip
        for (path, _), failed in zip(files.values(), _answer(job, folder), strict=True):
            if failed:
                words, number = failed
                raise BundleError(f"{path} does not run in a process that has imported nothing else: {words}") from (
                    OSError(number, os.strerror(number)) if number else None
                )
        return {name: [_outputs(Path(made)) for _, made in calls[name]] for name in files}


def _calls(folder: Path, plain: Plain, several: Sequence[Inputs]) -> list[tuple[str, str]]:
    """Files with inputs, and those that the outputs come into."""
    folder.mkdir()
    calls = []
    for i, inputs in enumerate(several):
        given = folder / f"{i}.npz"
        arrays: dict[str, Any] = {f"input{j}": each for j, each in enumerate(arrays_of(plain.tensors(inputs)))}
        np.savez(given, **arrays)
        calls.append((str(given), str(folder / f"{i}-outputs.npz")))
    return calls


def _answer(job: list[dict[str, Any]], place: Path) -> list[tuple[str, int] | None]:
    """What went wrong with each file, in words and as the number of the operating system's error (0: of none)."""
    (place / "job.json").write_text(json.dumps(job))
    command = [sys.executable, "-P", str(Path(__file__).with_name("reader.py")), str(place / "job.json")]
    done = run_program(command, TIMEOUT_S, cwd=place)
    if not done.failure:
        with contextlib.suppress(ValueError, IndexError):
            answers: list[tuple[str, int] | None] = json.loads(done.out.splitlines()[-1])
            return answers
    raise BundleError(f"the process that reads exported files back {done.failure or 'gave no answer'}")


def _outputs(path: Path) -> list[np.ndarray]:
    with np.load(path, allow_pickle=False) as held:
        return [held[f"output{i}"] for i in range(len(held.files))]
