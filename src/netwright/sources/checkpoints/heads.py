"""The head of a module of a person's own: the layer whose result is what the module gives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ...nets.inputs import Inputs, call, evaluating, fresh, tensors_in


def head_of(module: nn.Module, inputs: Inputs) -> str | None:
    """The path of the linear layer or 2-d convolution whose result is the first that the module gives, flattened at
    most; None where it is made by something else.

    Args:
        module: any.
        inputs: what it is called with.
    """
    layers = {path: layer for path, layer in module.named_modules() if type(layer) in (nn.Linear, nn.Conv2d)}
    made: dict[str, Tensor] = {}  # held, so that no later result takes the place of one in memory

    def keeping(path: str) -> Callable[..., None]:
        def hook(layer: nn.Module, given: Any, result: Tensor) -> None:
            made[path] = result

        return hook

    hooks = [layer.register_forward_hook(keeping(path)) for path, layer in layers.items()]
    try:
        with torch.no_grad(), evaluating(module):
            first = next(tensors_in(call(module, fresh(inputs))), None)
    finally:
        for hook in hooks:
            hook.remove()
    same = [path for path, result in made.items() if first is not None and result.data_ptr() == first.data_ptr()]
    return same[0] if len(same) == 1 else None


def outputs_of(layer: nn.Module) -> int:
    """How many values a head gives."""
    return int(layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels)  # type: ignore[arg-type]


def put_new_head(module: nn.Module, path: str, outputs: int) -> None:
    """Put a fresh layer of so many outputs in the place of a head, of its device and precision."""
    old: Any = module.get_submodule(path)
    about = {"bias": old.bias is not None, "device": old.weight.device, "dtype": old.weight.dtype}
    new: nn.Module
    if isinstance(old, nn.Linear):
        new = nn.Linear(old.in_features, outputs, **about)
    else:
        new = nn.Conv2d(old.in_channels, outputs, old.kernel_size, old.stride, old.padding, old.dilation, **about)
    module.set_submodule(path, new)
