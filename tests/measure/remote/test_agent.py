"""What the agent takes and what it refuses: over HTTP, with a runtime that is only pretended."""

import hashlib
import http.client
import io
import json
import shutil
import socket
import subprocess
import threading
import time
from collections import namedtuple
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import netwright.measure.remote.jobs as jobs_module
from netwright.core.errors import MachineFault, MeasureError
from netwright.measure.remote.agent import Agent
from netwright.measure.remote.files import Files, Refused
from netwright.measure.remote.jobs import Limits, checked

TOKEN = "a-token-for-tests-0123456789"
LIMITS = Limits(file_bytes=1000, total_bytes=2500, json_bytes=20_000, waiting=2, seconds=50)
RUNTIME = {"runtime": "onnxruntime", "threads": 1}
KEY = "0" * 32


class Pretended:
    """A measuring process that answers when it is let."""

    def __init__(self):
        self.asked, self.let, self.files = [], threading.Event(), []
        self.let.set()

    def ask(self, job):
        self.asked.append(job)
        self.files.append([Path(f).read_bytes() for f in job.get("files", [])])
        assert self.let.wait(20)
        if job["job"] == "inputs":
            raise MeasureError("the runtime has its reasons")
        if job["job"] == "probe":
            raise MachineFault("the disk is full: free some space") from OSError(28, "")
        return {"target": {"n": len(self.asked)}}


@pytest.fixture
def pretended(monkeypatch):
    worker = Pretended()
    monkeypatch.setattr(jobs_module, "worker", lambda runtime: worker)
    yield worker
    worker.let.set()


@pytest.fixture
def agent(tmp_path, pretended):
    with Agent("127.0.0.1", 0, TOKEN, tmp_path / "store", limits=LIMITS) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server
        server.shutdown()


def ask(agent, method, path, body=b"", token=TOKEN, headers=None):
    line = http.client.HTTPConnection("127.0.0.1", agent.server_port, timeout=20)
    body = body if isinstance(body, bytes) else json.dumps(body).encode()
    line.request(method, path, body, {"Authorization": f"Bearer {token}", **(headers or {})})
    response = line.getresponse()
    found = response.status, json.loads(response.read())
    line.close()
    return found


def sha(content):
    return hashlib.sha256(content).hexdigest()


def put(agent, content):
    return ask(agent, "PUT", f"/v1/files/{sha(content)}", content)


def held(agent):
    store = agent._places.parent
    assert not list((store / "coming").iterdir())
    return {f.name for f in (store / "files").iterdir()}


def describing(**more):
    return {"key": KEY, "job": {"job": "describe", "runtime": RUNTIME, "seconds": 5, **more}}


def until(true):
    deadline = time.monotonic() + 10
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


# -- who may ask --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("token", ["", "wrong", TOKEN[:-1], TOKEN + "x", "\xfc" * 20])
@pytest.mark.parametrize(
    "method, path", [("GET", "/v1/files/" + "0" * 64), ("PUT", "/v1/files/x"), ("POST", "/v1/jobs")]
)
def test_without_the_token_nothing_is_done(agent, pretended, token, method, path):
    status, answer = ask(agent, method, path, describing(), token=token)
    assert (status, answer) == (401, {"error": "the token is missing or wrong"})
    assert not pretended.asked and not held(agent)


def test_others_may_not_listen(tmp_path):
    with pytest.raises(MeasureError, match=r"at 0\.0\.0\.0 others can listen: give --cert and --key"):
        Agent("0.0.0.0", 0, TOKEN, tmp_path)
    with pytest.raises(MeasureError, match="16 or more characters"):
        Agent("127.0.0.1", 0, "short", tmp_path)
    (tmp_path / "cert").write_text("nonsense")
    with pytest.raises(MeasureError, match="cannot be used"):
        Agent("0.0.0.0", 0, TOKEN, tmp_path, (tmp_path / "cert", tmp_path / "cert"))


