"""On which machines a study's networks were measured: one kind, since run times of two have nothing in common."""

from __future__ import annotations

from collections.abc import Reversible
from itertools import islice

from ..core.errors import StoreError
from ..core.record import Record
from .evaluate import Job

MACHINE = "machine"
"""In a record's provenance the kind of machine, in words, that a worker measured on."""

LOOKED_AT = 20
"""Of the records that a study holds, the last so many."""


def check_machines(known: Reversible[Record], done: list[tuple[Job, Record]]) -> None:
    """Take those out of what is done that were measured on machines of another kind than the rest of the study, and
    raise :class:`StoreError` where there are some.

    Args:
        known: records that the study holds.
        done: what it may hold. Records without a word of their machine, as of a search that measures on its own, are
            taken to be of the same kind.
    """
    kinds = (_kind(record) for record in islice(reversed(known), LOOKED_AT))
    kind = next(filter(None, (*kinds, *(_kind(record) for _, record in done))), "")
    if other := next((own for _, record in done if (own := _kind(record)) not in ("", kind)), ""):
        done[:] = [each for each in done if _kind(each[1]) in ("", kind)]
        raise StoreError(
            f"a worker measures on another kind of machine ({other}) than the study was measured on ({kind}): start "
            "Ray there with another resource, and give the search the one of machines that are alike, such as "
            "ray,resource=board; or measure on one device through its agent; what was measured is kept"
        )


def _kind(record: Record) -> str:
    return str(record.provenance.get(MACHINE, ""))
