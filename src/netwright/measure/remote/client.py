"""An agent, seen from the process that asks it."""

from __future__ import annotations

import http.client
import json
import os
import socket
import ssl
import time
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from pathlib import Path
from threading import Timer
from typing import Any, Literal, TypeVar
from urllib.parse import urlsplit
from uuid import uuid4

from ...core.errors import DeviceLost, MachineFault, MeasureError, ShapeError, format_error
from ...core.files import sha256
from ...core.shape import expect
from ...core.version import __version__
from ..parts import parts_of
from ..process import START_S
from ..runtimes import runtime_class
from . import FILES, PORT, is_loopback
from .answers import Failure, answer_to, job_state, missing_files, parse_answer, words
from .tunnel import NoTunnel, Tunnel, tunnel

Found = TypeVar("Found")

PATIENCE_S = 600.0
"""Seconds for which an agent that was there may be out of reach: a device that starts anew, a network that is gone."""

FIRST_S = 10.0
"""The same before it has answered once: most likely it is not there."""

BUSY = 503
"""The HTTP status of an agent that has too many connections."""

BROKEN = (
    OSError, http.client.RemoteDisconnected, http.client.IncompleteRead, http.client.ImproperConnectionState
)  # fmt: skip
"""What a connection raises that breaks: it is tried again. Anything else is no HTTP."""

QUEUE_S = 3600.0
"""Seconds that a job may wait for the jobs of others."""

SENDS = 3
"""How often a job is sent to an agent that forgot it, which is one that was started anew."""

UPLOADS = 3
"""How often missing files are sent for one job."""

SOCKET_S = 60.0
"""Seconds in which something must come of an answer, or go of a request."""

POLL_S = 20.0
"""Seconds that a question for a job is kept waiting there."""

PAUSE_S = 0.5
"""Seconds between two questions, where an agent does not keep them waiting."""

ANSWER_S = 300.0
"""Seconds that a request and its whole answer may take, beside those for what is sent."""

LEAST_BYTES_S = 10_000
"""Of what is sent, in a second."""

ANSWER_BYTES = 1 << 26
"""The most bytes of an answer."""


