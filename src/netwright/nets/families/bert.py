"""BERT (Devlin et al. 2019) of ``transformers``."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from ..inputs import Inputs
from .pretrained import Family, Pretrained, Stack, a_text, check_length

BERT = Family(
    kinds=("BertPreTrainedModel",),
    examples="BertModel and BertForSequenceClassification",
    layers="encoder.layer",
    query="attention.self.query",
    key="attention.self.key",
    value="attention.self.value",
    out="attention.output.dense",
    expand=("intermediate.dense",),
    contract="output.dense",
    head_size=("attention.self", "attention_head_size"),
    head_counts=(("attention.self", "num_attention_heads"),),
    head_sums=(("attention.self", "all_head_size"),),
    config_heads=False,
)


def bert(
    model: nn.Module,
    example_inputs: Inputs | None = None,
    *,
    length: int | None = None,
    depths: Iterable[int] | None = None,
    heads: Iterable[float] = (1 / 2, 2 / 3, 5 / 6),
    ffn: Iterable[float] = (1 / 3, 2 / 3),
    per_layer: bool = True,
    round_to: int = 8,
) -> Pretrained:
    """The super-network of a BERT with any head for a task: ``depth``, and each layer's ``heads`` and ``ffn``.

    The defaults are what DyNAS-T's BERT-base has: 6 to 12 layers, 6, 8, 10, 12 heads and 1024, 2048, 3072 hidden
    channels. A ``BertConfig`` knows no size of heads: where heads were cut it names those of the whole network, and
    the network is kept as a bundle (:func:`netwright.export`).

    Args:
        model: shared, not copied; its tensors keep their names, so that any checkpoint loads before or after.
        example_inputs: by default what BERT's tokenizer gives for one text of 128 tokens. Models that take other
            inputs (multiple choice) need theirs.
        length: tokens of the text that is the example, for which counts and latencies are made: by default 128, or as
            many as the model takes. Give what the task has. Without ``example_inputs`` only.
        depths: numbers of layers; by default all from half of them.
        heads, ffn: shares of each layer's heads and FFN channels, beside the whole; without any, they stay whole.
        per_layer: each layer has a choice of its own; else one choice of heads and one of FFN size serve all layers.
        round_to: FFN sizes are multiples of this.
    """
    stack = Stack.of(model, BERT)
    check_length(example_inputs, length)
    if example_inputs is None:
        ids = a_text(model, length)
        ones, zeros = torch.ones_like(ids), torch.zeros_like(ids)
        example_inputs = {"input_ids": ids, "attention_mask": ones, "token_type_ids": zeros}
    return Pretrained(stack, stack.axes(depths, heads, ffn, per_layer, round_to), example_inputs)
