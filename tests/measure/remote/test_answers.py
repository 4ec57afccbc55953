"""What an agent answers: what no agent of ours does is said in one line, and nothing of it is believed."""

import base64
import io
import json
import socket
import threading
import time
from contextlib import contextmanager

import numpy as np
import pytest
from fuzz import HOSTILE, mutations, swaps
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from serving import TOKEN

from netwright.core.errors import DeviceLost, MachineFault, MeasureError, NetwrightError, ShapeError
from netwright.measure.feeds import write_feeds
from netwright.measure.latency import Latency
from netwright.measure.remote import client
from netwright.measure.remote.answers import Failure, answer_to, job_state, missing_files, parse_answer
from netwright.measure.remote.client import Remote
from netwright.measure.targets import OnnxRuntime, Target

RUNTIME = {"runtime": "onnxruntime", "threads": 1}
PERCENTILES = {"median": 1.5, "p90": 1.6, "p99": 2.0}
LATENCY = {
    "value": 1.5, "unit": "ms", "spread": 0.01, "n": 200, "kind": "corrected", "uncorrected": 1.6, "cpu": PERCENTILES,
    "wall": PERCENTILES, "clock": "cpu", "memory_drift": 0.1, "reference": {"core": 0.1, "memory": 2.5}, "cores": [1],
}  # fmt: skip
THROUGHPUT = {"value": 600.0, "unit": "/s", "spread": 1.0, "n": 200, "kind": "measured", "batch": 1}
MEMORY = {"value": 1e6, "unit": "B", "spread": 0.0, "n": 1, "kind": "measured", "idle": 5e7}
ANSWERS = {
    "describe": {
        "target": {**RUNTIME, "device": "cpu", "versions": {"onnxruntime": "1.0"}, "cpu": "Cortex", "cores": 4},
        "no_energy": "there is no meter",
        "netwright": "0.1.0",
    },
    "inputs": {"inputs": {"x": [[1, 3, 8, 8], "float32"]}, "free": {"x": [[0, "batch"], [2, ""]]}},
    "runs": {},
    "measure": {"measurements": {"latency": LATENCY, "throughput": THROUGHPUT, "memory": MEMORY}},
    "compare": {"ratios": [1.0, 1.1, 0.9]},
    "outputs": {"outputs": "AAAA"},
    "probe": {"ms": [1.0, 0.0], "errors": [[0.0, 0.5], [0.0, 1.0]]},
    "profile": {
        "operators": [
            {"name": "c", "kind": "Conv", "precision": "int8", "ms": 0.1, "inputs": ["x"], "outputs": [], "origins": []}
        ]
    },
}


def job(kind, folder):
    """One whose answer is looked into."""
    write_feeds(folder / "x.npz", {"x": np.zeros((1, 3), np.float32)})
    expected = write_feeds(folder / "expected.npz", {"a": np.zeros(1), "b": np.zeros(1)})
    (folder / "net.onnx").write_bytes(b"a network")
    files = [str(folder / "net.onnx")] * (2 if kind == "probe" else 1)
    return {
        "job": kind, "runtime": RUNTIME, "seconds": 5, "files": files, "feeds": str(folder / "x.npz"),
        "expected": expected,
    }  # fmt: skip


@pytest.mark.parametrize("kind", ANSWERS)
def test_honest_answers_are_taken(kind, tmp_path):
    assert json.dumps(answer_to(job(kind, tmp_path), ANSWERS[kind])) == json.dumps(ANSWERS[kind])


def test_reasons():
    asked = {"job": "runs"}
    assert answer_to(asked, {"failed": "it is\n\x1b[31m sad", "trace": "..."}) == Failure("it is \x1b[31m sad")
    assert answer_to(asked, {"failed": "x" * 9999, "errno": 28}) == Failure("x" * 1000, 28)
    assert answer_to(asked, {"failed": ""}).failed == "without a word"


def edited(kind, *changes):
    found = json.loads(json.dumps(ANSWERS[kind]))
    for place, value in changes:
        inside = found
        for key in place[:-1]:
            inside = inside[key]
        inside[place[-1]] = value
    return found


M = "measurements"


