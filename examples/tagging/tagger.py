"""Tagging: which words of a request to a travel desk are a name, a place or a time. Networks have two inputs by name.

netwright fit examples/tagging/recipe.yaml
"""

from __future__ import annotations

import random
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

import netwright as nw

TAGS = ("other", "name", "place", "time")
WORDS = {
    "name": "ada alan barbara claude donald edsger grace john kathleen ken leslie lynn margaret niklaus tony",
    "place": "athens bergen cairo delhi florence geneva hanoi kyoto lima oslo paris quito riga tunis vienna",
    "time": "today tomorrow monday tuesday wednesday thursday friday noon midnight morning evening",
}
REQUESTS = (
    "please book a flight to <place> for <name>",
    "<name> wants to go from <place> to <place> on <time>",
    "is there a train to <place> on <time>",
    "<time> at <time> please for <name> and <name>",
    "cancel the hotel in <place>",
    "does <name> fly with <name> to <place>",
    "what time is it in <place>",
    "send <name> the tickets before <time>",
)
VOCABULARY = ["<pad>", "<unknown>", *sorted({w for w in " ".join([*REQUESTS, *WORDS.values()]).split() if w[0] != "<"})]
LENGTH = max(len(request.split()) for request in REQUESTS)
UNKNOWN = 0.15
"""The share of names, places and times that the network has not heard of: it must go by the words around them."""


def sentence(rng: random.Random) -> tuple[list[int], list[int]]:
    """Ids of words, and their tags."""
    ids, tags = [], []
    for word in rng.choice(REQUESTS).split():
        tag = word.strip("<>") if word.startswith("<") else "other"
        known = tag == "other" or rng.random() > UNKNOWN
        word = word if tag == "other" else rng.choice(WORDS[tag].split())
        ids.append(VOCABULARY.index(word if known else "<unknown>"))
        tags.append(TAGS.index(tag))
    return ids, tags


def collate(sentences: list[tuple[list[int], list[int]]]) -> dict[str, Tensor]:
    """A batch: ids and mask, which networks take by these names, and labels, of which -100 do not count."""

    def padded(rows: list[list[int]], value: int) -> Tensor:
        return torch.tensor([row + [value] * (LENGTH - len(row)) for row in rows])

    return {
        "ids": padded([ids for ids, _ in sentences], 0),
        "mask": padded([[1] * len(ids) for ids, _ in sentences], 0),
        "labels": padded([tags for _, tags in sentences], -100),
    }


class Block(nn.Module):
    """Each word looks at its neighbours."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.up = nn.Conv1d(width, hidden, 3, padding=1)
        self.down = nn.Linear(hidden, width)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        around = self.up((self.norm(x) * mask).transpose(1, 2)).transpose(1, 2)
        return x + self.down(around.relu())


class Tagger(nn.Module):
    """Scores of the tags, for each word."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(len(VOCABULARY), 32)
        self.blocks = nn.ModuleList([Block(32, 64), Block(32, 64)])
        self.norm, self.head = nn.LayerNorm(32), nn.Linear(32, len(TAGS))

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        x, shown = self.embed(ids), mask[..., None].float()
        for block in self.blocks:
            x = block(x, shown)
        return self.head(self.norm(x))


def supernet() -> nw.SuperNet:
    """What can be cut is found by netwright; inputs by name are a dict."""
    example = collate([sentence(random.Random(0)) for _ in range(2)])
    return nw.wrap(Tagger(), {"ids": example["ids"], "mask": example["mask"]})


def data() -> nw.Data:
    """Sentences drawn with seeds of their own."""

    def loader(count: int, seed: int, **settings: Any) -> DataLoader[Any]:
        rng = random.Random(seed)
        return DataLoader([sentence(rng) for _ in range(count)], collate_fn=collate, **settings)  # type: ignore[arg-type]

    return nw.Data(
        loader(1024, 1, batch_size=32, shuffle=True), loader(256, 2, batch_size=64), loader(256, 3, batch_size=64)
    )
