"""safetensors: the weights alone."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from ..nets.state import load_state, read_tensors, state_of, write_tensors


def write_weights(network: nn.Module, path: Path) -> None:
    """Write parameters and persistent buffers, by their names in the network's own classes."""
    write_tensors(path, state_of(network))


def load_weights(network: nn.Module, path: Path) -> None:
    """Copy the file's tensors into a network of the same classes and sizes, in place."""
    load_state(network, read_tensors(path)[0], path)
