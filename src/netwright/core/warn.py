"""Warnings that name the line of a person's that they are about."""

from __future__ import annotations

import sys
import warnings

HOME = __name__.partition(".")[0]


def warn(message: str) -> None:
    """Warn of something, in the name of the nearest caller outside of netwright.

    It is that line which a person can change, and by which Python tells one warning from another.
    """
    frame, level = sys._getframe(1), 2
    while frame.f_back and frame.f_globals.get("__name__", "").partition(".")[0] == HOME:
        frame, level = frame.f_back, level + 1
    warnings.warn(message, stacklevel=level)
