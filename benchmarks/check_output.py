"""Check an output directory of ``netwright fit`` without netwright: the files, the front, the exported networks.

python benchmarks/check_output.py runs/digits             what every run must keep
python benchmarks/check_output.py runs/digits --targets   and what the whole demo must reach
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

FILES = ("study.db", "front.json", "report.html", "supernet/weights.safetensors", "supernet/manifest.json", "test.npz")


def main() -> None:
    """Check, print what was found, and fail loudly."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--targets", action="store_true", help="also check the figures that the whole demo must reach")
    arguments = parser.parse_args()
    out: Path = arguments.out

    for name in FILES:
        assert (out / name).is_file(), f"{name} is missing"
    front = json.loads((out / "front.json").read_text())
    points = [(r["measurements"]["accuracy"]["value"], r["measurements"]["latency"]["value"]) for r in front]
    for i, (a, t) in enumerate(points):
        assert not any(x >= a and y <= t and (x, y) != (a, t) for x, y in points), f"{front[i]['id']} is dominated"
    with sqlite3.connect(f"file:{out / 'study.db'}?mode=ro", uri=True) as study:
        records = [json.loads(b) for (b,) in study.execute("SELECT body FROM journal WHERE kind = 'record'")]
    print(f"{len(records)} records, {len(front)} networks on the front")

    manifests = [check_network(path, out) for path in sorted((out / "networks").iterdir())]
    assert manifests, "no network was exported"

    smallest = min(front, key=lambda r: r["measurements"]["macs"]["value"])
    most = max(r["measurements"]["macs"]["value"] for r in records)
    times = most / smallest["measurements"]["macs"]["value"]
    print(f"smallest on the front: {times:.1f}x fewer MACs than the largest network measured, "
          f"{smallest['measurements']['accuracy']['value']:.2f} % validation accuracy")  # fmt: skip
    best = max(m["test"]["accuracy"]["value"] for m in manifests)
    print(f"best exported network: {best:.2f} % on the test part")
    if arguments.targets:
        assert len(front) >= 8, f"{len(front)} networks on the front, wanted 8"
        assert best >= 97.5, f"{best:.2f} % on the test part, wanted 97.5 %"
        assert times >= 8, f"{times:.1f}x fewer MACs, wanted 8x"
        assert smallest["measurements"]["accuracy"]["value"] >= 94, "the smallest network is below 94 %"
    print("all checks passed")


def check_network(folder: Path, out: Path) -> dict[str, Any]:
    """One exported network: its files are what the manifest says, and compute what it says."""
    manifest: dict[str, Any] = json.loads((folder / "manifest.json").read_text())
    for name, entry in manifest["files"].items():
        found = hashlib.sha256((folder / name).read_bytes()).hexdigest()
        assert found == entry["sha256"], f"{folder / name} is not the file of the manifest"
    test = np.load(out / "test.npz")
    session = ort.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
    scores = session.run(None, {"input": test["inputs"]})[0]
    accuracy = 100.0 * float((scores.argmax(axis=1) == test["labels"]).mean())
    said = manifest["test"]["accuracy"]["value"]
    assert abs(accuracy - said) < 1e-9, f"{folder}: ONNX Runtime gives {accuracy} %, the manifest says {said} %"

    import torch

    with torch.no_grad():
        other = torch.export.load(folder / "model.pt2").module()(torch.from_numpy(test["inputs"])).numpy()
    assert np.abs(other - scores).max() <= 1e-4, f"{folder}: model.pt2 differs from model.onnx"
    latency = manifest["test"]["latency"]
    print(f"{folder.name}: {accuracy:.2f} % on the test part, {latency['value']:.4f} {latency['unit']}, "
          f"in the search {manifest['measurements']['latency']['value']:.4f} ({manifest['role']})")  # fmt: skip
    return manifest


if __name__ == "__main__":
    main()