def test_one_agent_at_a_time(agent, tmp_path):
    with pytest.raises(MeasureError, match=r"another agent uses .*store"):
        Agent("127.0.0.1", 0, TOKEN, tmp_path / "store")
    with pytest.raises(MeasureError, match=f"cannot listen at 127.0.0.1, port {agent.server_port}"):
        Agent("127.0.0.1", agent.server_port, TOKEN, tmp_path / "other")


# -- files --------------------------------------------------------------------------------------------------------


def test_a_file_is_kept_by_its_hash(agent):
    name = sha(b"network")
    assert ask(agent, "GET", f"/v1/files/{name}?bytes=7") == (200, {"here": False})
    assert put(agent, b"network") == (200, {"here": True})
    assert ask(agent, "GET", f"/v1/files/{name}") == (200, {"here": True})
    assert held(agent) == {name}


def test_another_file_than_announced_is_refused(agent):
    status, answer = ask(agent, "PUT", f"/v1/files/{sha(b'network')}", b"malware")
    assert status == 422 and sha(b"malware") in answer["error"] and not held(agent)


def test_a_file_that_is_too_large_is_refused(agent):
    assert put(agent, b"x" * 1000)[0] == 200
    status, answer = put(agent, b"x" * 1001)
    assert (status, answer["error"]) == (413, "a file of 1001 bytes is too large, this agent takes 1000 bytes")
    assert ask(agent, "GET", f"/v1/files/{sha(b'')}?bytes=1001")[0] == 413  # said before it is sent
    assert len(held(agent)) == 1


@pytest.mark.parametrize("name", ["..", "%2e%2e%2fx", "../../x", "A" * 64, "0" * 63, "0" * 64 + "/x", ""])
def test_only_hashes_name_files(agent, tmp_path, name):
    assert ask(agent, "PUT", f"/v1/files/{name}", b"x")[0] in (400, 405)
    assert not held(agent) and {p.name for p in tmp_path.iterdir()} == {"store"}


@pytest.mark.parametrize(
    "headers", [{"Content-Length": "-1"}, {"Content-Length": "1e3"}, {"Transfer-Encoding": "chunked"}]
)
def test_the_length_must_be_known(agent, headers):
    line = http.client.HTTPConnection("127.0.0.1", agent.server_port, timeout=20)
    line.putrequest("PUT", f"/v1/files/{sha(b'x')}")
    line.putheader("Authorization", f"Bearer {TOKEN}")
    for name, value in headers.items():
        line.putheader(name, value)
    line.endheaders()
    assert line.getresponse().status == 411
    line.close()


@pytest.mark.parametrize("part", [0, 1, 500, 999])
def test_a_connection_that_breaks_leaves_nothing(agent, part):
    content = b"n" * 1000
    with socket.create_connection(("127.0.0.1", agent.server_port)) as line:
        head = f"PUT /v1/files/{sha(content)} HTTP/1.1\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: 1000\r\n\r\n"
        line.sendall(head.encode() + content[:part])
    until(lambda: not agent._callers)
    assert not held(agent) and agent.files._promised == 0
    assert put(agent, content)[0] == 200


def test_files_make_room_the_longest_unused_first(tmp_path):
    files = Files(tmp_path, 1000, 2500)
    contents = [bytes([n]) * 1000 for n in range(4)]
    for content in contents[:2]:
        files.put(sha(content), 1000, io.BytesIO(content).read)
        time.sleep(0.02)
    files.link(sha(contents[0]), tmp_path / "linked")
    (tmp_path / "linked").unlink()
    files.put(sha(contents[2]), 1000, io.BytesIO(contents[2]).read)
    assert [files.has(sha(c)) for c in contents] == [True, False, True, False]


def test_files_of_a_job_stay(tmp_path):
    files = Files(tmp_path, 1000, 1000)
    files.put(sha(b"x" * 900), 900, io.BytesIO(b"x" * 900).read)
    files.link(sha(b"x" * 900), tmp_path / "linked")
    with pytest.raises(Refused, match="keeps 1000 bytes of files, 200 more do not fit") as refused:
        files.check(200)
    assert refused.value.status == 507 and files.has(sha(b"x" * 900))


