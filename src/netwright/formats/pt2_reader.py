"""Opens an archive of torch.export as a person does: with torch, and without netwright."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np


def opened(file: dict[str, Any]) -> Callable[[dict[str, Any]], list[Any]]:
    """The file at ``path`` as a function from its inputs, by name, to all its outputs."""
    import torch

    network = torch.export.load(file["path"]).module()

    def run(arrays: dict[str, Any]) -> list[Any]:
        tensors = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}
        for name, kind in file["types"].items():
            tensors[name] = tensors[name].to(getattr(torch, kind))
        with torch.no_grad():
            found = network(**tensors) if file["by_name"] else network(*tensors.values())
        several = list(found.values()) if isinstance(found, dict) else found if isinstance(found, tuple) else [found]
        return [(t.float() if t.dtype == torch.bfloat16 else t).numpy() for t in several]

    return run
