"""Rules within other packages' loops: the examples learn, and what cannot be done there is told."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# Where torchvision's compiled operators do not load, it is declared what it is imported with: others import it.
PRELUDE = f"""
import runpy, sys
sys.path.insert(0, {str(ROOT / "tests")!r})
from contextlib import suppress
from zoo.packages import torchvision
with suppress(ImportError):
    torchvision()
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.parametrize("package, argument", [("transformers", "60"), ("lightning", "3")])
def test_an_example_learns(package: str, argument: str) -> None:
    if find_spec(package) is None or (package == "transformers" and find_spec("accelerate") is None):
        pytest.skip(f"{package} is not installed, or not whole")
    path = ROOT / "examples" / "adapters" / f"with_{package}.py"
    found = subprocess.run([sys.executable, "-c", PRELUDE, str(path), argument], capture_output=True, text=True)
    assert found.returncode == 0, found.stderr[-2000:]
    accuracy = {name: int(value) for name, value in re.findall(r"(\w+): (\d+) % right", found.stdout)}
    assert accuracy["largest"] > 75 and accuracy["smallest"] > 55
