"""Whose fault it is that something failed: that of what was asked for, or the machine's."""

from __future__ import annotations

import errno

from .errors import causes

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


def machine_fault(error: BaseException) -> OSError | None:
    """The fault of the machine that an error is, or came of; None where there is none."""
    return next((each for each in causes(error) if isinstance(each, OSError) and each.errno in FIXES), None)


def fix_of(fault: OSError) -> str:
    """What happened and what to do about it, in words."""
    where = f" ({fault.filename})" if fault.filename else ""
    return f"{FIXES[fault.errno or errno.EIO]}{where}"
