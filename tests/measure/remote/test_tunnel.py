"""Through ssh: with a server of its own on this machine, and with an ``ssh`` that fails."""

import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from serving import TOKEN, job

from netwright.core.errors import MeasureError
from netwright.measure.remote import tunnel
from netwright.measure.remote.client import Remote


def program(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


@pytest.fixture(autouse=True)
def own_ssh(tmp_path, monkeypatch):
    """A directory for programs that come first; tunnels end with the test."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    yield tmp_path / "bin" / "ssh"
    tunnel.close_all()


@pytest.fixture
def server(tmp_path, own_ssh):
    """The port of an ssh server on 127.0.0.1 that lets this user in, and of which ``ssh`` knows."""
    sshd, ssh = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin"), shutil.which("ssh")
    if not sshd or not ssh:
        pytest.skip("there is no sshd here (Debian: openssh-server)")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / name], check=True)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (tmp_path / "sshd").write_text(
        f"ListenAddress 127.0.0.1\nPort {port}\nHostKey {tmp_path / 'host'}\nPidFile none\nStrictModes no\nUsePAM no\n"
        f"AuthorizedKeysFile {tmp_path / 'user.pub'}\nPermitRootLogin yes\nPasswordAuthentication no\n"
    )
    (tmp_path / "config").write_text(
        f"Host device\n HostName 127.0.0.1\n IdentityFile {tmp_path / 'user'}\n IdentitiesOnly yes\n"
        f" UserKnownHostsFile {tmp_path / 'known'}\n HostKeyAlias device\n"
    )
    (tmp_path / "known").write_text(f"device {(tmp_path / 'host.pub').read_text()}")
    program(own_ssh, f'#!/bin/sh\nexec {ssh} -F {tmp_path / "config"} "$@"\n')
    with (tmp_path / "said").open("w") as said:
        process = subprocess.Popen([sshd, "-D", "-e", "-f", tmp_path / "sshd"], stderr=said)
    deadline = time.monotonic() + 10
    while "Server listening" not in (tmp_path / "said").read_text():
        assert process.poll() is None and time.monotonic() < deadline, (tmp_path / "said").read_text()
        time.sleep(0.02)
    yield port
    process.terminate()
    process.wait(10)


def remote(at):
    return Remote(at, TOKEN, 20)


def test_an_agent_behind_ssh(server, shared, files, tmp_path):
    at = f"ssh://device:{server}/{shared.port}"
    assert remote(at).ask(job("fine", *files))["measurements"]["latency"]["value"] > 0
    there = tunnel._tunnels[at]
    there._ssh.stop()  # it is opened again
    assert remote(at).ask(job("fine", *files))["measurements"]
    ssh = there._ssh
    tunnel.close_all()
    assert not ssh.runs


def test_a_server_that_is_not_known(server, shared, files, tmp_path):
    (tmp_path / "known").write_text("")
    begin = time.monotonic()
    with pytest.raises(MeasureError, match=r"ssh to device ended: .*Host key verification failed"):
        remote(f"ssh://device:{server}/{shared.port}").ask(job("fine", *files))
    assert time.monotonic() - begin < 5  # asked again, it would say the same


def test_a_key_that_is_not_known(server, shared, files, tmp_path):
    (tmp_path / "user.pub").write_text("")
    with pytest.raises(MeasureError, match=r"ssh to me@device ended: .*Permission denied"):
        remote(f"ssh://me@device:{server}/{shared.port}").ask(job("fine", *files))


def test_a_server_behind_which_there_is_no_agent(server, files, monkeypatch):
    monkeypatch.setattr("netwright.measure.remote.client.FIRST_S", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(MeasureError, match=r"the agent at ssh://device.* cannot be reached"):
        remote(f"ssh://device:{server}/{port}").ask({"job": "describe", "runtime": {"runtime": "faulty"}, "seconds": 5})


SPY = f"""#!{sys.executable}
import sys, time
open(sys.argv[0] + ".said", "w").write("\\n".join(sys.argv[1:]))
print("no route", file=sys.stderr)
sys.exit(255)
"""


def test_how_ssh_is_called(own_ssh, tmp_path):
    program(own_ssh, SPY)
    there = tunnel.Tunnel("ssh://me@[::1]:2222/")
    with pytest.raises(ConnectionError, match=r"ssh to me@::1 ended: no route"):
        there.port()
    said = (tmp_path / "bin" / "ssh.said").read_text().splitlines()
    assert said[:7] == ["-N", "-o", "BatchMode=yes", "-o", "ExitOnForwardFailure=yes", "-o", "ServerAliveInterval=15"]
    assert said[8] == f"127.0.0.1:{there._local}:127.0.0.1:7653" and said[9:] == ["-p", "2222", "--", "me@::1"]


def test_an_ssh_that_does_not_connect(own_ssh, monkeypatch):
    monkeypatch.setattr(tunnel, "OPEN_S", 0.3)
    program(own_ssh, "#!/bin/sh\nexec sleep 60\n")
    there = tunnel.Tunnel("ssh://device")
    with pytest.raises(ConnectionError, match=r"ssh to device did not connect within 0.3 s"):
        there.port()
    assert there._ssh is None


def test_no_ssh(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MeasureError, match="ssh cannot be run"):
        tunnel.Tunnel("ssh://device").port()
