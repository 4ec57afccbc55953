"""Which optimizer fits a network, where nobody says."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..core.metric import Measurement, Metric
from ..nets.devices import device_under, to_device
from ..nets.inputs import evaluating, fresh
from ..nets.isolation import isolated
from ..nets.layers import CONVOLUTIONS
from ..nets.supernet import SuperNet
from ..tasks import Task
from .batches import peeking
from .distillation.inner import stages

Weights = Literal["fresh", "pretrained", "extracted"]
"""Weights that have learned nothing yet, that come trained, or that were cut from a trained super-network."""

RATES: dict[str, dict[Weights, float]] = {
    "sgd,lr={:g},momentum=0.9,nesterov=true,weight_decay=0.0001": {"fresh": 0.1, "pretrained": 0.01, "extracted": 0.03},
    "adamw,lr={:g}": {"fresh": 1e-3, "pretrained": 1e-4, "extracted": 2e-4},
}
"""Optimizer to learning rates. One that is right for fresh weights undoes those that come trained."""

STAGES = "features,weight=60"
"""What stages give, and the outputs beside it."""

ABLE = 0.25
"""How far from a constant answer to the best a model is that counts as trained: random weights get some way."""

ENOUGH = 512
"""Examples that a network is judged on, at least."""


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


def default_distillation(module: nn.Module) -> str:
    """How sub-networks of a network that comes trained learn from it, where nobody says.

    In convolutional networks by what stages give as well: measured on a ResNet (``benchmarks/trained_start.py``), it
    gives the small ones much more than the outputs alone. Others learn from the outputs.
    """
    convolutional = any(isinstance(m, CONVOLUTIONS) for m in module.modules())
    return STAGES if convolutional and stages(module) else "outputs"


def is_trained(metric: Metric, given: Measurement, chance: float) -> bool:
    """Whether a given model is far enough better than a constant answer to have been trained: by a quarter of the way
    to the best value, 100 % or, of errors, 0.

    Args:
        metric: what is measured.
        given: of the model.
        chance: of the best constant answer.
    """
    best = {"%": 100.0}.get(metric.unit, 1.0) if metric.direction == "max" else 0.0
    return metric.loss(given.value) + given.ci95 < metric.loss(chance + ABLE * (best - chance))


def weights_of(net: SuperNet, loader: Any, task: Task) -> Weights:
    """Whether a super-network comes trained: its largest network does the task on some training data far better than a
    constant answer. It counts as fresh where the task does not know what that has, or the network cannot be judged.

    Nothing is changed, and the generators of the loader, of PyTorch, NumPy and Python stay where they are.

    Args:
        net: the super-network.
        loader: of the training data; its first batches are read.
        task: what the network is for.
    """
    metric, judged, device = task.metrics[0], 0, device_under(net.module)
    try:
        evaluator = task.evaluator()
        with peeking(loader) as batches, net.active(net.largest) as module, isolated(module), evaluating(module):
            for batch in batches:
                inputs, targets = task.split(to_device(batch, device))
                with torch.no_grad():
                    judged += evaluator.update(task.answer(module, fresh(inputs)), targets)
                if judged >= ENOUGH:
                    break
        baseline = evaluator.baseline().get(metric.name)
        trained = baseline is not None and is_trained(metric, evaluator.result()[metric.name], baseline)
    except Exception:  # a person's network, loader and task may raise anything, which the training will tell
        return "fresh"
    return "pretrained" if trained else "fresh"
