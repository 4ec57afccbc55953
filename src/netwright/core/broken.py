"""Packages that lie there and cannot be imported."""

from __future__ import annotations

import importlib
import sys
from functools import cache

from .errors import format_error
from .quiet import quiet
from .warn import warn


@cache
def without_broken_torchvision() -> None:
    """Leave out a torchvision that was built for another PyTorch, saying so: transformers, and what builds on it,
    import it wherever it is installed, and texts do not need it."""
    try:
        with quiet():
            importlib.import_module("torchvision")
    except ImportError:
        pass
    except Exception as error:  # an extension that does not fit raises what it likes
        sys.modules["torchvision"] = None  # type: ignore[assignment]  # how Python says that a package is not there
        warn(f"torchvision cannot be imported ({format_error(error)[:120]}): models are read without it")
