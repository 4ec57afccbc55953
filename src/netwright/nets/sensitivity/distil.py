"""Distilled inputs: what batch normalisation tells of the data that a network was trained on."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ...core.errors import NetError
from ..inputs import Inputs, call, each_tensor, evaluating, requiring_grad, tensors_in
from ..isolation import isolated
from ..layers import BATCH_NORMS

LEARNING_RATE = 0.1
SMALL = 1e-6


def distil_inputs(
    network: nn.Module, example_inputs: Inputs, number: int = 32, steps: int = 50, seed: int = 0
) -> Inputs:
    """Inputs that no data is needed for: noise, changed until the mean and the deviation of what each batch
    normalisation reads are those that it has seen in training (ZeroQ, Cai et al. 2020, arXiv 2001.00281).

    For ranges, sensitivity and comparisons where there is no data; they are no images of anything.

    Args:
        network: left as it is.
        example_inputs: one example; its tensors of floating point are replaced, along their first dimension.
        number: how many.
        steps: of Adam.
        seed: of the noise.

    Returns inputs of the structure of the example, and of ``number`` in their first dimension.

    Raises :class:`NetError` where no batch normalisation with statistics runs, or where the network cannot be called
    with so many.
    """
    if number < 2 or steps < 1:
        raise NetError(f"distil_inputs needs a number of 2 or more, and steps of 1 or more; got {number} and {steps}")
    norms = [m for m in network.modules() if isinstance(m, BATCH_NORMS) and m.running_mean is not None]
    if not norms:
        raise NetError(
            "distil_inputs: the network has no batch normalisation with running statistics (none, or folded): nothing "
            "in it tells of the data; give real inputs"
        )
    generator = torch.Generator().manual_seed(seed)
    inputs = each_tensor(example_inputs, lambda t: _begun(t, number, generator))
    free = [t for t in tensors_in(inputs) if t.is_floating_point()]
    if not free:
        raise NetError("distil_inputs: no input is of floating point: whole numbers cannot be changed step by step")
    with requiring_grad(network.parameters(), False), isolated(network), evaluating(network), torch.enable_grad():
        _fit(network, norms, inputs, free, steps)
    return each_tensor(inputs, lambda t: t.detach())


def _begun(tensor: Tensor, number: int, generator: torch.Generator) -> Tensor:
    shape = (number, *tensor.shape[1:])
    if tensor.is_floating_point():
        return torch.randn(shape, generator=generator).to(tensor).requires_grad_(True)
    return tensor[:1].expand(shape).contiguous()


def _fit(network: nn.Module, norms: list[Any], inputs: Inputs, free: list[Tensor], steps: int) -> None:
    losses: list[Tensor] = []

    def watch(norm: Any, arguments: Any) -> None:
        x = arguments[0]
        dims = [d for d in range(x.dim()) if d != 1]
        deviation = (x.var(dims, correction=0) + SMALL).sqrt()
        wanted = (norm.running_var + SMALL).sqrt()
        losses.append((x.mean(dims) - norm.running_mean).square().sum() + (deviation - wanted).square().sum())

    handles = [norm.register_forward_pre_hook(watch) for norm in norms]
    optimizer = torch.optim.Adam(free, LEARNING_RATE)
    try:
        for _ in range(steps):
            losses.clear()
            call(network, inputs)
            if not losses:
                raise NetError("distil_inputs: no batch normalisation runs on the example")
            optimizer.zero_grad()
            torch.stack(losses).sum().backward()
            optimizer.step()
    finally:
        for handle in handles:
            handle.remove()
