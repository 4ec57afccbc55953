"""Tests run on one thread, are the same every time, and keep converted files in a folder of their own."""

import importlib
import os
import signal
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

# Before NumPy is imported: its idle threads spin, and count as CPU time of what is measured here.
os.environ["OPENBLAS_NUM_THREADS"] = "1"

import pytest
import torch
from hypothesis import HealthCheck, settings

# A shell has what it runs in the background ignore Ctrl-C, and nohup the end of the terminal: the tests' own processes
# would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

torch.set_num_threads(1)
os.environ["NETWRIGHT_CACHE"] = tempfile.mkdtemp(prefix="netwright-tests-")

settings.register_profile(
    "netwright",
    deadline=None,
    derandomize=True,
    max_examples=25,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile("netwright")


@pytest.fixture(scope="session", autouse=True)
def readers() -> Iterator[Any]:
    """Exported files are read back in copies of one process; ``fresh`` of what this gives is how others do it."""
    from readers import Readers  # late: it imports what is tested

    from netwright.formats import readback

    copies = Readers(readback._answer)
    readback._answer = copies.answer
    yield copies
    readback._answer = copies.fresh
    copies.close()


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Installs a package of one module for this process and those that it starts, with entry points.

    It is called with the module's name, its code, and the entry points, each as ``group: name = module:Class``.
    """
    folder = tmp_path / "installed"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")])))

    def install(module: str, code: str, *entries: str) -> None:
        monkeypatch.delitem(sys.modules, module, raising=False)
        (folder / f"{module}.py").write_text(textwrap.dedent(code))
        about = folder / f"{module}-1.0.dist-info"
        about.mkdir()
        lines = (f"[{group}]\n{line}\n" for group, _, line in (entry.partition(": ") for entry in entries))
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
        (about / "entry_points.txt").write_text("".join(lines))
        importlib.invalidate_caches()

    yield install
    if process := sys.modules.get("netwright.measure.process"):
        process.stop_all()  # they would go on with what is no longer installed


@pytest.fixture
def work() -> Callable[[Callable[[], object]], int]:
    """How many functions something calls: what it costs, on any machine and beside any neighbour the same."""

    def count(function: Callable[[], object]) -> int:
        calls = 0

        def called(frame: Any, event: str, arg: Any) -> None:
            nonlocal calls
            calls += event in ("call", "c_call")

        before = sys.getprofile()
        sys.setprofile(called)
        try:
            function()
        finally:
            sys.setprofile(before)
        return calls

    return count
