"""8 bits, as runtimes compute them."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from .base import Precision, round_symmetric


@dataclass(frozen=True)
class Int8(Precision):
    """Weights from -127 to 127 times a scale for each output channel; inputs from 0 to 255, with one scale and a
    zero point: the arithmetic of ONNX Runtime's and OpenVINO's 8-bit layers (form ``u8s8``)."""

    weights = 8
    activations = 8

    def round_weights(self, weight: Tensor) -> Tensor:
        return round_symmetric(weight, 127)