@pytest.mark.parametrize(
    ("kind", "answer", "words"),
    [
        ("runs", [], "it must be an object"),
        ("runs", {"failed": None}, "failed must be a text, not nothing"),
        ("runs", {"failed": "x", "errno": "28"}, "errno must be a whole number"),
        ("describe", {}, "target is missing"),
        ("describe", edited("describe", (("target",), "pi")), "target must be an object"),
        ("describe", edited("describe", (("target", "runtime"), "torch")), "runtime must be 'onnxruntime'"),
        ("describe", edited("describe", (("no_energy",), None)), "no_energy must be a text"),
        ("describe", edited("describe", (("target", "cpu"), "x" * 300_000)), "target must be 262,144 bytes"),
        ("inputs", edited("inputs", (("inputs", "x"), [[1, -3], "float32"])), "must be 0 or more"),
        ("inputs", edited("inputs", (("inputs", "x"), [[1, 3], "object"])), "NumPy's name of a type of numbers"),
        ("inputs", edited("inputs", (("inputs", "x"), [[1, 3], "O,O"])), "NumPy's name of a type of numbers"),
        ("inputs", edited("inputs", (("inputs", "x"), [[10**6] * 3, "float32"])), "must have 4,294,967,296 bytes at"),
        ("inputs", edited("inputs", (("free",), {"y": [[0, ""]]})), "must be dimensions of the inputs"),
        ("inputs", edited("inputs", (("free", "x"), [[4, ""]])), "must be dimensions of the inputs"),
        ("measure", {M: {}}, "latency is missing"),
        ("measure", edited("measure", ((M, "fame"), LATENCY)), "must be of latency, throughput"),
        ("measure", edited("measure", ((M, "latency"), 3)), "latency must be an object"),
        ("measure", edited("measure", ((M, "latency", "value"), -1.0)), "value must be more than 0"),
        ("measure", edited("measure", ((M, "latency", "value"), "1")), "latency is none"),
        ("measure", edited("measure", ((M, "latency", "unit"), "s")), "unit must be 'ms', not 's'"),
        (
            "measure",
            edited("measure", ((M, "latency", "spread"), -1)),
            "a measurement's ci95 must be 0 or more",
        ),
        ("measure", edited("measure", ((M, "latency", "n"), 1.5)), "n must be a whole number"),
        ("measure", edited("measure", ((M, "memory", "kind"), "exact")), "kind must be measured or corrected"),
        ("measure", edited("measure", ((M, "latency", "wall"), {})), "wall.median is missing"),
        ("measure", edited("measure", ((M, "latency", "clock"), "sun")), "clock must be one of"),
        ("measure", edited("measure", ((M, "latency", "memory_drift"), None)), "memory_drift must be a finite number"),
        ("measure", edited("measure", ((M, "latency", "more"), "x" * 300_000)), "must be 262,144 bytes"),
        ("compare", {"ratios": []}, "a list that is not empty"),
        ("compare", {"ratios": [1, 0]}, "must be more than 0"),
        ("outputs", {"outputs": [1]}, "outputs must be a text"),
        ("profile", {"operators": [{"name": "c"}]}, "operators"),
        ("probe", edited("probe", (("ms",), [1.0])), "ms must have 2 entries, not 1"),
        ("probe", edited("probe", (("errors",), [[0.0], [0.0]])), "must have 2 entries for each file"),
    ],
)
def test_answers_that_are_none(kind, answer, words, tmp_path):
    with pytest.raises(ShapeError) as told:
        answer_to(job(kind, tmp_path), answer)
    assert words in str(told.value) and len(str(told.value)) < 1000


@pytest.mark.parametrize("value", [{}, {"state": "done"}, {"state": "lost", "answer": None}, {"state": 1, "answer": 1}])
def test_states_that_are_none(value):
    with pytest.raises(ShapeError):
        job_state(value)


def check_whatever_comes(kind, text, folder):
    """An answer is one that all that follows can use, or a ShapeError."""
    try:
        value = parse_answer(b'{"answer": ' + text + b"}")["answer"]
    except ValueError:
        return
    for check in (job_state, missing_files):
        try:
            check(value)
        except ShapeError as error:
            assert len(str(error)) < 5000
    try:
        found = answer_to(job(kind, folder), value)
    except ShapeError:
        return
    if not isinstance(found, Failure):
        _Answering(found).use(kind, folder)


class _Answering(Target):
    """A target that has one answer to everything."""

    def __init__(self, answer):
        super().__init__(OnnxRuntime())
        object.__setattr__(self, "answer", answer)

    def ask(self, job):
        return self.answer if job["job"] != "describe" else self.answer | {"no_energy": "", "netwright": "0"}

    def use(self, kind, folder):
        """Do with the answer what is done with one."""
        from netwright.core.metric import Measurement
        from netwright.measure.comparison import of_pairs
        from netwright.measure.named_network import _signature

        if kind == "describe":
            json.dumps(self.described, allow_nan=False)
        if kind == "inputs":
            signature = _signature(folder / "net.onnx", self, False)
            try:
                signature.sized(2, {})
            except MeasureError:
                return
        if kind == "measure":
            for figure in self.answer["measurements"].values():
                json.dumps(Measurement.from_json(figure).to_json(), allow_nan=False)
        if kind == "compare":
            of_pairs([self.answer["ratios"]])


