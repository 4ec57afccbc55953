"""What all surgery asks: whether a network still computes what it did, which modules are meant, what is compared."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from fnmatch import fnmatch

import torch
from torch import Tensor, nn

from ...core.errors import NetError, did_you_mean
from ..cut import ModuleIndex
from ..inputs import Inputs, call, fresh
from ..isolation import isolated, outputs_of
from ..noise import apart
from ..trace import Trace, Tracer

TOLERANCE = 1e-4
"""How far outputs may be from what they were, relative to the largest of them."""


def trained(index: ModuleIndex, example_inputs: Inputs) -> Trace:
    """The trace of a whole network in the form in which it is trained: its modules are those of the index."""
    return Tracer(index, example_inputs, supposes=True).whole


def computes(network: nn.Module, example_inputs: Inputs, before: Sequence[Tensor]) -> bool:
    """Whether a network runs, and all its outputs are what they were."""
    with suppress(Exception):  # its own code may miss what was there
        return apart(before, outputs_of(network, example_inputs)) <= TOLERANCE
    return False


def several(argument: str, given: Iterable[str]) -> tuple[str, ...]:
    """Words of an argument: one word alone would be taken letter by letter."""
    if isinstance(given, str):
        raise NetError(f"{argument} is a list, such as [{given!r}], not {given!r}")
    return tuple(given)


def check_patterns(index: ModuleIndex, patterns: Iterable[str]) -> None:
    """Refuse patterns of module paths that match nothing."""
    for pattern in patterns:
        if not any(fnmatch(path, pattern) for path in index.modules):
            raise NetError(f"no module matches {pattern!r}; {did_you_mean(pattern, list(index.modules)[1:])}")


def matching(index: ModuleIndex, only: Iterable[str], except_: Iterable[str]) -> list[str]:
    """The paths of the modules that match a pattern of ``only`` and none of ``except_``.

    Raises :class:`NetError` for patterns that match no module.
    """
    only, except_ = several("only", only), several("except_", except_)
    check_patterns(index, (*only, *except_))
    return [
        path
        for path in index.modules
        if any(fnmatch(path, p) for p in only) and not any(fnmatch(path, p) for p in except_)
    ]


def called(index: ModuleIndex, example_inputs: Inputs) -> set[str]:
    """The modules that are called."""
    ran: set[str] = set()
    with isolated(index.root), torch.no_grad():
        for path, module in index.modules.items():
            module.register_forward_pre_hook(lambda *_, path=path: ran.add(path))
        call(index.root, fresh(example_inputs))
    return ran


def judged_rows(tensor: Tensor) -> Tensor:
    """What is compared of an activation: positions of a text are judged one by one, images as wholes."""
    return (tensor.flatten(0, -2) if tensor.dim() <= 3 else tensor.flatten(1)).double()
