"""``torch.export``'s archive, ``.pt2``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..core.errors import BundleError, one_line
from ..core.quiet import quiet
from ..nets.inputs import Inputs
from .onnx import as_call, free_batch


def write_pt2(network: nn.Module, example_inputs: Inputs, path: Path) -> None:
    """Write a network with a free batch dimension; it is put into evaluation mode."""
    args, kwargs = as_call(example_inputs)
    network.eval()
    try:
        with quiet():
            program = torch.export.export(network, args, kwargs, dynamic_shapes=free_batch(example_inputs))
            torch.export.save(program, path)
    except Exception as error:  # torch.export raises many types
        raise BundleError(f"torch.export cannot take this network: {one_line(error)[:500]}") from error


def load_pt2(path: Path) -> Any:
    """The network as a callable."""
    with quiet():
        return torch.export.load(path).module()
