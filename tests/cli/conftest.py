"""A finished tiny job, and recipes made on the spot."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from .running import TINY, done

SMALL = {
    "model": "tiny:supernet",
    "data": "tiny:data",
    "objectives": ["accuracy", "macs"],
    "evaluations": 4,
    "train": {"epochs": 1},
    "search": {"calibration": 96},
    "export": {"epochs": 0, "formats": ["onnx"]},
}


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output directory of ``netwright fit tiny.yaml``. Look, do not touch."""
    out = tmp_path_factory.mktemp("tiny") / "out"
    done("fit", TINY, "--out", out)
    return out


@pytest.fixture
def copy(tiny: Path, tmp_path: Path) -> Path:
    """The same, to be touched."""
    return Path(shutil.copytree(tiny, tmp_path / "copy", ignore=shutil.ignore_patterns(".lock")))


@pytest.fixture
def recipe(tmp_path: Path) -> Callable[..., Path]:
    """Writes a small recipe with some keys changed; None leaves a key out."""

    def write(**changes: object) -> Path:
        path = tmp_path / "recipe.yaml"
        values = {k: v for k, v in {**SMALL, **changes}.items() if v is not None}
        path.write_text(yaml.safe_dump(values, sort_keys=False))
        return path

    return write
