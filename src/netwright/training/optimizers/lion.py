"""Lion: the sign of a momentum."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor


class Lion(torch.optim.Optimizer):
    """Chen et al., "Symbolic discovery of optimization algorithms" (2023), algorithm 2.

    Every weight moves by the learning rate, up or down: rates are three to ten times smaller than AdamW's, and weight
    decay as much larger. It keeps one tensor for each weight, AdamW two.

    Args:
        params: parameters or groups of them.
        lr: the learning rate.
        betas: how much of the momentum stays in a step's direction, and in the momentum itself.
        weight_decay: decoupled from the gradient, as AdamW's.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float = 1e-4,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
    ) -> None:
        if not lr >= 0 or not all(0 <= beta < 1 for beta in betas) or not weight_decay >= 0:
            raise ValueError("lr and weight_decay must be 0 or more, and betas from 0 to below 1")
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Move every weight that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            direction, memory = group["betas"]
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                if not state:
                    state["momentum"] = torch.zeros_like(p)
                momentum: Tensor = state["momentum"]
                p.mul_(1 - group["lr"] * group["weight_decay"])
                p.add_(momentum.lerp(p.grad, 1 - direction).sign_(), alpha=-group["lr"])
                momentum.lerp_(p.grad, 1 - memory)
        return loss
