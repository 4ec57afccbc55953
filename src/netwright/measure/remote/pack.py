"""The agent as one file, for devices on which netwright is not installed."""

from __future__ import annotations

import shutil
import zipapp
from pathlib import Path

from ...core.errors import MeasureError, format_error
from ...core.files import replacing
from ...core.temporary import TemporaryFolder

COMMAND = ("__init__", "main", "outcome", "streams", "agent")
PARTS = ("__init__.py", *(f"cli/{name}.py" for name in COMMAND), "core", "measure")
"""Of netwright, that an agent consists of; the rest of netwright needs more than a runtime and NumPy."""

LEFT = ("__pycache__", "explain", "worth.py")
"""Of these, what looks at figures and measures none."""

START = """\
import sys

from netwright.cli.main import main

main(["agent", *sys.argv[1:]])
"""


def pack(path: Path) -> int:
    """Write a zip archive that Python runs as an agent: ``python3 agent.pyz --port 7653``.

    Returns its size in bytes. Raises :class:`MeasureError` where it cannot be written.
    """
    package = Path(__file__).parents[2]
    if not package.is_dir():
        raise MeasureError("this agent is packed itself; pack from where netwright is installed")
    with TemporaryFolder() as folder:
        for part in PARTS:
            to = folder / package.name / part
            to.parent.mkdir(parents=True, exist_ok=True)
            if (package / part).is_dir():
                shutil.copytree(package / part, to, ignore=shutil.ignore_patterns(*LEFT))
            else:
                shutil.copyfile(package / part, to)
        (folder / "__main__.py").write_text(START)
        try:
            with replacing(path) as scratch:
                zipapp.create_archive(folder, scratch, interpreter="/usr/bin/env python3", compressed=True)
        except OSError as error:
            raise MeasureError(f"{path} cannot be written: {format_error(error)}") from error
    return path.stat().st_size
