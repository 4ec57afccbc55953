"""Measuring on an agent in another process: figures that arrive, and reasons where none do."""

import hashlib
import io
import os
import pickle
import socket
import subprocess
import sys
import threading
import zipfile

import numpy as np
import onnx
import pytest
import torch
from serving import TOKEN, job

import netwright as nw
from netwright.core.errors import MeasureError
from netwright.measure.base import EvaluationContext
from netwright.measure.latency import Latency
from netwright.measure.remote.client import Remote
from netwright.measure.sampling import SamplingPlan
from netwright.measure.targets import OnnxRuntime, Target, Torch, parse_target


def remote(at, patience_s=20.0):
    return Remote(at, TOKEN, patience_s)


def test_a_network_is_measured_there(shared, monkeypatch):
    net = nw.families.inverted_residual(1, 3, 6, widths=((2, 4), (3, 6)), depths=((1, 2), (1,)), expands=(1, 2))
    target = Target(OnnxRuntime(), f"http://127.0.0.1:{shared.port}", TOKEN)
    measurer = Latency(target, SamplingPlan(max_seconds=0.3))
    measurer.require()
    found = measurer.measure(EvaluationContext(net, net.largest, ()))
    assert found["latency"].value > 0 and found["latency"].details["difference"] < 1e-3 and found["memory"].value > 0
    told = measurer.provenance()["target"]
    assert told["at"] == shared.at and told["runtime"] == "onnxruntime" and told["cpu"] and told["fingerprint"]

    monkeypatch.setenv("NETWRIGHT_TOKEN", TOKEN)
    again = parse_target(f"{shared.at}/onnxruntime")
    assert again == Target(OnnxRuntime(), shared.at) and again.described == told
    sent = {f.name for f in (shared.log.parent / "cache-agent" / "files").iterdir()}
    Latency(again, SamplingPlan(max_seconds=0.1)).measure(EvaluationContext(net, net.largest, ()))
    assert sent == {f.name for f in (shared.log.parent / "cache-agent" / "files").iterdir()}  # nothing is sent twice


def test_a_wrong_answer_is_a_failed_measurement_there_too(shared):
    network = torch.nn.Linear(3, 2)
    network.example_inputs = torch.randn(1, 3)
    measurer = Latency(Target(OnnxRuntime(), shared.at, TOKEN))

    class Fixed:
        def extract(self, candidate):
            return network

    context = EvaluationContext(Fixed(), None, ())
    path = context.file("", ".onnx", lambda p: OnnxRuntime().convert(network, network.example_inputs, p))
    with pytest.raises(MeasureError, match="computes something else than PyTorch"):
        measurer.run(path, {"input": network.example_inputs.numpy()}, [np.full((1, 2), 9.0, np.float32)])


def test_the_form_is_found_and_the_files_outputs_are_computed_there(shared, tmp_path):
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.ReLU(), torch.nn.Conv2d(4, 2, 3)).eval()
    latency = Latency(Target(OnnxRuntime(precision="int8"), shared.at, TOKEN))
    assert latency.target["suited"]["exact"]["u8u8"] and latency.target["form"] == latency.suited.form != ""
    inputs = [torch.randn(1, 1, 8, 8) for _ in range(3)]
    latency.write(network, inputs[0], tmp_path / "n.onnx", [torch.cat(inputs)])
    (got,) = latency.outputs(tmp_path / "n.onnx", inputs)
    with torch.no_grad():
        wanted = np.stack([network(each).numpy() for each in inputs])
    assert np.linalg.norm(got - wanted) < 0.1 * np.linalg.norm(wanted)


class Evil:
    def __reduce__(self):
        return os.system, ("true",)


