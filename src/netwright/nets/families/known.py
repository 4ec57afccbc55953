"""The families on models of ``transformers``: what is known of one is looked up here."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from .bert import BERT, DISTILBERT, bert
from .decoder import DECODER, decoder
from .gpt2 import GPT2, gpt2
from .pretrained import Family, Pretrained
from .vit import VIT, vit

PRETRAINED: tuple[tuple[Family, Callable[..., Pretrained]], ...] = (
    (BERT, bert),
    (DISTILBERT, bert),
    (DECODER, decoder),
    (GPT2, gpt2),
    (VIT, vit),
)
"""Each family with the function that lists its axes."""


def family_of(model: nn.Module) -> tuple[Family, Callable[..., Pretrained]] | None:
    """The family of a model, and the function that lists its axes; None for a model of none."""
    return next((found for found in PRETRAINED if found[0].has(model)), None)
