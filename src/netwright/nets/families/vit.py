"""Vision transformers (Dosovitskiy et al. 2021) of ``transformers``."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from ..inputs import Inputs
from .pretrained import Family, Pretrained, Stack, home

VIT = Family(
    kinds=("ViTPreTrainedModel",),
    examples="ViTModel and ViTForImageClassification",
    layers="layers",
    query="attention.q_proj",
    key="attention.k_proj",
    value="attention.v_proj",
    out="attention.o_proj",
    expand=("mlp.fc1",),
    contract="mlp.fc2",
    head_size=("attention", "head_dim"),
    head_counts=(("attention", "num_attention_heads"),),
)


def vit(
    model: nn.Module,
    example_inputs: Inputs | None = None,
    *,
    depths: Iterable[int] | None = None,
    heads: Iterable[float] = (1 / 2, 2 / 3, 5 / 6),
    ffn: Iterable[float] = (1 / 3, 2 / 3),
    per_layer: bool = True,
    round_to: int = 8,
) -> Pretrained:
    """The super-network of a vision transformer: ``depth``, and each layer's ``heads`` and ``ffn``.

    The defaults are what DyNAS-T's ViT-B/16 has: 6, 8, 10, 12 heads and 1024, 2048, 3072 hidden channels. The first
    layers, heads and channels stay; :func:`netwright.sort_channels` brings the important ones there.

    Args:
        model: shared, not copied; its tensors keep their names, so that any checkpoint loads before or after.
        example_inputs: by default one image of the size in the config.
        depths: numbers of layers; by default all from half of them.
        heads, ffn: shares of each layer's heads and FFN channels, beside the whole; without any, they stay whole.
        per_layer: each layer has a choice of its own; else one choice of heads and one of FFN size serve all layers,
            and every network is one that its config describes (see :class:`~.pretrained.Pretrained`).
        round_to: FFN sizes are multiples of this.
    """
    stack = Stack.of(model, VIT)
    if example_inputs is None:
        config = stack.model.config
        side = config.image_size
        height, width = side if isinstance(side, Iterable) else (side, side)
        image = torch.zeros(1, config.num_channels, height, width, device=home(model), dtype=stack.model.dtype)
        example_inputs = {"pixel_values": image}
    return Pretrained(stack, stack.axes(depths, heads, ffn, per_layer, round_to), example_inputs)
