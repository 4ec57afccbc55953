"""The agent: runs measuring jobs on its device for whoever has its token."""

from __future__ import annotations

import errno
import fcntl
import hmac
import json
import re
import shutil
import socket
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import TCPServer
from tempfile import mkdtemp
from threading import BoundedSemaphore, Condition, Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

from ...core.candidate import digest
from ...core.errors import MeasureError, NetwrightError, did_you_mean, format_error
from ...core.version import __version__
from ..process import stop_all, worker
from ..runtimes import RUNTIMES, from_json
from ..runtimes.base import Runtime
from ..sampling import SamplingPlan
from ..worker import JOBS
from . import FILES, is_loopback
from .files import Files, Refused

CONNECTIONS = 32
KEPT = 256
"""Answers at most, of jobs that are done."""
POLL_S = 30.0
"""The longest that a question for a job is kept waiting."""
PARTS = 4096
"""Files at most that one file consists of."""
DRAINED_BYTES = 1 << 20
"""Read of what is refused, so that its sender comes to read why."""


@dataclass(frozen=True)
class Limits:
    """What an agent takes.

    Args:
        file_bytes: the most bytes of one file.
        total_bytes: the most bytes of all files that it keeps.
        json_bytes: the most bytes of a job's JSON.
        waiting: jobs that wait while another runs.
        seconds: the most seconds of a job, whatever it asks for.
        kept_s: seconds that an answer is kept for a client that has lost its connection.
    """

    file_bytes: int = 2 * 10**9
    total_bytes: int = 8 * 10**9
    json_bytes: int = 1 << 20
    waiting: int = 8
    seconds: float = 900.0
    kept_s: float = 3600.0


@dataclass
class _Job:
    """A job that was taken, and its answer once there is one."""

    digest: str
    runtime: Runtime
    body: Mapping[str, Any]
    folder: Path
    state: str = "queued"
    answer: Mapping[str, Any] | None = None
    ended: float = 0.0


class Jobs:
    """Runs jobs one at a time, in the order in which they came, and keeps their answers for a while."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._jobs: dict[str, _Job] = {}
        self._changed = Condition()
        self._last: tuple[str, int] | None = None
        self._closed = False
        Thread(target=self._run_all, daemon=True).start()

    def knows(self, key: str, what: str) -> bool:
        """Whether the job of this key was taken. Raises :class:`Refused` where its digest is another one."""
        with self._changed:
            known = self._jobs.get(key)
        if known is not None and known.digest != what:
            raise Refused(400, f"the key {key} is that of another job")
        return known is not None

    def add(self, key: str, make: Callable[[], _Job]) -> None:
        """Queue the job that ``make`` gives, under a key that is not known yet.

        Raises :class:`Refused` where too many wait.
        """
        with self._changed:
            self._forget()
            if sum(j.state == "queued" for j in self._jobs.values()) >= self._limits.waiting:
                raise Refused(429, f"{self._limits.waiting} jobs wait already")
            if key not in self._jobs:
                self._jobs[key] = make()
                self._changed.notify_all()

    def wait(self, key: str, seconds: float) -> dict[str, Any]:
        """The state of a job and its answer, when it is done or after so many seconds."""
        with self._changed:
            job = self._jobs.get(key)
            if job is None:
                raise Refused(404, "this job is not known; the agent was started anew, or it is long ago")
            self._changed.wait_for(lambda: job.answer is not None, seconds)
            return {"state": job.state, "answer": job.answer}

    def close(self) -> None:
        """Give no more answers: a job that is ended with the agent did not fail, its client sends it again."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _forget(self) -> None:
        done = [key for key, job in self._jobs.items() if job.state == "done"]
        for at, key in enumerate(done):
            if len(done) - at > KEPT or time.monotonic() > self._jobs[key].ended + self._limits.kept_s:
                del self._jobs[key]

    def _run_all(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or any(j.state == "queued" for j in self._jobs.values()))
                if self._closed:
                    return
                job = next(j for j in self._jobs.values() if j.state == "queued")
                job.state = "running"
            answer = self._run(job)
            if self._closed:
                return
            with self._changed:
                job.state, job.answer, job.ended = "done", answer, time.monotonic()
                self._changed.notify_all()

    def _run(self, job: _Job) -> Mapping[str, Any]:
        own = (job.runtime.name, job.runtime.threads)
        if self._last != own:  # the others' memory and threads are not this job's
            stop_all()
        self._last = own
        try:
            return worker(job.runtime).ask(job.body)
        except NetwrightError as error:
            return {"failed": str(error)}
        except Exception as error:
            return {"failed": f"the agent could not run the job: {format_error(error)}"}
        finally:
            shutil.rmtree(job.folder, ignore_errors=True)


