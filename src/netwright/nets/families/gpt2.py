"""GPT-2 (Radford et al. 2019) of ``transformers``."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from ..inputs import Inputs
from ..stand_ins import Zeros
from .pretrained import ATTENTION, MLP, Family, Pretrained, Stack, a_text, check_length

GPT2 = Family(
    kinds=("GPT2PreTrainedModel",),
    examples="GPT2Model and GPT2LMHeadModel",
    layers="h",
    query="attn.c_attn",
    key="attn.c_attn",
    value="attn.c_attn",
    out="attn.c_proj",
    expand=("mlp.c_fc",),
    contract="mlp.c_proj",
    head_size=("attn", "head_dim"),
    head_counts=(("attn", "num_heads"),),
    head_sums=(("attn", "split_size"),),
    config_heads=False,
    config_ffn="n_inner",
    parts={
        ATTENTION: (("ln_1", 0), ("attn", (Zeros(), None))),
        MLP: (("ln_2", 0), ("mlp", Zeros())),
    },
)


def gpt2(
    model: nn.Module,
    example_inputs: Inputs | None = None,
    *,
    length: int | None = None,
    depths: Iterable[int] | None = None,
    heads: Iterable[float] = (1 / 2, 3 / 4),
    ffn: Iterable[float] = (1 / 2, 3 / 4),
    parts: bool = False,
    per_layer: bool = True,
    round_to: int = 8,
) -> Pretrained:
    """The super-network of a GPT-2: ``depth``, and each layer's ``heads`` and ``ffn``.

    A ``GPT2Config`` knows no size of heads: where heads were cut it names those of the whole network.

    Args:
        model: shared, not copied; its tensors keep their names, so that any checkpoint loads before or after.
        example_inputs, length, depths, heads, ffn, parts, per_layer, round_to: see :func:`~.decoder.decoder`.
    """
    stack = Stack.of(model, GPT2)
    check_length(example_inputs, length)
    if example_inputs is None:
        ids = a_text(model, length)
        example_inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "use_cache": False}
    return Pretrained(stack, stack.axes(depths, heads, ffn, per_layer, round_to, parts), example_inputs)
