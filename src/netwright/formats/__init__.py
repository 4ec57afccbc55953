"""Exported networks: their files, one format per file, and the bundle that holds them."""

from ..core.errors import BundleError
from ..core.registry import Registry
from .base import Format

FORMATS: Registry[Format] = Registry(
    "format",
    Format,
    __name__,
    {
        "onnx": "onnx:Onnx",
        "pt2": "pt2:Pt2",
        "safetensors": "safetensors:Safetensors",
        "transformers": "transformers:Transformers",
    },
    error=BundleError,
)

STANDARD = ("onnx", "pt2", "safetensors")
"""The formats that are written where nothing else is said."""
