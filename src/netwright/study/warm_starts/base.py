"""What others have measured, as a search starts from it."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, ClassVar

from ...core.candidate import Candidate, Option
from ...core.errors import SpaceError, StoreError, did_you_mean
from ...core.metric import Metric
from ...core.shape import told
from ...core.space import Choice, Space


@dataclass(frozen=True)
class Network:
    """A network that somebody else has measured.

    Args:
        choices: as they are written there: a name to an option, or to a list with one for each of several choices.
        figures: what was measured, by the names of our metrics.
    """

    choices: Mapping[str, Any]
    figures: Mapping[str, float] = field(default_factory=dict)


class WarmStart(ABC):
    """The results of another search."""

    names: ClassVar[Mapping[str, str]] = {}
    """What its choices are called there to what they are called here, where it is known: see :func:`candidate_of`."""

    @abstractmethod
    def read(self, objectives: Sequence[Metric]) -> Iterator[Network]:
        """The networks that were measured there.

        Args:
            objectives: of the search that starts, for who knows figures by their place alone.

        Raises :class:`StoreError` for what cannot be read.
        """


def candidate_of(space: Space, choices: Mapping[str, Any], names: Mapping[str, str]) -> Candidate:
    """The candidate of choices that are written otherwise; what is not said of it is at its largest.

    Args:
        space: of the candidates.
        choices: a name to an option; or to a list, whose entries are those of several choices in the space's order.
            An option may be written as a text.
        names: theirs to ours, or to a pattern of ours such as ``*.kernel``; to an empty text where it is to be left
            out. A name that is not among them is the same here and there.

    Raises :class:`StoreError` for a name that nothing here is called, and for a list of another length;
    :class:`SpaceError` for an option that there is not here.
    """
    said: dict[str, Any] = {}
    for theirs, value in choices.items():
        pattern = names.get(theirs, theirs)
        if not pattern:
            continue
        ours = [choice.name for choice in space if choice.name == pattern or fnmatchcase(choice.name, pattern)]
        if not ours:
            known = did_you_mean(pattern, [choice.name for choice in space])
            raise StoreError(
                f"warm start: no choice is called {told(pattern)}; {known}; say by search.warm_names which of ours "
                f'theirs are, such as {{{theirs}: "*.width"}}, or {{{theirs}: ""}} to leave it out'
            )
        said |= dict(zip(ours, _entries(theirs, value, ours, space), strict=True))

    def option(choice: Choice) -> Option:
        return _option(choice, said[choice.name]) if choice.name in said else choice.options[-1]

    return space.candidate(space.build(option))


def _entries(theirs: str, value: Any, ours: Sequence[str], space: Space) -> Sequence[Any]:
    """What a name says of each of several choices."""
    if not isinstance(value, list | tuple) or (len(ours) == 1 and tuple(value) in space[ours[0]].options):
        return [value] * len(ours)
    if len(value) == 1:
        return [value[0]] * len(ours)
    if len(value) != len(ours):
        raise StoreError(
            f"warm start: {theirs!r} has {len(value)} entries there, and {len(ours)} choices here: "
            f"{', '.join(ours[:3])}{', ...' if len(ours) > 3 else ''}; name those that it is of by search.warm_names"
        )
    return value


def _option(choice: Choice, value: Any) -> Option:
    value = tuple(value) if isinstance(value, list) else value
    for option in choice.options:
        if type(option) is type(value) and option == value:
            return option
    for option in choice.options:
        text = json.dumps(option) if isinstance(option, tuple) else str(option)
        same = isinstance(value, int | float) and not isinstance(value, bool) and option == value
        if same or (isinstance(value, str) and value == text):
            return option
    raise SpaceError(f"{choice.name} cannot be {told(value)}; its options are {list(choice.options)}")
