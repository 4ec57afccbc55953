"""Which optimizer fits a network, where nobody says."""

from __future__ import annotations

from typing import Literal

from torch import nn

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

    Convolutional networks learn well by stochastic gradient descent with momentum. Those with layer normalisation
    (transformers), and all others, do by AdamW, whose steps do not depend on how large gradients are.
    """
    names = [type(m).__name__ for m in module.modules()]
    normalised = any("LayerNorm" in name or "RMSNorm" in name for name in names)
    convolves = any(isinstance(m, CONVOLUTIONS) for m in module.modules())
    sgd, adamw = RATES
    text = sgd if convolves and not normalised else adamw
    kind = "convolutional" if text == sgd else "with layer normalisation" if normalised else "without convolutions"
    return text.format(RATES[text][weights]), f"the network is {kind}, its weights {weights}"
