"""Running netwright as a person does, in this process or in one of its own."""

from __future__ import annotations

import contextlib
import gc
import io
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from netwright.cli.main import main

PEOPLE = Path(__file__).parent / "people"
TINY = str(PEOPLE / "tiny.yaml")
PATHS = [p for p in os.environ.get("PYTHONPATH", "").split(os.pathsep) if p]
STAGES = ("checking", "training", "searching", "exporting", "writing the report")

if str(PEOPLE) not in sys.path:
    sys.path.insert(0, str(PEOPLE))


@dataclass
class Told:
    """What a command left on the terminal."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        """Of standard error, without empty ones."""
        return [line for line in self.err.splitlines() if line.strip()]

    @property
    def mistake(self) -> str:
        """The one line that says what is wrong."""
        assert self.code == 2, f"exit code {self.code}: {self.err[-2000:]}{self.out[-2000:]}"
        assert "Traceback" not in self.err
        said = [line for line in self.lines if line.startswith("netwright: ")]
        others = [line for line in self.lines if not line.startswith(("netwright: ", *STAGES))]
        assert len(said) == 1 and self.lines[-1] == said[0] and not others, self.err
        return said[0].removeprefix("netwright: ")


def command(*arguments: object) -> Told:
    """Run ``netwright`` in this process. What is not a mistake of the person's is raised."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    path = list(sys.path)
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main([str(a) for a in arguments])
        except SystemExit as stop:
            code = int(stop.code or 0)
        finally:
            sys.path[:] = path
    gc.collect()  # a job holds its directory until it is gone
    gc.freeze()  # so that the next collection is fast
    return Told(code, out.getvalue(), err.getvalue())


def done(*arguments: object) -> Told:
    """Run a command that must succeed."""
    told = command(*arguments)
    assert told.code == 0, told.err
    return told


def process(
    *arguments: object,
    via: tuple[object, ...] = (sys.executable, "-m", "netwright"),
    cwd: Path | None = None,
    **environment: str,
) -> subprocess.Popen[str]:
    """Start ``netwright`` in a process of its own; people's modules are importable."""
    return subprocess.Popen(
        [*map(str, via), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(PEOPLE), *PATHS]), **environment},
    )


def finished(running: subprocess.Popen[str]) -> Told:
    """Wait for a process."""
    out, err = running.communicate(timeout=120)
    return Told(running.returncode, out, err)


def records(out: object) -> list[dict[str, Any]]:
    """The study's records as ``netwright records --json`` prints them."""
    return [json.loads(line) for line in done("records", out, "--json").out.splitlines()]


def timeless(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Records without what differs from run to run."""
    kept = []
    for record in records:
        provenance = {k: v for k, v in record.get("provenance", {}).items() if k not in ("time", "seconds")}
        kept.append({**record, "provenance": provenance})
    return kept


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a directory, the lock aside."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file() and p.name != ".lock"}
