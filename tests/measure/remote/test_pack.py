"""The agent as one file, on a device that has Python, NumPy and a runtime, and nothing else."""

import subprocess
import sys
from importlib.metadata import distribution

import pytest
import torch
from serving import TOKEN, Served

import netwright as nw
from netwright.cli.main import main
from netwright.measure.latency import Latency
from netwright.measure.sampling import SamplingPlan
from netwright.measure.targets import OnnxRuntime, Target


@pytest.fixture(scope="module")
def device(tmp_path_factory):
    """A Python that has nothing but NumPy and ONNX Runtime, and the packed agent."""
    folder = tmp_path_factory.mktemp("device")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"], check=True)
    (packages,) = (folder / "venv" / "lib").glob("python*/site-packages")
    for name in ("numpy", "onnxruntime"):
        files = distribution(name).files or []
        for top in {file.parts[0] for file in files} - {"..", "__pycache__"}:
            (packages / top).symlink_to(distribution(name).locate_file(top))
    main(["agent", "--pack", str(folder / "agent.pyz")])
    return folder / "venv" / "bin" / "python", folder / "agent.pyz"


def run(device, code):
    return subprocess.run([device[0], "-I", "-c", code, device[1]], capture_output=True, text=True)


def test_the_device_lacks_what_netwright_needs(device):
    for name in ("torch", "rich", "jsonargparse", "netwright", "sklearn", "onnx"):
        assert f"No module named '{name}'" in run(device, f"import {name}").stderr
    assert run(device, "import numpy, onnxruntime").returncode == 0


def test_it_is_small(device, capsys):
    assert device[1].stat().st_size < 250_000


@pytest.fixture
def served(device, tmp_path):
    """The packed agent, at work."""
    agent = Served(tmp_path / "agent", command=(device[0], "-I", device[1]))
    yield agent
    agent.kill()


def test_a_network_is_measured_by_the_packed_agent(served, tmp_path):
    assert served.process.stdout.readline() == "measures with onnxruntime\n"
    network, inputs = torch.nn.Linear(3, 2), torch.randn(1, 3)
    OnnxRuntime().convert(network, inputs, tmp_path / "net.onnx")
    measurer = Latency(Target(OnnxRuntime(), served.at, TOKEN), SamplingPlan(max_seconds=0.1))
    assert measurer.of(tmp_path / "net.onnx", inputs)["latency"].value > 0
    assert measurer.target["versions"] == {"onnxruntime": distribution("onnxruntime").version}


def test_a_file_is_explained_on_the_packed_agent(served, tmp_path):
    network, inputs = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU()).eval(), torch.randn(1, 3, 8, 8)
    runtime, whole, low = OnnxRuntime(precision="int8", form="u8u8"), tmp_path / "float32.onnx", tmp_path / "int8.onnx"
    runtime.in_float32.convert(network, inputs, whole)
    runtime.convert(network, inputs, low)
    there, plan = Target(runtime, served.at, TOKEN), SamplingPlan(max_seconds=0.05, repeats=0)
    found = nw.explain(low, there, whole, {"input": inputs}, plan=plan)
    assert [(each.path, each.runs_in) for each in found.layers] == [("0", "int8")]
    assert found.layers[0].ms > 0 and found.layers[0].float_ms and found.target["at"] == served.at


RUNTIMES = """
import sys
sys.path.insert(0, sys.argv[1])
from netwright.core.errors import MissingExtra
from netwright.measure.runtimes import RUNTIMES, runtime_class
for name in RUNTIMES.ours:
    try:
        runtime_class(name).require()
    except MissingExtra as error:
        print(name, error)
"""


def test_every_runtime_says_what_it_needs_there(device):
    found = run(device, RUNTIMES)
    assert found.returncode == 0, found.stderr
    assert "onnxruntime " not in found.stdout and "torch" in found.stdout


def test_a_packed_agent_packs_none(device, tmp_path):
    found = subprocess.run([device[0], device[1], "--pack", tmp_path / "again"], capture_output=True, text=True)
    assert found.returncode == 2 and "this agent is packed itself" in found.stderr
