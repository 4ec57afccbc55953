"""BERT (Devlin et al. 2019) of ``transformers``, and its kin: RoBERTa, XLM-RoBERTa, ELECTRA, DistilBERT."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from ..inputs import Inputs
from .pretrained import Family, Pretrained, Stack, a_text, check_length

BERT = Family(
    kinds=("BertPreTrainedModel", "RobertaPreTrainedModel", "XLMRobertaPreTrainedModel", "ElectraPreTrainedModel"),
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

DISTILBERT = Family(
    kinds=("DistilBertPreTrainedModel",),
    examples="DistilBertModel and DistilBertForSequenceClassification",
    layers="transformer.layer",
    query="attention.q_lin",
    key="attention.k_lin",
    value="attention.v_lin",
    out="attention.out_lin",
    expand=("ffn.lin1",),
    contract="ffn.lin2",
    head_size=("attention", "attention_head_size"),
    head_counts=(("attention", "n_heads"),),
    config_heads=False,
    config_ffn="hidden_dim",
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
    """The super-network of a BERT or its kin with any head: ``depth``, and each layer's ``heads`` and ``ffn``.

    The defaults are what DyNAS-T's BERT-base has: 6 to 12 layers, 6, 8, 10, 12 heads and 1024, 2048, 3072 hidden
    channels. A ``BertConfig`` knows no size of heads: where heads were cut it names those of the whole network.

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
    stack = Stack.of(model, BERT, DISTILBERT)
    check_length(example_inputs, length)
    if example_inputs is None:
        ids = a_text(model, length)
        example_inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        if stack.family is BERT:
            example_inputs["token_type_ids"] = torch.zeros_like(ids)
    return Pretrained(stack, stack.axes(depths, heads, ffn, per_layer, round_to), example_inputs)
