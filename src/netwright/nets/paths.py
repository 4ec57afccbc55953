"""Paths of modules: which lies in which."""

from __future__ import annotations

from collections.abc import Iterable


def within(path: str, around: str) -> bool:
    """Whether a module is another or lies in it."""
    return path == around or path.startswith(around + ".") or not around


def overlap(one: str, others: Iterable[str]) -> bool:
    """Whether a module lies in one of others or holds one."""
    return any(within(one, other) or within(other, one) for other in others)


def join(*parts: str) -> str:
    """The path of what lies in a module: ``join("layers", "0")``; of the network itself, ``join("", "0")``."""
    return ".".join(part for part in parts if part)