FUZZ = {"deadline": None, "suppress_health_check": [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]}


@settings(max_examples=200, **FUZZ)
@given(st.data())
def test_whatever_is_answered(tmp_path, data):
    kind = data.draw(st.sampled_from(sorted(ANSWERS)))
    check_whatever_comes(kind, data.draw(swaps(ANSWERS[kind])), tmp_path)


@pytest.mark.slow
@settings(max_examples=6000, **FUZZ)
@given(st.data())
def test_whatever_is_answered_often(tmp_path, data):
    kind = data.draw(st.sampled_from(sorted(ANSWERS)))
    check_whatever_comes(kind, data.draw(swaps(ANSWERS[kind])), tmp_path)


# -- outputs -------------------------------------------------------------------------------------------------------


def npz(**arrays):
    held = io.BytesIO()
    np.savez(held, **arrays)
    return base64.b64encode(held.getvalue()).decode()


@pytest.mark.parametrize(
    ("outputs", "words"),
    [
        ("not base64!", "is no base64"),
        (base64.b64encode(b"no zip").decode(), "is not an .npz file"),
        (npz(), "outputs of [] inputs, not of 2"),
        (npz(output0=np.zeros((0, 4))), "outputs of [(0,)] inputs"),
        (npz(output0=np.zeros((3, 4))), "outputs of [(3,)] inputs"),
        (npz(output0=np.zeros(())), "outputs of [()] inputs"),
        (npz(output0=np.zeros((2, 4)), output1=np.zeros((1, 4))), "outputs of [(2,), (1,)] inputs"),
    ],
)
def test_outputs_that_are_none(outputs, words, tmp_path):
    target = _Answering({"outputs": outputs})
    with pytest.raises(MeasureError) as told:
        Latency(target).outputs(tmp_path / "net.onnx", inputs_of(2))
    assert words in str(told.value)


def test_outputs_whose_shape_changes(tmp_path):
    answers = iter([npz(output0=np.zeros((1, 4))), npz(output0=np.zeros((1, 5)))])
    target = _Answering({})
    object.__setattr__(target, "ask", lambda job: {"outputs": next(answers)})
    with pytest.raises(MeasureError, match="of one shape for some inputs, and of another"):
        Latency(target).outputs(tmp_path / "net.onnx", inputs_of(2))


def inputs_of(number):
    import torch

    return [torch.zeros(1, 3) for _ in range(number)]


# -- over the line -------------------------------------------------------------------------------------------------


class Fake:
    """Something that listens where an agent should.

    Args:
        answer: what it sends after a request, given the method, the path and what was sent.
    """

    def __init__(self, answer):
        self._answer, self.requests = answer, []
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.at = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self):
        self._listening.close()

    def _accept(self):
        while True:
            try:
                line, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(line,), daemon=True).start()

    def _serve(self, line):
        try:
            with line, line.makefile("rb") as file:
                while first := file.readline():
                    size = 0
                    while (header := file.readline().strip()) and header:
                        if header.lower().startswith(b"content-length:"):
                            size = int(header.split()[-1])
                    method, path, _ = first.decode().split()
                    self.requests.append((method, path, file.read(size)))
                    found = self._answer(*self.requests[-1])
                    for part in [found] if isinstance(found, bytes) else found:
                        line.sendall(part)
                    if b"Content-Length" not in (found if isinstance(found, bytes) else b""):
                        return
        except OSError:
            return


def http(value, status=200, reason="OK"):
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    return f"HTTP/1.1 {status} {reason}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


@contextmanager
def agent(answer):
    """A fake agent, and a client of it that is not patient."""
    there = Fake(answer)
    try:
        yield there, Remote(there.at, TOKEN, 0.3)
    finally:
        there.close()


def honest(kind, answered=None):
    """What an agent answers that has all files."""

    def answer(method, path, sent):
        if method == "POST":
            return http({"id": json.loads(sent)["key"]})
        return http({"state": "done", "answer": ANSWERS[kind] if answered is None else answered})

    return answer


