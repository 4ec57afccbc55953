"""Which layer each operator of a profile belongs to."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ..runtimes.base import Operator

QUANTISES = ("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "FakeQuantize")
LAYOUTS = ("ReorderInput", "ReorderOutput", "Reorder", "Transpose", "Cast", "Convert")
"""Conversions too, where the runtime has put them in itself."""
COMPUTES = re.compile(r"conv|gemm|matmul|fullyconnected|inner|lstm|gru|rnn|attention", re.IGNORECASE)
"""Kinds of operators that do a layer's work, in the words of any runtime."""


@dataclass
class Share:
    """What one layer has of a profile; times in ms."""

    ms: float = 0.0
    conversions: list[Operator] = field(default_factory=list)
    operators: list[Operator] = field(default_factory=list)

    @property
    def runs_in(self) -> str:
        """The precision of the operator that does its work; empty where there is none."""
        main = [each for each in self.operators if COMPUTES.search(each.kind)] or self.operators
        return max(main, key=lambda each: each.ms).precision if main else ""


def shares(operators: Sequence[Operator], places: Mapping[str, str], own: Collection[str]) -> dict[str, Share]:
    """What each layer has of a profile, by its path; under the empty path what belongs to none.

    Args:
        operators: the profile.
        places: the layer that each operator and each result of the file belongs to, by name.
        own: the names of the operators in the file: of those beyond, the runtime has put in those that convert.
    """
    found: dict[str, Share] = defaultdict(Share)
    for operator, path in zip(operators, _paths(operators, places), strict=True):
        share = found[path]
        if is_conversion(operator, own):
            share.conversions.append(operator)
        else:
            share.ms += operator.ms
            share.operators.append(operator)
    return found


def is_conversion(operator: Operator, own: Collection[str]) -> bool:
    """Whether an operator changes nothing but precision or layout."""
    return operator.kind in QUANTISES or (
        operator.kind in LAYOUTS and not any(name in own for name in operator.origins)
    )


def _paths(operators: Sequence[Operator], places: Mapping[str, str]) -> list[str]:
    """By name, else by what it is made of, else by what is made of it."""
    named = [
        next((places[n] for n in (*each.origins, each.name, *each.outputs) if n in places), None) for each in operators
    ]
    makers = {name: i for i, each in enumerate(operators) for name in each.outputs}
    readers: dict[str, list[int]] = defaultdict(list)
    for i, each in enumerate(operators):
        for name in each.inputs:
            readers[name].append(i)
    for i, each in enumerate(operators):  # in their order: what is before has its layer already
        if named[i] is None:
            before = [makers[name] for name in each.inputs if name in makers and makers[name] < i]
            told = [named[j] for j in sorted(before) if named[j]]
            named[i] = told[-1] if told else None
    for i in reversed(range(len(operators))):
        if named[i] is None:
            after = [j for name in operators[i].outputs for j in readers[name]]
            named[i] = next((named[j] for j in sorted(after) if named[j]), None)
    return [each or "" for each in named]


def mean(profiles: Sequence[Sequence[Operator]]) -> list[Operator]:
    """The operators of the first profile, with the mean of the times in all."""
    times: dict[str, list[float]] = defaultdict(list)
    for each in (each for profile in profiles for each in profile):
        times[each.name].append(each.ms)
    return [replace(each, ms=sum(times[each.name]) / len(profiles)) for each in profiles[0]]
