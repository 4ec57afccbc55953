"""SIGTERM and SIGHUP end a job as Ctrl-C does: what is done is kept, and who was started is ended."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import current_thread, main_thread
from types import FrameType
from typing import Any

from .errors import causes

SIGNALS = (signal.SIGTERM, signal.SIGHUP)

AT_ONCE_S = 1.0
"""Seconds after the first signal from which on another one ends the process at once. Some programs send two for one:
``timeout`` to the process and to its group, a terminal that is closed too."""


class Interrupted(KeyboardInterrupt):
    """A signal that ends the process, where it was.

    Args:
        number: of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


def exit_code(error: KeyboardInterrupt) -> int:
    """What a process exits with that was interrupted, as a shell says it: 130 after Ctrl-C, 143 after SIGTERM."""
    return 128 + (error.number if isinstance(error, Interrupted) else signal.SIGINT)


def interruption(error: BaseException) -> KeyboardInterrupt | None:
    """The interruption that an error is, or was raised in the course of; None where there was none."""
    return next((each for each in causes(error) if isinstance(each, KeyboardInterrupt)), None)


@contextmanager
def interruptible(*also: signal.Signals) -> Iterator[bool]:
    """Within the block SIGTERM and SIGHUP raise :class:`Interrupted` in the main thread; another signal a second later
    ends the process at once.

    Signals that are ignored stay so (``nohup``), and those that the program handles itself are left to it. Nothing
    changes in other threads, where Python sets no handlers.

    Args:
        also: further signals that are taken the same way, whatever handles them, such as SIGINT.

    Returns whether it is this block that takes them, and none around it.
    """
    if current_thread() is not main_thread():
        yield False
        return
    handler = _Handler()
    before = {number: signal.getsignal(number) for number in (*SIGNALS, *also)}
    taken = {n: h for n, h in before.items() if h is signal.SIG_DFL or (n in also and h not in (signal.SIG_IGN, None))}
    for number in taken:
        signal.signal(number, handler)
    _handlers.append(handler)
    try:
        yield bool(taken)
    finally:
        _handlers.remove(handler)
        for number, former in taken.items():
            signal.signal(number, former)


def raise_lost() -> None:
    """Raise for a signal that has come in a block of :func:`interruptible` and ended nothing: Python drops what is
    raised where nobody can be told, as in a finalizer. For who does much in small steps, or waits for long."""
    for handler in _handlers:
        if handler.number and handler.process == os.getpid():
            raise Interrupted(handler.number)


@contextmanager
def ending(kept: str) -> Iterator[None]:
    """For what is called in Python: within the block SIGTERM and SIGHUP end the program as :func:`interruptible` says,
    with a line on standard error, and with :func:`exit_code`. Ctrl-C raises KeyboardInterrupt as ever.

    Args:
        kept: what is kept, and how to go on; a clause.
    """
    taken = False
    try:
        with interruptible() as taken:
            yield
    except BaseException as error:
        # What was interrupted may raise something of its own: the import of a module in C says "initialization failed".
        stop = interruption(error)
        if not taken or not isinstance(stop, Interrupted):  # whoever takes the signals says what is so
            raise
        print(f"netwright: ended by {stop}; {kept}", file=sys.stderr)
        raise SystemExit(exit_code(stop)) from None


class _Handler:
    """Raises for the first signal, and ends the process at a later one."""

    def __init__(self) -> None:
        self.process, self.number, self._first = os.getpid(), 0, 0.0

    def __call__(self, number: int, frame: FrameType | None) -> Any:
        if os.getpid() != self.process:  # a fork: who started it ends it, or this does
            if number != signal.SIGINT:
                _die(number)
        elif not self._first:
            self._first, self.number = time.monotonic(), number
            raise Interrupted(number)
        elif time.monotonic() > self._first + AT_ONCE_S:
            _die(number)


_handlers: list[_Handler] = []
"""Those of the blocks that this process is in."""


def _die(number: int) -> None:
    """End this process as the signal does by itself."""
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
