"""Energy meters: what can be read of the energy that a machine takes, one kind per file."""

from ...core.errors import MeasureError
from ...core.registry import Registry
from .base import Meter

METERS: Registry[Meter] = Registry(
    "meter", Meter, __name__, {"rapl": "rapl:Rapl", "nvml": "nvml:Nvml", "hwmon": "hwmon:Hwmon"}, error=MeasureError
)
