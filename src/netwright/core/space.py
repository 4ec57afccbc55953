"""Choices, conditions between them, and the space that they span."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from math import log10, prod
from typing import Any

import numpy as np

from .arguments import shown
from .candidate import Candidate, Option, canonical_json, digest
from .errors import SpaceError, did_you_mean, format_error

When = Mapping[str, Any] | Sequence[Mapping[str, Any]] | Callable[[Mapping[str, Option]], bool]
"""A condition as a person writes it: ``{"depth": (3, 4)}``, several of these of which one must hold, or
``lambda c: c["depth"] >= 3``."""

Clause = dict[str, tuple[Option, ...]]
"""One conjunction: every named choice is active and takes one of the listed options."""


@dataclass(frozen=True)
class Choice:
    """A named, ordered set of options.

    Args:
        name: unique within its space.
        options: at least one, distinct; from the smallest network to the largest where they have an order.
        when: the condition under which the choice exists at all: a mapping from the name of an earlier choice to
            the option or options that it must take (all entries must hold); several such mappings, of which one
            must hold; or a predicate over the active choices so far, which is tabulated once when the space is
            built. A predicate that asks for a choice that is not active is false.
    """

    name: str
    options: tuple[Option, ...]
    when: When | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise SpaceError(f"a choice needs a name (a non-empty string), not {self.name!r}")
        if isinstance(self.options, str) or not isinstance(self.options, Iterable):
            raise SpaceError(f"choice {self.name!r}: options must be a sequence, not {self.options!r}")
        options = tuple(_plain(option, self.name) for option in self.options)
        object.__setattr__(self, "options", options)
        if not options:
            raise SpaceError(f"choice {self.name!r} has no options; give at least one")
        if len({canonical_json(o) for o in options}) < len(options) or _has_equal(options):
            raise SpaceError(f"choice {self.name!r}: options must be distinct, not {_listed(options)}")


class Space:
    """The product of choices, less the combinations that conditions make meaningless.

    A choice may depend on choices listed before it. Candidates are canonical: choices that are not active are
    absent, so that every network has exactly one candidate.

    Args:
        choices: the choices; without conditions they may be a dict of names to options.
    """

    def __init__(self, choices: Iterable[Choice] | Mapping[str, Iterable[Option]]) -> None:
        if isinstance(choices, Mapping):
            choices = [Choice(name, options) for name, options in choices.items()]  # type: ignore[arg-type]
        self.choices: tuple[Choice, ...] = tuple(choices)
        self._by_name: dict[str, Choice] = {}
        self._clauses: dict[str, tuple[Clause, ...]] = {}
        self._allowed: dict[str, list[dict[str, frozenset[Option]]]] = {}  # the same, to look options up in
        self._position: dict[str, dict[Any, int]] = {}
        self._scalars: dict[str, dict[Any, Option]] = {}
        for choice in self.choices:
            if choice.name in self._by_name:
                raise SpaceError(f"two choices are called {choice.name!r}; names must be unique")
            self._position[choice.name] = {_lookup_key(o): i for i, o in enumerate(choice.options)}
            self._scalars[choice.name] = {(type(o), o): o for o in choice.options if not isinstance(o, tuple)}
            self._clauses[choice.name] = clauses = self._conditions(choice)
            self._allowed[choice.name] = [{k: frozenset(allowed) for k, allowed in each.items()} for each in clauses]
            self._by_name[choice.name] = choice

    # -- reading -----------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self.choices)

    def __iter__(self) -> Iterator[Choice]:
        return iter(self.choices)

    def __getitem__(self, name: str) -> Choice:
        try:
            return self._by_name[name]
        except KeyError:
            raise SpaceError(f"no choice is called {name!r}; {did_you_mean(name, self._by_name)}") from None

    def __repr__(self) -> str:
        return f"Space({len(self.choices)} choices, {about(self.size)} candidates)"

    def conditions(self, name: str) -> tuple[Clause, ...]:
        """The clauses of which one must hold for the choice to be active; one empty clause: always active."""
        return self._clauses[self[name].name]

    def active(self, name: str, chosen: Mapping[str, Option]) -> bool:
        """Whether the choice exists, given the active choices before it."""
        for clause in self._allowed[name]:
            for parent, allowed in clause.items():
                if parent not in chosen or chosen[parent] not in allowed:
                    break
            else:
                return True
        return False

    @cached_property
    def fingerprint(self) -> str:
        """Equal for spaces with the same choices, options and conditions."""
        return digest([[c.name, c.options, self._clauses[c.name]] for c in self.choices])

    # -- candidates --------------------------------------------------------------------------------------------

    def candidate(self, choices: Mapping[str, Any]) -> Candidate:
        """The canonical candidate for a mapping of names to options.

        Choices that are not active may be given; they are dropped. Raises :class:`SpaceError` for a name or an
        option that is not in the space, and for an active choice that is missing.
        """
        if not isinstance(choices, Mapping):
            raise SpaceError(f"a candidate is made of a mapping such as {self._example}, not of {shown(choices)}")
        chosen: dict[str, Option] = {}
        given = 0
        for choice in self.choices:
            name = choice.name
            if name in choices:
                given += 1
                try:  # as nearly all are given
                    option = self._scalars[name][type(choices[name]), choices[name]]
                except (KeyError, TypeError):
                    option = self._option(choice, choices[name])
                if name in self._unconditional or self.active(name, chosen):
                    chosen[name] = option
            elif name in self._unconditional or self.active(name, chosen):
                for other in choices:  # what is misspelt explains what is missing
                    self[other]
                raise SpaceError(f"the choice {name!r} is missing; give one of {_listed(choice.options)}")
        if given < len(choices):
            for name in choices:
                self[name]
        return Candidate.of_options(chosen)

    @cached_property
    def _unconditional(self) -> frozenset[str]:
        return frozenset(name for name, clauses in self._clauses.items() if clauses == ({},))

    def parse(self, key: str) -> Candidate:
        """The candidate whose :attr:`Candidate.key` (JSON) is given."""
        if not isinstance(key, str | bytes):
            raise SpaceError(f"a candidate's key is a text, a JSON object, not {shown(key)}; of a dict make "
                             "space.candidate({...})")  # fmt: skip
        try:
            choices = json.loads(key)
        except json.JSONDecodeError as error:
            raise SpaceError(f"a candidate's key is a JSON object, not {key[:80]!r} ({error.msg})") from None
        if not isinstance(choices, dict):
            raise SpaceError(f"a candidate's key is a JSON object, not {key[:80]!r}")
        return self.candidate(choices)

    def sample(self, rng: np.random.Generator) -> Candidate:
        """A random candidate: each active choice takes each of its options with the same probability."""
        if not isinstance(rng, np.random.Generator):
            raise SpaceError(f"sample() draws by a generator, numpy.random.default_rng(seed), not by {shown(rng)}")
        return self.build(lambda choice: choice.options[int(rng.integers(len(choice.options)))])

    def build(self, pick: Callable[[Choice], Option]) -> Candidate:
        """The candidate in which ``pick`` decides every active choice, asked in the order of the space."""
        if not callable(pick):
            raise SpaceError(f"build() takes a function of a choice that gives an option, not {shown(pick)}")
        chosen: dict[str, Option] = {}
        for choice in self.choices:
            if self.active(choice.name, chosen):
                chosen[choice.name] = pick(choice)
        return Candidate(chosen)

    @property
    def smallest(self) -> Candidate:
        """The candidate with the first option of every choice."""
        return self.build(lambda choice: choice.options[0])

    @property
    def largest(self) -> Candidate:
        """The candidate with the last option of every choice."""
        return self.build(lambda choice: choice.options[-1])

    def enumerate(self) -> Iterator[Candidate]:
        """Every candidate, once. For small spaces: see :attr:`size`."""

        def rest(i: int, chosen: dict[str, Option]) -> Iterator[Candidate]:
            if i == len(self.choices):
                yield Candidate(chosen)
                return
            choice = self.choices[i]
            if not self.active(choice.name, chosen):
                yield from rest(i + 1, chosen)
                return
            for option in choice.options:
                yield from rest(i + 1, {**chosen, choice.name: option})

        return rest(0, {})

    # -- vectors -----------------------------------------------------------------------------------------------

    def indices(self, candidate: Mapping[str, Option]) -> np.ndarray:
        """The candidate as option positions, int64 of shape (choices,); -1 where a choice is not active.

        Raises :class:`SpaceError` for what is none of this space.
        """
        try:
            return self._indices(candidate)
        except (KeyError, TypeError):
            raise SpaceError(f"no candidate of this space: {shown(candidate)}") from None

    def _indices(self, candidate: Mapping[str, Option]) -> np.ndarray:
        return np.array(
            [
                self._position[c.name][_lookup_key(_python(candidate[c.name]))] if c.name in candidate else -1
                for c in self
            ],
            dtype=np.int64,
        )

    def from_indices(self, positions: Sequence[int] | np.ndarray) -> Candidate:
        """The canonical candidate for option positions; those of inactive choices are not looked at."""
        where = {c.name: i for i, c in enumerate(self.choices)}
        try:
            return self.build(lambda choice: choice.options[int(positions[where[choice.name]])])
        except (IndexError, TypeError, ValueError):
            raise SpaceError(
                f"a candidate's indices are {len(self)} whole numbers, each the place of an option of its choice, not "
                f"{shown(positions)}"
            ) from None

    # -- size --------------------------------------------------------------------------------------------------

    @cached_property
    def size(self) -> int:
        """The number of candidates, exactly, as a Python integer of any size."""
        return prod(self._count(component) for component in self._components())

    def _components(self) -> list[list[Choice]]:
        """Sets of choices that conditions connect; counts of different sets multiply."""
        root = {c.name: c.name for c in self.choices}

        def find(name: str) -> str:
            while root[name] != name:
                root[name] = root[root[name]]
                name = root[name]
            return name

        for name, clauses in self._clauses.items():
            for clause in clauses:
                for parent in clause:
                    root[find(name)] = find(parent)
        groups: dict[str, list[Choice]] = {}
        for choice in self.choices:
            groups.setdefault(find(choice.name), []).append(choice)
        return list(groups.values())

    def _count(self, choices: list[Choice]) -> int:
        """Candidates of one connected set: dynamic programming over the choices that later ones still ask for."""
        last_use = {c.name: i for i, c in enumerate(choices)}
        for i, choice in enumerate(choices):
            for clause in self._clauses[choice.name]:
                last_use.update(dict.fromkeys(clause, i))
        kinds = {choice.name: self._kinds(choice, choices) for choice in choices}
        # state: the options of the choices that matter later (absent: inactive) -> number of ways to get there
        states: dict[tuple[tuple[str, int], ...], int] = {(): 1}
        for i, choice in enumerate(choices):
            later: dict[tuple[tuple[str, int], ...], int] = {}
            for state, ways in states.items():
                chosen = {name: kinds[name][kind][0] for name, kind in state}
                kept = tuple((k, v) for k, v in state if last_use[k] > i)
                if not self.active(choice.name, chosen):
                    later[kept] = later.get(kept, 0) + ways
                elif last_use[choice.name] > i:
                    for kind, (_, alike) in enumerate(kinds[choice.name]):
                        key = (*kept, (choice.name, kind))
                        later[key] = later.get(key, 0) + ways * alike
                else:
                    later[kept] = later.get(kept, 0) + ways * len(choice.options)
            states = later
        return sum(states.values())

    def _kinds(self, choice: Choice, choices: list[Choice]) -> list[tuple[Option, int]]:
        """Options that no condition tells apart, as one of them and their number."""
        asked = [cl[choice.name] for c in choices for cl in self._allowed[c.name] if choice.name in cl]
        kinds: dict[tuple[bool, ...], list[Option]] = {}
        for option in choice.options:
            kinds.setdefault(tuple(option in allowed for allowed in asked), []).append(option)
        return [(alike[0], len(alike)) for alike in kinds.values()]

    # -- conditions --------------------------------------------------------------------------------------------

    def _option(self, choice: Choice, value: Any) -> Option:
        with suppress(KeyError, TypeError):  # also what cannot be looked up
            return choice.options[self._position[choice.name][_lookup_key(_python(value))]]
        raise SpaceError(f"{choice.name!r} cannot be {value!r}; its options are {_listed(choice.options)}")

    def _conditions(self, choice: Choice) -> tuple[Clause, ...]:
        if choice.when is None:
            return ({},)
        if callable(choice.when):
            return tuple(self._tabulate(choice, choice.when, {}))
        if isinstance(choice.when, list | tuple) and all(isinstance(w, Mapping) for w in choice.when):
            return tuple(self._clause(choice, when) for when in choice.when)
        if isinstance(choice.when, Mapping):
            return (self._clause(choice, choice.when),)
        raise SpaceError(
            f"choice {choice.name!r}: when= is a mapping such as {{'depth': (3, 4)}} or a predicate, "
            f"not {choice.when!r}"
        )

    def _clause(self, choice: Choice, when: Mapping[str, Any]) -> Clause:
        clause: Clause = {}
        for name, allowed in when.items():
            parent = self._parent(choice, name)
            several = allowed if isinstance(allowed, list | tuple | set | frozenset | range) else (allowed,)
            if allowed in parent.options if isinstance(allowed, tuple) else False:
                several = (allowed,)
            options = {self._position[name][_lookup_key(self._option(parent, value))] for value in several}
            clause[name] = tuple(parent.options[i] for i in sorted(options))
        return clause

    def _parent(self, choice: Choice, name: str) -> Choice:
        if name not in self._by_name:
            raise SpaceError(
                f"choice {choice.name!r} depends on {name!r}, which is not listed before it; "
                f"{did_you_mean(name, self._by_name)}"
            )
        return self._by_name[name]

    def _tabulate(self, choice: Choice, when: Callable[..., bool], given: Clause) -> Iterator[Clause]:
        """The clauses for which a predicate is true: it is asked for every combination of what it reads."""
        asked = _Asked({k: v[0] for k, v in given.items()}, self._by_name)
        try:
            holds = when(asked)
        except _Unknown as unknown:
            parent = self._parent(choice, unknown.name)
            for option in parent.options:
                yield from self._tabulate(choice, when, {**given, parent.name: (option,)})
        except KeyError as error:
            raise SpaceError(
                f"choice {choice.name!r}: its condition asks for {error}, which is not listed before it; "
                f"{did_you_mean(str(error.args[0]), self._by_name)}"
            ) from None
        except Exception as error:  # a person's own function
            raise SpaceError(
                f"choice {choice.name!r}: its condition raised {format_error(error)}; it is a function of what is "
                'chosen, such as lambda c: c["depth"] >= 3'
            ) from error
        else:
            if holds:
                yield given

    @property
    def _example(self) -> str:
        return str({choice.name: choice.options[0] for choice in self.choices[:2]})


class _Unknown(Exception):
    def __init__(self, name: str) -> None:
        self.name = name


class _Asked(Mapping[str, Option]):
    """What a predicate sees while it is tabulated: asking for a choice that is not fixed yet says which."""

    def __init__(self, fixed: dict[str, Option], known: Mapping[str, Choice]) -> None:
        self._fixed, self._known = fixed, known

    def __getitem__(self, name: str) -> Option:
        if name in self._fixed:
            return self._fixed[name]
        if name in self._known:
            raise _Unknown(name)
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._known)

    def __len__(self) -> int:
        return len(self._known)


def _plain(option: Any, name: str) -> Option:
    """An option as a Python value that JSON can hold."""
    if isinstance(option, np.generic):
        option = option.item()
    if isinstance(option, list | tuple):
        return tuple(_plain(part, name) for part in option)
    if option is None or isinstance(option, bool | int | str):
        return option
    if isinstance(option, float) and np.isfinite(option):
        return option
    raise SpaceError(f"choice {name!r}: an option is a number, string, truth value, None or tuple, not {option!r}")


def _lookup_key(option: Any) -> Any:
    """Equal for equal options; True and 1 differ."""
    return tuple(map(_lookup_key, option)) if isinstance(option, tuple) else (isinstance(option, bool), option)


def _python(value: Any) -> Any:
    """A value as an option would hold it: tuples for lists and arrays, Python's own scalars for NumPy's."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    return tuple(map(_python, value)) if isinstance(value, list | tuple) else value


def _listed(options: Sequence[Option], most: int = 20) -> str:
    """Options as a message lists them: the first, where there are many."""
    more = f", ... ({len(options):,} in all)" if len(options) > most else ""
    return f"[{', '.join(map(repr, options[:most]))}{more}]"


def about(size: int) -> str:
    """A number of candidates to three digits, of any size."""
    return f"{size:.3g}" if size < 1e300 else f"1e+{int(log10(size))}"


def _has_equal(options: tuple[Option, ...]) -> bool:
    return len(set(options)) < len(options)  # True and 1 among them: conditions could not tell them apart
