"""Which modules are folded; see :mod:`.folding`."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn


def foldable(network: nn.Module) -> list[str]:
    """The paths of the modules that offer ``folded()``; of one that stands at several places the first."""
    return [path for path, module in network.named_modules() if callable(getattr(type(module), "folded", None))]


def is_folded(name: str, paths: Iterable[str]) -> bool:
    """Whether a tensor or module lies in what is folded at some paths: it is not what it was, nor stored as it was."""
    return any(not path or name.startswith(f"{path}.") for path in paths)
