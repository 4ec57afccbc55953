"""Forms of 8-bit arithmetic, and of rounding to few bits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

FORMS: Mapping[str, tuple[str, str, bool]] = {
    "u8s8": ("QUInt8", "QInt8", False),
    "s8s8": ("QInt8", "QInt8", False),
    "u8u8": ("QUInt8", "QUInt8", False),
    "u8s7": ("QUInt8", "QInt8", True),
}
"""Of a product of 8-bit numbers: the type of activations, that of weights (ONNX Runtime's names), and whether the range
of weights is reduced to 7 bits. The most precise come first."""

SATURATES = 64
"""Above this, weights of 8 bits with a sign, times activations without one, can exceed the sum of two products that
x86 CPUs without VNNI keep in 16 bits (``vpmaddubsw``): 2 * 255 * 64 is 32,640, and 32,767 is the most."""

Rounding = Literal["nearest", "gptq"]
"""How weights of few bits are found: each is the nearest value, or those of a layer together keep what it gives."""

ROUNDINGS: tuple[str, ...] = get_args(Rounding)
