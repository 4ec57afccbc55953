"""Checkpoints as their libraries save them, small enough to be made on the spot, and texts for them."""

from __future__ import annotations

import random
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from zoo.packages import torchvision

from netwright.core.quiet import quiet

GOOD, BAD, OTHERS = ("good", "fine", "great"), ("bad", "poor", "dull"), ("a", "film", "very", "the", "plot")
WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *GOOD, *BAD, *OTHERS)
SIZES = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 64}


def library() -> Any:
    """The package transformers; the test is left out where there is none."""
    with suppress(ImportError):
        torchvision()  # transformers imports it wherever it is installed
    return pytest.importorskip("transformers", reason="transformers is not installed")


def bert(folder: Path, kind: str = "BertModel", tokenizer: bool = True, **config: Any) -> Path:
    """A BERT of three layers with the vocabulary above."""
    transformers = library()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    torch.manual_seed(0)
    sizes = {**SIZES, "vocab_size": len(WORDS), "max_position_embeddings": 24, **config}
    with quiet():
        getattr(transformers, kind)(transformers.BertConfig(**sizes)).save_pretrained(folder)
        if tokenizer:
            transformers.BertTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)
    if not tokenizer:
        (folder / "vocab.txt").unlink()
    return folder


def sentences(count: int, seed: int = 0) -> list[tuple[str, int]]:
    """Texts of 3 to 8 words, and whether the word that counts is a good one."""
    rng = random.Random(seed)
    found = []
    for i in range(count):
        words = [rng.choice(OTHERS) for _ in range(rng.randint(2, 7))]
        words.insert(rng.randrange(len(words) + 1), rng.choice(GOOD if i % 2 else BAD))
        found.append((" ".join(words), i % 2))
    return found


def written(path: Path, rows: list[tuple[Any, ...]], names: str = "sentence label") -> Path:
    """A table of these rows, between tabs."""
    path.write_text("\n".join(["\t".join(names.split()), *("\t".join(map(str, row)) for row in rows)]) + "\n")
    return path