class Agent(ThreadingHTTPServer):
    """The server.

    Args:
        host: an address of this machine; one that others reach needs a certificate.
        port: 0 takes a free one.
        token: the token that every request must bring.
        folder: for files, of its own; one agent at a time uses it.
        certificate: the paths of a certificate and of its key, both PEM; None speaks plain HTTP.
        limits: the limits of what it takes.

    Raises :class:`MeasureError` with the reason where it cannot start.
    """

    daemon_threads = True
    request_queue_size = CONNECTIONS

    def __init__(
        self,
        host: str,
        port: int,
        token: str,
        folder: Path,
        certificate: tuple[Path, Path] | None = None,
        limits: Limits | None = None,
    ) -> None:
        if not re.fullmatch(r"[\x21-\x7e]{16,}", token):
            raise MeasureError("a token has 16 or more characters, letters, digits and signs without blanks")
        if certificate is None and not is_loopback(host):
            raise MeasureError(
                f"at {host} others can listen: give --cert and --key, or stay at 127.0.0.1 and reach it with ssh://"
            )
        self.token, self.limits = token, limits or Limits()
        self._lock = _only_one(folder)
        self._places = folder / "jobs"
        shutil.rmtree(self._places, ignore_errors=True)
        self._places.mkdir()
        self.files = Files(folder, self.limits.file_bytes, self.limits.total_bytes)
        self.jobs = Jobs(self.limits)
        self._slots = BoundedSemaphore(CONNECTIONS)
        if ":" in host:
            self.address_family = socket.AF_INET6
        try:
            super().__init__((host, port), _Handler)
        except (OSError, OverflowError) as error:
            raise MeasureError(f"an agent cannot listen at {host}, port {port}: {format_error(error)}") from error
        if certificate is not None:
            self.socket = _secured(self.socket, certificate)

    def server_bind(self) -> None:
        """Without the look-up of this machine's name, which HTTPServer does not need either."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment]

    def server_close(self) -> None:
        super().server_close()
        self.jobs.close()
        self._lock.close()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a thread of its own; more at once than there may be are hung up on."""
        if not self._slots.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except RuntimeError:  # no thread can be started
            self._slots.release()
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._slots.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Connections break; whoever had it comes back."""

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
        names = {name for file in _files_of(body) for name in file.values()}
        missing = sorted(name for name in names if not self.files.has(name))
        if missing:
            raise Refused(409, f"{len(missing)} files of the job are not here", missing=missing)
        self.jobs.add(key, lambda: self._prepared(runtime, body, what))
        return {"id": key}

    def _prepared(self, runtime: Runtime, body: Mapping[str, Any], what: str) -> _Job:
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
            return _Job(what, runtime, {k: placed(v) if k in FILES else v for k, v in body.items()}, folder)
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
    timeout = 60
    wbufsize = -1
    disable_nagle_algorithm = True  # small answers would wait for the acknowledgement of those before
    server: Agent

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
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            status, answer = 507 if full else 500, {"error": f"the agent's disk: {format_error(error)}"}
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
        self.wfile.write(body)
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
                return 200, self.server.jobs.wait(key, min(POLL_S, _number(query, "wait")))
        raise Refused(405, f"netwright agent {__version__} does not know {self.command} {asked.path[:80]}")

    def _length(self) -> int:
        text = self.headers.get("Content-Length", "0")
        if "Transfer-Encoding" in self.headers or not re.fullmatch("[0-9]{1,15}", text):
            self.close_connection = True
            raise Refused(411, "what is sent needs a Content-Length")
        return int(text)

    def _authorise(self) -> None:
        given = self.headers.get("Authorization", "")
        if not hmac.compare_digest(given.encode(), f"Bearer {self.server.token}".encode()):
            raise Refused(401, "the token is missing or wrong")

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

    def _read(self, most: int) -> bytes:
        part = self.rfile.read(min(most, self._unread))
        self._unread -= len(part)
        return part

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are not worth a line."""


