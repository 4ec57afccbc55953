"""The text and the teacher of benchmarks/decoder.py: characters of tinyshakespeare, and a LLaMA-like model of them."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_model, save_model
from torch import Tensor, nn
from torch.nn import functional as F

import netwright as nw


@dataclass(frozen=True)
class Size:
    """How large the model is, and how long all is trained.

    Args:
        hidden, layers, heads, ffn: of the model.
        context, batch: of the sequences.
        steps: of the teacher's training.
        distilled: steps of block-local distillation.
        tuned: steps of each cut's fine-tuning.
        evaluations: of a search.
        tested: sequences of the test.
    """

    hidden: int
    layers: int
    heads: int
    ffn: int
    context: int
    batch: int
    steps: int
    distilled: int
    tuned: int
    evaluations: int
    tested: int


SHORT = Size(96, 10, 4, 256, 64, 16, 600, 60, 40, 96, 192)
LONG = Size(288, 10, 6, 768, 128, 32, 3000, 600, 300, 600, 512)


class Text:
    """Sequences of characters: nine parts of ten to learn from, the rest to judge by and to test on.

    Args:
        path: of the text.
        size: of the sequences.
        seed: of which are drawn.
        device: where they lie.
    """

    def __init__(self, path: Path, size: Size, seed: int, device: str) -> None:
        raw = path.read_text()
        self.characters = sorted(set(raw))
        place = {character: i for i, character in enumerate(self.characters)}
        ids = torch.tensor([place[character] for character in raw])
        at = len(ids) * 9 // 10
        self._learned, self._size, self._device = ids[:at], size, device
        self._generator = torch.Generator().manual_seed(seed)
        held = ids[at:][: (len(ids) - at) // size.context * size.context].view(-1, size.context).to(device)
        order = held[torch.randperm(len(held), generator=self._generator)]
        self.judged, self.tested = order[:64], order[64 : 64 + size.tested]

    def batches(self, number: int) -> list[dict[str, Any]]:
        """So many batches to learn from."""
        size = self._size
        starts = torch.randint(len(self._learned) - size.context, (number, size.batch), generator=self._generator)
        ids = self._learned[starts[..., None] + torch.arange(size.context)].to(self._device)
        return [{"input_ids": each, "use_cache": False} for each in ids]


def teacher_of(size: Size, text: Text, weights: Path, device: str, seed: int) -> Any:
    """The whole model, trained; read where it was trained before."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(text.characters), hidden_size=size.hidden, intermediate_size=size.ffn,
        num_hidden_layers=size.layers, num_attention_heads=size.heads, max_position_embeddings=size.context,
        tie_word_embeddings=True,
    )  # fmt: skip
    model: Any = LlamaForCausalLM(config)
    model.to(device)
    if weights.exists():
        load_model(model, weights)
    else:
        began = time.process_time()
        tune(model, text.batches(size.steps), "adamw,lr=2e-3")
        save_model(model, str(weights))
        print(f"the teacher was trained for {size.steps} steps: {time.process_time() - began:.0f} s of CPU time")
    return model.eval()


def tune(network: nn.Module, batches: list[dict[str, Any]], optimizer: str, teacher: nn.Module | None = None) -> None:
    """Train a network, beside a teacher where there is one."""
    task, schedule = nw.tasks.LanguageModelling(), "cosine,warmup=0.05"
    nw.finetune(
        network, batches, task=task, epochs=1, optimizer=optimizer, schedule=schedule, teacher=teacher, clip_norm=1.0
    )


@torch.no_grad()
def losses(network: Any, sequences: Tensor) -> Tensor:
    """The mean loss of each sequence in nats, (n,)."""
    scores = torch.cat([network(input_ids=part, use_cache=False).logits.float() for part in sequences.split(64)])
    each = F.cross_entropy(scores[:, :-1].flatten(0, 1), sequences[:, 1:].flatten(), reduction="none")
    return each.view(len(sequences), -1).mean(1).double().cpu()