@pytest.mark.parametrize("ask", [lambda latency, *what: latency.run(*what, trust=True), Latency.run])
def test_an_agent_opens_no_program(shared, tmp_path, ask):
    content = io.BytesIO()
    torch.save(Evil(), content)
    with zipfile.ZipFile(tmp_path / "evil.pt2", "w") as archive:
        for name, each in {"version": b"3", "data/sample_inputs/model.pt": content.getvalue()}.items():
            archive.writestr(f"model/{name}", each)
    latency = Latency(Target(Torch(), shared.at, TOKEN))
    with pytest.raises(MeasureError, match=r"is a program, .*model\.pt is a pickle that calls posix\.system"):
        ask(latency, tmp_path / "evil.pt2", {"x": np.zeros(1)})


def test_what_lies_beside_a_file_is_sent_along(shared, files):
    before = len(shared.runs)
    remote(shared.at).ask(job("fine", *files))
    files[0].with_suffix(".side").unlink()
    remote(shared.at).ask(job("fine", *files))
    assert shared.runs[before:] == ["fine b'a network' True", "fine b'a network' False"]


def test_weights_in_files_of_any_name_are_sent_along(shared, tmp_path):
    model = onnx.helper.make_model(
        onnx.helper.make_graph(
            [onnx.helper.make_node("Add", ["x", "one"], ["y"])], "g",
            [onnx.helper.make_tensor_value_info("x", 1, [1, 300])],
            [onnx.helper.make_tensor_value_info("y", 1, [1, 300])],
            [onnx.numpy_helper.from_array(np.ones((1, 300), np.float32), "one")],
        ),
        opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8,
    )  # fmt: skip
    onnx.save(model, tmp_path / "n.onnx", save_as_external_data=True, location="All weights.v2.bin", size_threshold=100)
    measurer = Latency(Target(OnnxRuntime(), shared.at, TOKEN), SamplingPlan(max_seconds=0.05))
    x = np.zeros((1, 300), np.float32)
    found = measurer.run(tmp_path / "n.onnx", {"x": x}, [x + 1])
    assert found["file_bytes"].value == sum(p.stat().st_size for p in tmp_path.iterdir())
    (tmp_path / "All weights.v2.bin").unlink()
    with pytest.raises(MeasureError, match="which is not there"):
        measurer.run(tmp_path / "n.onnx", {"x": x}, [x + 1])


def test_crashes_and_hangs_are_said_and_the_next_job_runs(shared, files):
    there = remote(shared.at)
    with pytest.raises(MeasureError, match=r"^faulty crashed \(SIGSEGV\)$"):
        there.ask(job("segfault", *files))
    with pytest.raises(MeasureError, match=r"^faulty gave no answer within 0.5 s and was ended$"):
        there.ask(job("hang", *files, seconds=0.5))
    assert there.ask(job("fine", *files))["measurements"]["latency"]["value"] > 0


def test_what_the_agent_refuses_is_said(shared, files, monkeypatch):
    before = shared.runs
    with pytest.raises(MeasureError, match="refuses: the token is missing or wrong"):
        Remote(shared.at, "another").ask(job("fine", *files))
    with pytest.raises(MeasureError, match="refuses: a job has no surprise"):
        remote(shared.at).ask({**job("fine", *files), "surprise": 1})
    monkeypatch.setattr(hashlib, "file_digest", lambda file, kind: hashlib.sha256(b"another"))
    with pytest.raises(MeasureError, match=r"refuses: the file's SHA-256 is .*, announced was"):
        remote(shared.at).ask(job("fine", *files))
    assert shared.runs == before


@pytest.mark.parametrize(
    "at, words",
    [
        ("http://pi:7653", "http:// would show the token to others"),
        ("http://127.0.0.1:99999", "an agent is at http://host:port"),
        ("http://127.0.0.1/path", "an agent is at http://host:port"),
        ("http://me@127.0.0.1", "an agent is at http://host:port"),
        ("ssh://-oProxyCommand=x", "a place behind ssh is"),
        ("ssh://-l@host", "a place behind ssh is"),
        ("ssh://host;x", "a place behind ssh is"),
        ("ssh://host/x", "a place behind ssh is"),
    ],
)
def test_places_that_are_none(at, words):
    with pytest.raises(MeasureError, match=words):
        remote(at)


