"""Blocks: modules for a place in a network of images, one kind per file, to choose among.

Each is a plain module ``Block(inputs, outputs, stride=1, **settings)`` that makes images of shape (n, outputs,
ceil(h / stride), ceil(w / stride)) of images of shape (n, inputs, h, w).
"""

from __future__ import annotations

from torch import nn

from ...core.errors import NetError
from ...core.registry import Registry

__all__ = ["BLOCKS"]

BLOCKS: Registry[nn.Module] = Registry(
    "block",
    nn.Module,
    __name__,
    {
        "uib": "uib:UniversalInvertedBottleneck",
        "reparam": "reparam:Reparam",
        "large_kernel": "large_kernel:LargeKernel",
        "vanilla": "vanilla:Vanilla",
        "inverted_residual": "inverted_residual:InvertedResidual",
        "star": "star:Star",
        "modulation": "modulation:Modulation",
        "partial_stage": "partial_stage:PartialStage",
        "one_shot": "one_shot:OneShotAggregation",
        "hourglass_mlp": "hourglass:HourglassMlp",
        "grouped": "grouped:GroupedConv",
        "hypercomplex": "hypercomplex:Hypercomplex",
        "dynamic": "dynamic:DynamicResidual",
        "attention": "attention:Attention",
        "mobile_attention": "mobile_attention:MobileAttention",
        "multi_scale_attention": "multi_scale_attention:MultiScaleAttention",
        "simplified_attention": "simplified_attention:SimplifiedAttention",
        "decoupled_attention": "decoupled_attention:DecoupledAttention",
    },
    error=NetError,
)
"""Every block by its name: ``BLOCKS.make("uib,expansion=4", inputs=16, outputs=32, stride=2)``."""
