"""Run by a Python that has litert-torch: a program of ``torch.export`` becomes a ``.tflite`` file.

    python litert_convert.py JOB.json

The job names the files (``program``, ``inputs``, ``path``), the ``precision``, and the ``torch`` that wrote the
program. It stands alone: that Python has no netwright. Its answer is one line of JSON, the last that it writes.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any


def main() -> None:
    """Do the job; the answer says how it was done, or what went wrong (``failed``)."""
    job = json.loads(Path(sys.argv[1]).read_text())
    try:
        answer = convert(job)
    except Exception as error:  # torch, jax and the converter raise many types
        answer = {"failed": f"{type(error).__name__}: {' '.join(str(error).split())[:500]}"}
    print("\n" + json.dumps(answer))


def convert(job: dict[str, str]) -> dict[str, Any]:
    """Write the file; returns how."""
    import litert_torch
    import numpy as np
    import torch

    if _minor(torch.__version__) != _minor(job["torch"]):
        return {"failed": f"it has torch {torch.__version__}, and the network comes from torch {job['torch']}"}
    program = torch.export.load(job["program"])
    with np.load(job["inputs"], allow_pickle=False) as held:
        samples = list(zip(*(held[name] for name in held.files), strict=True))
    edge = litert_torch.convert(program.module(), tuple(torch.from_numpy(a) for a in samples[0]))
    edge.export(job["path"])
    how = {"exporter": f"litert-torch {litert_torch.__version__}"}
    if job["precision"] == "int8":
        convolves = any("conv" in str(node.target) for node in program.graph.nodes if node.op == "call_function")
        quantise(job["path"], samples, static=convolves)
        how["quantised"] = "static" if convolves else "dynamic"
    return how


def quantise(path: str, samples: list[tuple[Any, ...]], static: bool) -> None:
    """Rewrite the file in 8 bits, weights per channel; activations with the ranges that samples of the inputs show, or
    those of each input."""
    from ai_edge_quantizer import quantizer, recipe

    rule = quantizer.Quantizer(path, recipe.static_wi8_ai8() if static else recipe.dynamic_wi8_afp32())
    ranges = None
    if static:
        feeds = [{f"args_{i}": array for i, array in enumerate(each)} for each in samples]
        ranges = rule.calibrate({"serving_default": feeds})
    rule.quantize(ranges).export_model(path, overwrite=True)


def _minor(version: str) -> list[str]:
    return version.split(".")[:2]


if __name__ == "__main__":
    main()
