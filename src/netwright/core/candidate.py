"""One point of a space: frozen, hashable and canonical."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

Option = int | float | str | bool | None | tuple["Option", ...]
"""A value that a choice may take: a JSON scalar, or a tuple of them."""


class Candidate(Mapping[str, Option]):
    """One choice of every way in which a network may be cut.

    Only the active choices are present, so that one network has one candidate. Candidates come from
    :meth:`netwright.Space.candidate` and :meth:`netwright.Space.sample`, which keep them canonical.

    Equality and hash are those of :attr:`key`, independent of the order of the choices.
    """

    __slots__ = ("__weakref__", "_choices", "_hash", "_id", "_key")

    def __init__(self, choices: Mapping[str, Option]) -> None:
        self._choices = {n: option_of(o) if isinstance(o, list | tuple) else o for n, o in choices.items()}

    @classmethod
    def of_options(cls, choices: dict[str, Option]) -> Candidate:
        """The candidate of options that are a space's own, which need not be looked through."""
        candidate = cls.__new__(cls)
        candidate._choices = choices
        return candidate

    @property
    def choices(self) -> Mapping[str, Option]:
        """The options by name; not to be changed."""
        return self._choices

    def __getitem__(self, name: str) -> Option:
        return self._choices[name]

    def __contains__(self, name: object) -> bool:
        return name in self._choices

    def __iter__(self) -> Iterator[str]:
        return iter(self._choices)

    def __len__(self) -> int:
        return len(self._choices)

    @property
    def key(self) -> str:
        """The candidate as compact JSON with sorted names: stable across processes and versions."""
        try:
            return self._key
        except AttributeError:
            self._key: str = canonical_json(self._choices)
            return self._key

    @property
    def id(self) -> str:
        """Ten hexadecimal digits that name the candidate in tables and directories."""
        try:
            return self._id
        except AttributeError:
            self._id: str = hashlib.sha256(self.key.encode("utf-8", "surrogatepass")).hexdigest()[:10]
            return self._id

    def __hash__(self) -> int:
        try:
            return self._hash
        except AttributeError:
            self._hash: int = hash(frozenset(self._choices.items()))
            return self._hash

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Candidate):
            return NotImplemented
        # 1, 1.0 and True are equal and are different options.
        return self is other or (self._choices == other._choices and _alike(self._choices, other._choices))

    def __reduce__(self) -> tuple[Any, ...]:
        return Candidate.of_options, (self._choices,)  # another process has other hashes of texts

    def __repr__(self) -> str:
        return f"Candidate({self._choices!r})"


def _alike(choices: Mapping[str, Option], others: Mapping[str, Option]) -> bool:
    """Whether equal options are of the same types."""
    return all(_same_type(option, others[name]) for name, option in choices.items())


def _same_type(option: Option, other: Option) -> bool:
    if isinstance(option, tuple) and isinstance(other, tuple):
        return all(map(_same_type, option, other))
    return type(option) is type(other)


def option_of(option: Any) -> Any:
    """An option as read from JSON, with tuples for lists."""
    return tuple(option_of(part) for part in option) if isinstance(option, list | tuple) else option


def canonical_json(value: Any) -> str:
    """Compact JSON with sorted keys: equal values give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest(value: Any) -> str:
    """Sixteen hexadecimal digits of the SHA-256 of a JSON value."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()[:16]
