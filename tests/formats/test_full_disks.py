"""A disk that is full: nothing ends the process, nothing half is left, and the disk is blamed, not the network."""

import errno
import json
import resource
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from netwright.core.errors import BundleError
from netwright.core.faults import machine_fault
from netwright.core.files import require_room
from netwright.formats import readback, reader
from netwright.formats.bundle import export
from netwright.formats.onnx import write_onnx
from netwright.formats.plain import Plain
from netwright.formats.pt2 import write_pt2
from netwright.formats.safetensors import write_weights
from netwright.measure.runtimes.executorch import ExecuTorch
from netwright.measure.runtimes.ncnn import Ncnn
from netwright.measure.runtimes.onnxruntime import OnnxRuntime
from netwright.measure.runtimes.openvino import OpenVino
from netwright.measure.runtimes.torch import Torch

NETWORK = nn.Sequential(nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 8)).eval()
INPUTS = torch.randn(1, 512)
"""Of a megabyte, which none of these disks has."""

Write = Callable[[Path], Any]


def converts(runtime: Any, *more: Any) -> Any:
    marks = [*more] if find_spec(runtime.modules[0]) else [pytest.mark.skip(reason=f"{runtime.name} is not installed")]
    return pytest.param(
        lambda path: runtime.convert(NETWORK, INPUTS, path.with_suffix(runtime.suffix)),
        id=f"{runtime.name} {runtime.precision}",
        marks=marks,
    )


WRITERS = [
    pytest.param(lambda path: write_pt2(NETWORK, INPUTS, path), id="pt2"),
    pytest.param(lambda path: write_onnx(NETWORK, INPUTS, path), id="onnx"),
    pytest.param(lambda path: write_onnx(NETWORK, INPUTS, path, external_data=True), id="onnx, external data"),
    pytest.param(lambda path: write_weights(NETWORK, path), id="safetensors"),
    pytest.param(lambda path: export(NETWORK, path.parent, ["pt2"], example_inputs=INPUTS), id="bundle"),
    converts(Torch()),
    converts(ExecuTorch(), pytest.mark.slow),
    converts(OpenVino()),
    converts(Ncnn()),
    converts(OnnxRuntime(precision="int8")),
]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A disk of 256 kB."""
    folder = tmp_path_factory.mktemp("small")
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", folder], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.fixture
def limited() -> Iterator[None]:
    """Files of at most 256 kB, in this process and those that it starts."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (256 << 10, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def check_blamed(write: Write, path: Path, number: int) -> None:
    with pytest.raises(Exception) as caught:  # an OSError, or one that came of it
        write(path)
    fault = machine_fault(caught.value)
    assert fault is not None and fault.errno == number, f"{caught.value!r} blames no disk"
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize("write", WRITERS)
def test_where_a_file_is_written(write: Write, small: Path) -> None:
    check_blamed(write, small / "network.pt2", errno.ENOSPC)


@pytest.mark.parametrize("write", WRITERS[1:3] + WRITERS[-3:])
def test_where_temporary_files_are_written(
    write: Write, small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(small))
    monkeypatch.setenv("TMPDIR", str(small))
    check_blamed(write, tmp_path / "network.pt2", errno.ENOSPC)
    assert list(small.iterdir()) == []


@pytest.mark.parametrize("write", WRITERS[:4])
def test_a_file_that_is_too_large(write: Write, limited: None, tmp_path: Path) -> None:
    check_blamed(write, tmp_path / "network.pt2", errno.EFBIG)


def test_what_is_there_stays(small: Path) -> None:
    (small / "network.pt2").write_bytes(b"before")
    with pytest.raises(OSError, match="No space left"):
        write_pt2(NETWORK, INPUTS, small / "network.pt2")
    assert (small / "network.pt2").read_bytes() == b"before"
    (small / "network.pt2").unlink()


def test_room(tmp_path: Path, small: Path) -> None:
    require_room(tmp_path)
    with pytest.raises(OSError, match="No space left"):
        require_room(small)
    assert list(tmp_path.iterdir()) == list(small.iterdir()) == []


def test_the_process_that_reads_back_hands_the_fault_on(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    opener = "def opened(file):\n    import numpy as np\n    return lambda arrays: [np.zeros(100_000)]\n"
    (tmp_path / "opener.py").write_text(opener)
    np.savez(tmp_path / "0.npz", input0=np.zeros(1))
    file = {"calls": [(str(tmp_path / "0.npz"), str(small / "outputs.npz"))], "names": ["x"]}
    (tmp_path / "job.json").write_text(json.dumps([{**file, "reader": str(tmp_path / "opener.py")}]))
    monkeypatch.setattr("sys.argv", ["reader.py", str(tmp_path / "job.json")])
    reader.main()
    (small / "outputs.npz").unlink()
    answers = json.loads(capsys.readouterr().out)
    assert answers == [["OSError: [Errno 28] No space left on device", errno.ENOSPC]]
    monkeypatch.setattr(readback, "_answer", lambda job, place: answers)
    with pytest.raises(BundleError, match="No space left") as caught:
        readback.read_back({"a": (Path("a.any"), Path("any.py"))}, Plain(NETWORK, INPUTS), {"a": [INPUTS]})
    assert machine_fault(caught.value) is not None
