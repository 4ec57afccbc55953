"""``--retry failed``: what could not be measured is said, and measured again when that is asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from .running import done, records

MODEL = """
import os, torch
import netwright as nw


class Size(nw.Measurer):
    metrics = (nw.Metric("size"),)

    def measure(self, context):
        if context.candidate["a"] == 2 and "DISK" not in os.environ:
            raise OSError("disk full")
        return {"size": nw.Measurement(float(context.candidate["a"]))}


class Made:
    space = nw.Space([nw.Choice("a", (1, 2, 3)), nw.Choice("b", (1, 2))])
    example_inputs = torch.zeros(1, 4)
    measurers = (Size(),)

    def extract(self, candidate):
        return torch.nn.Linear(4, candidate["a"])


def made():
    return Made()
"""


def test_what_failed_is_said_and_measured_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DISK", raising=False)
    Path("retried.py").write_text(MODEL)
    Path("r.yaml").write_text("model: retried:made\nobjectives: [size, params]\nevaluations: 6\n")
    said = done("search", "r.yaml", "--out", "out").err
    assert "2 of 6 networks could not be measured: OSError: disk full" in said and "--retry failed" in said
    monkeypatch.setenv("DISK", "1")
    assert "2 of 6" in done("search", "r.yaml", "--out", "out").err, "nobody asked"
    assert "not be measured" not in done("search", "r.yaml", "--out", "out", "--retry", "failed").err
    found = records(Path("out"))
    assert len(found) == 6 and {r["status"] for r in found} == {"ok"}