def test_tokens_that_are_none(monkeypatch):
    monkeypatch.delenv("NETWRIGHT_TOKEN", raising=False)
    with pytest.raises(MeasureError, match="set NETWRIGHT_TOKEN"):
        Remote("http://127.0.0.1")
    with pytest.raises(MeasureError, match="no blanks"):
        Remote("http://127.0.0.1", "a\nb")


def test_a_target_goes_to_other_processes(shared, files):
    target = Target(OnnxRuntime(), shared.at, TOKEN)
    assert target.described["cpu"]
    again = pickle.loads(pickle.dumps(target))
    assert again.described == target.described and again.ask({"job": "describe", "seconds": 20})


def test_nobody_is_there(files):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        at = f"http://127.0.0.1:{closed.getsockname()[1]}"
    with pytest.raises(MeasureError, match=f"the agent at {at} cannot be reached, tried for . s: ConnectionRefused"):
        remote(at, 0.5).ask({"job": "describe", "runtime": {"runtime": "onnxruntime"}, "seconds": 5})


def test_somebody_else_is_there():
    def answer():
        line, _ = other.accept()
        line.recv(1000)
        line.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
        line.close()

    with socket.create_server(("127.0.0.1", 0)) as other:
        threading.Thread(target=answer, daemon=True).start()
        with pytest.raises(MeasureError, match="something answers that is no netwright agent"):
            remote(f"http://127.0.0.1:{other.getsockname()[1]}").ask(
                {"job": "describe", "runtime": {"runtime": "onnxruntime"}, "seconds": 5}
            )


def test_a_second_agent_is_refused(shared, tmp_path):
    again = subprocess.run(
        [sys.executable, "-m", "netwright", "agent", "--port", "0"],
        env={**os.environ, "NETWRIGHT_CACHE": str(shared.log.parent / "cache")},
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert again.returncode == 2 and "another agent uses" in again.stderr and not again.stdout


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--host", "0.0.0.0"], "others can listen: give --cert and --key"),
        (["--cert", "x"], "--cert and --key belong together"),
        (["--token-file", f"{__file__}/none"], "the token cannot be read from"),
        (["--prt", "1"], "did you mean '--port'?"),
        (["--port", "x"], "argument --port: invalid int value: 'x'"),
        (["--port", "70000"], "cannot listen at 127.0.0.1, port 70000"),
        (["--pack", f"{__file__}/agent.pyz"], "agent.pyz cannot be written"),
    ],
)
def test_mistakes_of_the_command_line(arguments, words, tmp_path, monkeypatch, capsys):
    from netwright.cli.main import main

    monkeypatch.setenv("NETWRIGHT_CACHE", str(tmp_path / "cache"))
    with pytest.raises(SystemExit) as end:
        main(["agent", *arguments])
    assert end.value.code == 2 and words in capsys.readouterr().err


def test_a_file_is_explained_there(shared, tmp_path, monkeypatch):
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.Conv2d(8, 4, 1)).eval()
    inputs = torch.randn(4, 3, 6, 6)
    OnnxRuntime().convert(module, inputs[:1], tmp_path / "float32.onnx")
    target = Target(OnnxRuntime(precision="int8", form="u8u8"), f"http://127.0.0.1:{shared.port}", TOKEN)
    target.runtime.convert(module, inputs[:1], tmp_path / "int8.onnx", list(inputs.split(1)))
    files = tmp_path / "int8.onnx", tmp_path / "float32.onnx"
    found = nw.explain(files[0], target, files[1], {"input": inputs}, plan=SamplingPlan(max_seconds=0.1))
    assert [each.path for each in found.layers] == ["0", "2"] and found.ms > 0 and found.float_ms > 0
    assert found.target["at"] == shared.at and found.layers[0].errors.alone
