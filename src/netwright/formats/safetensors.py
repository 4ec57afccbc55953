"""safetensors: the weights alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ..nets.extract import copy_of
from ..nets.inputs import Inputs
from ..nets.isolation import outputs_of
from ..nets.state import load_state, read_tensors, state_of, write_tensors
from .base import Format
from .compare import arrays_of
from .sizes import Sizes


@dataclass(frozen=True)
class Safetensors(Format):
    """The weights: parameters and persistent buffers, by their names in the network's own classes."""

    file = "weights.safetensors"
    folds = False
    purpose = "the weights by their names in the model's own classes, for `netwright.load`"

    def write(self, network: nn.Module, inputs: Inputs, path: Path, sizes: Sizes) -> Mapping[str, Any]:
        write_weights(network, path)
        return {}

    def run(self, network: nn.Module, path: Path, inputs: Inputs) -> list[np.ndarray]:
        again = copy_of(network)
        with torch.no_grad():
            for tensor in state_of(again).values():
                tensor.zero_()
        load_weights(again, path)
        return arrays_of(outputs_of(again, inputs))


def write_weights(network: nn.Module, path: Path) -> None:
    """Write parameters and persistent buffers, by their names in the network's own classes."""
    write_tensors(path, state_of(network))


def load_weights(network: nn.Module, path: Path) -> None:
    """Copy the file's tensors into a network of the same classes and sizes, in place."""
    load_state(network, read_tensors(path)[0], path)
