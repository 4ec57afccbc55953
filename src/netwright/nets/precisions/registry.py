"""The registry of precisions."""

from __future__ import annotations

from functools import lru_cache

from ...core.errors import NetError
from ...core.registry import Registry
from .base import Precision

PRECISIONS: Registry[Precision] = Registry(
    "precision",
    Precision,
    __name__.rpartition(".")[0],
    {
        "float32": "float32:Float32",
        "int8": "int8:Int8",
        "int4": "int4:Int4",
        "uniform": "uniform:Uniform",
        "ternary": "ternary:Ternary",
        "binary": "binary:Binary",
    },
    error=NetError,
)
"""Every precision of single layers by its name."""

INT8, INT4 = "int8", "int4"
FLOAT32 = "float32"
"""The precision of the whole network."""


@lru_cache(maxsize=256)
def precision_of(text: str) -> Precision:
    """The precision that a text names, such as ``int8`` or ``uniform,weights=3``. Raises :class:`NetError`."""
    return PRECISIONS.make(text)
