"""Few-shot splitting: sub-networks with other options of some choices have weights of their own."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...core.candidate import Option
from ...core.errors import NetError
from ...core.space import Choice
from ..cut import CutBuilder, ModuleIndex
from ..supernet import SuperNet
from ..transforms import Transform
from ..weight_sets import Sharing, add_parameter, set_name, shared_tensors

NUMBERS = "split_numbers"
"""The buffer of the network that says what is split: for each choice and option, what it adds to the number of the set
of weights. It is kept with the weights."""


@dataclass(frozen=True)
class Another(Transform):
    """Another set of weights in place of the first."""

    kind = "mix"
    reads: tuple[str, ...] = ()

    @property
    def alike(self) -> tuple[str, ...]:  # type: ignore[override]
        return self.reads

    def __call__(self, kept: Tensor, *others: Tensor) -> Tensor:
        return others[0]


@dataclass(frozen=True)
class Split(Sharing):
    """Every sub-network has one of several sets of weights: its options say which.

    Zhao et al., "Few-shot neural architecture search" (2021). Statistics of normalisation layers are those
    of the first set: recalibrate what is extracted.

    Args:
        sets: how many sets of weights there are; some may not be in use yet.
        choices: those of the space.
        tensors: those of which there are several sets.
    """

    sets: int
    choices: tuple[Choice, ...]
    tensors: tuple[str, ...]

    def numbers(self, index: ModuleIndex) -> list[list[int]]:
        """What each option of each choice adds to the number of the set."""
        found: list[list[int]] = index.tensor(NUMBERS).tolist()
        return found

    def row(self, choice: str, index: ModuleIndex) -> Tensor:
        """What each option of a choice adds to the number of the set, int64: a view of what is kept."""
        return index.tensor(NUMBERS)[[each.name for each in self.choices].index(choice)]

    def in_use(self, index: ModuleIndex) -> bool:
        """Whether any sub-network has another set than the first."""
        return any(map(any, self.numbers(index)))

    def version(self, index: ModuleIndex) -> Hashable:
        return tuple(map(tuple, self.numbers(index)))

    def set_of(self, options: Mapping[str, Option], index: ModuleIndex) -> int:
        """The number of the set of weights that a sub-network has, from 0, the largest's."""
        rows = zip(self.choices, self.numbers(index), strict=True)
        return sum(row[c.options.index(options[c.name])] for c, row in rows if c.name in options)

    def write(self, options: Mapping[str, Option], builder: CutBuilder, index: ModuleIndex) -> None:
        chosen = self.set_of(options, index)
        builder.auxiliary(NUMBERS)
        for tensor in self.tensors:
            for number in range(1, self.sets):
                builder.auxiliary(set_name(tensor, number))
            if chosen:
                builder.transform(tensor, Another((set_name(tensor, chosen),)))

    def transforms(self, index: ModuleIndex) -> Mapping[str, frozenset[Transform]]:
        return {
            tensor: frozenset(Another((set_name(tensor, number),)) for number in range(1, self.sets))
            for tensor in self.tensors
        }


def reserve(net: SuperNet, sets: int) -> None:
    """Make room for several sets of weights, copies of the first; in place. As yet all sub-networks have the first.

    Raises :class:`NetError` for a super-network that is shared in another way already.
    """
    if isinstance(net.sharing, Split) and net.sharing.sets == sets:
        return
    if net.sharing is not None:
        raise NetError(f"the super-network has several sets of weights already: {type(net.sharing).__name__}")
    tensors = tuple(shared_tensors(net.index))
    numbers = torch.zeros(len(net.space), max((len(c.options) for c in net.space), default=0), dtype=torch.int64)
    _add_sets(net, tensors, range(1, sets))
    net.module.register_buffer(NUMBERS, numbers.to(net.index.tensor(tensors[0]).device if tensors else "cpu"))
    net.share(Split(sets, net.space.choices, tensors))


def split(net: SuperNet, choice: str, groups: Sequence[Sequence[Option]] | None = None) -> None:
    """Give sub-networks with other options of a choice weights of their own, in place; they go on from what they have.

    Split again, there are as many sets of weights as combinations of groups. The super-network is trained on, counted,
    extracted and exported as before.

    Args:
        net: the super-network.
        choice: the name of the choice.
        groups: sets of options that share weights; the last option's group keeps the network's own. Each option is in
            one of them. By default each is alone.

    Raises :class:`NetError` for groups that are none of the choice, and for a mixture.
    """
    options = net.space[choice].options
    groups = [[option] for option in options] if groups is None else [list(group) for group in groups]
    if sorted(map(repr, options)) != sorted(repr(option) for group in groups for option in group) or len(groups) < 2:
        raise NetError(f"the options of {choice!r} are {list(options)}: two groups or more have each of them once, not "
                       f"{groups}")  # fmt: skip
    before = net.sharing.sets if isinstance(net.sharing, Split) else 1
    if isinstance(net.sharing, Split):
        if net.sharing.row(choice, net.index).any():
            raise NetError(f"{choice!r} is split already; split another choice")
        _add_sets(net, net.sharing.tensors, range(before, before * len(groups)), before)
        net.share(Split(before * len(groups), net.sharing.choices, net.sharing.tensors))
    else:
        reserve(net, len(groups))
    assign(net, choice, groups, before)


@torch.no_grad()
def assign(net: SuperNet, choice: str, groups: Sequence[Sequence[Option]], stride: int) -> None:
    """Let the groups of a choice's options have sets of their own, which begin as what they had: the group at place i
    of those, the last option's first, has sets that are i times ``stride`` on.

    Args:
        net: with sets that are not in use yet: see :func:`reserve`.
        choice: the name of the choice.
        groups: of its options.
        stride: how many sets are in use.
    """
    assert isinstance(net.sharing, Split)
    _copy_sets(net, stride, len(groups))
    options, row = net.space[choice].options, net.sharing.row(choice, net.index)
    ordered = sorted(groups, key=lambda group: options[-1] not in group)
    for place, group in enumerate(ordered):
        for option in group:
            row[options.index(option)] = place * stride


def follow(net: SuperNet) -> None:
    """Let all sets be what the first is by now, where sub-networks have that alone."""
    assert isinstance(net.sharing, Split)
    _copy_sets(net, 1, net.sharing.sets)


@torch.no_grad()
def _copy_sets(net: SuperNet, first: int, times: int) -> None:
    """Let the first sets be the next as well, until there are as many times as many."""
    assert isinstance(net.sharing, Split)
    for tensor in net.sharing.tensors:
        for number in range(first, first * times):
            source = net.index.tensor(set_name(tensor, number % first))
            net.index.tensor(set_name(tensor, number)).copy_(source)


def _add_sets(net: SuperNet, tensors: Sequence[str], numbers: range, cycle: int = 1) -> None:
    for tensor in tensors:
        for number in numbers:
            source = net.index.tensor(set_name(tensor, number % cycle))
            add_parameter(net.index, tensor, set_name("", number), source.detach().clone())