def test_what_was_left_behind_goes(tmp_path):
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / sha(b"x")).write_bytes(b"half")
    assert not Files(tmp_path, 10, 10).has(sha(b"x"))


Usage = namedtuple("Usage", "free")


def test_a_full_disk_is_said(agent, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(1000))
    status, answer = put(agent, b"network")
    assert status == 507 and "the agent's disk is full: 1000 bytes are free" in answer["error"]
    assert ask(agent, "GET", f"/v1/files/{sha(b'x')}?bytes=1")[0] == 507


def test_a_disk_that_fills_while_a_file_comes(tmp_path, monkeypatch, pretended):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("no small disk can be mounted here")
    try:
        monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10**12))
        with Agent("127.0.0.1", 0, TOKEN, disk / "store") as agent:
            threading.Thread(target=agent.serve_forever, args=(0.02,), daemon=True).start()
            status, answer = put(agent, b"x" * 300_000)
            assert status == 507 and "No space left on device" in answer["error"] and not held(agent)
            assert put(agent, b"network")[0] == 200
            agent.shutdown()
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


# -- jobs ---------------------------------------------------------------------------------------------------------


def test_a_job_is_run_once_however_often_it_is_sent(agent, pretended):
    pretended.let.clear()
    for _ in range(3):
        assert ask(agent, "POST", "/v1/jobs", describing()) == (200, {"id": KEY})
    assert ask(agent, "GET", f"/v1/jobs/{KEY}?wait=0.05")[1]["state"] == "running"
    pretended.let.set()
    done = {"state": "done", "answer": {"target": {"n": 1}}}
    assert ask(agent, "GET", f"/v1/jobs/{KEY}?wait=9") == (200, done)
    assert ask(agent, "POST", "/v1/jobs", describing()) == (200, {"id": KEY})
    assert ask(agent, "GET", f"/v1/jobs/{KEY}") == (200, done)  # kept for who comes back
    assert len(pretended.asked) == 1
    status, answer = ask(agent, "POST", "/v1/jobs", describing(seconds=6))
    assert status == 400 and "is that of another job" in answer["error"]


def test_a_job_finds_its_files(agent, pretended):
    job = describing(
        job="measure", files=[{".onnx": sha(b"net"), ".onnx.data": sha(b"weights")}], feeds={".npz": sha(b"x")}
    )
    status, answer = ask(agent, "POST", "/v1/jobs", job)
    assert status == 409 and set(answer["missing"]) == {sha(b"net"), sha(b"weights"), sha(b"x")}
    for content in (b"net", b"weights", b"x"):
        put(agent, content)
    assert ask(agent, "POST", "/v1/jobs", job)[0] == 200
    assert ask(agent, "GET", f"/v1/jobs/{KEY}?wait=9")[1]["state"] == "done"
    (asked,) = pretended.asked
    assert pretended.files == [[b"net"]] and asked["files"][0].endswith("/file1.onnx")
    assert asked["feeds"].endswith("/file2.npz") and not list(agent._places.iterdir())
    assert asked["seconds"] == 5 and set(asked) == set(job["job"])


def test_a_reason_arrives(agent):
    ask(agent, "POST", "/v1/jobs", describing(job="inputs"))
    done = {"state": "done", "answer": {"failed": "the runtime has its reasons"}}
    assert ask(agent, "GET", f"/v1/jobs/{KEY}?wait=9")[1] == done


def test_a_fault_of_the_device_arrives_as_one(agent):
    ask(agent, "POST", "/v1/jobs", describing(job="probe"))
    told = {"failed": "the disk is full: free some space", "errno": 28}
    assert ask(agent, "GET", f"/v1/jobs/{KEY}?wait=9")[1] == {"state": "done", "answer": told}


