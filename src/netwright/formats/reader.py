"""Run by a Python of its own: exported files are opened as a person opens them, and run.

    python -P reader.py JOB.json

The job lists files: ``path``, ``reader`` (the Python file that opens it, see
:attr:`netwright.formats.base.Format.reader`), ``calls`` (each an ``.npz`` file of inputs, and the one that is written
with the outputs), ``names`` (of the inputs, in order), ``types`` (of the inputs, where NumPy has none), ``by_name`` and
``fixed`` (what else is given by name). The script and the readers stand alone, without netwright and whatever a
person's model needs, and import what a bundle's README names: onnxruntime for ``.onnx``, torch for ``.pt2``. The answer
is one line of JSON, the last that it writes: a list of what went wrong with each file, in words and as the number of
the operating system's error (0 where it is none of its), null where nothing did.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np


def main() -> None:
    """Do the job."""
    job = json.loads(Path(sys.argv[1]).read_text())
    answers: list[tuple[str, int] | None] = []
    for file in job:
        try:
            for inputs, outputs in file["calls"]:
                run = opened(file["reader"])(file)  # anew: it may keep values from one call to the next
                with np.load(inputs, allow_pickle=False) as held:
                    arrays = {name: held[f"input{i}"] for i, name in enumerate(file["names"])}
                np.savez(outputs, **{f"output{i}": each for i, each in enumerate(run(arrays))})
            answers.append(None)
        except Exception as error:  # torch and ONNX Runtime raise many types
            words = f"{type(error).__name__}: {' '.join(str(error).split())[:500]}"
            answers.append((words, (isinstance(error, OSError) and error.errno) or 0))
    print("\n" + json.dumps(answers))


def opened(reader: str) -> Any:
    """The function ``opened`` of a Python file."""
    spec = importlib.util.spec_from_file_location("reader", reader)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.opened


if __name__ == "__main__":
    main()
