"""Where networks run: their device, and what is moved to it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any

import torch
from torch import nn

from ..core.errors import CallError, NetError
from .inputs import each_tensor, tensors_in


def device_of(name: str | torch.device) -> torch.device:
    """The device, or that of this name: ``cpu``, ``cuda`` (or ``cuda:1``), or ``auto``, CUDA where there is one.

    Raises :class:`CallError` for another name, and for a device that this machine lacks.
    """
    name = str(name)
    available = torch.cuda.is_available()
    if name == "auto":
        return torch.device("cuda" if available else "cpu")
    try:
        device = torch.device(name)
    except (RuntimeError, TypeError):
        device = torch.device("meta")
    if device.type not in ("cpu", "cuda"):
        raise CallError(f"device is cpu, cuda or auto, not {name!r}")
    if device.type == "cuda" and not available:
        built = "finds none" if torch.version.cuda else "is built without CUDA"
        raise CallError(
            f"device {name!r} asks for CUDA, but PyTorch {torch.__version__} {built} on this machine: "
            "write cpu or auto, or install a build of PyTorch for your GPU and its driver"
        )
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise CallError(f"device {name!r} asks for more than the {torch.cuda.device_count()} GPUs of this machine")
    return device


def device_under(network: nn.Module) -> torch.device:
    """Where a network is: the device of its parameters and buffers; the CPU where it has none.

    Raises :class:`NetError` for a network on several devices.
    """
    found = {tensor.device for tensor in chain(network.parameters(), network.buffers())}
    if len(found) > 1:
        raise NetError(
            f"the network lies on several devices ({', '.join(sorted(map(str, found)))}); move it to one: "
            "network.to('cuda')"
        )
    return next(iter(found), torch.device("cpu"))


def device_for(network: nn.Module, name: str | torch.device | None) -> torch.device:
    """The device of this name; where there is none, that which a network is on."""
    return device_under(network) if name is None else device_of(name)


def to_device(value: Any, device: torch.device) -> Any:
    """The same structure with its tensors on a device; the value itself where they all are there."""
    if all(tensor.device == device for tensor in tensors_in(value)):
        return value
    return each_tensor(value, lambda tensor: tensor.to(device, non_blocking=True))


@contextmanager
def placed(network: nn.Module, device: torch.device) -> Iterator[None]:
    """The network on a device while the block lasts; then where it was."""
    given = device_under(network)
    if device.type == given.type and device.index in (None, given.index):
        yield
        return
    network.to(device)
    try:
        yield
    finally:
        network.to(given)