def test_time_is_limited(agent, pretended):
    ask(agent, "POST", "/v1/jobs", describing(seconds=10**400))
    ask(agent, "GET", f"/v1/jobs/{KEY}?wait=9")
    assert pretended.asked[0]["seconds"] == LIMITS.seconds


def test_one_job_at_a_time_and_few_wait(agent, pretended):
    pretended.let.clear()
    keys = [f"{n:032x}" for n in range(4)]
    assert ask(agent, "POST", "/v1/jobs", {**describing(), "key": keys[0]})[0] == 200
    until(lambda: pretended.asked)
    found = [ask(agent, "POST", "/v1/jobs", {**describing(), "key": key}) for key in keys[1:]]
    assert [status for status, _ in found] == [200, 200, 429] and found[-1][1]["error"] == "2 jobs wait already"
    assert len(pretended.asked) == 1 and ask(agent, "GET", f"/v1/jobs/{keys[1]}")[1]["state"] == "queued"
    pretended.let.set()
    answers = [ask(agent, "GET", f"/v1/jobs/{key}?wait=9")[1]["answer"] for key in keys[:3]]
    assert answers == [{"target": {"n": n}} for n in (1, 2, 3)]


def test_answers_are_forgotten_after_a_while(tmp_path, pretended):
    with Agent("127.0.0.1", 0, TOKEN, tmp_path, limits=Limits(kept_s=0)) as agent:
        for key in ("0" * 32, "1" * 32):
            agent.submit({**describing(), "key": key})
            assert agent.jobs.wait(key, 9)["state"] == "done"
        with pytest.raises(Refused, match="is not known"):
            agent.jobs.wait("0" * 32, 0)


def test_long_answers_are_forgotten_for_newer_ones(tmp_path, pretended):
    pretended.ask = lambda job: {"outputs": "x" * 600}
    with Agent("127.0.0.1", 0, TOKEN, tmp_path, limits=Limits(kept_bytes=1000)) as agent:
        for key in ("0" * 32, "1" * 32):
            agent.submit({**describing(), "key": key})
            assert agent.jobs.wait(key, 9)["state"] == "done"
        with pytest.raises(Refused, match="is not known"):
            agent.jobs.wait("0" * 32, 0)


REF = {".onnx": "0" * 64}


@pytest.mark.parametrize(
    "more, words",
    [
        ({"job": "rm"}, "there is no job 'rm'; there are describe, inputs"),
        ({"job": ["measure"]}, "there is no job"),
        ({"path": "/etc/passwd"}, "a job has no path"),
        ({"seconds": -1}, "needs its 'seconds'"),
        ({"seconds": "9"}, "needs its 'seconds'"),
        ({"runtime": "onnxruntime"}, "needs its 'runtime'"),
        ({"runtime": {}}, "runtime"),
        ({"runtime": {"runtime": "onnxruntim"}}, "did you mean 'onnxruntime'"),
        ({"runtime": {"runtime": "os.system"}}, "there is no runtime 'os.system'"),
        ({"runtime": {"runtime": "os:system"}}, "there is no runtime 'os:system'"),
        ({"runtime": {**RUNTIME, "evil": 1}}, "unexpected keyword argument 'evil'"),
        ({"runtime": {**RUNTIME, "threads": [1]}}, "needs its 'runtime'"),
        ({"runtime": {**RUNTIME, "threads": 0}}, "threads must be a whole number"),
        ({"files": ["/etc/passwd"]}, "a file of a job is"),
        ({"files": "/etc/passwd"}, "a file of a job is"),
        ({"files": [REF] * 17}, "at most 16 files"),
        ({"feeds": {"/../x": "0" * 64}}, "'/../x' is no suffix"),
        ({"feeds": {".": "0" * 64}}, "'.' is no suffix"),
        ({"feeds": {"..npz": "0" * 64}}, "'..npz' is no suffix"),
        ({"feeds": {".npz": "../x"}}, "named by their SHA-256"),
        ({"expected": {".npz": 3}}, "is no suffix"),
        *(
            ({"feeds": {".npz": "0" * 64, name: "1" * 64}}, "is no suffix of a file or name of one beside it")
            for name in ("../x", "a/../../x", "/etc/x", "a//b", "a/.", "", "a\\b", "a\0b", "x" * 300, "/".join("a" * 9))
        ),
        ({"feeds": {"x.npz": "0" * 64}}, "'x.npz' is no suffix"),
        ({"plan": {"budget": 1}}, "a sampling plan has precision, max_seconds"),
        ({"plan": {"max_seconds": 10**400}}, "numbers of at most a million"),
        ({"plan": {"max_seconds": "1"}}, "a sampling plan holds numbers"),
        ({"wanted": "energy"}, "a list of names"),
    ],
)
def test_jobs_of_a_wrong_form_are_refused(agent, pretended, more, words):
    status, answer = ask(agent, "POST", "/v1/jobs", describing(**more))
    assert status == 400 and words in answer["error"] and not pretended.asked


