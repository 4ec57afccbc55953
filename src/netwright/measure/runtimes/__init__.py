"""Runtimes: what turns a network into something that runs on a device, one per file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...core.errors import MeasureError
from ...core.registry import Registry
from .base import Runtime

RUNTIMES: Registry[Runtime] = Registry(
    "runtime",
    Runtime,
    __name__,
    {
        "onnxruntime": "onnxruntime:OnnxRuntime",
        "torch": "torch:Torch",
        "openvino": "openvino:OpenVino",
        "executorch": "executorch:ExecuTorch",
        "litert": "litert:LiteRt",
        "ncnn": "ncnn:Ncnn",
    },
    error=MeasureError,
)


def runtime_class(name: str) -> type[Runtime]:
    """The runtime of this name. Raises :class:`MeasureError` for one that is not known."""
    found = RUNTIMES.cls(name)
    if not (isinstance(found, type) and issubclass(found, Runtime)):
        raise MeasureError(f"{name} is no runtime: derive it from {Runtime.__module__}.{Runtime.__qualname__}")
    return found


def to_json(runtime: Runtime) -> dict[str, Any]:
    """The name of a runtime as ``runtime``, and its settings."""
    return {"runtime": RUNTIMES.name_of(type(runtime)), **runtime.settings}


def from_json(settings: Mapping[str, Any]) -> Runtime:
    """The inverse of :func:`to_json`."""
    return runtime_class(settings["runtime"])(**{k: v for k, v in settings.items() if k != "runtime"})
