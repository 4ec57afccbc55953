"""``netwright measure`` and ``netwright targets``: any file, any model, and what is said of wrong ones."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from netwright.core.errors import MissingExtra
from netwright.measure.runtimes import RUNTIMES, runtime_class

from .running import command, done

QUICK = ("--max-seconds", "0.05", "--precision", "0.5")

MODELS = """
import torch
from torch import nn
import netwright as nw
from netwright.nets.families.cifar_resnet import cifar_resnet


def pair():
    return nn.Sequential(nn.Linear(4, 4), nn.ReLU()), torch.zeros(1, 4)


def module():
    made = nn.Linear(4, 2)
    made.example_inputs = torch.zeros(1, 4)
    return made


def supernet():
    return cifar_resnet(8)


def without():
    return nn.Linear(4, 2)


def text():
    return "a network"
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mymodels.py").write_text(MODELS)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


@pytest.fixture
def files(folder: Path) -> list[Path]:
    """Two networks, the second several times as large, with an input that a file leaves open."""
    torch.manual_seed(0)
    found = []
    for layers in (1, 6):
        network = nn.Sequential(*(nn.Linear(64, 64) for _ in range(layers))).eval()
        path = folder / f"{layers}.onnx"
        torch.onnx.export(network, (torch.zeros(2, 64),), str(path), input_names=["x"], dynamo=False,
                          dynamic_axes={"x": {0: "batch"}})  # fmt: skip
        found.append(path)
    return found


def test_a_file_is_measured(files: list[Path]) -> None:
    found = json.loads(done("measure", files[0], "--json", *QUICK).out)
    assert {"value", "unit", "spread", "n", "cpu", "wall"} <= found["latency"].keys()
    assert found["target"]["runtime"] == "onnxruntime" and found["target"]["fingerprint"]
    assert found["file_bytes"]["value"] == files[0].stat().st_size
    said = done("measure", files[0], *QUICK).out
    assert "1.onnx" in said and "onnxruntime" in said and " ms" in said and "wall" in said


def test_targets_and_batches_are_rows(files: list[Path]) -> None:
    lines = done("measure", files[0], "--json", "--target", "onnxruntime", "--target", "onnxruntime,batch=64", *QUICK)
    one, many = (json.loads(line) for line in lines.out.splitlines())
    assert one["target"]["batch"] == 1 and many["target"]["batch"] == 64
    assert many["throughput"]["value"] > one["throughput"]["value"]


def test_two_files_are_compared(files: list[Path]) -> None:
    said = done("measure", *files, *QUICK).out
    assert f"{files[0]} is faster: {files[1]} takes" in said and "sign test" in said
    pair = json.loads(done("measure", *files, "--json", *QUICK).out.splitlines()[-1])["comparison"]
    assert pair["low"] <= pair["ratio"] <= pair["high"] and pair["ratio"] > 1


@pytest.mark.parametrize("what", ["pair", "module", "supernet"])
def test_a_function_gives_a_network(what: str) -> None:
    found = json.loads(done("measure", f"mymodels:{what}", "--json", *QUICK).out)
    assert found["latency"]["value"] > 0 and found["latency"]["difference"] < 1e-3


def test_a_function_is_called_once_for_all_targets(folder: Path) -> None:
    (folder / "counting.py").write_text(
        "import torch\nfrom torch import nn\n\n\ndef pair():\n    open('calls', 'a').write('.')\n"
        "    return nn.Linear(4, 4), torch.zeros(1, 4)\n"
    )
    done("measure", "counting:pair", "--target", "onnxruntime", "--target", "onnxruntime,batch=2", "--json", *QUICK)
    assert (folder / "calls").read_text() == "."


def test_inputs_of_a_file_are_given(files: list[Path], folder: Path) -> None:
    np.savez(folder / "in.npz", x=np.ones((5, 64), np.float32))
    given = ("measure", files[0], "--json", "--inputs", "in.npz", *QUICK)
    assert json.loads(done(*given, "--target", "onnxruntime,batch=5").out)["latency"]["value"] > 0
    assert "the inputs have a batch of 5, the target one of 1" in command(*given).mistake
    assert json.loads(done("measure", files[0], "--json", "--shape", "64", *QUICK).out)["latency"]["value"] > 0


def test_a_table_of_blocks(folder: Path) -> None:
    said = done("measure", "mymodels:supernet", "--table", "t.json", *QUICK).out
    assert "t.json: " in said and "20 whole networks" in said and "predicted within ±" in said
    kept = json.loads((folder / "t.json").read_text())
    assert len(kept["rows"]) > 5 and len(kept["whole"]) == 20


def test_targets_are_listed() -> None:
    said = done("targets").out
    assert all(name in said for name in RUNTIMES.ours) and "fingerprint" in said
    assert "energy" in said
    found = json.loads(done("targets", "--json").out)
    assert found["runtimes"]["onnxruntime"]["works"] and found["machine"]["cores"] >= 1
    for name, state in found["runtimes"].items():
        assert state["works"] or "pip install 'netwright[" in state["why"], name


def test_what_to_install_is_told_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Brackets are no markup."""

    def lacking() -> None:
        raise MissingExtra("ncnn", "ncnn", "the runtime ncnn")

    monkeypatch.setattr(runtime_class("ncnn"), "require", lacking)
    assert "pip install 'netwright[ncnn]'" in " ".join(done("targets").out.split())


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["measure", "nothing.onnx"], ["no file nothing.onnx", "module:function"]),
        (["measure"], ["what"]),
        (["measure", "1.onnx", "--target", "onnxruntme"], ["did you mean 'onnxruntime'"]),
        (["measure", "1.onnx", "--target", "onnxruntime,thread=2"], ["did you mean 'threads'"]),
        (["measure", "1.onnx", "--target", "torch"], ["torch reads .pt2", "onnxruntime"]),
        (["measure", "mymodels.py"], ["onnxruntime reads .onnx", "mymodels.py"]),
        (["measure", "1.onnx", "--shape", "64x"], ["3x224x224", "'64x'"]),
        (["measure", "1.onnx", "--shape", "y=64"], ["no input 'y'", "x"]),
        (["measure", "1.onnx", "--inputs", "mymodels.py"], ["not an .npz file"]),
        (["measure", "1.onnx", "--precision", "0"], ["more than 0"]),
        (["measure", "mymodels:nothing"], ["no 'nothing'"]),
        (["measure", "mymodels:without"], ["example_inputs"]),
        (["measure", "mymodels:text"], ["gave a str"]),
        (["measure", "nomodule:f"], ["cannot import 'nomodule'"]),
        (["measure", "1.onnx", "--table", "t.json"], ["module:function"]),
        (["measure", "broken.onnx"], ["broken.onnx"]),
        (["fit", "digits", "--target", "onnxruntme"], ["did you mean 'onnxruntime'"]),
    ],
)
def test_mistakes_are_told_in_a_line(files: list[Path], folder: Path, arguments: list[str], words: list[str]) -> None:
    (folder / "broken.onnx").write_bytes(b"no network")
    said = command(*arguments).mistake
    assert all(word in said for word in words), said


def test_energy_is_unavailable_with_the_reason_or_measured(files: list[Path]) -> None:
    answer = command("measure", files[0], "--energy", *QUICK, "--json")
    if answer.code == 0:
        assert json.loads(answer.out)["energy"]["value"] is not None
    else:
        assert "energy is unavailable here" in answer.mistake
