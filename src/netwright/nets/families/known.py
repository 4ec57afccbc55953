"""The families on models of ``transformers``: what is known of one is looked up here."""

from __future__ import annotations

from collections.abc import Callable

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
