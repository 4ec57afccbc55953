"""8 bits, as runtimes compute them."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from .even import Even, symmetric_steps


@dataclass(frozen=True)
class Int8(Even):
    """Weights from -127 to 127 times a scale for each output channel; inputs from 0 to 255, with one scale and a
    zero point: the arithmetic of ONNX Runtime's and OpenVINO's 8-bit layers (form ``u8s8``)."""

    weights = 8
    activations = 8

    low, high = -127, 127

    def steps(self, rows: Tensor) -> Tensor:
        return symmetric_steps(rows, self.high)
