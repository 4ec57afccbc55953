"""Exported files are read back in copies of one process that has loaded what they need; in tests of other things.

To start Python and load torch and ONNX Runtime takes longer than all else that reading back does. The tests of formats
read back in a fresh process each, as everybody does.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from netwright.formats import readback

SERVER = """
import importlib, json, os, runpy, sys, tempfile
import numpy

NEEDED = {"onnx": ["onnxruntime"], "pt2": ["torch", "torch._dynamo", "torch._export.serde.serialize"]}
NEEDED["/transformers"] = ["transformers.modeling_utils", "transformers.models.auto.modeling_auto"]
modules = tempfile.TemporaryDirectory()
os.environ["HF_MODULES_CACHE"] = modules.name  # which transformers asks for when it is imported

for line in sys.stdin:
    script, job = json.loads(line)
    for file in json.load(open(job)):
        kind = next((kind for kind in NEEDED if file["path"].endswith(kind)), "")
        if kind == "/transformers":
            runpy.run_path(file["reader"])["without_broken_torchvision"]()
        for name in NEEDED.get(kind, ()):
            importlib.import_module(name)
    process = os.fork()
    if not process:
        code = 1
        try:
            os.chdir(os.path.dirname(job))
            with open(job + ".said", "w") as sys.stdout:
                sys.argv = [script, job]
                runpy.run_path(script, run_name="__main__")
            code = 0
        finally:
            os._exit(code)
    print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), flush=True)
"""

Answer = Callable[[list[dict[str, Any]], Path], list[tuple[str, int] | None]]


class Readers:
    """The process, which is started when it is first needed, and its copies."""

    def __init__(self, fresh: Answer) -> None:
        self.fresh = fresh
        self._process: subprocess.Popen[str] | None = None

    def answer(self, job: list[dict[str, Any]], place: Path) -> list[tuple[str, int] | None]:
        """As :func:`netwright.formats.readback._answer`, which is asked where a copy fails."""
        if self._process is None:
            command = [sys.executable, "-P", "-c", SERVER]
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None and stdout is not None
        path = place / "job.json"
        path.write_text(json.dumps(job))
        stdin.write(json.dumps([str(Path(readback.__file__).with_name("reader.py")), str(path)]) + "\n")
        stdin.flush()
        if int(stdout.readline()):
            return self.fresh(job, place)
        found: list[tuple[str, int] | None] = json.loads((place / "job.json.said").read_text().splitlines()[-1])
        return found

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.communicate(timeout=60)
