"""Processes that this one starts: none outlives it, its own end or its time limit."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from netwright.core import children
from netwright.core.children import Child, Fork, how_it_ended, run_program, was_killed

LINUX = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc and Linux's death signal")
AGES_S = 600.0


def gone(pid: int) -> bool:
    """Whether a process has ended, waited for or not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def until_gone(pid: int) -> None:
    deadline = time.monotonic() + 60
    while not gone(pid):
        assert time.monotonic() < deadline, f"{pid} still runs"
        time.sleep(0.01)


def hang() -> bytes:
    time.sleep(AGES_S)
    return b""


def python(code: str) -> list[str]:
    return [sys.executable, "-I", "-S", "-c", code]


def test_what_a_program_says() -> None:
    told = run_program(python("import sys; print('to out'); print('to err', file=sys.stderr)"), 60)
    assert (told.code, told.out, told.err, told.failure) == (0, "to out\n", "to err\n", "")


@pytest.mark.parametrize(
    "code, words",
    [
        ("import sys; print('why'); sys.exit(3)", "ended with exit code 3; it said: why"),
        ("import os; os.abort()", "crashed (SIGABRT); it said: nothing"),
        ("import os; os.kill(os.getpid(), 9)", "was killed (SIGKILL): most likely out of memory; it said: nothing"),
        ("import os; os.kill(os.getpid(), 15)", "was ended from outside (SIGTERM); it said: nothing"),
    ],
)
def test_how_a_program_ended(code: str, words: str) -> None:
    assert run_program(python(code), 60).failure == words


def test_which_ends_come_from_outside() -> None:
    assert [was_killed(code) for code in (0, 1, 9, -signal.SIGKILL, -signal.SIGTERM, -signal.SIGSEGV)] == [
        False, False, False, True, True, False,
    ]  # fmt: skip
    assert how_it_ended(-63) == "crashed (signal 63)"


def test_a_program_that_is_not_there() -> None:
    with pytest.raises(FileNotFoundError, match="there is no such program"):
        run_program(["no-such-program"], 1)


def test_a_program_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"\x7fELF")
    (tmp_path / "x").chmod(0o755)
    assert "cannot be run: Exec format error" in run_program([str(tmp_path / "x")], 60).failure


@LINUX
def test_a_program_that_hangs_is_ended_with_all_it_started(tmp_path: Path) -> None:
    """Those too that have left its group, and hold its outputs open."""
    told = tmp_path / "pids"
    told.touch()
    code = f"""
import os, subprocess, sys, time
sleep = [sys.executable, "-I", "-S", "-c", "import time; time.sleep({AGES_S})"]
others = [subprocess.Popen(sleep), subprocess.Popen(sleep, process_group=0)]
open({str(told)!r}, "w").write(" ".join(str(each.pid) for each in others))
time.sleep({AGES_S})
"""
    child = Child(python(code), stdout=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while len(pids := told.read_text().split()) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    child.stop()
    for pid in pids:
        until_gone(int(pid))
    assert run_program(python(f"import time; print('so far', flush=True); time.sleep({AGES_S})"), 1.0).failure == (
        "gave no answer within 1 s; it said: so far"
    )


def test_who_holds_the_outputs_open_does_not_hold_up() -> None:
    code = f"import os, time; print('said', flush=True); os.fork() or time.sleep({AGES_S})"
    assert run_program(python(code), AGES_S).out == "said\n"


def test_only_the_last_of_much_is_kept() -> None:
    told = run_program(python("import sys; [sys.stdout.write('x' * 65536) for _ in range(100)]; print('end')"), 60)
    assert len(told.out) == children.KEPT_BYTES and told.out.endswith("xend\n") and told.code == 0


def test_a_child_lasts_longer_than_the_thread_that_started_it() -> None:
    made: list[Child] = []
    thread = threading.Thread(
        target=lambda: made.append(Child(python(f"import time; print(1, flush=True); time.sleep({AGES_S})"), stdout=-1))
    )
    thread.start()
    thread.join()
    (child,) = made
    assert child.process.stdout is not None and child.process.stdout.read(1) == b"1"
    assert child.runs and not child.wait(0.2)
    assert child.stop() == -signal.SIGKILL and not child.runs


PARENT = """
import sys, time
from netwright.core.children import Child, Fork
def hang():
    time.sleep(600)
    return b""
child = Child([sys.executable, "-c", "import time; time.sleep(600)"])
fork = Fork(hang)
print(child.pid, fork.pid, flush=True)
time.sleep(600)
"""


@LINUX
def test_children_end_with_their_parent() -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pids = parent.stdout.readline().split()
        parent.kill()
    for pid in pids:
        until_gone(int(pid))


def test_where_the_system_does_not_let_one_peek(monkeypatch: pytest.MonkeyPatch) -> None:
    """macOS, with Pythons before 3.13."""
    monkeypatch.setattr(children, "PEEKS", False)
    assert run_program(python("print(1)"), 60).out == "1\n"
    assert run_program(python("import os; os.abort()"), 60).failure == "crashed (SIGABRT); it said: nothing"
    fork = Fork(lambda: os._exit(3))
    assert fork.read(60) == b"" and fork.stop() == 3
    fork = Fork(lambda: b"an answer")
    assert fork.read(60) == b"an answer"
    fork.stop()
    assert not fork.runs


def test_a_terminals_signals_do_not_reach_children() -> None:
    """They have a session, and a group, of their own."""
    child = Child(python(f"import time; time.sleep({AGES_S})"))
    fork = Fork(hang)
    assert os.getsid(child.pid) == child.pid != os.getsid(0)
    assert os.getpgid(fork.pid) == fork.pid != os.getpgid(0)
    child.stop()
    fork.stop()


def test_a_fork_answers() -> None:
    fork = Fork(lambda: b"x" * 3_000_000)
    assert fork.read(60) == b"x" * 3_000_000
    fork.stop()


def test_forks_without_an_answer() -> None:
    fork = Fork(lambda: os._exit(3))
    assert fork.read(60) == b"" and fork.stop() == 3
    fork = Fork(hang)
    assert fork.read(0.05) is None and fork.stop() == -signal.SIGKILL
    fork = Fork(hang)
    os.kill(fork.pid, signal.SIGTERM)
    assert fork.read(60) == b"" and fork.stop() == -signal.SIGTERM


def test_a_fork_that_is_killed_while_it_answers_has_not_answered() -> None:
    fork = Fork(lambda: b"x" * 10_000_000)  # more than a pipe holds
    assert children.ready([fork._pipe], 60)
    os.kill(fork.pid, signal.SIGKILL)
    assert fork.read(60) == b"" and fork.stop() == -signal.SIGKILL


def test_a_fork_has_no_descriptors_that_it_must_not_have() -> None:
    ours, theirs = os.pipe()
    fork = Fork(hang, close=[theirs])
    os.close(theirs)
    assert children.ready([ours], 60) and os.read(ours, 1) == b""
    fork.stop()
    os.close(ours)


def test_a_fork_whose_own_forks_hold_its_pipe() -> None:
    def work() -> bytes:
        if os.fork():
            os._exit(4)
        time.sleep(AGES_S)
        return b""

    fork = Fork(work)
    assert fork.read(60) == b"" and fork.stop() == 4


def test_there_is_something_else_to_do() -> None:
    ours, theirs = os.pipe()
    os.close(theirs)
    fork = Fork(hang)
    with pytest.raises(InterruptedError):
        fork.read(AGES_S, until=ours)
    fork.stop()
    os.close(ours)
