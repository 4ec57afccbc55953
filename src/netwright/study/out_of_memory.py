"""A network that runs out of memory: whether it is to blame, or the machine."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable

from ..core.candidate import Candidate
from ..core.errors import MachineFault
from ..core.record import Record
from .evaluate import GOES_ON, NO_MEMORY

EvaluateOne = Callable[[Candidate], Record]


def with_room(record: Record, others: Iterable[Candidate], evaluate: EvaluateOne, control: EvaluateOne) -> Record:
    """The record of a candidate, ``failed`` for want of memory only where another network has enough.

    One that runs out of memory is evaluated once more, after what is no longer used was given back: networks are full
    of cycles, which Python frees by their number and not by their size. If that fails too, another is evaluated in the
    same way, whose record is not kept: it tells one network that is too large from a machine that is too full.

    Args:
        record: of the candidate, as it was evaluated first.
        others: what it is compared with, the first that is another: one that was measured before, or a small one.
        evaluate: gives the record of the candidate.
        control: gives the record of another.

    Raises :class:`MachineFault` where the other one runs out of memory too, or there is none.
    """
    if not ran_out(record):
        return record
    gc.collect()
    record = evaluate(record.candidate)
    if not ran_out(record):
        return record
    gc.collect()
    other = next((each for each in others if each != record.candidate), None)
    if other is None or ran_out(control(other)):
        raise MachineFault(f"{record.provenance[NO_MEMORY]} ({record.reason}); {GOES_ON}")
    return record


def ran_out(record: Record) -> bool:
    """Whether there was not enough memory to evaluate a network, other than a limit that was set for it."""
    return bool(record.provenance.get(NO_MEMORY))
