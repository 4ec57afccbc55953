"""The types of parameters, as they are annotated."""

from __future__ import annotations

import inspect
import sys
from contextlib import suppress
from dataclasses import is_dataclass
from typing import Any


def hints_of(target: Any) -> dict[str, Any]:
    """The types of parameters, but for those that cannot be resolved, such as those for type checkers alone."""
    found: dict[str, Any] = {}
    if is_dataclass(target):
        owners: list[Any] = [*reversed(inspect.getmro(target))]  # type: ignore[arg-type]
    else:
        owners = [target.__init__ if isinstance(target, type) else target]  # type: ignore[misc]
    for owner in owners:
        around = getattr(sys.modules.get(getattr(owner, "__module__", "")), "__dict__", {})
        for name, kind in inspect.get_annotations(owner).items():
            with suppress(Exception):  # whatever stands in a person's own annotations
                found[name] = eval(kind, around) if isinstance(kind, str) else kind
    return found
