"""Runtimes: what turns a network into something that runs on a device, one per file."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from ...core.errors import MeasureError, did_you_mean
from .base import Runtime

OURS = {
    "onnxruntime": "onnxruntime:OnnxRuntime",
    "torch": "torch:Torch",
    "openvino": "openvino:OpenVino",
    "executorch": "executorch:ExecuTorch",
    "litert": "litert:LiteRt",
    "ncnn": "ncnn:Ncnn",
}
"""Name to module and class. Others register through the entry point group ``netwright.runtimes``."""


def names() -> list[str]:
    """Of all runtimes that are known here, whether they work or not."""
    return [*OURS, *sorted(entry.name for entry in entry_points(group="netwright.runtimes"))]


def runtime_class(name: str) -> type[Runtime]:
    """The runtime of this name. Raises :class:`MeasureError` for one that is not known."""
    if name in OURS:
        module, _, cls = OURS[name].partition(":")
        return getattr(import_module(f".{module}", __package__), cls)
    for entry in entry_points(group="netwright.runtimes", name=name):
        return entry.load()
    raise MeasureError(f"there is no runtime {name!r}; {did_you_mean(name, names())}")


def from_json(settings: Mapping[str, Any]) -> Runtime:
    """The inverse of :meth:`Runtime.to_json`."""
    return runtime_class(settings["runtime"])(**{k: v for k, v in settings.items() if k != "runtime"})
