"""Which parameters of a network may move."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase

from torch import Tensor, nn

from ..core.errors import TrainingError, did_you_mean

Trainable = str | Sequence[str] | Callable[[str, Tensor], bool]
"""Patterns of parameters' names, such as ``"*head*"``, or a function of a name and a parameter."""


@contextmanager
def only(network: nn.Module, which: Trainable | None) -> Iterator[None]:
    """No other parameters than these require gradients while the block lasts, and layers without any of them keep
    their running statistics; all of them where ``which`` is None.

    Raises :class:`TrainingError` for patterns that name no parameter.
    """
    if which is None:
        yield
        return
    before = {p: p.requires_grad for p in network.parameters()}
    moving = _chosen(network, which)
    try:
        for name, parameter in network.named_parameters():
            parameter.requires_grad_(name in moving)
        if not network.training:
            network.train()
        for module in network.modules():
            own = list(module.parameters())
            if own and not any(p.requires_grad for p in own):
                module.eval()
        yield
    finally:
        for parameter, required in before.items():
            parameter.requires_grad_(required)


def _chosen(network: nn.Module, which: Trainable) -> set[str]:
    """The names of the parameters that may move."""
    named = dict(network.named_parameters())
    if callable(which):
        found = {name for name, parameter in named.items() if which(name, parameter)}
        if not found:
            raise TrainingError(f"trainable: the function chooses none of the {len(named)} parameters")
        return found
    patterns = [which] if isinstance(which, str) else list(which) if isinstance(which, Sequence) else [which]
    if wrong := [pattern for pattern in patterns if not isinstance(pattern, str)]:
        raise TrainingError(
            "trainable: give patterns of names such as '*head*', or a function of a name and a parameter, "
            f"not {wrong[0]!r}"
        )
    found = set()
    for pattern in patterns:
        matched = {name for name in named if fnmatchcase(name, pattern)}
        if not matched:
            raise TrainingError(
                f"trainable: no parameter's name is like {pattern!r}; {did_you_mean(pattern.strip('*'), named)}"
            )
        found |= matched
    return found
