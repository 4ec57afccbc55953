"""Who measures for a store: processes, by names that tell others on the same machine whether they live."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from threading import Event, Thread
from types import TracebackType
from typing import Any

from ...core.candidate import digest

JOIN_S = 5.0
"""Seconds that are waited for a thread whose database may not answer."""


_gone: set[str] = set()
"""Names that this process has had."""


def new_name() -> str:
    """A name of this process that no other has: machine, number, when it was started, by whom these are told, and a
    word of its own."""
    return ":".join([socket.gethostname(), str(os.getpid()), _started(os.getpid()), _teller(), secrets.token_hex(4)])


def give_up(name: str) -> None:
    """Have a name of this process be nobody's any more."""
    _gone.add(name)


def has_ended(name: str) -> bool:
    """Whether the process of this name is known to have ended, or to have given it up: only of one that this process
    can see."""
    if name in _gone:
        return True
    _, number, started, teller, *_ = (*name.split(":"), "", "", "", "")
    if not teller or teller != _teller() or not number.isdigit():
        return False
    try:
        os.kill(int(number), 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):  # another user's
        return False
    return _started(int(number)) not in (started, "")


def _started(number: int) -> str:
    """When a process was started, in the system's own terms; empty where that cannot be told, ``-`` once it has ended
    and nobody has looked at it."""
    with suppress(OSError, IndexError):
        fields = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()
        return "-" if fields[0] in ("Z", "X") else fields[19]
    return ""


@cache
def _teller() -> str:
    """Which system, since when it runs, and which processes are seen; empty where that cannot be told."""
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return digest([boot, os.readlink("/proc/self/ns/pid")])
    return ""


class Presence:
    """Puts off, from a thread of its own, the time until which a member counts as there.

    Args:
        lease: how far, in seconds.
        connect: gives a connection to the database, which is used by the thread alone.
        sql: what does it, with the values for it.
    """

    def __init__(self, lease: float, connect: Callable[[], Any], sql: str, about: Mapping[str, Any]) -> None:
        self._lease, self._connect, self._sql, self._about = lease, connect, sql, about
        self._end = Event()
        self._thread = Thread(target=self._stay, name="netwright-member", daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        self._thread.join(JOIN_S)

    def _stay(self) -> None:
        connection = None
        while not self._end.wait(self._lease / 4):
            try:
                connection = connection or self._connect()
                connection.execute(self._sql, self._about)
            except Exception:  # who searches finds out by itself whether the server is gone, and says so
                connection = None
        if connection is not None:
            connection.close()
