"""Whose fault it is that something failed: that of what was asked for, or the machine's."""

from __future__ import annotations

import errno
import resource

from .errors import MachineFault, causes

FIXES = {
    errno.ENOSPC: "the disk is full: free some space",
    errno.EDQUOT: "the disk quota is used up: free some space",
    errno.EFBIG: "the file is larger than its disk, or 'ulimit -f', allows",
    errno.EROFS: "the disk is read-only: mount it so that it can be written",
    errno.EIO: "the disk could not read or write: see that it is there and well",
    errno.EMFILE: "too many files are open: close some, or raise the limit with 'ulimit -n'",
    errno.ENFILE: "too many files are open on this machine: close some programs",
    errno.ENOMEM: "there is not enough memory: close some programs",
}
"""What to do about each error of the operating system that no network and no file is to blame for."""

MEMORY = "there is not enough memory: close some programs, or raise the limit with 'ulimit -v'"
GPU_MEMORY = "the GPU has not enough memory: end other programs on it, or take a smaller batch size"
"""What to do where memory runs out."""

NO_MEMORY = {
    "CUDA out of memory": GPU_MEMORY,
    "CUDA error: out of memory": GPU_MEMORY,
    "out of memory": MEMORY,
    "failed to allocate memory": MEMORY,
    "can't allocate memory": MEMORY,
    "cannot allocate memory": MEMORY,
    "failed to map segment": MEMORY,
    "std::bad_alloc": MEMORY,
}
"""What libraries say, in errors of any type, where memory runs out, and what to do."""


def machine_fault(error: BaseException) -> OSError | None:
    """The fault of the machine that an error is, or came of; None where there is none."""
    return next((each for each in causes(error) if isinstance(each, OSError) and each.errno in FIXES), None)


def fix_of(fault: OSError) -> str:
    """What happened and what to do about it, in words."""
    where = f" ({fault.filename})" if fault.filename else ""
    return f"{FIXES[fault.errno or errno.EIO]}{where}"


def no_memory(error: BaseException) -> str:
    """What to do about memory that ran out, which an error is or came of; empty where it did not. The error does not
    tell whether the machine is to blame, or what was asked for."""
    for each in causes(error):
        if words := next((fix for said, fix in NO_MEMORY.items() if said.lower() in str(each).lower()), ""):
            return words
        if isinstance(each, MemoryError):
            return MEMORY
    return ""


def check_addresses(least: int, what: str) -> None:
    """Raise :class:`MachineFault` where 'ulimit -v' is so low that libraries would end the process while they load, or
    hang, before they or Python can say why.

    Args:
        least: bytes of memory that the process must have addresses for.
        what: takes so many.
    """
    most, _ = resource.getrlimit(resource.RLIMIT_AS)
    if most != resource.RLIM_INFINITY and most < least:
        raise MachineFault(
            f"'ulimit -v' allows {most >> 10:,} kB, and {what} takes more than {least >> 10:,} kB of addresses: raise "
            "the limit"
        )
