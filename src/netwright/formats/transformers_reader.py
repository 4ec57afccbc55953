"""Opens a directory of transformers as a person does: with from_pretrained, and without netwright."""

from __future__ import annotations

import importlib
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

KEPT: list[Any] = []


def opened(file: dict[str, Any]) -> Callable[[dict[str, Any]], list[Any]]:
    """The directory at ``path`` as a function from its inputs, by name, to all its outputs."""
    import torch

    network = read(Path(file["path"]))

    def run(arrays: dict[str, Any]) -> list[Any]:
        tensors = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}
        for name, kind in file["types"].items():
            tensors[name] = tensors[name].to(getattr(torch, kind))
        with torch.no_grad():
            found = network(**tensors, **file["fixed"]) if file["by_name"] else network(*tensors.values())
        return [(t.float() if t.dtype == torch.bfloat16 else t).numpy() for t in tensors_in(found)]

    return run


def read(path: Path) -> Any:
    """The network in a directory, in evaluation mode."""
    KEPT.append(tempfile.TemporaryDirectory())
    os.environ.update(HF_HUB_OFFLINE="1", HF_MODULES_CACHE=KEPT[-1].name)  # where custom code is copied to
    sys.modules["netwright"] = None  # type: ignore[assignment]  # which nothing may need
    without_broken_torchvision()
    import transformers

    config = json.loads((path / "config.json").read_text())
    kinds = [name for name in config.get("auto_map", {}) if name != "AutoConfig"]
    if kinds:
        return getattr(transformers, kinds[0]).from_pretrained(path, trust_remote_code=True).eval()
    return getattr(transformers, config["architectures"][0]).from_pretrained(path).eval()


def without_broken_torchvision() -> None:
    """Hide a torchvision that was built for another torch: transformers would not be imported where it lies."""
    try:
        importlib.import_module("torchvision")
    except Exception:
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        sys.modules["torchvision"] = None  # type: ignore[assignment]


def tensors_in(value: Any) -> Iterator[Any]:
    """Every tensor in outputs, in order; of a cache the keys and values of each layer."""
    if hasattr(value, "dtype"):
        yield value
    elif isinstance(value, dict):
        yield from tensors_in(list(value.values()))
    elif isinstance(value, list | tuple):
        for part in value:
            yield from tensors_in(part)
    elif hasattr(value, "layers"):
        yield from tensors_in([(layer.keys, layer.values) for layer in value.layers])