@pytest.mark.parametrize(
    "body, status, words",
    [
        (b"", 400, "not JSON"),
        (b"\xff", 400, "not JSON"),
        (b"[" * 19_000, 400, "not JSON"),
        (b'{"key": NaN}', 400, "NaN is no number"),
        (b'{"key": "%032d", "job": {"seconds": 1e999}}' % 0, 400, "a job cannot hold this"),
        (b'{"key": "%032d", "job": {"job": "\\ud800"}}' % 0, 400, "a job cannot hold this"),
        (b"[]", 400, "a job is sent as"),
        (b'{"key": "../../x", "job": {}}', 400, "32 hexadecimal digits"),
        (b" " * 20_001, 413, "a job may have 20000 bytes"),
    ],
)
def test_what_is_no_job_is_refused(agent, pretended, body, status, words):
    found = ask(agent, "POST", "/v1/jobs", body)
    assert found[0] == status and words in found[1]["error"] and not pretended.asked


@pytest.mark.parametrize(
    "method, path", [("GET", "/"), ("POST", "/v2/jobs"), ("GET", "/v1/jobs"), ("PUT", "/v1/jobs/x/y")]
)
def test_unknown_places(agent, method, path):
    assert ask(agent, method, path)[0] == 405


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=9,
)
KEYS = ("job", "runtime", "seconds", "files", "feeds", "expected", "plan", "wanted")


@given(st.fixed_dictionaries({}, optional=dict.fromkeys(KEYS, JSON)), st.sampled_from(KEYS))
def test_whatever_comes_is_refused_or_a_job(garbage, key):
    """A job whose one value is garbage, and one that is all garbage, raise what is answered in words, or are taken."""
    good = describing(files=[REF], feeds=REF, plan={"precision": 0.1}, wanted=[])["job"]
    for tried in (garbage, {**good, key: garbage.get(key)}):
        try:
            runtime, body = checked(tried, 50)
        except Refused as refused:
            assert refused.status == 400
        else:
            assert body["seconds"] <= 50 and runtime.name


def test_a_mistake_of_the_agent_is_said(agent, monkeypatch):
    monkeypatch.setattr(agent.files, "has", lambda name: 1 / 0)
    status, answer = ask(agent, "GET", f"/v1/files/{sha(b'')}")
    assert (status, answer["error"]) == (500, "the agent failed: ZeroDivisionError: division by zero")


def test_answers_come_at_once(agent):
    """Small answers do not wait for acknowledgements, which would take each of them 40 ms."""
    line, took = http.client.HTTPConnection("127.0.0.1", agent.server_port, timeout=20), []
    for _ in range(50):
        begin = time.perf_counter()
        line.request("GET", "/v1/files/" + "0" * 64, headers={"Authorization": f"Bearer {TOKEN}"})
        assert json.loads(line.getresponse().read()) == {"here": False}
        took.append(time.perf_counter() - begin)
    line.close()
    assert min(took) < 0.03  # beside busy neighbours too
