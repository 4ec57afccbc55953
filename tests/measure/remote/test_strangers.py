"""Connections that are slow, many, or no HTTP: the owner gets in, and nobody stays for ever."""

import contextlib
import http.client
import json
import socket
import ssl
import subprocess
import threading
import time

import pytest
from fuzz import mutations, swaps
from hypothesis import given, settings
from hypothesis import strategies as st
from serving import TOKEN

from netwright.core.errors import MeasureError
from netwright.measure.remote import agent as agent_module
from netwright.measure.remote import server
from netwright.measure.remote.agent import Agent
from netwright.measure.remote.server import Patience, network_of

PLACE = "/v1/files/" + "0" * 64
AUTHORISED = f"Authorization: Bearer {TOKEN}\r\n"


@contextlib.contextmanager
def serving(folder, patience=None, certificate=None):
    with Agent("127.0.0.1", 0, TOKEN, folder, certificate, patience=patience) as agent:
        threading.Thread(target=agent.serve_forever, args=(0.02,), daemon=True).start()
        yield agent
        agent.shutdown()


@pytest.fixture
def agent(tmp_path):
    """One that is as patient as any."""
    with serving(tmp_path / "store") as found:
        yield found


@pytest.fixture
def hasty(tmp_path):
    """One that waits for nobody."""
    with serving(tmp_path / "store", Patience(0.4, 0.4, 0.4)) as found:
        yield found


@pytest.fixture
def many(agent):
    """Makes connections that say little, from an address of this machine."""
    with contextlib.ExitStack() as held:

        def make(number, source="127.0.0.1", text=b"GET /v1/fi"):
            made = []
            for _ in range(number):
                line = socket.create_connection(("127.0.0.1", agent.server_port), 20, (source, 0))
                made.append(held.enter_context(line))
                with contextlib.suppress(OSError):  # hung up on already
                    line.sendall(text)
            return made

        yield make


def line_to(agent, source="127.0.0.1"):
    return http.client.HTTPConnection("127.0.0.1", agent.server_port, timeout=20, source_address=(source, 0))


def ask(line):
    line.request("GET", PLACE, headers={"Authorization": f"Bearer {TOKEN}"})
    response = line.getresponse()
    return response.status, json.loads(response.read())


def until(true):
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def received(line):
    """All that comes until the other side hangs up."""
    found = b""
    with contextlib.suppress(ConnectionError):
        while part := line.recv(1 << 16):
            found += part
    return found


# -- many ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", ["127.0.0.2", "127.0.0.1"])
def test_the_owner_gets_in_among_slow_strangers(agent, many, source):
    """Also where they come from the address that the owner comes from: behind ssh all do."""
    owner = line_to(agent)
    assert ask(owner)[0] == 200
    many(200, source)
    assert ask(owner)[0] == 200  # who was in stays in
    for _ in range(3):
        another = line_to(agent)
        assert ask(another)[0] == 200
        another.close()
        many(5, source)
    owner.close()
    assert len(agent._callers) <= server.STRANGERS_OF_ONE + server.OWNERS


def test_one_address_keeps_no_other_out(agent, many):
    """A stranger of another one has its time, whoever comes meanwhile."""
    (slow,) = many(1, "127.0.0.3")
    many(200, "127.0.0.2")
    slow.sendall(b"les HTTP/1.1\r\n\r\n")
    slow.settimeout(20)
    assert slow.recv(12) == b"HTTP/1.1 401"


def test_many_addresses_share_the_room(agent, many):
    for last in range(2, 12):
        many(20, f"127.0.0.{last}")
    until(lambda: len(agent._callers) <= server.STRANGERS)
    assert ask(line_to(agent, "127.0.0.99"))[0] == 200


