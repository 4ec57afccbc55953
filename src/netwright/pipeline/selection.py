"""Which networks are handed back, as what, what their README says, and what is read back of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..core.errors import CheckpointError, NetwrightError, format_error
from ..core.files import sha256
from ..core.front import Front, front
from ..core.metric import Measurement, Metric
from ..core.record import Record
from ..formats.base import Format
from ..report.data import Network

USELESS = ", but no better than a constant answer"


def picks(front: Front) -> list[Record]:
    """Which networks of the front are handed back by default: those that have a role by the figures of the search."""
    named = roles(front)
    return [record for record in front if record.id in named]


def roles(front: Front) -> dict[str, str]:
    """What networks are among those of a front: id to role.

    The best in the first objective; the best in the second within one point (percent) of it; the knee. Networks that a
    constant answer could equal have none, unless all are like that, which the role says then.
    """
    if not front:
        return {}
    words = {"accuracy": "most accurate", "latency": "fastest", "file_bytes": "smallest", "params": "smallest"}
    first, *others = front.objectives
    able = Front([r for r in front if not r.measurements[first.name].at_chance], front.objectives)
    known = able or front
    best = known[0]
    picked: list[tuple[Record, str]] = [(best, words.get(first.name, f"best {first.name}"))]
    if others:
        second = others[0]
        room = 1.0 if first.unit == "%" else 0.01 * abs(best.values[first.name])
        near = [r for r in known if abs(r.values[first.name] - best.values[first.name]) <= room]
        role = f"{words.get(second.name, f'best {second.name}')} within one point"
        picked.append((min(near, key=lambda r: second.loss(r.values[second.name])), role))
        picked.append((known.knee(), "knee"))
    merged: dict[str, str] = {}
    for record, role in picked:
        merged[record.id] = f"{merged[record.id]}, {role}" if record.id in merged else role
    return merged if able else {id_: role + USELESS for id_, role in merged.items()}


def handed_back(out: Path, records: Sequence[Record]) -> list[Record]:
    """The exported networks of an output directory, with the figures of their files in place of the search's."""
    found = []
    for record in records:
        manifest = out / "networks" / record.id / "manifest.json"
        if manifest.exists():
            network = network_of(record, manifest, "")
            # Test data are for nothing but to look at: what validation data say takes their place.
            figures = {**record.measurements, **network.test, **network.validation}
            found.append(replace(record, measurements=figures))
    return found


def roles_handed_back(handed: Sequence[Record], objectives: Sequence[Metric]) -> dict[str, str]:
    """What each of the networks that are handed back is among them, by the figures of its file: id to role."""
    best = front(handed, objectives)
    named = roles(best)
    able = {record.id for record in best}

    def role(record: Record) -> str:
        if record.status != "ok":
            return f"chosen; {record.reason}"
        chosen = "chosen" if record.id in able else "chosen; another that is handed back dominates it"
        return named.get(record.id, chosen)

    return {record.id: role(record) for record in handed}


def roles_told(out: Path) -> dict[str, str]:
    """What the exported networks of an output directory are, as their manifests say: id to role."""
    return {path.parent.name: str(read_json(path).get("role")) for path in out.glob("networks/*/manifest.json")}


def records_by_id(records: Sequence[Record], ids: Sequence[str]) -> list[Record]:
    """The records of these ids or beginnings of ids."""
    found: dict[str, Record] = {}
    for wanted in ids:
        matches = [r for r in records if r.id.startswith(wanted)]
        if len(matches) != 1:
            how = "no id of the study begins" if not matches else f"{len(matches)} ids of the study begin"
            raise NetwrightError(f"{how} with {wanted!r}; 'netwright records' lists them")
        found[matches[0].id] = matches[0]
    return list(found.values())


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file of an output directory."""
    try:
        value = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{path} cannot be read ({format_error(error)}); {_LEFT} {path.parent} away to make it anew"
        ) from None
    if not isinstance(value, dict):
        raise CheckpointError(f"{path} must hold a JSON object; {_LEFT} {path.parent} away to make it anew")
    return value


_LEFT = "it is left as it is: move"


def network_of(record: Record, manifest: Path, run: str) -> Network:
    """An exported network, as its manifest says."""
    about = read_json(manifest)
    try:
        figures = [{k: Measurement.from_json(m) for k, m in about[x].items()} for x in ("validation", "test")]
        files = {name: entry["bytes"] for name, entry in about["files"].items()}
        role = str(about["role"])
    except (KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{manifest} is not what an export writes ({format_error(error)}); {_LEFT} {manifest.parent} away"
        ) from None
    return Network(record.id, role, record, figures[0], figures[1], files, run)


def whole(folder: Path, manifest: Mapping[str, Any]) -> bool:
    """Whether an exported network's files are all there, as they were written."""
    files = {folder / name: entry["sha256"] for name, entry in manifest["files"].items()}
    return (folder / "README.md").exists() and all(p.exists() and sha256(p) == found for p, found in files.items())


RUN = """\
import numpy as np, onnxruntime as ort

session = ort.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
test = np.load("../../test.npz")
scores = session.run(None, {"input": test["inputs"]})[0]
print("test accuracy:", (scores.argmax(1) == test["labels"]).mean())
"""

RUN_IN_BATCHES = """\
import numpy as np, onnxruntime as ort

session = ort.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
test, batch = np.load("../../test.npz"), {batch}
parts = np.split(test["inputs"], range(batch, len(test["inputs"]), batch))
scores = np.concatenate([session.run(None, {{"input": part}})[0] for part in parts])
print("test accuracy:", (scores.argmax(1) == test["labels"]).mean())
"""
"""As a target of low precision runs it: where a file finds ranges for each input, they are those of a whole batch."""

RUN_ON_ZEROS = """\
import json, numpy as np, onnxruntime as ort

session = ort.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
example = json.load(open("manifest.json"))["example"]
inputs = {i.name: np.zeros(example[i.name]["shape"], example[i.name]["dtype"]) for i in session.get_inputs()}
print("output:", session.run(None, inputs)[0].shape)
"""

README = """\
# Network {id}: {role}

A stand-alone network; it needs onnxruntime or torch, and not netwright. `manifest.json` says which network it is,
what was measured of it, where, and with which versions.
{own}
With ONNX Runtime, from this directory:

```python
{run}```

{files}"""


def files_of(formats: Sequence[Format]) -> str:
    """What a README says of a bundle's files."""
    lines = [f"- `{each.file}`{': ' * bool(each.purpose)}{each.purpose}" for each in formats]
    return (
        "The files; which of their sizes (batch, length, height, width) are free is told under `written` in "
        "`manifest.json`:\n\n" + "\n".join(lines) + "\n" + "".join(each.usage for each in formats)
    )


OWN_FILE = """
`{file}` is what the target `{target}` runs, and what latency and size under `test` in `manifest.json` are of.
"""

OWN_ACCURACY = """\
So is the accuracy there: `accuracy_float32` is that of `model.onnx`, which computes more precisely.
"""
