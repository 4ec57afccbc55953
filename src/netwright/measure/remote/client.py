"""An agent, seen from the process that asks it."""

from __future__ import annotations

import http.client
import json
import os
import ssl
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

from ...core.errors import DeviceLost, MeasureError, format_error
from ...core.files import sha256
from ..parts import parts_of
from ..process import START_S
from ..runtimes import runtime_class
from . import FILES, PORT, is_loopback
from .tunnel import NoTunnel, Tunnel, tunnel

PATIENCE_S = 600.0
"""Seconds for which an agent that was there may be out of reach: a device that starts anew, a network that is gone."""

FIRST_S = 10.0
"""The same before it has answered once: most likely it is not there."""

QUEUE_S = 3600.0
"""Seconds that a job may wait for the jobs of others."""

SENDS = 3
"""How often a job is sent to an agent that forgot it, which is one that was started anew."""

UPLOADS = 3
"""How often missing files are sent for one job."""

SOCKET_S = 60.0
POLL_S = 20.0
ANSWER_BYTES = 1 << 26


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
                self._send(line, body, files)
                answer = self._awaited(line, key, float(job["seconds"]))
                if answer is None:
                    continue
                if "failed" in answer:
                    raise MeasureError(str(answer["failed"]))
                return answer
        raise MeasureError(
            f"the agent at {self._at} was started anew {SENDS} times while it measured: "
            "most likely the device runs out of memory"
        )

    def _send(self, line: _Line, body: bytes, files: Mapping[str, Path]) -> None:
        """Bring the job, and the files that are missing there."""
        uploads, deadline = 0, time.monotonic() + QUEUE_S
        while True:
            status, answer = line.request("POST", "/v1/jobs", body)
            if status == 409 and uploads < UPLOADS:
                uploads += 1
                for name in answer.get("missing", []):
                    if name in files:
                        self._upload(line, name, files[name])
            elif status == 429 and time.monotonic() < deadline:
                time.sleep(5)
            else:
                self._accept(status, answer)
                return

    def _upload(self, line: _Line, name: str, path: Path) -> None:
        place = f"/v1/files/{name}"
        status, answer = line.request("GET", f"{place}?bytes={path.stat().st_size}")
        self._accept(status, answer)
        if not answer.get("here"):
            self._accept(*line.request("PUT", place, path))

    def _awaited(self, line: _Line, key: str, seconds: float) -> dict[str, Any] | None:
        """The answer to a job; None where the agent does not know the job."""
        deadline, runs = time.monotonic() + QUEUE_S, False
        while True:
            status, answer = line.request("GET", f"/v1/jobs/{key}?wait={POLL_S:g}")
            if status == 404:
                return None
            self._accept(status, answer)
            if answer.get("state") == "done":
                found: dict[str, Any] = answer["answer"]
                return found
            if answer.get("state") == "running" and not runs:
                runs, deadline = True, time.monotonic() + seconds + START_S + SOCKET_S
            if time.monotonic() > deadline:
                raise MeasureError(f"the agent at {self._at} {'hangs' if runs else 'is busy with the jobs of others'}")

    def _accept(self, status: int, answer: Mapping[str, Any]) -> None:
        """Raise the reason for which the agent did not do what it was asked."""
        if status != 200:
            reason = answer.get("error") or f"it answers with HTTP status {status}: no netwright agent?"
            raise MeasureError(f"the agent at {self._at} refuses: {reason}")

    def _connection(self) -> http.client.HTTPConnection:
        if self._tunnel is not None:
            return http.client.HTTPConnection("127.0.0.1", self._tunnel.port(), timeout=SOCKET_S)
        if self._context is not None:
            return http.client.HTTPSConnection(self._host, self._port, timeout=SOCKET_S, context=self._context)
        return http.client.HTTPConnection(self._host, self._port, timeout=SOCKET_S)


class _Line:
    """Requests one after the other, each tried again where the connection breaks."""

    def __init__(self, remote: Remote) -> None:
        self._remote = remote
        self._connection: http.client.HTTPConnection | None = None

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
            except (OSError, http.client.HTTPException) as error:
                self.close()
                now = time.monotonic()
                lost = now if lost is None else lost
                patience = self._remote._patience_s
                if not self._remote._met:  # asked again, ssh would say the same
                    patience = 0.0 if isinstance(error, NoTunnel) else min(FIRST_S, patience)
                if now + delay > lost + patience:
                    raise DeviceLost(
                        f"the agent at {self._remote._at} cannot be reached, tried for {now - lost:.0f} s: "
                        f"{format_error(error)}"
                    ) from error
            else:
                self._remote._met = True
                return answer
            time.sleep(delay)
            delay = min(2 * delay, 15.0)

    def close(self) -> None:
        """Hang up."""
        if self._connection is not None:
            self._connection.close()
        self._connection = None

    def _once(self, method: str, place: str, body: bytes | Path) -> tuple[int, dict[str, Any]]:
        if self._connection is None:
            self._connection = self._remote._connection()
        headers = {"Authorization": f"Bearer {self._remote._token}", "Content-Type": "application/octet-stream"}
        if isinstance(body, Path):
            with body.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                self._connection.request(method, place, file, {**headers, "Content-Length": str(size)})
        else:
            self._connection.request(method, place, body, headers)
        response = self._connection.getresponse()
        text = response.read(ANSWER_BYTES + 1)
        if response.will_close:
            self.close()
        try:
            answer = json.loads(text)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise MeasureError(f"at {self._remote._at} something answers that is no netwright agent")
        return response.status, answer


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
