"""What the tests of remote measuring share: agents in processes of their own, a runtime that goes wrong, a bad line."""

from __future__ import annotations

import os
import re
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

TOKEN = "a-token-for-tests-0123456789"

FAULTY = '''
"""A runtime whose networks do what its setting says; each run leaves a line in a file."""
import ctypes, os, signal, time
from dataclasses import dataclass
import numpy as np
from netwright.measure.runtimes.base import Runtime, Session


@dataclass(frozen=True)
class Faulty(Runtime):
    how: str = "fine"
    name = "faulty"
    packages = modules = ()
    suffix = ".any"
    reads = (".any",)
    beside = (".side",)

    def convert(self, network, inputs, path):
        path.write_bytes(b"")
        return {}

    def open(self, path, feeds):
        with open(os.environ["FAULTY_LOG"], "a") as log:
            log.write(f"{self.how} {path.read_bytes()[:9]} {path.with_suffix('.side').exists()}\\n")
        if self.how == "hang":
            time.sleep(3600)
        if self.how == "segfault":
            ctypes.string_at(0)
        if self.how == "slow":
            time.sleep(0.8)
        if self.how == "kill the agent":
            with open("/proc/%d/stat" % os.getppid()) as stat:
                os.kill(int(stat.read().split()[3]), signal.SIGKILL)
            time.sleep(3600)
        return _Session()


class _Session(Session):
    def run(self):
        return sum(range(100))

    def outputs(self):
        return [np.zeros(1)]
'''


def faulty(folder: Path) -> Path:
    """A directory that has the runtime ``faulty`` installed."""
    about = folder / "faulty-1.0.dist-info"
    about.mkdir(parents=True)
    (folder / "faulty.py").write_text(FAULTY)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: faulty\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[netwright.runtimes]\nfaulty = faulty:Faulty\n")
    return folder


class Served:
    """A ``netwright agent`` in a process of its own.

    Args:
        folder: for its files.
        arguments: beside port and token.
        command: that runs the agent.
        host: under which it is reached.
    """

    def __init__(
        self,
        folder: Path,
        arguments: Sequence[str] = (),
        command: Sequence[str] = (sys.executable, "-m", "netwright", "agent"),
        host: str = "127.0.0.1",
        path: str = "",
    ) -> None:
        folder.mkdir(exist_ok=True)
        self._folder, self._command, self._arguments = folder, command, arguments
        self._path, self.host, self.port = path, host, 0
        self.log = folder / "runs.log"
        (folder / "token").write_text(TOKEN + "\n")
        self.start()

    def start(self) -> None:
        """Start it, on the port of before."""
        self.process = subprocess.Popen(
            [*self._command, "--port", str(self.port), "--token-file", self._folder / "token", *self._arguments],
            cwd=self._folder,
            stdout=subprocess.PIPE,
            text=True,
            env={
                **os.environ,
                "NETWRIGHT_CACHE": str(self._folder / "cache"),
                "FAULTY_LOG": str(self.log),
                "PYTHONPATH": os.pathsep.join(filter(None, [self._path, os.environ.get("PYTHONPATH")])),
                "OMP_NUM_THREADS": "1",
            },
        )
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], 30)
        assert ready, "the agent says nothing"
        line = self.process.stdout.readline()
        match = re.search(r"at (https?)://.*:(\d+)$", line)
        assert match, line
        self.port, self.at = int(match[2]), f"{match[1]}://{self.host}:{match[2]}"

    def kill(self) -> None:
        """End it as a power cut would."""
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()

    @property
    def runs(self) -> list[str]:
        """What the runtime ``faulty`` was asked to do there."""
        return self.log.read_text().splitlines() if self.log.exists() else []

    def await_run(self, number: int) -> None:
        """Return when the runtime ``faulty`` was asked so many times."""
        deadline = time.monotonic() + 20
        while len(self.runs) < number:
            assert time.monotonic() < deadline, "the job does not begin"
            time.sleep(0.02)


class BadLine:
    """Forwards a port to another, and cuts one connection after the other after so many bytes to the agent.

    Args:
        port: of the agent.
        cuts: bytes, one number for each connection; those that come later are not cut.
    """

    def __init__(self, port: int, cuts: Sequence[int]) -> None:
        self._to, self._cuts = port, list(cuts)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.at = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self.cut = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Take no more connections."""
        self._listening.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listening.accept()
            except OSError:
                return
            left = self._cuts.pop(0) if self._cuts else None
            threading.Thread(target=self._forward, args=(near, left), daemon=True).start()

    def _forward(self, near: socket.socket, left: int | None) -> None:
        with near, socket.create_connection(("127.0.0.1", self._to)) as far:
            while True:
                ready, _, _ = select.select([near, far], [], [], 60)
                for side in ready:
                    part = side.recv(4096)
                    if side is near and left is not None:
                        part, left = part[:left], left - len(part)
                    if part:
                        (far if side is near else near).sendall(part)
                    if left is not None and left <= 0:
                        self.cut += 1
                        return
                    if not part:
                        return
                if not ready:
                    return


def job(how: str, *files: Path, seconds: float = 20) -> dict[str, object]:
    """A job that opens a file with the runtime ``faulty`` and measures it."""
    return {
        "job": "measure",
        "runtime": {"runtime": "faulty", "how": how},
        "seconds": seconds,
        "files": [str(f) for f in files[:1]],
        "feeds": str(files[1]),
        "plan": {"max_seconds": 0.02, "repeats": 0},
        "wanted": [],
    }
