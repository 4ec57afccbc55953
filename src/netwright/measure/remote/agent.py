"""The agent: runs measuring jobs on its device for whoever has its token."""

from __future__ import annotations

import fcntl
import hmac
import json
import re
import shutil
from collections.abc import Mapping
from http.client import LineTooLong
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from tempfile import mkdtemp
from typing import Any
from urllib.parse import parse_qs, urlsplit

from ...core.candidate import digest
from ...core.errors import MeasureError, format_error
from ...core.faults import machine_fault
from ...core.files import open_lock
from ...core.version import __version__
from ..runtimes.base import Runtime
from . import FILES, is_loopback
from .files import PART, Files, Refused
from .jobs import Job, Jobs, Limits, checked, files_of
from .server import Patience, Server, load_certificate

POLL_S = 30.0
"""The longest that a question for a job is kept waiting."""
DRAINED_BYTES = 1 << 20
"""Read of what is refused, so that its sender comes to read why."""
HEAD_BYTES = 1 << 14
"""The most of a request's first line and headers."""


class _Bounded:
    """What a connection sends, of whose lines only so many bytes are read.

    Args:
        file: what is read.
    """

    def __init__(self, file: Any) -> None:
        self.left = HEAD_BYTES
        self.read, self.close, self._readline = file.read, file.close, file.readline

    def readline(self, most: int = -1) -> bytes:
        """Raises :class:`http.client.LineTooLong` where there is more."""
        line: bytes = self._readline(self.left + 1 if most < 0 else min(most, self.left + 1))
        self.left -= len(line)
        if self.left < 0:
            raise LineTooLong("head of a request")
        return line


class Agent(Server):
    """The server.

    Args:
        host: an address of this machine; one that others reach needs a certificate.
        port: 0 takes a free one.
        token: the token that every request must bring.
        folder: for files, of its own; one agent at a time uses it.
        certificate: the paths of a certificate and of its key, both PEM; None speaks plain HTTP.
        limits: the limits of what it takes.
        patience: how long connections may take.

    Raises :class:`MeasureError` with the reason where it cannot start.
    """

    def __init__(
        self,
        host: str,
        port: int,
        token: str,
        folder: Path,
        certificate: tuple[Path, Path] | None = None,
        limits: Limits | None = None,
        patience: Patience | None = None,
    ) -> None:
        if not re.fullmatch(r"[\x21-\x7e]{16,}", token):
            raise MeasureError("a token has 16 or more characters, letters, digits and signs without blanks")
        if certificate is None and not is_loopback(host):
            raise MeasureError(
                f"at {host} others can listen: give --cert and --key, or stay at 127.0.0.1 and reach it with ssh://"
            )
        self.token, self.limits, self.patience = token, limits or Limits(), patience or Patience()
        secure = None if certificate is None else load_certificate(*certificate)
        self._folder_lock = _only_one(folder)
        self._places = folder / "jobs"
        try:
            shutil.rmtree(self._places, ignore_errors=True)
            self._places.mkdir()
            self.files = Files(folder, self.limits.file_bytes, self.limits.total_bytes)
        except OSError as error:
            self._folder_lock.close()
            raise _no_files(folder, error) from error
        self.jobs = Jobs(self.limits)
        super().__init__(host, port, _Handler, secure, self.patience)

    def server_close(self) -> None:
        super().server_close()
        self.jobs.close()
        self._folder_lock.close()

    def submit(self, sent: Any) -> dict[str, Any]:
        """Take a job. Raises :class:`Refused` with what is wrong with it."""
        if not isinstance(sent, dict) or set(sent) != {"key", "job"} or not isinstance(sent["job"], dict):
            raise Refused(400, "a job is sent as {'key': ..., 'job': {...}}")
        key, job = sent["key"], sent["job"]
        if not isinstance(key, str) or not re.fullmatch("[0-9a-f]{32}", key):
            raise Refused(400, "a job's key is 32 hexadecimal digits")
        try:
            what = digest(sent)
        except ValueError as error:
            raise Refused(400, f"a job cannot hold this: {format_error(error)}") from None
        if self.jobs.knows(key, what):
            return {"id": key}
        runtime, body = checked(job, self.limits.seconds)
        names = {name for file in files_of(body) for name in file.values()}
        missing = sorted(name for name in names if not self.files.has(name))
        if missing:
            raise Refused(409, f"{len(missing)} files of the job are not here", missing=missing)
        self.jobs.add(key, lambda: self._prepared(runtime, body, what))
        return {"id": key}

    def _prepared(self, runtime: Runtime, body: Mapping[str, Any], what: str) -> Job:
        """The job with paths for hashes, in a folder of its own."""
        folder = Path(mkdtemp(dir=self._places))
        count = 0

        def placed(file: Any) -> Any:
            nonlocal count
            if isinstance(file, list):
                return [placed(each) for each in file]
            count += 1
            own = folder / str(count)  # names of one file are not in the way of those of another
            for part, name in file.items():
                place = own / (f"file{count}{part}" if part.startswith(".") else part)
                place.parent.mkdir(parents=True, exist_ok=True)
                self.files.link(name, place)
            return str(own / f"file{count}{next(iter(file))}")

        try:
            return Job(what, runtime, {k: placed(v) if k in FILES else v for k, v in body.items()}, folder)
        except FileNotFoundError:
            shutil.rmtree(folder, ignore_errors=True)
            raise Refused(409, "a file of the job had to go", missing=[]) from None
        except (FileExistsError, NotADirectoryError) as error:
            shutil.rmtree(folder, ignore_errors=True)
            raise Refused(400, f"two parts of a file are in each other's way: {format_error(error)}") from None


