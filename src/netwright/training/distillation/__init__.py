"""Distillations, one a file: how a network learns from the answer of another."""

from __future__ import annotations

from .alpha import Alpha
from .attention import Attention
from .base import Distillation
from .features import Features
from .kl import Kl
from .outputs import Outputs
from .registry import DISTILLATIONS as DISTILLATIONS
from .relational import Relational

__all__ = ["Alpha", "Attention", "Distillation", "Features", "Kl", "Outputs", "Relational"]
