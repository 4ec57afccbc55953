"""Which optimizer fits a network, where nobody says."""

from __future__ import annotations

from typing import Literal

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

Weights = Literal["fresh", "pretrained", "extracted"]
"""Weights that have learned nothing yet, that come trained, or that were cut from a trained super-network."""

RATES: dict[str, dict[Weights, float]] = {
    "sgd,lr={:g},momentum=0.9,nesterov=true,weight_decay=0.0001": {"fresh": 0.1, "pretrained": 0.01, "extracted": 0.03},
    "adamw,lr={:g}": {"fresh": 1e-3, "pretrained": 1e-4, "extracted": 2e-4},
}
"""Optimizer to learning rates. One that is right for fresh weights undoes those that come trained."""

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


def default_optimizer(module: nn.Module, weights: Weights = "fresh") -> tuple[str, str]:
    """The text of an optimizer that fits a network, and why it does.

    Convolutional networks, and others with batch normalisation, learn well by stochastic gradient descent with
    momentum. Those with layer normalisation (transformers), and plain ones, do by AdamW, whose steps do not depend on
    how large gradients are.
    """
    sgd, adamw = RATES
    if any("LayerNorm" in type(m).__name__ or "RMSNorm" in type(m).__name__ for m in module.modules()):
        text, kind = adamw, "has layer normalisation"
    elif any(isinstance(m, CONVOLUTIONS) for m in module.modules()):
        text, kind = sgd, "is convolutional"
    elif any(isinstance(m, _BatchNorm) for m in module.modules()):
        text, kind = sgd, "has batch normalisation"
    else:
        text, kind = adamw, "has neither convolutions nor normalisation"
    return text.format(RATES[text][weights]), f"the network {kind} and {weights} weights"
