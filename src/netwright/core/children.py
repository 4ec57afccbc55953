"""Processes that this one starts: they end with it, after a time limit, and with all that they have started.

* :func:`run_program` runs a program to its end; :class:`Child` is one that goes on beside this process.
* :class:`Fork` is a copy of this process that computes one answer.

A terminal's Ctrl-C does not reach them: this process gets it, and ends them.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from threading import Lock, Thread
from typing import IO, Any, TypeVar

Made = TypeVar("Made")

KEPT_BYTES = 1 << 20
"""Of what a program says, the last of each of its outputs; a program may say anything without end."""

OUTSIDE = (signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT)
"""Signals that a process does not come to by its own fault: somebody, or the system, ended it."""

PR_SET_PDEATHSIG = 1

PEEKS = hasattr(os, "waitid")
"""Whether the system tells of a child that has ended without giving its number free (macOS: from Python 3.13 on)."""

SIZE = 8
"""Bytes before an answer that say how many there are of it: who is killed while it writes has not answered."""

BEGIN = """
import ctypes, os, signal, sys
prctl = getattr(ctypes.CDLL(None), "prctl", None)
if prctl is not None:
    prctl(1, 9)
if os.getppid() != int(sys.argv[1]):
    os._exit(1)
for number in (signal.SIGPIPE, signal.SIGXFSZ):  # which Python ignores
    signal.signal(number, signal.SIG_DFL)
try:
    os.execv(sys.argv[2], sys.argv[2:])
except OSError as error:
    sys.exit(f"{sys.argv[2]} cannot be run: {error.strerror}")
"""
"""What becomes the program: between fork and exec of a process with threads no code of Python's is safe."""

_prctl: Any = getattr(ctypes.CDLL(None), "prctl", None)


