"""Which networks are handed back, as what, and what their README says."""

from __future__ import annotations

from collections.abc import Sequence

from .core.errors import NetwrightError
from .core.front import Front
from .core.record import Record


def roles(front: Front) -> dict[str, str]:
    """Which networks of the front are handed back by default, and as what: id to role.

    The best in the first objective; the best in the second within one point (percent) of it; the knee.
    """
    if not front:
        return {}
    words = {"accuracy": "most accurate", "latency": "fastest", "file_bytes": "smallest", "params": "smallest"}
    first, *others = front.objectives
    best = front[0]
    picked: list[tuple[Record, str]] = [(best, words.get(first.name, f"best {first.name}"))]
    if others:
        second = others[0]
        room = 1.0 if first.unit == "%" else 0.01 * abs(best.values[first.name])
        near = [r for r in front if abs(r.values[first.name] - best.values[first.name]) <= room]
        role = f"{words.get(second.name, f'best {second.name}')} within one point"
        picked.append((min(near, key=lambda r: second.loss(r.values[second.name])), role))
        picked.append((front.knee(), "knee"))
    merged: dict[str, str] = {}
    for record, role in picked:
        merged[record.id] = f"{merged[record.id]}, {role}" if record.id in merged else role
    return merged


def networks_by_id(front: Front, records: Sequence[Record], ids: Sequence[str]) -> dict[str, tuple[Record, str]]:
    """Id to record and what to call it, for these ids or beginnings of ids."""
    named = roles(front)
    found: dict[str, tuple[Record, str]] = {}
    for wanted in ids:
        matches = [r for r in records if r.id.startswith(wanted)]
        if len(matches) != 1:
            how = "no id of the study begins" if not matches else f"{len(matches)} ids of the study begin"
            raise NetwrightError(f"{how} with {wanted!r}; 'netwright records' lists them")
        found[matches[0].id] = matches[0], named.get(matches[0].id, "chosen")
    return found


RUN = """\
import numpy as np, onnxruntime as ort

session = ort.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
test = np.load("../../test.npz")
scores = session.run(None, {"input": test["inputs"]})[0]
print("test accuracy:", (scores.argmax(1) == test["labels"]).mean())
"""

README = """\
# Network {id}: {role}

A stand-alone network; it needs onnxruntime or torch, and not netwright. `manifest.json` says which network it is,
what was measured of it, where, and with which versions.

With ONNX Runtime, from this directory:

```python
{run}```

With torch:

```python
import torch

network = torch.export.load("model.pt2").module()
```
"""