def test_more_owners_than_there_may_be(agent):
    lines = [line_to(agent) for _ in range(server.OWNERS)]
    assert all(ask(each)[0] == 200 for each in lines)
    answer = ask(line_to(agent))
    assert answer == (503, {"error": f"{server.OWNERS} connections are open already"})
    lines.pop().close()
    until(lambda: len(agent._callers) < server.OWNERS)
    assert ask(line_to(agent))[0] == 200
    for each in lines:
        each.close()


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2::7", network_of("2001:db8:1:2:ffff::")),
        ("fe80::1%eth0", network_of("fe80::2")),
        ("nonsense", "nonsense"),
    ],
)
def test_who_is_one(address, network):
    assert network_of(address) == network
    assert network_of("2001:db8:1:3::7") != network_of("2001:db8:1:2::7")


# -- slow ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"GET /",
        b"GET / HTTP/1.1\r\nA: b\r\n",
        f"PUT {PLACE} HTTP/1.1\r\n{AUTHORISED}Content-Length: 1000\r\n\r\nhalf".encode(),
        f"POST /v1/jobs HTTP/1.1\r\n{AUTHORISED}Content-Length: 1000\r\n\r\nhalf".encode(),
        f"PUT {PLACE} HTTP/1.1\r\nContent-Length: 1000\r\n\r\nhalf".encode(),
        f"GET {PLACE} HTTP/1.1\r\n{AUTHORISED}\r\n".encode(),
    ],
)
def test_who_says_nothing_more_is_hung_up_on(hasty, text):
    with socket.create_connection(("127.0.0.1", hasty.server_port), 20) as line:
        line.sendall(text)
        received(line)
    until(lambda: not hasty._callers)
    assert hasty.files._promised == 0


@pytest.mark.parametrize("head", [b"GET /", f"GET {PLACE} HTTP/1.1\r\n{AUTHORISED}\r\nGET /".encode()])
def test_who_drips_is_hung_up_on(hasty, head):
    """Each byte in time, and all of them never: the time of a request counts, not that of its bytes."""
    with socket.create_connection(("127.0.0.1", hasty.server_port), 20) as line, pytest.raises(ConnectionError):
        line.sendall(head)
        for _ in range(2000):
            line.sendall(b"x")
            time.sleep(0.01)


def test_who_does_not_take_the_answer_is_hung_up_on(tmp_path, monkeypatch):
    with serving(tmp_path, Patience(part_s=1.0)) as agent:
        monkeypatch.setattr(agent.files, "has", lambda name: "x" * 12_000_000)
        with socket.create_connection(("127.0.0.1", agent.server_port), 20) as line:
            line.sendall(f"GET {PLACE} HTTP/1.1\r\n{AUTHORISED}\r\n".encode())
            assert line.recv(12) == b"HTTP/1.1 200"
            until(lambda: not agent._callers)
            assert len(received(line)) < 12_000_000


def test_a_slow_answer_is_no_slow_request(hasty):
    """A question that is kept waiting takes longer than requests may."""
    waiting, asked = threading.Event(), threading.Event()

    def wait(key, seconds):
        asked.set()
        assert waiting.wait(20)
        return {"state": "done", "answer": {}}

    hasty.jobs.wait = wait
    with socket.create_connection(("127.0.0.1", hasty.server_port), 20) as line:
        line.sendall(f"GET /v1/jobs/{'0' * 32}?wait=30 HTTP/1.1\r\n{AUTHORISED}\r\n".encode())
        assert asked.wait(20)
        time.sleep(0.7)
        waiting.set()
        assert line.recv(12) == b"HTTP/1.1 200"