def die_with_parent(parent: int) -> None:
    """Have the system kill this process when ``parent``, which has forked it, ends: at once, if it is gone already.

    Without effect on systems that do not know of this (macOS). On Linux it is the *thread* whose end counts.
    """
    if _prctl is not None:
        _prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def signal_name(number: int) -> str:
    """``SIGSEGV`` for 11."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def was_killed(code: int) -> bool:
    """Whether a process with this exit code (negative: the signal that ended it) was ended from outside."""
    return -code in OUTSIDE


def how_it_ended(code: int, times: str = "") -> str:
    """How a process ended, by its exit code (negative: the signal that ended it), and how often, in words."""
    if code >= 0:
        return f"ended{times} with exit code {code}"
    if code == -signal.SIGKILL:
        return f"was killed{times} (SIGKILL): most likely out of memory"
    return f"{'was ended from outside' if was_killed(code) else 'crashed'}{times} ({signal_name(-code)})"


class Child:
    """A program that runs beside this process, in a session of its own.

    Args:
        command: the program and its arguments.
        cwd: the directory that it runs in.
        env: its environment; None: that of this process.
        stdin: as of :class:`subprocess.Popen`; nothing by default.
        stdout: the same.
        stderr: the same.

    Raises OSError where it cannot be started.
    """

    def __init__(
        self,
        command: Sequence[str],
        cwd: str | Path | None = None,
        env: Mapping[str, str] | None = None,
        stdin: int | IO[bytes] = subprocess.DEVNULL,
        stdout: int | IO[bytes] = subprocess.DEVNULL,
        stderr: int | IO[bytes] = subprocess.DEVNULL,
    ) -> None:
        program = shutil.which(command[0], path=(os.environ if env is None else env).get("PATH"))
        if program is None:
            raise FileNotFoundError(errno.ENOENT, "there is no such program", command[0])
        begin = [sys.executable, "-I", "-S", "-c", BEGIN, str(os.getpid()), os.path.abspath(program), *command[1:]]
        self._stopped = False
        self.process: subprocess.Popen[bytes] = by_lasting_thread(
            lambda: subprocess.Popen(
                begin, cwd=cwd, env=env, stdin=stdin, stdout=stdout, stderr=stderr, start_new_session=True
            )
        )

    @property
    def pid(self) -> int:
        """Its number, which is that of its session too."""
        return self.process.pid

    @property
    def runs(self) -> bool:
        """Whether it has not ended yet."""
        return self.process.returncode is None and (_runs(self.pid) if PEEKS else self.process.poll() is None)

    def wait(self, seconds: float) -> bool:
        """Whether it ends within so many seconds."""
        return _ends(self, seconds)

    def stop(self) -> int:
        """Kill it, where it runs, with all that it has started; its exit code, negative for the signal that ended
        it."""
        if not self._stopped:
            if self.process.returncode is None:
                _kill(self.pid)
            end_session(self.pid)
            self.process.wait()
        self._stopped = True  # its number may be that of others from here on
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            if stream is not None:
                with contextlib.suppress(OSError):  # what was not written yet has no reader
                    stream.close()
        return self.process.returncode


@dataclass(frozen=True)
class Ended:
    """A program that was run.

    Args:
        code: its exit code, negative for the signal that ended it; None where it took too long and was killed.
        out: the end of what it wrote to its standard output.
        err: the end of what it wrote to its standard error.
        seconds: its time limit.
    """

    code: int | None
    out: str
    err: str
    seconds: float

    @property
    def failure(self) -> str:
        """How it ended in words, with the last line that it said; empty where all was well."""
        if self.code == 0:
            return ""
        said = " ".join((self.err.strip() or self.out.strip() or "nothing").splitlines()[-1].split())[:500]
        how = f"gave no answer within {self.seconds:g} s" if self.code is None else how_it_ended(self.code)
        return f"{how}; it said: {said}"


def run_program(
    command: Sequence[str], seconds: float, cwd: str | Path | None = None, env: Mapping[str, str] | None = None
) -> Ended:
    """Run a program to its end; after so many seconds it is killed.

    Raises OSError where it cannot be started.
    """
    child = Child(command, cwd, env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    code = None
    try:
        assert child.process.stdout is not None and child.process.stderr is not None
        said = {stream.fileno(): b"" for stream in (child.process.stdout, child.process.stderr)}
        ended = _listen(child, said, time.monotonic() + seconds)
        out, err = (text.decode(errors="replace") for text in said.values())
    finally:
        code = child.stop()
    return Ended(code if ended else None, out, err, seconds)


def _listen(child: Child, said: dict[int, bytes], deadline: float) -> bool:
    """Take what a program says until it ends; whether it does before the deadline."""
    pipes = list(said)
    while (left := deadline - time.monotonic()) > 0:
        runs = child.runs  # before the pipes are looked into: what it said last is there then
        found = ready(pipes, min(left, 0.1) if runs else 0)
        for pipe in found:
            part = os.read(pipe, 1 << 16)
            said[pipe] = (said[pipe] + part)[-KEPT_BYTES:]
            if not part:
                pipes.remove(pipe)
        if not runs and not found:  # who has inherited its outputs may hold them open
            return True
        if not pipes:
            return child.wait(deadline - time.monotonic())
    return False


class Fork:
    """A copy of this process that computes one answer, in a group of its own and without this process's input.

    It ends with the thread that makes it.

    Args:
        work: computes the answer, there; what it raises leaves none.
        close: descriptors of this process that it must not hold open.

    Raises OSError where there can be none.
    """

    def __init__(self, work: Callable[[], bytes], close: Iterable[int] = ()) -> None:
        self._code: int | None = None
        self._pipe, theirs = os.pipe()
        parent = os.getpid()
        try:
            self.pid = os.fork()
        except OSError:
            os.close(self._pipe)
            os.close(theirs)
            raise
        if not self.pid:
            code = 1
            try:
                self._be(work, theirs, (self._pipe, *close), parent)
                code = 0
            finally:
                os._exit(code)
        os.close(theirs)
        with contextlib.suppress(OSError):  # whoever of the two comes first
            os.setpgid(self.pid, self.pid)

    @staticmethod
    def _be(work: Callable[[], bytes], pipe: int, close: Iterable[int], parent: int) -> None:
        with contextlib.suppress(OSError):
            os.setpgid(0, 0)
        die_with_parent(parent)
        for number in (signal.SIGINT, signal.SIGTERM):  # what this process does then is not the fork's to do
            signal.signal(number, signal.SIG_DFL)
        for each in close:
            os.close(each)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)
        with contextlib.suppress(OSError):  # where memory runs out, this process goes first
            Path("/proc/self/oom_score_adj").write_text("1000")
        answer = work()
        with os.fdopen(pipe, "wb") as answers:
            answers.write(framed(answer))

    @property
    def runs(self) -> bool:
        """Whether it has not ended yet."""
        if self._code is None and not PEEKS:
            ended, status = os.waitpid(self.pid, os.WNOHANG)
            self._code = os.waitstatus_to_exitcode(status) if ended else None
        return self._code is None and (not PEEKS or _runs(self.pid))

    def read(self, seconds: float, until: int | None = None) -> bytes | None:
        """The answer; empty where it ended without, None where there is none after so many seconds.

        Args:
            seconds: the time limit.
            until: a descriptor; when there is something to be read from it, this raises InterruptedError.
        """
        watched = [self._pipe] if until is None else [self._pipe, until]
        deadline, found = time.monotonic() + seconds, bytearray()
        while (left := deadline - time.monotonic()) > 0:
            runs = self.runs
            those = ready(watched, min(left, 1.0) if runs else 0)
            if self._pipe in those:
                part = os.read(self._pipe, 1 << 20)
                found += part
                if (answer := unframed(found)) is not None:
                    return answer
                if not part:
                    return b""
            elif those:
                raise InterruptedError("there is something else to do")
            elif not runs:  # others hold its end of the pipe
                return b""
        return None

    def wait(self, seconds: float) -> bool:
        """Whether it ends within so many seconds."""
        return _ends(self, seconds)

    def stop(self) -> int:
        """Kill it, where it runs, with what it has started; its exit code, negative for the signal that ended it."""
        os.close(self._pipe)
        if self._code is None:
            _kill(self.pid)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        if self._code is None:
            self._code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self._code


def framed(answer: bytes) -> bytes:
    """An answer as it goes through a pipe."""
    return len(answer).to_bytes(SIZE) + answer


def unframed(found: bytes | bytearray) -> bytes | None:
    """The answer of which this much has come through a pipe; None where it is not all."""
    if len(found) < SIZE or len(found) - SIZE < int.from_bytes(found[:SIZE]):
        return None
    return bytes(found[SIZE:])


def ready(descriptors: Iterable[int], seconds: float, event: int = select.POLLIN) -> list[int]:
    """Which of some descriptors have something to be read (or take something, ``select.POLLOUT``), or are at their
    end; none after so many seconds."""
    poll = select.poll()  # select() takes none above 1023
    for each in descriptors:
        poll.register(each, event)
    return [each for each, _ in poll.poll(1000 * seconds)]


def _ends(process: Child | Fork, seconds: float) -> bool:
    """Whether a process ends within so many seconds."""
    deadline, delay = time.monotonic() + seconds, 0.001
    while process.runs:
        if time.monotonic() >= deadline:
            return False
        time.sleep(delay)
        delay = min(2 * delay, 0.05)
    return True


def _runs(pid: int) -> bool:
    """Whether a child has not ended yet; its number stays its own, those that it has started are found by it."""
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
    except ChildProcessError:
        return False


def end_session(leader: int) -> None:
    """Kill the processes of a session that a child leads, those in groups of their own among them."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)
    for pid in _of_session(leader):
        _kill(pid)


