"""Tunnels to agents, through ``ssh``."""

from __future__ import annotations

import atexit
import contextlib
import os
import re
import socket
import tempfile
import time
from threading import Lock

from ...core.children import Child
from ...core.errors import MeasureError
from . import PORT

OPEN_S = 30.0
"""Seconds that ``ssh`` may take to connect."""

PLACE = re.compile(
    r"ssh://((?P<user>[A-Za-z0-9._][A-Za-z0-9._-]*)@)?(?P<host>\[[0-9a-fA-F:]+\]|[A-Za-z0-9._][A-Za-z0-9._-]*)"
    r"(:(?P<port>[0-9]{1,5}))?(/(?P<agent>[0-9]{1,5})?)?"
)


class NoTunnel(ConnectionError):
    """``ssh`` does not connect, for the moment or at all."""


class Tunnel:
    """A port of this machine's loopback that leads to an agent on the loopback of another machine.

    ``ssh`` uses its own configuration and keys and asks nothing.

    Args:
        place: ``ssh://[user@]host[:port][/port of the agent]``.
    """

    def __init__(self, place: str) -> None:
        match = PLACE.fullmatch(place)
        if not match:
            raise MeasureError(f"a place behind ssh is ssh://[user@]host[:port][/port of the agent], not {place!r}")
        self._host = match["host"].strip("[]")
        self._to = f"{match['user']}@{self._host}" if match["user"] else self._host
        self._port, self._agent = match["port"], int(match["agent"] or PORT)
        self._ssh: Child | None = None
        self._local = 0
        self._lock = Lock()

    def port(self) -> int:
        """The port here; ``ssh`` is started where it does not run (any more).

        Raises :class:`NoTunnel` in the words of ``ssh`` where it cannot connect.
        """
        with self._lock:
            if self._ssh is None or not self._ssh.runs:
                self._open()
            return self._local

    def _open(self) -> None:
        self.close()
        self._local = _free_port()
        command = ["ssh", "-N", "-o", "BatchMode=yes", "-o", "ExitOnForwardFailure=yes", "-o", "ServerAliveInterval=15"]
        command += ["-L", f"127.0.0.1:{self._local}:127.0.0.1:{self._agent}"]
        command += ["-p", self._port] if self._port else []
        with tempfile.TemporaryFile() as said:
            try:
                self._ssh = Child([*command, "--", self._to], stdout=said, stderr=said)
            except OSError as error:
                raise MeasureError(f"ssh cannot be run ({error}); install it, or use https://") from error
            deadline = time.monotonic() + OPEN_S
            while time.monotonic() < deadline:
                if not self._ssh.runs:
                    said.seek(0)
                    lines = said.read()[-2000:].decode(errors="replace").strip().splitlines()
                    raise NoTunnel(f"ssh to {self._to} ended: {' '.join(lines[-2:]) or 'without a word'}")
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self._local), 1):
                    return
                time.sleep(0.05)
        self.close()
        raise NoTunnel(f"ssh to {self._to} did not connect within {OPEN_S:g} s")

    def close(self) -> None:
        """End ``ssh``."""
        if self._ssh is not None:
            self._ssh.stop()
        self._ssh = None


_tunnels: dict[str, Tunnel] = {}


def tunnel(place: str) -> Tunnel:
    """This process's tunnel to a place; it lasts as long as this process."""
    if place not in _tunnels:
        _tunnels[place] = Tunnel(place)
    return _tunnels[place]


@atexit.register
def close_all() -> None:
    """End all tunnels."""
    for each in _tunnels.values():
        each.close()
    _tunnels.clear()


os.register_at_fork(after_in_child=_tunnels.clear)  # a fork opens tunnels of its own


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