# -- no HTTP -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"GET {PLACE} HTTP/1.1\r\n" + "A: b\r\n" * 99 + "B: c\r\n" * 2 + "\r\n", 431),
        (f"GET {PLACE} HTTP/1.1\r\nA: {'b' * agent_module.HEAD_BYTES}\r\n\r\n", 431),
        (f"GET {PLACE} HTTP/1.1\r\n{AUTHORISED}Content-Length: 1\r\nContent-Length: 2\r\n\r\nx", 400),
        (f"GET {PLACE} HTTP/1.1\r\n{AUTHORISED}Content-Length: 1\r\nContent-Length: 1\r\n\r\nx", 400),
        (f"GET {PLACE} HTTP/1.1\r\n{AUTHORISED}Content-Length : 1\r\n\r\nx", 400),
        (f"GET {PLACE} HTTP/1.1\r\n{AUTHORISED}A: b\r\n c\r\n\r\n", 400),
        (f"GET {PLACE} HTTP/1.1\r\n{AUTHORISED}Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 411),
        (f"GET {PLACE} HTTP/1.1\r\n{AUTHORISED}Content-Length: +1\r\n\r\nx", 411),
        (f"GET {PLACE} HTTP/9.9\r\n{AUTHORISED}\r\n", 505),
        ("\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", 400),
        ("one two three four\r\n\r\n", 400),
        (f"TRACE {PLACE} HTTP/1.1\r\n{AUTHORISED}\r\n", 501),
    ],
)
def test_requests_that_are_none(agent, text, expected):
    """Refused, and nothing of what follows is taken for a request."""
    after = f"GET {PLACE} HTTP/1.1\r\n{AUTHORISED}\r\n"
    with socket.create_connection(("127.0.0.1", agent.server_port), 20) as line:
        line.sendall((text + after).encode("latin-1"))
        found = received(line)
    codes = [part.split()[0] for part in found.split(b"HTTP/1.1 ")[1:]] or [found.partition(b"Error code: ")[2][:3]]
    assert codes == [str(expected).encode()]


def test_a_first_line_without_end(agent):
    with socket.create_connection(("127.0.0.1", agent.server_port), 20) as line:
        line.sendall(b"G" * (agent_module.HEAD_BYTES + 1))
        assert received(line) == b""


def test_requests_one_after_the_other_at_once(agent):
    """Pipelined, as HTTP allows."""
    with socket.create_connection(("127.0.0.1", agent.server_port), 20) as line:
        line.sendall(f"GET {PLACE} HTTP/1.1\r\n{AUTHORISED}\r\n".encode() * 3 + b"GET / HTTP/1.1\r\n\r\n")
        found = received(line)
    assert [part[:3] for part in found.split(b"HTTP/1.1 ")[1:]] == [b"200"] * 3 + [b"401"]


# -- TLS -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    folder = tmp_path_factory.mktemp("certificate")
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-days", "2", "-subj", "/CN=agent", "-addext", "subjectAltName=IP:127.0.0.1"),
            *("-keyout", folder / "key", "-out", folder / "cert"),
        ],
        check=True,
        capture_output=True,
    )
    return folder / "cert", folder / "key"


def test_who_does_not_shake_hands_keeps_nobody_out(tmp_path, certificate):
    context = ssl.create_default_context(cafile=certificate[0])
    with serving(tmp_path, Patience(stranger_s=1.5), certificate) as agent, contextlib.ExitStack() as held:
        for text in (b"", b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02") * 30:
            line = held.enter_context(socket.create_connection(("127.0.0.1", agent.server_port), 20))
            line.sendall(text)
        owner = http.client.HTTPSConnection("127.0.0.1", agent.server_port, timeout=20, context=context)
        assert ask(owner)[0] == 200
        until(lambda: all(not caller.stranger for caller in agent._callers.values()))
        assert ask(owner)[0] == 200
        owner.close()
        until(lambda: not agent._callers)


def test_the_certificate_is_looked_into_before_anything_is_done(tmp_path, certificate, monkeypatch):
    monkeypatch.setattr(socket.socket, "bind", lambda *given: pytest.fail("it listens already"))
    (tmp_path / "locked").write_bytes(
        subprocess.run(
            ["openssl", "ec", "-in", certificate[1], "-aes128", "-passout", "pass:secret"], capture_output=True
        ).stdout
    )
    for key in ("none", "locked"):
        with pytest.raises(MeasureError, match="cannot be used"):
            Agent("0.0.0.0", 0, TOKEN, tmp_path / "store", (certificate[0], tmp_path / key))
    assert not (tmp_path / "store").exists()


# -- the folder ----------------------------------------------------------------------------------------------------


def test_the_lock_follows_no_link(tmp_path):
    (tmp_path / "store").mkdir()
    (tmp_path / "treasure").write_text("gold")
    (tmp_path / "store" / "lock").symlink_to(tmp_path / "treasure")
    with pytest.raises(MeasureError, match=r"an agent cannot keep files in .*store"):
        Agent("127.0.0.1", 0, TOKEN, tmp_path / "store")
    assert (tmp_path / "treasure").read_text() == "gold"


@pytest.mark.parametrize("name", ["jobs", "files", "coming"])
def test_folders_that_lead_elsewhere_are_not_emptied(tmp_path, name):
    (tmp_path / "store").mkdir()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "treasure").write_text("gold")
    (tmp_path / "store" / name).symlink_to(tmp_path / "mine")
    with pytest.raises(MeasureError, match=r"an agent cannot keep files in .*store"):
        Agent("127.0.0.1", 0, TOKEN, tmp_path / "store")
    assert (tmp_path / "mine" / "treasure").read_text() == "gold"
    (tmp_path / "store" / name).unlink()
    with Agent("127.0.0.1", 0, TOKEN, tmp_path / "store"):
        pass