@pytest.fixture(autouse=True)
def hasty(monkeypatch):
    monkeypatch.setattr(client, "PAUSE_S", 0.01)


def test_an_honest_one(tmp_path):
    with agent(honest("measure")) as (_, there):
        assert there.ask(job("measure", tmp_path)) == ANSWERS["measure"]


def endless(start=b"HTTP/1.1 200 OK\r\n\r\n", part=b"x" * 65536):
    yield start
    while True:
        yield part


def dripping(start=b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"):
    yield start
    while True:
        time.sleep(0.02)
        yield b" "


def moved(method, path, sent):
    return http(b"<html>", 302, "Found\r\nLocation: http://127.0.0.1:1/")


NO_AGENT, NOT_OURS = "something answers that is no netwright agent", "answers what no agent of netwright"


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (moved, NO_AGENT),
        (lambda *_: http({}, 302), "refuses: it answers with HTTP status 302: no netwright agent?"),
        (lambda *_: http({"error": ["x"]}, 400), "refuses: it answers with HTTP status 400"),
        (lambda *_: http({"error": "a\nb" + "x" * 9999}, 400), "refuses: a bxxx"),
        (lambda *_: http({"error": "disk"}, 507), "refuses: disk"),
        (lambda *_: http(b"[1]"), NO_AGENT),
        (lambda *_: http(b"<html>"), NO_AGENT),
        (lambda *_: http(b"\xff"), NO_AGENT),
        (lambda *_: http(b'{"id": NaN}'), NO_AGENT),
        (lambda *_: http(b"[" * 100_000), NO_AGENT),
        (lambda *_: http(b'{"id": 1, "id": 2}'), NO_AGENT),
        (lambda *_: b"SSH-2.0-OpenSSH\r\n", NO_AGENT),
        (lambda *_: b"HTTP/1.1 twohundred OK\r\n\r\n", NO_AGENT),
        (lambda *_: b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 1000 + b"\r\n", NO_AGENT),
        (lambda *_: b"HTTP/1.1 200 OK\r\nA: " + b"b" * 100_000 + b"\r\n\r\n", NO_AGENT),
        (lambda *_: [b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{}"], "cannot be reached"),
        (lambda *_: b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "cannot be reached|no netwright"),
        (lambda *_: b"", "cannot be reached"),
        (lambda *_: http({"error": "full"}, 503), "cannot be reached, tried for 0 s: ConnectionRefusedError: full"),
        (lambda *_: http({"id": "0" * 32}), NOT_OURS),
        (lambda *_: http({}), NOT_OURS),
        (lambda *_: http({"missing": "all"}, 409), NOT_OURS),
        (lambda *_: http({"missing": [1]}, 409), NOT_OURS),
        (lambda *_: http({"missing": ["/etc/passwd"]}, 409), "refuses: it answers with HTTP status 409"),
        (honest("measure", {M: {"latency": {"value": 0}}}), NOT_OURS),
        (honest("measure", []), NOT_OURS),
        (honest("measure", {"failed": "no room", "errno": 28}), "on the device at http://.*: no room"),
    ],
)
def test_agents_that_lie(answer, words, tmp_path):
    with (
        agent(answer) as (there, remote),
        pytest.raises(
            MeasureError if "room" not in words and "disk" not in words else MachineFault, match=words
        ) as told,
    ):
        remote.ask(job("measure", tmp_path))
    assert "\n" not in str(told.value) and len(str(told.value)) < 1500
    assert all(method != "PUT" for method, _, _ in there.requests)


def test_states_that_no_agent_has(tmp_path):
    def answer(method, path, sent):
        return http({"id": json.loads(sent)["key"]}) if method == "POST" else http({"state": "lost", "answer": None})

    with agent(answer) as (_, remote), pytest.raises(DeviceLost, match="state must be one of 'queued', 'running'"):
        remote.ask(job("measure", tmp_path))


@pytest.mark.parametrize("state", ["queued", "running"])
def test_a_job_that_never_ends(state, tmp_path, monkeypatch):
    """An agent that does not keep its client waiting is not asked without end."""
    for name in ("QUEUE_S", "START_S", "SOCKET_S"):
        monkeypatch.setattr(client, name, 0.2)
    monkeypatch.setattr(client, "PAUSE_S", 0.1)

    def answer(method, path, sent):
        return http({"id": json.loads(sent)["key"]}) if method == "POST" else http({"state": state, "answer": None})

    words = "hangs" if state == "running" else "is busy with the jobs of others"
    with agent(answer) as (there, remote), pytest.raises(DeviceLost, match=words):
        remote.ask({**job("measure", tmp_path), "seconds": 0.2})
    assert len(there.requests) < 20


def test_a_job_that_is_never_known(tmp_path):
    def answer(method, path, sent):
        return http({"id": json.loads(sent)["key"]}) if method == "POST" else http({"error": "unknown"}, 404)

    with agent(answer) as (there, remote), pytest.raises(MeasureError, match="was started anew 3 times"):
        remote.ask(job("measure", tmp_path))
    assert len(there.requests) == 6


def test_only_files_of_the_job_are_sent(tmp_path):
    """Whatever an agent says that it misses, and each a few times at most."""
    secret = tmp_path / "secret"
    secret.write_text("gold")

    def answer(method, path, sent):
        if method == "POST":
            files = [name for file in json.loads(sent)["job"]["files"] for name in file.values()]
            return http({"missing": [*files, str(secret), "../secret", "f" * 64]}, 409)
        return http({"here": method == "PUT"})

    with (
        agent(answer) as (there, remote),
        pytest.raises(MeasureError, match=r"refuses: .*status 409"),
    ):
        remote.ask(job("measure", tmp_path))
    sent = [content for method, _, content in there.requests if method == "PUT"]
    assert sent == [b"a network"] * client.UPLOADS


@pytest.mark.parametrize("parts", [endless, dripping])
def test_answers_without_end(parts, tmp_path, monkeypatch):
    monkeypatch.setattr(client, "ANSWER_S", 0.5)
    monkeypatch.setattr(client, "ANSWER_BYTES", 1 << 20)
    words = "more than 1,048,576 bytes" if parts is endless else "did not answer in full within 0 s"
    with agent(lambda *_: parts()) as (_, remote), pytest.raises(DeviceLost, match=words):
        remote.ask(job("measure", tmp_path))


@pytest.mark.parametrize(
    "start", [b"HTTP/1.1 200 OK\r\nA: ", b"HTTP/1.1 2", b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 100 Continue\r\nA: "]
)
def test_heads_that_drip(start, tmp_path, monkeypatch):
    monkeypatch.setattr(client, "ANSWER_S", 0.3)
    with agent(lambda *_: dripping(start)) as (_, remote), pytest.raises(DeviceLost, match="did not answer in full"):
        remote.ask(job("measure", tmp_path))


def test_a_head_of_continuing_without_end(tmp_path, monkeypatch):
    monkeypatch.setattr(client, "ANSWER_S", 0.3)
    parts = endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n")
    with agent(lambda *_: parts) as (_, remote), pytest.raises(DeviceLost, match="did not answer in full"):
        remote.ask(job("measure", tmp_path))


def check_over_the_line(data, folder):
    """Bytes that changed in one of the answers: an answer that is right, or one line."""
    kind = data.draw(st.sampled_from(sorted(ANSWERS)))
    at = data.draw(st.integers(0, 3))
    changed = data.draw(mutations(http({"state": "done", "answer": ANSWERS[kind]})))
    swapped = data.draw(swaps({"state": "done", "answer": ANSWERS[kind]}))
    hostile, status = data.draw(st.sampled_from(HOSTILE)).encode(), data.draw(st.sampled_from((200, 409, 500)))

    def answer(method, path, sent):
        if method == "POST" and at == 0:
            return http(hostile, status)
        if method == "POST":
            return http({"id": json.loads(sent)["key"]})
        return {1: changed, 2: http(swapped)}.get(at, http(hostile))

    with agent(answer) as (_, remote):
        try:
            found = remote.ask(job(kind, folder))
        except NetwrightError as error:
            assert "\n" not in str(error) and len(str(error)) < 3000
        else:
            assert set(ANSWERS[kind]) <= set(found)


@settings(max_examples=60, **FUZZ)
@given(st.data())
def test_lines_that_change_what_is_answered(tmp_path, data):
    with pytest.MonkeyPatch.context() as patch:
        impatient(patch)
        check_over_the_line(data, tmp_path)


@pytest.mark.slow
@settings(max_examples=2000, **FUZZ)
@given(st.data())
def test_lines_that_change_what_is_answered_often(tmp_path, data):
    with pytest.MonkeyPatch.context() as patch:
        impatient(patch)
        check_over_the_line(data, tmp_path)


def impatient(patch):
    for name in ("QUEUE_S", "START_S", "SOCKET_S", "ANSWER_S", "FIRST_S"):
        patch.setattr(client, name, 0.3)
