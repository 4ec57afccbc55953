"""Faults of the machine are told from those of what was asked for."""

import errno
import os
import resource
from pathlib import Path

import pytest

from netwright.core import files
from netwright.core.errors import MachineFault
from netwright.core.faults import FIXES, GPU_MEMORY, MEMORY, check_addresses, fix_of, machine_fault, no_memory
from netwright.core.files import read_bytes, read_json


def raised(fault: Exception) -> BaseException:
    """An error that a fault led to, two steps away."""
    try:
        try:
            try:
                raise fault
            except Exception as error:
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


@pytest.mark.parametrize(
    ("error", "fix"),
    [
        (MemoryError(), MEMORY),
        (RuntimeError("[enforce] DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes."), MEMORY),
        (RuntimeError("[ONNXRuntimeError] : 6 : std::bad_alloc"), MEMORY),
        (RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB."), GPU_MEMORY),
        (RuntimeError("CUDA error: out of memory"), GPU_MEMORY),
        (OSError(errno.ENOSPC, "No space left on device"), ""),
        (RuntimeError("odd"), ""),
    ],
)
def test_memory_that_ran_out_is_told_by_type_and_by_what_libraries_say(error, fix):
    assert no_memory(error) == no_memory(raised(error)) == fix


def test_too_few_addresses_are_said_before_libraries_are_loaded(monkeypatch):
    def allow(most):
        monkeypatch.setattr(resource, "getrlimit", lambda _: (most, most))

    allow(resource.RLIM_INFINITY)
    check_addresses(1 << 30, "torch")
    allow(1 << 30)
    check_addresses(1 << 30, "torch")
    allow(1 << 29)
    with pytest.raises(MachineFault, match="'ulimit -v' allows 524,288 kB, and torch takes more than 1,048,576 kB"):
        check_addresses(1 << 30, "torch")


class Counted:
    """A file that tells how many bytes were asked of it at once: so much memory is taken for them."""

    def __init__(self, file):
        self.file, self.most = file, 0

    def __getattr__(self, name):
        return getattr(self.file, name)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()

    def read(self, most):
        self.most = max(self.most, most)
        return self.file.read(most)


def test_a_small_file_is_read_with_little_memory(tmp_path, monkeypatch):
    (tmp_path / "small").write_bytes(b"abc")
    opened = []
    monkeypatch.setattr(files, "open_regular", lambda path: opened.append(Counted(path.open("rb"))) or opened[-1])
    assert read_bytes(tmp_path / "small", 2 << 30) == b"abc" and opened[0].most == 4
    assert read_bytes(Path("/proc/self/status"), 1 << 20).startswith(b"Name:")  # which says no size
    with pytest.raises(OSError, match="more than 10 bytes"):
        read_bytes(Path("/proc/self/status"), 10)


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
