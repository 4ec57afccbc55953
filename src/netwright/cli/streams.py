"""Standard input, output and error of a command, whatever the person's terminal, pipe or disk does."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from typing import Any


class _Output(io.FileIO):
    """Standard output: what cannot be written is an error that names it."""

    def write(self, content: Any) -> int:
        try:
            return super().write(content) or 0
        except OSError as error:
            raise OSError(error.errno, error.strerror, "standard output") from None


class _Lossy(io.FileIO):
    """Standard error, where what cannot be written is dropped: who is told how a job goes on must not end it by going
    away."""

    def write(self, content: Any) -> int:
        try:
            return super().write(content) or 0
        except OSError:
            return len(content)


def secure() -> None:
    """Make the three streams usable: closed ones lead nowhere, and no character that one cannot encode is an error.

    A descriptor that is left closed would be that of the next file that is opened, a study's for example, and whatever
    is printed would go there.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            nowhere = os.open(os.devnull, os.O_RDWR)
            if nowhere != number:
                os.dup2(nowhere, number)
                os.close(nowhere)
            if getattr(sys, name) is None:
                setattr(sys, name, open(number, mode, closefd=False, encoding="utf-8"))  # noqa: SIM115
    if sys.stdout is sys.__stdout__ and sys.stdout is not None:
        sys.stdout = _text(_Output(1, "w", closefd=False), sys.stdout.encoding)
    if sys.stderr is sys.__stderr__ and sys.stderr is not None:
        sys.stderr = _text(_Lossy(2, "w", closefd=False), sys.stderr.encoding, True)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _text(file: io.FileIO, encoding: str, by_line: bool = False) -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BufferedWriter(file), encoding=encoding, line_buffering=by_line or file.isatty())


def flush_output() -> None:
    """Write out what was printed. What cannot be written is given up, and is no second error when Python ends.

    Raises OSError where it cannot be written.
    """
    try:
        sys.stdout.flush()
    except OSError:
        with contextlib.suppress(OSError, ValueError):  # a stream without a descriptor
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, sys.stdout.fileno())
            os.close(nowhere)
        raise
