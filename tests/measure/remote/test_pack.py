"""The agent as one file, on a device that has Python, NumPy and a runtime, and nothing else."""

import subprocess
import sys
from importlib.metadata import distribution

import pytest
import torch
from serving import TOKEN, Served

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


def test_a_network_is_measured_by_the_packed_agent(device, tmp_path):
    served = Served(tmp_path / "agent", command=(device[0], "-I", device[1]))
    try:
        assert served.process.stdout.readline() == "measures with onnxruntime\n"
        network, inputs = torch.nn.Linear(3, 2), torch.randn(1, 3)
        OnnxRuntime().convert(network, inputs, tmp_path / "net.onnx")
        measurer = Latency(Target(OnnxRuntime(), served.at, TOKEN), SamplingPlan(max_seconds=0.1))
        assert measurer.of(tmp_path / "net.onnx", inputs)["latency"].value > 0
        assert measurer.target["versions"] == {"onnxruntime": distribution("onnxruntime").version}
    finally:
        served.kill()


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
