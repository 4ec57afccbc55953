"""Decoder-only language models of ``transformers``: LLaMA, Qwen2, Qwen3."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from ..axes import ChannelSlice, Width, fractions
from ..cut import ModuleIndex
from ..inputs import Inputs
from ..stand_ins import Zeros
from .pretrained import ATTENTION, MLP, Family, Pretrained, Stack, a_text, check_length

DECODER = Family(
    kinds=("LlamaPreTrainedModel", "Qwen2PreTrainedModel", "Qwen3PreTrainedModel"),
    examples="LlamaForCausalLM, Qwen2ForCausalLM and Qwen3ForCausalLM",
    layers="layers",
    query="self_attn.q_proj",
    key="self_attn.k_proj",
    value="self_attn.v_proj",
    out="self_attn.o_proj",
    expand=("mlp.gate_proj", "mlp.up_proj"),
    contract="mlp.down_proj",
    head_size=("self_attn", "head_dim"),
    ffn_counts=(("mlp", "intermediate_size"),),
    parts={
        ATTENTION: (("input_layernorm", 0), ("self_attn", (Zeros("hidden_states"), None))),
        MLP: (("post_attention_layernorm", 0), ("mlp", Zeros())),
    },
)


def decoder(
    model: nn.Module,
    example_inputs: Inputs | None = None,
    *,
    length: int | None = None,
    depths: Iterable[int] | None = None,
    heads: Iterable[float] = (1 / 2, 3 / 4),
    ffn: Iterable[float] = (1 / 2, 3 / 4),
    hidden: Iterable[float] = (1 / 2, 3 / 4),
    parts: bool = False,
    per_layer: bool = True,
    round_to: int = 8,
) -> Pretrained:
    """The super-network of a language model: ``depth``, ``hidden``, and each layer's ``heads`` and ``ffn``.

    A head is one of keys and values with the query heads that share it. The hidden size is one width through the
    embedding, all layers, all norms and the language-model head, tied to the embedding or not. A model made under
    ``torch.device("meta")`` is enough for the space and for counts. LLaMA's config refuses to be read back where
    its hidden size is no multiple of its query heads.

    Args:
        model: shared, not copied; its tensors keep their names, so that any checkpoint loads before or after.
        example_inputs: by default one text of 128 tokens, whose keys and values are not kept.
        length: tokens of the text that is the example, for which counts and latencies are made: by default 128, or as
            many as the model takes. Give what the task has. Without ``example_inputs`` only.
        depths: numbers of layers; by default all from half of them.
        heads, ffn, hidden: shares of each layer's heads of keys and values, each layer's FFN channels, and the
            hidden size, beside the whole; without any, they stay whole.
        parts: whether attention and FFN may be left out, each for itself (He et al. 2024, "What matters in
            Transformers? Not all attention is needed"): ``layer0.attention`` and ``layer0.mlp`` are 0 or 1, or
            ``attentions`` and ``mlps`` say how many there are, the first ones.
        per_layer: each layer has choices of its own; else one choice each serves all layers, and every network whose
            parts are whole is one that its config describes (see :class:`~.pretrained.Pretrained`).
        round_to: hidden and FFN sizes are multiples of this.
    """
    stack = Stack.of(model, DECODER)
    check_length(example_inputs, length)
    if example_inputs is None:
        ids = a_text(model, length)
        # An exported network computes whole texts: its outputs hold no cache.
        example_inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "use_cache": False}
    sizes = fractions(stack.model.config.hidden_size, hidden, round_to, "hidden")
    return Pretrained(
        stack, [_hidden(stack, sizes), *stack.axes(depths, heads, ffn, per_layer, round_to, parts)], example_inputs
    )


def _hidden(stack: Stack, options: tuple[int, ...]) -> Width:
    """The channels between the layers."""
    index, family = ModuleIndex(stack.model), stack.family
    makes, keeps, reads = [], [stack.path("norm")], []
    size_attributes: list[tuple[str, str]] = []
    for layer in stack.layers:
        makes += [f"{layer}.{own}" for own in (family.out, family.contract)]
        keeps += [f"{layer}.{own}" for own in ("input_layernorm", "post_attention_layernorm")]
        reads += [f"{layer}.{own}" for own in (family.query, family.key, family.value, *family.expand)]
        sized = (layer, f"{layer}.mlp")
        size_attributes += [(path, "hidden_size") for path in sized if hasattr(index.modules[path], "hidden_size")]
    core = stack.model.get_submodule(stack.base)
    heads = [path for path, child in stack.model.named_children() if isinstance(child, nn.Linear) and child is not core]
    places = [(stack.path("embed_tokens"), "weight", 1)]
    places += [(path, "weight", 0) for path in (*makes, *keeps)] + [(path, "bias", 0) for path in makes]
    places += [(path, "weight", 1) for path in (*reads, *heads)]
    slices = [
        ChannelSlice(index.tensors_of[path][own], dim)
        for path, own, dim in places
        if own in index.tensors_of.get(path, {})
    ]
    return Width("hidden", tuple(dict.fromkeys(slices)), options, tuple(size_attributes))  # a tied head is named once