class Remote:
    """A ``netwright agent`` somewhere.

    Args:
        at: ``http://host:port`` on this machine, ``https://host:port``, or ``ssh://[user@]host[:port]`` with the
            agent's own port as the path if it is another than 7653. An agent's certificate is checked by what this
            system trusts, or by the file that the environment variable ``NETWRIGHT_CA`` names.
        token: the agent's; by default the environment variable ``NETWRIGHT_TOKEN``.
        patience_s: seconds for which an agent that was there may be out of reach.

    Raises :class:`MeasureError` for a place that is none, and without a token.
    """

    def __init__(self, at: str, token: str | None = None, patience_s: float = PATIENCE_S) -> None:
        self._at, self._patience_s = at, patience_s
        self._token = token or os.environ.get("NETWRIGHT_TOKEN", "")
        if not self._token:
            raise MeasureError(f"the agent at {at} wants its token: set NETWRIGHT_TOKEN, or give token=")
        if not self._token.isascii() or not self._token.isprintable() or " " in self._token:
            raise MeasureError("a token has no blanks and no letters beyond ASCII")
        self._tunnel: Tunnel | None = None
        self._context: ssl.SSLContext | None = None
        if at.startswith("ssh://"):
            self._tunnel = tunnel(at)
        else:
            self._host, self._port = _host_and_port(at)
            if at.startswith("https://"):
                self._context = _trust()
            elif not is_loopback(self._host):
                raise MeasureError(
                    f"http:// would show the token to others on the way to {self._host}; use https:// or ssh://"
                )
        self._met = False

    def __reduce__(self) -> tuple[Any, ...]:
        return Remote, (self._at, self._token, self._patience_s)

    def ask(self, job: Mapping[str, Any]) -> dict[str, Any]:
        """The answer to a job of :mod:`netwright.measure.worker`, its files sent along where the agent has them not.

        Raises :class:`MeasureError` with the reason where there is none: the runtime failed there, or the agent
        refuses it, cannot be reached any more, or was started anew again and again.
        """
        beside = runtime_class(job["runtime"]["runtime"]).beside
        files: dict[str, Path] = {}
        sent = {**job, **{key: _by_hash(job[key], beside, files) for key in FILES if key in job}}
        key = uuid4().hex
        body = json.dumps({"key": key, "job": sent}).encode()
        with closing(_Line(self)) as line:
            for _ in range(SENDS):
                self._send(line, key, body, files)
                answer = self._awaited(line, key, job)
                if isinstance(answer, Failure) and answer.errno is not None:
                    raise MachineFault(f"on the device at {self._at}: {answer.failed}")
                if isinstance(answer, Failure):
                    raise MeasureError(answer.failed)
                if answer is not None:
                    return answer
        raise MeasureError(
            f"the agent at {self._at} was started anew {SENDS} times while it measured: "
            "most likely the device runs out of memory"
        )

    def _send(self, line: _Line, key: str, body: bytes, files: Mapping[str, Path]) -> None:
        """Bring the job, and the files that are missing there."""
        uploads, deadline = 0, time.monotonic() + QUEUE_S
        while True:
            status, answer = line.request("POST", "/v1/jobs", body)
            if status == 409 and uploads < UPLOADS:
                uploads += 1
                for name in set(self._checked(missing_files, answer)) & set(files):  # it may ask for anything
                    self._upload(line, name, files[name])
            elif status == 429 and time.monotonic() < deadline:
                time.sleep(5)
            else:
                self._accept(status, answer, {"id": Literal[key]})
                return

    def _upload(self, line: _Line, name: str, path: Path) -> None:
        place = f"/v1/files/{name}"
        status, answer = line.request("GET", f"{place}?bytes={path.stat().st_size}")
        self._accept(status, answer, {"here": bool})
        if not answer["here"]:
            self._accept(*line.request("PUT", place, path), {"here": Literal[True]})

    def _awaited(self, line: _Line, key: str, job: Mapping[str, Any]) -> dict[str, Any] | Failure | None:
        """The answer to a job; None where the agent does not know the job."""
        deadline, runs = time.monotonic() + QUEUE_S, False
        while True:
            asked = time.monotonic()
            status, answer = line.request("GET", f"/v1/jobs/{key}?wait={POLL_S:g}")
            if status == 404:
                return None
            self._accept(status, answer, {})
            state, found = self._checked(job_state, answer)
            if state == "done":
                return self._checked(answer_to, job, found)
            if state == "running" and not runs:
                runs, deadline = True, time.monotonic() + float(job["seconds"]) + START_S + SOCKET_S
            if time.monotonic() > deadline:
                raise DeviceLost(f"the agent at {self._at} {'hangs' if runs else 'is busy with the jobs of others'}")
            if time.monotonic() < asked + PAUSE_S:
                time.sleep(PAUSE_S)

    def _accept(self, status: int, answer: Mapping[str, Any], form: Mapping[str, Any]) -> None:
        """Raise the reason for which the agent did not do what it was asked, or its answer has another form."""
        if status != 200:
            reason = words(answer.get("error")) or f"it answers with HTTP status {status}: no netwright agent?"
            kind = MachineFault if status == 507 else MeasureError
            raise kind(f"the agent at {self._at} refuses: {reason}")
        self._checked(expect, answer, form)

    def _checked(self, check: Callable[..., Found], *given: Any) -> Found:
        """What a check of an answer gives."""
        try:
            return check(*given)
        except ShapeError as error:
            raise DeviceLost(
                f"the agent at {self._at} answers what no agent of netwright {__version__} does: {words(str(error))}"
            ) from None

    def _connect(self) -> tuple[http.client.HTTPConnection, socket.socket]:
        """A connection, and a second handle of its socket: by that it is hung up on whatever it waits for."""
        at = (self._host, self._port) if self._tunnel is None else ("127.0.0.1", self._tunnel.port())
        line = http.client.HTTPConnection(*at, timeout=SOCKET_S)
        line.sock = socket.create_connection(at, SOCKET_S)
        return line, line.sock.dup()


