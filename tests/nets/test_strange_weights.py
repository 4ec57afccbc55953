"""Weights of strangers: read as they were written, or refused in words."""

from __future__ import annotations

import errno
import json
import os
import struct
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from fuzz import mutations, swaps
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from netwright.core.errors import CheckpointError
from netwright.nets.state import load_state, read_tensors, state_of, write_tensors

META = {"key": "k", "epoch": 3}


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))


@cache
def written() -> tuple[dict[str, Any], bytes]:
    """The header and the data of a file."""
    write_tensors(Path("w.safetensors"), state_of(network()), META)
    content = Path("w.safetensors").read_bytes()
    end = 8 + struct.unpack("<Q", content[:8])[0]
    return json.loads(content[8:end]), content[end:]


def packed(header: bytes, data: bytes, length: int | None = None) -> bytes:
    return struct.pack("<Q", len(header) if length is None else length) + header + data


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def check(content: bytes) -> None:
    """A file is refused in one line, or read; what it holds is what was written where it still says what that was."""
    Path("w.safetensors").write_bytes(content)
    net = network()
    try:
        tensors, meta = read_tensors(Path("w.safetensors"))
        load_state(net, tensors, Path("w.safetensors"))
    except CheckpointError as error:
        assert "\n" not in str(error) and "w.safetensors" in str(error)
        return
    if meta == META and b"sha256" in content:
        assert all(torch.equal(v, tensors[k]) for k, v in state_of(network()).items())


PARTS = st.sampled_from(["bytes", "header", "entry"])


def any_content(data: st.DataObject) -> bytes:
    header, tensors = written()
    match data.draw(PARTS):
        case "bytes":
            return data.draw(mutations(packed(json.dumps(header).encode(), tensors)))
        case "header":
            return packed(data.draw(swaps(header)), tensors)
    inside = data.draw(swaps(json.loads(header["__metadata__"]["netwright"]))).decode(errors="replace")
    return packed(json.dumps({**header, "__metadata__": {"netwright": inside}}).encode(), tensors)


@settings(max_examples=200)
@given(st.data())
def test_damaged(data: st.DataObject) -> None:
    check(any_content(data))


@pytest.mark.slow
@settings(max_examples=6000)
@given(st.data())
def test_damaged_often(data: st.DataObject) -> None:
    check(any_content(data))


@given(st.integers(0, 10**6), st.integers(0, 7))
def test_no_bit_of_a_tensor_changes_in_silence(at: int, bit: int) -> None:
    header, tensors = written()
    at %= len(tensors)
    flipped = tensors[:at] + bytes([tensors[at] ^ 1 << bit]) + tensors[at + 1 :]
    Path("w.safetensors").write_bytes(packed(json.dumps(header).encode(), flipped))
    with pytest.raises(CheckpointError, match="its tensors are not those that were written"):
        read_tensors(Path("w.safetensors"))


@pytest.mark.parametrize("entry", ["[]", "3", '"x"', "null", "nope", "[" * 100_000])
def test_entries_that_are_no_objects(entry: str) -> None:
    header, tensors = written()
    header = {**header, "__metadata__": {"netwright": entry}}
    Path("w.safetensors").write_bytes(packed(json.dumps(header).encode(), tensors))
    with pytest.raises(CheckpointError, match=r"^w\.safetensors cannot be read"):
        read_tensors(Path("w.safetensors"))


def test_files_that_are_none() -> None:
    os.mkfifo("pipe")
    Path("long").write_bytes(packed(b"{}", b"", 1 << 60))
    for name in ("pipe", "/dev/zero", ".", "missing", "long", "a\0b"):
        with pytest.raises(CheckpointError, match="cannot be read"):
            read_tensors(Path(name))


def test_a_fault_of_the_machine_is_not_the_files(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    written()
    monkeypatch.setattr(os, "open", fails)
    with pytest.raises(OSError, match="Too many open files"):
        read_tensors(Path("w.safetensors"))
