"""Lets a torchvision that was built for another PyTorch be imported: transformers, timm and others ask for it."""

from __future__ import annotations

from functools import cache

import torch


@cache
def stub() -> torch.library.Library:
    """Define the operators that such a torchvision registers kernels for; what is returned keeps them."""
    library = torch.library.Library("torchvision", "FRAGMENT")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return library
