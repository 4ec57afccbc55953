"""Provenance: what a result was made with."""

from __future__ import annotations

import platform
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version

from .children import run_program

PACKAGES = ("netwright", "torch", "onnx", "onnxscript", "onnxruntime", "numpy", "safetensors")
"""Those that decide what a file holds."""


def version_of(package: str) -> str | None:
    """The version of an installed package; None where it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def versions(packages: Iterable[str] = PACKAGES) -> dict[str, str]:
    """Of Python and of those packages that are installed."""
    found = {package: version_of(package) for package in packages}
    return {"python": platform.python_version(), **{name: number for name, number in found.items() if number}}


def git_commit() -> str | None:
    """The commit of the working directory, if git knows one."""
    try:
        told = run_program(["git", "rev-parse", "HEAD"], 5)
    except OSError:
        return None
    return None if told.failure else told.out.strip()
