"""A tiny language model: the next byte of the first chapter of Alice's Adventures in Wonderland, by a transformer.

netwright fit examples/language_model/recipe.yaml
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import netwright as nw

CONTEXT, WIDTH, HEADS, BLOCKS = 48, 64, 4, 2


class Block(nn.Module):
    """Attention to what came before, and a perceptron."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.queries, self.keys = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.values, self.out = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.mlp = nn.Sequential(
            nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH)
        )

    def forward(self, x: Tensor) -> Tensor:
        n, tokens, _ = x.shape
        normed = self.norm(x)
        q, k, v = (
            part(normed).view(n, tokens, -1, WIDTH // HEADS).transpose(1, 2)
            for part in (self.queries, self.keys, self.values)
        )
        seen = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(n, tokens, -1)
        x = x + self.out(seen)
        return x + self.mlp(x)


class LanguageModel(nn.Module):
    """Scores of the next byte, at each position."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes, self.places = nn.Embedding(128, WIDTH), nn.Embedding(CONTEXT, WIDTH)
        self.blocks = nn.Sequential(*(Block() for _ in range(BLOCKS)))
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 128)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.bytes(ids) + self.places(torch.arange(ids.shape[1], device=ids.device))
        return self.head(self.norm(self.blocks(x)))


def supernet() -> nw.SuperNet:
    """What can be cut is found by netwright."""
    return nw.wrap(LanguageModel(), torch.zeros(1, CONTEXT, dtype=torch.int64))


def data() -> nw.Data:
    """Pieces of the text in three parts; targets are the bytes themselves, which the task shifts by one."""
    text = torch.tensor(list(Path(__file__).with_name("alice.txt").read_bytes()))
    a, b = int(0.8 * len(text)), int(0.9 * len(text))

    def part(text: Tensor, step: int) -> nw.Split:
        pieces = text.unfold(0, CONTEXT, step)
        return nw.Split(pieces, pieces)

    return nw.Data(part(text[:a], CONTEXT // 4), part(text[a:b], CONTEXT), part(text[b:], CONTEXT))
