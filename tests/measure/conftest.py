"""A runtime of somebody else, whose files say how it behaves."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PLUGIN = """
import ctypes, os, sys, time
from dataclasses import dataclass
import numpy as np
from netwright.core.errors import MeasureError
from netwright.measure.runtimes.base import Runtime, Session


@dataclass(frozen=True)
class Moody(Runtime):
    name = "moody"
    packages = ("numpy",)
    modules = ("numpy",)
    suffix = ".mood"
    reads = (".mood",)

    def convert(self, network, inputs, path):
        if getattr(network, "mood", "well") == "unconvertible":
            raise MeasureError("moody has no operator aten::sulk")
        path.write_text(network.mood)
        return {"by": "hand"}

    def open(self, path, feeds):
        mood, times = path.read_text(), path.with_suffix(".times")
        with open(times, "a") as log:
            log.write("once ")
        if mood.startswith("killed") and (mood == "killed" or times.read_text() == "once "):
            os.kill(os.getpid(), 9)
        if mood == "full there":
            raise OSError(28, "No space left on device", "/tmp/cache")
        if mood == "restarts":  # who is measured kills who measures
            os.kill(os.getppid(), 9)
            time.sleep(1000)
        return _Session(mood, feeds)


class _Session(Session):
    def __init__(self, mood, feeds):
        self.mood, self.x = mood, next(iter(feeds.values()))
        self.notes = {"mood": mood}
        print("what a runtime prints must not mix with the answers", flush=True)
        os.write(1, b"nor what it writes\\\\n")

    def run(self):
        if self.mood == "segfault":
            ctypes.string_at(0)
        if self.mood == "hang":
            time.sleep(1000)
        if self.mood == "abort":
            os.abort()
        if self.mood == "exit":
            os._exit(3)
        if self.mood == "out of memory":
            raise MemoryError("cannot allocate 1 TB")
        if self.mood == "raise":
            raise ValueError("the input is too sad")
        if self.mood == "greedy" and not hasattr(self, "held"):
            self.held = np.ones(50_000_000, dtype=np.uint8)
        for _ in range(200):
            self.x * 2

    def outputs(self):
        self.run()
        return [self.x * (3 if self.mood == "wrong" else 2)]
"""


@pytest.fixture(scope="session")
def moody(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Install the runtime for this process and those that it starts; its name."""
    folder = tmp_path_factory.mktemp("plugin")
    (folder / "moody_runtime.py").write_text(PLUGIN)
    about = folder / "moody_runtime-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: moody-runtime\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[netwright.runtimes]\nmoody = moody_runtime:Moody\n")
    before = os.environ.get("PYTHONPATH")
    sys.path.insert(0, str(folder))
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(folder), before]))
    yield "moody"
    sys.path.remove(str(folder))
    if before is None:
        del os.environ["PYTHONPATH"]
    else:
        os.environ["PYTHONPATH"] = before


@pytest.fixture
def mood(tmp_path: Path) -> Path:
    """A file of the runtime."""
    return tmp_path / "x.mood"
