"""Provenance: what a result was made with."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version

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
        told = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return told.stdout.strip()
