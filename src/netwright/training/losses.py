"""Losses for labels, and for a teacher's outputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.nn import functional as F

Loss = Callable[[Any, Any], Tensor]
"""(output, labels) -> a scalar."""


def cross_entropy(output: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of class scores (batch, classes) with labels (batch,)."""
    return F.cross_entropy(output, labels)


def distillation(output: Tensor, teacher: Tensor) -> Tensor:
    """Cross-entropy of class scores with a teacher's softened by nothing: the in-place distillation of Yu and Huang,
    "Universally slimmable networks" (2019), section 3.4. Both of shape (batch, classes)."""
    return F.cross_entropy(output, teacher.softmax(dim=-1))
