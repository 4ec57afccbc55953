"""Whatever goes wrong is one line and an exit code: 2 for what the person can mend, 1 for a fault of netwright."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path
from unittest.mock import Mock

import pytest

from netwright.cli import main as cli
from netwright.cli import records
from netwright.core.errors import NetwrightError
from netwright.core.interruption import Interrupted

from .running import TINY, Told, command, finished, process


@pytest.fixture
def fails(monkeypatch: pytest.MonkeyPatch):
    """Runs a verb that raises; the second argument goes before it."""

    def run(error: BaseException, *flags: str, verb: str = "records") -> Told:
        monkeypatch.setattr(records, "run", Mock(side_effect=error))
        monkeypatch.setitem(sys.modules, f"netwright.cli.{verb}", records)
        return command(*flags, verb, "somewhere")

    return run


@pytest.mark.parametrize(
    "error, words",
    [
        (OSError(errno.ENOSPC, "No space left on device", "/tmp/x"), ["the disk is full", "/tmp/x"]),
        (OSError(errno.EMFILE, "Too many open files"), ["ulimit -n"]),
        (OSError(errno.ENAMETOOLONG, "File name too long", "x" * 5000), ["File name too long", "a shorter path"]),
        (PermissionError(errno.EACCES, "Permission denied", "/root/x"), ["/root/x", "readable and writable"]),
        (FileNotFoundError(errno.ENOENT, "No such file or directory"), ["is gone"]),
        (OSError("made up"), ["made up"]),
        (MemoryError(), ["not enough memory"]),
        (RuntimeError("[enforce] DefaultCPUAllocator: can't allocate memory: you tried"), ["not enough memory"]),
        (RuntimeError("can't start new thread"), ["ulimit -u"]),
        (BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable"), ["ulimit -u"]),
        (ValueError("embedded null byte"), ["NUL"]),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"), ["UTF-8"]),
        (UnicodeEncodeError("utf-8", "\udcff", 0, 1, "surrogates not allowed"), ["UTF-8"]),
        (ModuleNotFoundError("No module named 'rich'"), ["'rich'", "anew"]),
    ],
    ids=lambda x: type(x).__name__ if isinstance(x, BaseException) else "",
)
def test_what_a_person_can_mend(fails, error, words):
    told = fails(error)
    said = told.mistake
    assert all(word in said for word in words) and "fault of netwright" not in said and len(said) < 400, said
    assert told.out == ""


@pytest.mark.parametrize(
    "error", [KeyError("x"), RecursionError("maximum recursion depth exceeded"), AssertionError(), RuntimeError("odd")]
)
def test_a_fault_of_ours(fails, error):
    told = fails(error)
    assert told.code == 1 and len(told.lines) == 1
    assert "this is a fault of netwright" in told.err and "--debug" in told.err and "report" in told.err
    assert type(error).__name__ in told.err


def test_a_traceback_is_shown_to_who_asks_for_it(fails):
    for flags in (["--debug"], []):
        told = fails(KeyError("\x1b[31m"), *flags)
        assert ("Traceback" in told.err) == bool(flags)
        assert told.code == 1 and "\x1b" not in told.err and "\\x1b[31m" in told.err
    assert "Traceback" in command("records", "nowhere", "--debug").err


@pytest.mark.parametrize(
    "error, code",
    [(KeyboardInterrupt(), 130), (Interrupted(signal.SIGTERM), 143), (Interrupted(signal.SIGHUP), 129)],
)
def test_interrupted(fails, error, code):
    told = fails(error)
    assert (told.code, told.err) == (code, "netwright: interrupted\n")
    told = fails(error, verb="fit")
    assert (told.code, told.err) == (code, "netwright: interrupted; the same command continues from here\n")


def test_every_verb_that_keeps_something_says_how_to_go_on():
    silent = {"records", "front", "targets", "agent", "explain", "plan", "serve"}
    assert cli.AGAIN.keys() == cli.VERBS.keys() - silent


def test_an_error_in_a_persons_own_code_names_its_line(recipe, tmp_path):
    import mistakes

    line = mistakes.raises.__code__.co_firstlineno
    said = command("fit", recipe(model="mistakes:raises"), "--out", tmp_path / "out").mistake
    place = said[said.rindex("(") :]
    assert place.startswith(f"({mistakes.__file__}, line ") and line < int(place[:-1].split()[-1]) < line + 5


def test_a_fault_of_ours_in_what_a_persons_code_calls_is_ours(tmp_path, monkeypatch):
    """And the other way round: whoever raised last is to blame."""
    from netwright.cli.outcome import own_place
    from netwright.core.registry import split

    (tmp_path / "caller.py").write_text(
        "def call(function, value):\n    return function(value)\n\n\ndef own():\n    1 / 0\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    import caller

    sys.modules.pop("caller")
    try:
        caller.call(split, 3)
    except Exception as error:
        assert own_place(error) == ""
    try:
        caller.own()
    except ZeroDivisionError as error:
        assert own_place(error) == f"{tmp_path / 'caller.py'}, line 6"
    try:
        raise NetwrightError("x") from error_of(caller.own)
    except NetwrightError as error:
        assert own_place(error) == f"{tmp_path / 'caller.py'}, line 6"


def error_of(function) -> BaseException:
    try:
        function()
    except Exception as error:
        return error
    raise AssertionError


def test_streams_that_are_closed_or_full(tmp_path):
    """In processes of their own: a shell gives them streams that a test cannot."""
    run = f"{sys.executable} -m netwright"
    script = f"""
        {run} >/dev/full; echo $?
        {run} >&-; echo $?
        {run} fitt 2>&-; echo $?
        {run} fitt 2>/dev/full; echo $?
        {run} fitt <&- >&- 2>&-; echo $?
        {run} --version | true; echo ${{PIPESTATUS[0]}}
        PYTHONIOENCODING=ascii {run} 'fit≤'; echo $?
        LC_ALL=C {run} $'fi\\xfft'; echo $?
    """
    shell = subprocess.run(
        ["bash", "-c", script.replace(">&-; echo", ">&- ; echo")],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=60,
    )
    assert shell.stdout.split() == ["2", "0", "2", "2", "2", "0", "2", "2"]
    full, ascii_, other = shell.stderr.splitlines()
    assert "disk is full" in full and "standard output" in full
    assert "\\u2264" in ascii_ and "did you mean 'fit'?" in ascii_ and "\\udcff" in other


def test_sigterm_ends_a_job_as_ctrl_c_does(tmp_path):
    """What was measured stays, and the same command goes on."""
    out = tmp_path / "out"
    running = process("train", TINY, "--out", out, "--train.epochs", "400", TINY_PAUSE="0.05", TMPDIR=str(tmp_path))
    while not (out / "study.db").exists():
        assert running.poll() is None, running.communicate()
    running.send_signal(signal.SIGTERM)
    told = finished(running)
    assert told.code == 143, told.err
    assert told.lines[-1] == "netwright: interrupted; the same command continues from here"
    assert [p.name for p in tmp_path.iterdir()] == ["out"] and "Traceback" not in told.err


def test_a_directory_that_is_gone(tmp_path):
    """The command is run where nothing is any more."""
    gone = tmp_path / "gone"
    gone.mkdir()
    code = f"import os, sys; os.chdir({str(gone)!r}); os.rmdir({str(gone)!r}); sys.argv[1:] = ['fit', 'digits']\n"
    code += "from netwright.cli.main import main; main()"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert told.returncode == 2 and told.stderr.count("\n") == 1, told.stderr
    assert Path.cwd() and os.getcwd()


PATHS = {
    "nul": "a\0b",
    "name": "x" * 300,
    "long": "y/" * 3000,
    "bytes": "d\udcff",
    "half": "\ud800",
    "escape": "\x1b[31m",
}


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_paths_that_cannot_be(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for typed in (
        *(["records", path], ["front", path], ["report", path], ["repair", path], ["export", path]),
        *(["measure", path], ["measure", "x.onnx", "--target", path], ["fit", path], ["fit", f"{path}.yaml"]),
        *(["agent", "--token-file", path], [path], ["records", f"--{path}"]),
    ):
        said = command(*typed).mistake
        assert "fault of netwright" not in said and "\x1b" not in said and said.encode(), typed
    assert not list(tmp_path.iterdir())


HUNGRY = """
import resource
from netwright.cli import main

def run(verb, rest):
    held = []
    while True:
        held.append(bytes(200))

own = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (own + (48 << 20), resource.RLIM_INFINITY))
main._run = run
main.main(["records", "somewhere"])
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="how much memory a process has is read from /proc")
def test_what_is_said_where_memory_has_run_out_needs_none() -> None:
    """What was in use when it ran out is still held by the error."""
    done = subprocess.run([sys.executable, "-c", HUNGRY], capture_output=True, text=True)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.count("\n") == 1 and "not enough memory" in done.stderr, done.stderr


def test_too_little_memory_to_load_torch_is_said_before(monkeypatch: pytest.MonkeyPatch, fails) -> None:
    """Where it is a little more than nothing, libraries end the process with words of their own."""
    monkeypatch.setattr(resource, "getrlimit", lambda limit: (512 << 20, resource.RLIM_INFINITY))
    told = fails(AssertionError("it was begun"), verb="fit")
    assert told.code == 2 and "'ulimit -v' allows 524,288 kB" in told.err
    told = fails(NetwrightError("read"), verb="front")  # which loads none
    assert told.code == 2 and told.err == "netwright: read\n"