def checked(job: Mapping[str, Any], most_s: float) -> tuple[Runtime, dict[str, Any]]:
    """The runtime of a job that a stranger sent, and the job with its time limited.

    Raises :class:`Refused` for unknown kinds, keys, runtimes and settings, and for values of a wrong form.
    """
    unknown = set(job) - {"job", "runtime", "seconds", "plan", "wanted", *FILES}
    if unknown:
        raise Refused(400, f"a job has no {', '.join(sorted(unknown))[:200]}")
    kind, settings, seconds = job.get("job"), job.get("runtime"), job.get("seconds")
    if not isinstance(kind, str) or kind not in JOBS:
        raise Refused(400, f"there is no job {str(kind)[:80]!r}; there are {', '.join(JOBS)}")
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not seconds > 0:
        raise Refused(400, "a job needs its 'seconds'")
    if not isinstance(settings, dict) or not all(isinstance(v, str | int | float | None) for v in settings.values()):
        raise Refused(400, "a job needs its 'runtime': a name and settings")
    if settings.get("runtime") not in RUNTIMES.names():  # module:Class would import what a stranger names
        name = str(settings.get("runtime"))[:80]
        raise Refused(400, f"there is no runtime {name!r}; {did_you_mean(name, RUNTIMES.names())}")
    try:
        runtime = from_json(settings)
    except Exception as error:  # whatever a runtime makes of the settings of a stranger
        raise Refused(400, format_error(error)) from None
    for file in _files_of(job):
        if not isinstance(file, dict) or not 1 <= len(file) <= PARTS:
            raise Refused(400, f"a file of a job is {{suffix: hash}}, and {PARTS} parts at most")
        for at, (part, name) in enumerate(file.items()):
            known = re.fullmatch(r"(\.[A-Za-z0-9_]{1,16}){1,3}", part) or (at and _is_place(part))
            if not known or not isinstance(name, str):
                raise Refused(400, f"{part[:80]!r} is no suffix of a file or name of one beside it, with a hash")
    plan, wanted = job.get("plan", {}), job.get("wanted", [])
    if not isinstance(plan, dict) or not set(plan) <= {f.name for f in fields(SamplingPlan)}:
        raise Refused(400, f"a sampling plan has {', '.join(f.name for f in fields(SamplingPlan))}")
    if not all(isinstance(v, int | float) and abs(v) <= 1e6 for v in plan.values()):
        raise Refused(400, "a sampling plan holds numbers of at most a million")
    if not isinstance(wanted, list) or not all(isinstance(w, str) for w in wanted):
        raise Refused(400, "'wanted' is a list of names")
    return runtime, {**job, "seconds": float(min(seconds, most_s))}


def _files_of(job: Mapping[str, Any]) -> list[Any]:
    found: list[Any] = []
    for key in FILES:
        value = job.get(key, [])
        found.extend(value if isinstance(value, list) else [value])
    if len(found) > 16:
        raise Refused(400, "a job has at most 16 files")
    return found


def _is_place(name: str) -> bool:
    """Whether a name is that of a file beside another, or in a folder there, and of none elsewhere."""
    steps = name.split("/")
    fine = all(step and not step.startswith(".") and step.isprintable() and "\\" not in step for step in steps)
    return fine and len(steps) <= 8 and all(len(step.encode()) <= 200 for step in steps)


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
        lock = (folder / "lock").open("w")
    except OSError as error:
        raise MeasureError(
            f"an agent cannot keep files in {folder}: {format_error(error)}; set NETWRIGHT_CACHE"
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        raise MeasureError(
            f"another agent uses {folder}: two would disturb each other's measurements; end it, or set NETWRIGHT_CACHE"
        ) from None
    return lock


def _secured(plain: socket.socket, certificate: tuple[Path, Path]) -> ssl.SSLSocket:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(*certificate)
    except (OSError, ValueError) as error:
        plain.close()
        raise MeasureError(
            f"the certificate {certificate[0]} with the key {certificate[1]} cannot be used: {format_error(error)}"
        ) from error
    # The handshake waits for the thread of the connection: one that does not shake hands holds up nobody.
    return context.wrap_socket(plain, server_side=True, do_handshake_on_connect=False)
