"""SIGTERM and SIGHUP end what runs as Ctrl-C does."""

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread

import pytest
import torch

import netwright as nw
from netwright.core.interruption import Interrupted, ending, exit_code, interruptible, interruption, raise_lost
from netwright.study.run import Step
from netwright.testing import FakeMeasurer, FakeNet
from netwright.training.run import Progress


def send(number: int) -> None:
    os.kill(os.getpid(), number)
    signal.pthread_sigmask(signal.SIG_BLOCK, [])  # handlers are run


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_is_an_interruption(number: int) -> None:
    with pytest.raises(KeyboardInterrupt) as stop, interruptible() as taken:
        assert taken
        send(number)
    assert exit_code(stop.value) == 128 + number
    assert signal.getsignal(number) is signal.SIG_DFL


def test_the_outermost_takes_it(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end, ending("all is kept"), ending("this is not said"):
        send(signal.SIGTERM)
    assert end.value.code == 143 and capsys.readouterr().err == "netwright: ended by SIGTERM; all is kept\n"


def test_what_else_an_interruption_raises_is_that_interruption(capsys: pytest.CaptureFixture[str]) -> None:
    def load() -> None:
        try:
            send(signal.SIGTERM)
        except BaseException as error:
            raise ImportError("initialization failed") from error

    with pytest.raises(SystemExit) as end, ending("all is kept"):
        load()
    assert end.value.code == 143 and capsys.readouterr().err == "netwright: ended by SIGTERM; all is kept\n"
    with pytest.raises(ImportError), ending("this is not said"):
        raise ImportError("no such module")


def test_handlers_of_the_program_and_ignored_signals_stay() -> None:
    seen = []
    before = (
        signal.signal(signal.SIGTERM, lambda number, _: seen.append(number)),
        signal.signal(signal.SIGHUP, signal.SIG_IGN),
    )
    try:
        with interruptible() as taken:
            send(signal.SIGTERM)
            send(signal.SIGHUP)
        assert seen == [signal.SIGTERM] and not taken
    finally:
        signal.signal(signal.SIGTERM, before[0])
        signal.signal(signal.SIGHUP, before[1])


def test_in_another_thread_nothing_is_changed() -> None:
    found = []

    def run() -> None:
        with interruptible() as taken:
            found.append((taken, signal.getsignal(signal.SIGTERM)))

    thread = Thread(target=run)
    thread.start()
    thread.join()
    assert found == [(False, signal.SIG_DFL)]


def test_two_for_one_is_one_and_a_later_one_ends_at_once() -> None:
    """``timeout`` sends two; who is impatient waits a second."""
    code = """
        import os, signal, time
        from netwright.core import interruption
        try:
            with interruption.interruptible(signal.SIGINT):
                try:
                    os.kill(os.getpid(), signal.SIGINT)
                finally:
                    os.kill(os.getpid(), signal.SIGTERM)
                    print("cleaned up", flush=True)
                    interruption.AT_ONCE_S = -1
                    os.kill(os.getpid(), signal.SIGTERM)
                    time.sleep(60)
        finally:
            print("not here")
    """
    ended = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=30)
    assert ended.returncode == -signal.SIGTERM and ended.stdout == "cleaned up\n"


def test_forks_ignore_ctrl_c_and_end_at_sigterm() -> None:
    with interruptible(signal.SIGINT):
        for number, code in ((signal.SIGINT, 0), (signal.SIGTERM, -signal.SIGTERM)):
            child = os.fork()
            if not child:
                try:
                    send(number)
                    os._exit(0)
                finally:
                    os._exit(7)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == code


def test_what_is_raised_in_the_course_of_an_interruption() -> None:
    try:
        try:
            raise Interrupted(signal.SIGTERM)
        finally:
            raise RuntimeError("a worker is gone")
    except RuntimeError as error:
        stop = interruption(error)
    assert stop is not None and exit_code(stop) == 143
    assert interruption(ValueError()) is None and exit_code(KeyboardInterrupt()) == 130


def test_what_nobody_could_be_told_of_is_raised_again() -> None:
    with interruptible():
        raise_lost()
        with unraisable() as said:
            Ends()
        assert said == [Interrupted]
        with pytest.raises(Interrupted):
            raise_lost()
    raise_lost()


class Ends:
    """A finalizer in the midst of which the signal comes."""

    def __del__(self) -> None:
        send(signal.SIGTERM)


@pytest.mark.parametrize("executor", ["local", "local,workers=2"])
def test_a_search_ends_by_a_signal_that_a_finalizer_has_swallowed(executor: str) -> None:
    space, told = nw.Space([nw.Choice("k", tuple(range(20)))]), list[int]()

    def watch(step: Step) -> None:
        told.append(step.done)
        if step.done == 3:
            Ends()

    with unraisable() as said, pytest.raises(SystemExit) as ended:
        study = nw.Study("memory", FakeNet(space), objectives=[FakeMeasurer("cost")])
        study.run("random", 20, watch, executor=executor)
    assert said == [Interrupted] and ended.value.code == 143
    assert told[2] == 3 and len(told) < 20, "those that were done by then, and no more"


def test_a_training_ends_by_a_signal_that_a_finalizer_has_swallowed() -> None:
    steps, network = list[int](), torch.nn.Linear(2, 2)
    loader = nw.TensorLoader(nw.Split(torch.zeros(80, 2), torch.zeros(80, dtype=torch.long)), 4)

    def callback(progress: Progress) -> None:
        steps.append(progress.step)
        if progress.step == 3:
            Ends()

    with unraisable() as said, pytest.raises(SystemExit) as ended:
        nw.finetune(network, loader, task="classification", epochs=1, callback=callback)
    assert said == [Interrupted] and ended.value.code == 143 and steps == [1, 2, 3]


@contextmanager
def unraisable() -> Iterator[list[type[BaseException] | None]]:
    """The kinds of exceptions that Python drops within the block."""
    found: list[type[BaseException] | None] = []
    before, sys.unraisablehook = sys.unraisablehook, lambda args: found.append(args.exc_type)
    try:
        yield found
    finally:
        sys.unraisablehook = before
