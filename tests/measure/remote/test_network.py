"""A second host: a network namespace with an agent, reached over TLS through a virtual cable."""

import http.client
import json
import os
import socket
import subprocess
import sys
import threading
import time
from ipaddress import ip_network

import pytest
from serving import TOKEN, Served, job

from netwright.core.errors import MeasureError
from netwright.measure.remote.client import Remote

NETWORKS = [ip_network(f"{start}/30") for start in ("198.51.100.0", "203.0.113.0", "10.231.77.0")]


def unused():
    """The addresses of both ends of a cable, of a network that this machine neither has nor has a way to."""
    told = subprocess.run(["ip", "-j", "-4", "route", "show", "table", "all"], capture_output=True, text=True)
    routes = [route["dst"] for route in json.loads(told.stdout)] if not told.returncode else ["0.0.0.0/0"]
    taken = [ip_network(route, strict=False) for route in routes if route != "default"]
    for network in NETWORKS:
        if not any(network.overlaps(other) for other in taken):
            return map(str, network.hosts())
    pytest.skip("all networks that the test could use are in use here")


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


def certificate(folder, name: str, host: str) -> None:
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"),
            *("-nodes", "-days", "2"),
            *("-subj", f"/CN={name}", "-addext", f"subjectAltName=IP:{host}"),
            *("-keyout", folder / f"{name}.key", "-out", folder / f"{name}.pem"),
        ],
        check=True,
        capture_output=True,
    )


@pytest.fixture(scope="module")
def cable():
    """Its name here, which is the namespace's too, and the address of its other end."""
    name = f"nw{os.getpid()}"
    try:
        here, there = unused()
        ip("netns", "add", name)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no network namespace can be made here: {getattr(error, 'stderr', error)}")
    try:
        ip("link", "add", name, "type", "veth", "peer", "name", "there", "netns", name)
        ip("address", "add", f"{here}/30", "dev", name)
        ip("link", "set", name, "up")
        ip("-n", name, "address", "add", f"{there}/30", "dev", "there")
        ip("-n", name, "link", "set", "there", "up")
        ip("-n", name, "link", "set", "lo", "up")
        yield name, there
    finally:
        ip("netns", "delete", name)


@pytest.fixture(scope="module")
def away(tmp_path_factory, path, cable):
    """An agent on the other host."""
    folder = tmp_path_factory.mktemp("away")
    certificate(folder, "agent", cable[1])
    certificate(folder, "another", cable[1])
    certificate(folder, "elsewhere", "127.0.0.9")
    command = ("ip", "netns", "exec", cable[0], sys.executable, "-m", "netwright", "agent")
    arguments = ("--host", cable[1], "--cert", str(folder / "agent.pem"), "--key", str(folder / "agent.key"))
    served = Served(folder / "device", arguments, command, cable[1], path)
    served.certificates = folder
    yield served
    served.kill()


def test_another_host_over_tls(away, files, monkeypatch):
    monkeypatch.setenv("NETWRIGHT_CA", str(away.certificates / "agent.pem"))
    assert away.at.startswith(f"https://{away.host}:")
    there = Remote(away.at, TOKEN, 20)
    told = there.ask({"job": "describe", "runtime": {"runtime": "faulty", "how": "fine"}, "seconds": 20})
    assert told["target"]["cpu"]
    assert there.ask(job("fine", *files))["measurements"]["latency"]["value"] > 0
    with pytest.raises(MeasureError, match="the token is missing or wrong"):
        Remote(away.at, "another", 20).ask(job("fine", *files))


@pytest.mark.parametrize("ca", [None, "another"])
def test_only_a_trusted_agent_is_told_the_token(away, files, monkeypatch, ca):
    monkeypatch.delenv("NETWRIGHT_CA", raising=False)
    if ca:
        monkeypatch.setenv("NETWRIGHT_CA", str(away.certificates / f"{ca}.pem"))
    begin = time.monotonic()
    with pytest.raises(MeasureError, match=r"is not trusted \(.*certificate.*\); if it is your own, let NETWRIGHT_CA"):
        Remote(away.at, TOKEN, 300).ask(job("fine", *files))
    assert time.monotonic() - begin < 100  # asked again, it would say the same: its patience is not used up


def test_certificates_that_cannot_be_read(away, tmp_path, monkeypatch):
    monkeypatch.setenv("NETWRIGHT_CA", str(tmp_path / "none"))
    with pytest.raises(MeasureError, match="which NETWRIGHT_CA names, cannot be read"):
        Remote(away.at, TOKEN)


def test_a_certificate_of_another_host(path, cable, away, files, tmp_path, monkeypatch):
    command = ("ip", "netns", "exec", cable[0], sys.executable, "-m", "netwright", "agent")
    pair = [str(away.certificates / f"elsewhere.{end}") for end in ("pem", "key")]
    served = Served(
        tmp_path / "device", ("--host", cable[1], "--cert", pair[0], "--key", pair[1]), command, cable[1], path
    )
    monkeypatch.setenv("NETWRIGHT_CA", pair[0])
    try:
        with pytest.raises(MeasureError, match=r"is not trusted .*IP address mismatch"):
            Remote(served.at, TOKEN, 20).ask(job("fine", *files))
    finally:
        served.kill()


def test_an_agent_of_another_host_is_not_reached_past_its_address(away):
    """It listens at its own address alone, and its loopback is not this machine's."""
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", away.port), 2)


def test_plain_http_gets_no_answer(away):
    line = http.client.HTTPConnection(away.host, away.port, timeout=5)
    with pytest.raises((OSError, http.client.HTTPException)):
        line.request("GET", "/v1/files/" + "0" * 64, headers={"Authorization": f"Bearer {TOKEN}"})
        line.getresponse()


def test_a_cable_that_is_pulled(away, cable, files, monkeypatch):
    """While the job runs; its answer arrives when the cable is back."""
    monkeypatch.setenv("NETWRIGHT_CA", str(away.certificates / "agent.pem"))
    monkeypatch.setattr("netwright.measure.remote.client.SOCKET_S", 3.0)
    monkeypatch.setattr("netwright.measure.remote.client.POLL_S", 1.0)
    before = len(away.runs)

    def accident():
        away.await_run(before + 1)
        ip("link", "set", cable[0], "down")
        time.sleep(4)
        ip("link", "set", cable[0], "up")

    thread = threading.Thread(target=accident)
    thread.start()
    found = Remote(away.at, TOKEN, 30).ask(job("slow", *files))
    thread.join()
    assert found["measurements"]["latency"]["value"] > 0 and len(away.runs) == before + 1