class _Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server_version = f"netwright/{__version__}"
    wbufsize = -1
    disable_nagle_algorithm = True  # small answers would wait for the acknowledgement of those before
    server: Agent

    def setup(self) -> None:
        super().setup()
        self.rfile: Any = _Bounded(self.rfile)

    def handle_one_request(self) -> None:
        self.server.allow(self.request, self.server.patience.idle_s)
        self.rfile.left = HEAD_BYTES
        try:
            super().handle_one_request()
        except LineTooLong:
            self.close_connection = True

    def do_GET(self) -> None:
        """Answer, whatever the method."""
        self._unread = 0
        try:
            self._unread = self._length()
            self._authorise()
            status, answer = self._answer()
        except Refused as error:
            status, answer = error.status, {"error": str(error), **error.more}
        except (ConnectionError, TimeoutError):
            self.close_connection = True
            return
        except OSError as error:
            status = 507 if machine_fault(error) else 500
            answer = {"error": f"the agent's disk: {format_error(error)}"}
        except Exception as error:
            status, answer = 500, {"error": f"the agent failed: {format_error(error)}"}
        if self._unread:
            self.close_connection = True
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        for at in range(0, len(body), PART):
            self._be_quick()
            self.wfile.write(body[at : at + PART])
            self.wfile.flush()
        drained = 0
        while self._unread and drained < DRAINED_BYTES:
            part = self._read(1 << 16)
            drained += len(part)
            if not part:
                break

    do_PUT = do_POST = do_GET

    def _answer(self) -> tuple[int, dict[str, Any]]:
        asked = urlsplit(self.path)
        query = {key: values[-1] for key, values in parse_qs(asked.query).items()}
        match self.command, *asked.path.strip("/").split("/"):
            case "GET", "v1", "files", name:
                here = self.server.files.has(name)
                if not here:
                    self.server.files.check(int(_number(query, "bytes")))
                return 200, {"here": here}
            case "PUT", "v1", "files", name:
                self.server.files.put(name, self._unread, self._read)
                return 200, {"here": True}
            case "POST", "v1", "jobs":
                return 200, self.server.submit(self._json())
            case "GET", "v1", "jobs", key:
                self.server.allow(self.request, POLL_S + self.server.patience.part_s)
                return 200, self.server.jobs.wait(key, min(POLL_S, _number(query, "wait")))
        raise Refused(405, f"netwright agent {__version__} does not know {self.command} {asked.path[:80]}")

    def _length(self) -> int:
        text, *others = self.headers.get_all("Content-Length", ["0"])
        if others or self.headers.defects or any("\n" in value for value in self.headers.values()):
            self.close_connection = True  # nobody knows where the next request begins
            raise Refused(400, "the headers of this request are not those of HTTP")
        if "Transfer-Encoding" in self.headers or not re.fullmatch("[0-9]{1,15}", text):
            self.close_connection = True
            raise Refused(411, "what is sent needs a Content-Length")
        return int(text)

    def _authorise(self) -> None:
        given = self.headers.get("Authorization", "")
        if not hmac.compare_digest(given.encode(), f"Bearer {self.server.token}".encode()):
            self.close_connection = True
            raise Refused(401, "the token is missing or wrong")
        self.server.welcome(self.request)
        self._be_quick()

    def _json(self) -> Any:
        if self._unread > self.server.limits.json_bytes:
            raise Refused(413, f"a job may have {self.server.limits.json_bytes} bytes, this one has {self._unread}")
        text = b""
        while self._unread:
            part = self._read(1 << 16)
            if not part:
                raise ConnectionAbortedError
            text += part
        try:
            return json.loads(text, parse_constant=_no_constant)
        except (ValueError, RecursionError) as error:
            raise Refused(400, f"this is not JSON: {format_error(error)}") from None

    def _be_quick(self) -> None:
        """Give the other side some time for the next part."""
        self.server.allow(self.request, self.server.patience.part_s)

    def _read(self, most: int) -> bytes:
        self._be_quick()
        part = self.rfile.read(min(most, self._unread))
        self._unread -= len(part)
        return part

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are not worth a line."""


def _number(query: Mapping[str, str], key: str) -> float:
    text = query.get(key, "0")
    if not re.fullmatch(r"[0-9]{1,15}(\.[0-9]{1,6})?", text):
        raise Refused(400, f"{key} must be a number, not {text[:80]!r}")
    return float(text)


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no number")


def _only_one(folder: Path) -> Any:
    """The lock of a folder, held until it is closed or this process ends."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = open_lock(folder / "lock")
    except OSError as error:
        raise _no_files(folder, error) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        raise MeasureError(
            f"another agent uses {folder}: two would disturb each other's measurements; end it, or set NETWRIGHT_CACHE"
        ) from None
    return lock


def _no_files(folder: Path, error: OSError) -> MeasureError:
    return MeasureError(f"an agent cannot keep files in {folder}: {format_error(error)}; set NETWRIGHT_CACHE")
