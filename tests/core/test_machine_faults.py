"""Faults of the machine are told from those of what was asked for."""

import errno
import os

import pytest

from netwright.core.faults import FIXES, fix_of, machine_fault
from netwright.core.files import read_bytes, read_json


def raised(fault: OSError) -> BaseException:
    """An error that a fault led to, two steps away."""
    try:
        try:
            try:
                raise fault
            except OSError as error:
                raise RuntimeError("the writer failed") from error
        except RuntimeError:
            raise ValueError("no file was made")  # noqa: B904  # as careless code does
    except ValueError as error:
        return error


@pytest.mark.parametrize("code", FIXES)
def test_a_fault_is_found_behind_what_came_of_it(code):
    fault = OSError(code, os.strerror(code), "/tmp/x")
    assert machine_fault(raised(fault)) is fault
    assert fix_of(fault).endswith("(/tmp/x)")


def test_other_errors_are_nobody_elses():
    assert machine_fault(FileNotFoundError(errno.ENOENT, "no such file", "x")) is None
    assert machine_fault(RuntimeError("No space left on device")) is None
    loop = RuntimeError("a")
    loop.__cause__ = ValueError("b")
    loop.__cause__.__cause__ = loop
    assert machine_fault(loop) is None


def test_only_regular_files_of_a_bounded_size_are_read(tmp_path):
    file = tmp_path / "some.json"
    file.write_text("[1]")
    assert read_json(file) == [1] and read_bytes(file, 3) == b"[1]"
    with pytest.raises(OSError, match="more than 2 bytes"):
        read_bytes(file, 2)
    os.mkfifo(tmp_path / "pipe")
    for place in (tmp_path / "pipe", tmp_path, "/dev/zero", "/dev/null"):
        with pytest.raises(OSError, match=r"no regular file|Is a directory"):
            read_bytes(place)
    with pytest.raises(OSError, match="no path that a file can have"):
        read_bytes(tmp_path / "a\0b")
