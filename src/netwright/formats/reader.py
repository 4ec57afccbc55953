"""Run by a Python of its own: exported files are opened as a person opens them, and run.

    python -P reader.py JOB.json

The job lists files: ``path``, ``kind`` (``onnx`` or ``pt2``), ``calls`` (each an ``.npz`` file of inputs, and the one
that is written with the outputs), ``names`` (of the inputs, in order), ``types`` (of the inputs, where NumPy has none)
and ``by_name``. The script stands alone, without netwright and whatever a person's model needs, and imports what a
bundle's README names: onnxruntime for ``.onnx``, torch for ``.pt2``. Its answer is one line of JSON, the last that it
writes: a list of what went wrong with each file, null where nothing did.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np


def main() -> None:
    """Do the job."""
    job = json.loads(Path(sys.argv[1]).read_text())
    answers: list[str | None] = []
    for file in job:
        try:
            for inputs, outputs in file["calls"]:
                run = OPENED[file["kind"]](file)  # anew: it may keep values from one call to the next
                with np.load(inputs, allow_pickle=False) as held:
                    arrays = {name: held[f"input{i}"] for i, name in enumerate(file["names"])}
                np.savez(outputs, **{f"output{i}": each for i, each in enumerate(run(arrays))})
            answers.append(None)
        except Exception as error:  # torch and ONNX Runtime raise many types
            answers.append(f"{type(error).__name__}: {' '.join(str(error).split())[:500]}")
    print("\n" + json.dumps(answers))


Run = Callable[[dict[str, Any]], list[Any]]


def onnx(file: dict[str, Any]) -> Run:
    """An ONNX file, by ONNX Runtime."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 4
    session = ort.InferenceSession(file["path"], options, providers=["CPUExecutionProvider"])
    names = [i.name for i in session.get_inputs()]
    return lambda arrays: [np.asarray(each) for each in session.run(None, {name: arrays[name] for name in names})]


def pt2(file: dict[str, Any]) -> Run:
    """An archive of torch.export, by torch."""
    import torch

    network = torch.export.load(file["path"]).module()

    def run(arrays: dict[str, Any]) -> list[Any]:
        tensors = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}
        for name, kind in file["types"].items():
            tensors[name] = tensors[name].to(getattr(torch, kind))
        with torch.no_grad():
            found = network(**tensors) if file["by_name"] else network(*tensors.values())
        several = list(found.values()) if isinstance(found, dict) else found if isinstance(found, tuple) else [found]
        return [(t.float() if t.dtype == torch.bfloat16 else t).numpy() for t in several]

    return run


OPENED: dict[str, Callable[[dict[str, Any]], Run]] = {"onnx": onnx, "pt2": pt2}


if __name__ == "__main__":
    main()
