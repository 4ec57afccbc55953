"""What a search starts from that others have measured: one kind of results per file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ...core.candidate import Candidate
from ...core.errors import NetwrightError, SpaceError, StoreError
from ...core.metric import Measurement, Metric
from ...core.record import Record
from ...core.registry import Registry
from ...core.space import Space
from ...core.warn import warn
from .base import WarmStart, candidate_of

WARM_STARTS: Registry[WarmStart] = Registry("warm start", WarmStart, __name__, {
    "records": "records:Records",
    "dynast": "dynast:DynasT",
    "optuna": "optuna:Optuna",
}, error=StoreError)  # fmt: skip


def read_warm_start(
    what: str,
    space: Space,
    objectives: Sequence[Metric] = (),
    names: Mapping[str, str] | Callable[[Mapping[str, Any]], Candidate] | None = None,
) -> list[Record]:
    """The networks that another search has measured, for ``warm_start=`` of :func:`netwright.search` and
    :class:`netwright.Study`: the best of them are measured first, and what was measured of all advises.

    What cannot be a candidate here is left out, with a warning.

    Args:
        what: ``runs/other/study.db``, or the path of what :func:`netwright.write_records` wrote;
            ``dynast,path=results.csv``, what DyNAS-T writes; ``optuna,storage=sqlite:///trials.db,study=night``
            (``netwright[optuna]``); or ``module:Class`` of one's own.
        space: of the search that starts.
        objectives: of that search, in order: Optuna's values without names are theirs.
        names: what choices are called there to what they are called here, or to a pattern: ``{"ks": "*.kernel"}``;
            or a function that gives the candidate of what is written there.

    Raises :class:`StoreError` for what cannot be read, names that nothing here is called, and where no network is left.
    """
    source = WARM_STARTS.make(what if _is_named(what) else f"records,path={what}")
    convert = (
        names if callable(names) else lambda choices: candidate_of(space, choices, {**source.names, **(names or {})})
    )
    found: dict[Candidate, Record] = {}
    left_out = list[str]()
    for network in source.read(objectives):
        try:
            candidate = space.candidate(convert(network.choices))
        except SpaceError as error:
            left_out.append(str(error))
            continue
        measured = {name: Measurement(float(value)) for name, value in network.figures.items()}
        found[candidate] = Record(candidate, measured, objectives=tuple(objectives), provenance={"warm_start": what})
    if not found:
        raise StoreError(f"warm start: {what} has no network of this space" + (f": {left_out[0]}" if left_out else ""))
    if left_out:
        warn(f"warm start: {len(left_out)} networks of {what} are none of this space, such as: {left_out[0]}")
    return list(found.values())


def _is_named(text: str) -> bool:
    """Whether a text is one of the registry's, and not a path."""
    if Path(text).exists():
        return False
    try:
        WARM_STARTS.check(text, make=False)
    except NetwrightError:
        return "," in text or not Path(text).suffix
    return True