def _of_session(leader: int) -> list[int]:
    """The processes of a session; none on systems that do not list them."""
    found = []
    for place in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            fields = place.read_text().rpartition(")")[2].split()  # state, parent, group, session
            if int(fields[3]) == leader:
                found.append(int(place.parent.name))
    return found


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGKILL)


# -- the thread that starts children -----------------------------------------------------------------------------

_orders: SimpleQueue[tuple[Callable[[], Any], SimpleQueue[Any]]] | None = None
_lock = Lock()


def by_lasting_thread(make: Callable[[], Made]) -> Made:
    """What ``make`` returns, called by a thread that lasts as long as this process: by Linux, children of a thread die
    when that thread ends."""
    global _orders
    with _lock:
        if _orders is None:
            orders: SimpleQueue[tuple[Callable[[], Any], SimpleQueue[Any]]] = SimpleQueue()
            Thread(target=_make_all, args=(orders,), name="netwright-children", daemon=True).start()
            _orders = orders
        orders = _orders
    answer: SimpleQueue[Any] = SimpleQueue()
    orders.put((make, answer))
    made, error = answer.get()
    if error is not None:
        raise error
    return made


def _make_all(orders: SimpleQueue[tuple[Callable[[], Any], SimpleQueue[Any]]]) -> None:
    while True:
        make, answer = orders.get()
        try:
            answer.put((make(), None))
        except BaseException as error:
            answer.put((None, error))


def _forget_thread() -> None:
    """A fork has no threads but its first."""
    global _orders, _lock
    _orders, _lock = None, Lock()


os.register_at_fork(after_in_child=_forget_thread)
