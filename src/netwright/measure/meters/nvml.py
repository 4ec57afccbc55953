"""NVML: the boards of NVIDIA GPUs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ...core.errors import format_error
from .base import Channel, Counter, Meter, MeterAbsent, Power


@dataclass(frozen=True)
class Nvml(Meter):
    """All NVIDIA GPUs: which of them a runtime takes, it does not say."""

    label = "NVML"
    scope = "gpu"

    def channels(self) -> list[Channel]:
        try:
            import pynvml  # type: ignore[import-not-found, unused-ignore]
        except ImportError:
            raise MeterAbsent("pynvml is not installed (pip install nvidia-ml-py)") from None
        try:
            pynvml.nvmlInit()
            handles = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
        except pynvml.NVMLError as error:
            raise MeterAbsent(format_error(error)) from None
        if not handles:
            raise MeterAbsent("there is no GPU")
        return [_gpu(pynvml, i, handle) for i, handle in enumerate(handles)]


def _gpu(pynvml: Any, number: int, handle: Any) -> Channel:
    name = f"nvml gpu {number}"
    try:
        return Counter(name, lambda: int(pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)), 1e-3)
    except pynvml.NVMLError:  # before Volta
        pass
    try:
        return Power(name, lambda: pynvml.nvmlDeviceGetPowerUsage(handle) / 1e3)
    except pynvml.NVMLError as error:
        raise MeterAbsent(f"GPU {number} tells no energy and no power: {format_error(error)}") from None