class _Line:
    """Requests one after the other, each tried again where the connection breaks."""

    def __init__(self, remote: Remote) -> None:
        self._remote = remote
        self._connection: http.client.HTTPConnection | None = None
        self._handle: socket.socket | None = None
        self._late = False

    def request(self, method: str, place: str, body: bytes | Path = b"") -> tuple[int, dict[str, Any]]:
        """Status and answer. Raises :class:`MeasureError` when the patience with the agent is at its end."""
        lost, delay = None, 0.1
        while True:
            try:
                answer = self._once(method, place, body)
            except ssl.SSLCertVerificationError as error:
                raise MeasureError(
                    f"the certificate of the agent at {self._remote._at} is not trusted ({error.verify_message}); "
                    "if it is your own, let NETWRIGHT_CA name its file"
                ) from error
            except BROKEN as error:
                self.close()
                now = time.monotonic()
                lost = now if lost is None else lost
                patience = self._remote._patience_s
                if not self._remote._met:  # asked again, ssh would say the same
                    patience = 0.0 if isinstance(error, NoTunnel) else min(FIRST_S, patience)
                if now + delay > lost + patience:
                    raise DeviceLost(
                        f"the agent at {self._remote._at} cannot be reached, tried for {now - lost:.0f} s: "
                        f"{words(format_error(error))}"
                    ) from error
            except (http.client.HTTPException, ValueError) as error:
                self.close()
                raise self._no_agent(format_error(error)) from None
            else:
                self._remote._met = True
                return answer
            time.sleep(delay)
            delay = min(2 * delay, 15.0)

    def close(self) -> None:
        """Hang up."""
        for each in (self._connection, self._handle):
            if each is not None:
                each.close()
        self._connection = self._handle = None

    def _no_agent(self, why: str) -> DeviceLost:
        return DeviceLost(f"at {self._remote._at} something answers that is no netwright agent: {words(why)}")

    def _once(self, method: str, place: str, body: bytes | Path) -> tuple[int, dict[str, Any]]:
        limit = ANSWER_S + (body.stat().st_size / LEAST_BYTES_S if isinstance(body, Path) else 0.0)
        if self._connection is None or self._handle is None:
            self._connection, self._handle = self._remote._connect()
        self._late = False
        timer = Timer(limit, self._hang_up, (self._handle,))
        timer.daemon = True
        timer.start()
        try:
            status, text = self._exchange(self._connection, method, place, body)
        except (OSError, http.client.HTTPException):
            if not self._late:
                raise
        finally:
            timer.cancel()
        if self._late:
            self.close()
            raise DeviceLost(f"the agent at {self._remote._at} did not answer in full within {limit:.0f} s")
        if len(text) > ANSWER_BYTES:
            raise ValueError(f"its answer has more than {ANSWER_BYTES:,} bytes")
        answer = parse_answer(text)
        if status == BUSY:
            raise ConnectionRefusedError(words(answer.get("error")))
        return status, answer

    def _hang_up(self, handle: socket.socket) -> None:
        self._late = True
        with suppress(OSError):
            handle.shutdown(socket.SHUT_RDWR)

    def _exchange(
        self, line: http.client.HTTPConnection, method: str, place: str, body: bytes | Path
    ) -> tuple[int, bytes]:
        if self._remote._context is not None and not isinstance(line.sock, ssl.SSLSocket):
            line.sock = self._remote._context.wrap_socket(line.sock, server_hostname=self._remote._host)
        headers = {"Authorization": f"Bearer {self._remote._token}", "Content-Type": "application/octet-stream"}
        if isinstance(body, Path):
            with body.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                line.request(method, place, file, {**headers, "Content-Length": str(size)})
        else:
            line.request(method, place, body, headers)
        response = line.getresponse()
        text = response.read(ANSWER_BYTES + 1)
        if response.length and len(text) <= ANSWER_BYTES:
            raise http.client.IncompleteRead(text, response.length)
        if response.will_close:
            self.close()
        return response.status, text


def _by_hash(value: Any, beside: Any, files: dict[str, Path]) -> Any:
    """Paths as hashes by suffix or name, see :func:`parts_of`; ``files`` is told where each hash lies."""
    if isinstance(value, list):
        return [_by_hash(each, beside, files) for each in value]
    found = {}
    for suffix, part in parts_of(Path(value), beside).items():
        try:
            found[suffix] = sha256(part)
        except OSError as error:
            raise MeasureError(f"{part} cannot be read: {format_error(error)}") from error
        files[found[suffix]] = part
    return found


def _host_and_port(at: str) -> tuple[str, int]:
    try:
        parts = urlsplit(at)
        host, port = parts.hostname, parts.port or PORT
    except ValueError:
        host = None
    if not host or parts.username or parts.path.strip("/") or parts.query or parts.fragment:
        raise MeasureError(f"an agent is at {at.partition('://')[0]}://host:port, not at {at!r}")
    return host, port


def _trust() -> ssl.SSLContext:
    own = os.environ.get("NETWRIGHT_CA")
    try:
        return ssl.create_default_context(cafile=own or None)
    except (OSError, ssl.SSLError) as error:
        raise MeasureError(f"the certificates in {own}, which NETWRIGHT_CA names, cannot be read: {error}") from error
