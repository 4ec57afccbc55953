"""``netwright measure`` on files whose inputs are not all (batch, ...), with noise and with a person's own arrays."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from .running import command, done


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file with a state beside its input, and segments of a table of one row."""
    monkeypatch.chdir(tmp_path)

    class Segments(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm, self.segments = nn.LSTM(4, 8, num_layers=2), nn.Embedding(1, 4)

        def forward(self, x: Tensor, h: Tensor, ids: Tensor) -> Tensor:
            return self.lstm(x + self.segments(ids), (h, h))[0]

    given = torch.randn(5, 1, 4), torch.zeros(2, 1, 8), torch.zeros(5, 1, dtype=torch.long)
    axes = {"x": {1: "b"}, "h": {1: "b"}, "ids": {1: "b"}}
    torch.onnx.export(Segments().eval(), given, "s.onnx", input_names=[*axes], dynamic_axes=axes, dynamo=False)
    np.savez("s.npz", x=np.zeros((5, 2, 4), np.float32), h=np.zeros((2, 2, 8), np.float32), ids=np.zeros((5, 2), int))
    np.savez(
        "beyond.npz", x=np.zeros((5, 1, 4), np.float32), h=np.zeros((2, 1, 8), np.float32), ids=np.ones((5, 1), int)
    )
    return tmp_path


def test_a_file_with_states_and_a_small_table_is_measured(files: Path) -> None:
    quick = ("--max-seconds", "0.02", "--precision", "0.5", "--json")
    told = done("measure", "s.onnx", *quick)
    assert json.loads(told.out)["latency"]["value"] > 0
    assert "dimension 1 of x" in told.err and "ids: zeros" in told.err
    told = done("measure", "s.onnx", "--inputs", "s.npz", "--target", "onnxruntime,batch=2", *quick)
    assert json.loads(told.out)["target"]["batch"] == 2
    assert (
        "the inputs have a batch of 2, the target one of 1" in command("measure", "s.onnx", "--inputs", "s.npz").mistake
    )
    said = command("measure", "s.onnx", "--inputs", "beyond.npz", *quick).mistake
    assert "out of data bounds" in said and "noise" not in said


def test_inputs_that_no_made_up_numbers_serve_are_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Strange(nn.Module):
        def forward(self, x: Tensor, shape: Tensor) -> Tensor:
            return x.reshape(shape[0], shape[1])

    monkeypatch.chdir(tmp_path)
    given = torch.randn(6), torch.tensor([2, 3])
    torch.onnx.export(torch.jit.script(Strange()), given, "r.onnx", input_names=["x", "shape"], dynamo=False)
    said = command("measure", "r.onnx").mistake
    assert "neither with ones nor with zeros for shape" in said and "--inputs" in said and "shape (2, int64)" in said