# -- whatever is sent ----------------------------------------------------------------------------------------------


def head(method, place, more=""):
    return f"{method} {place} HTTP/1.1\r\nHost: agent\r\n{AUTHORISED}{more}\r\n".encode()


JOB = json.dumps(
    {
        "key": "0" * 32,
        "job": {
            "job": "measure", "runtime": {"runtime": "onnxruntime", "threads": 1}, "seconds": 5, "wanted": ["energy"],
            "files": [{".onnx": "0" * 64, "weights/all.bin": "1" * 64}], "feeds": {".npz": "2" * 64}, "plan": {"n": 1},
        },
    }
).encode()  # fmt: skip
REQUESTS = (
    head("GET", f"{PLACE}?bytes=5"),
    head("PUT", PLACE, "Content-Length: 5\r\n") + b"hello",
    head("POST", "/v1/jobs", f"Content-Length: {len(JOB)}\r\n") + JOB,
    head("GET", f"/v1/jobs/{'0' * 32}?wait=0"),
)


def check_whatever_is_sent(agent, content):
    """It is answered in words, or not at all; and the agent is as well as before."""
    with socket.create_connection(("127.0.0.1", agent.server_port), 20) as line:
        with contextlib.suppress(OSError):
            line.sendall(content)
            line.shutdown(socket.SHUT_WR)
        found = received(line)
    assert b" 500 " not in found and b"Traceback" not in found, found
    assert not found or found.startswith((b"HTTP/1.", b"{", b"<!DOCTYPE")), found


@pytest.fixture(scope="module")
def busy(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("busy") / "store", Patience(1.0, 1.0, 1.0)) as found:
        yield found
        assert ask(line_to(found))[0] == 200 and found.files._promised == 0


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(REQUESTS).flatmap(mutations))
def test_whatever_is_sent(busy, content):
    check_whatever_is_sent(busy, content)


@pytest.mark.slow
@settings(max_examples=5000, deadline=None)
@given(st.sampled_from(REQUESTS).flatmap(mutations))
def test_whatever_is_sent_often(busy, content):
    check_whatever_is_sent(busy, content)


@settings(max_examples=200, deadline=None)
@given(swaps(json.loads(JOB)))
def test_whatever_job_is_sent(busy, job):
    check_whatever_is_sent(busy, head("POST", "/v1/jobs", f"Content-Length: {len(job)}\r\n") + job)


@pytest.mark.slow
@settings(max_examples=5000, deadline=None)
@given(swaps(json.loads(JOB)))
def test_whatever_job_is_sent_often(busy, job):
    check_whatever_is_sent(busy, head("POST", "/v1/jobs", f"Content-Length: {len(job)}\r\n") + job)
