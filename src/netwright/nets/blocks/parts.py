"""What several blocks are made of."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from ...core.errors import NetError
from ..units import check_positive, unit


def conv_norm(
    inputs: int, outputs: int, kernel: int = 1, stride: int = 1, *, groups: int = 1, dilation: int = 1
) -> nn.Module:
    """A convolution that keeps the size of the image, but for its stride, and batch normalisation."""
    padding = dilation * (kernel // 2)
    return unit(inputs, outputs, kernel, stride, padding, groups=groups, dilation=dilation, eps=1e-5)


def transition(inputs: int, outputs: int, stride: int) -> nn.Module:
    """What leads into a block that keeps channels and size: nothing where it has what it needs; else a convolution and
    batch normalisation, of 3x3 with the stride, or of 1x1 without one.

    Raises :class:`NetError` for sizes that no image has.
    """
    check_positive(inputs=inputs, outputs=outputs, stride=stride)
    if stride == 1 and inputs == outputs:
        return nn.Identity()
    return conv_norm(inputs, outputs, 1 if stride == 1 else 3, stride)


def check_divides(what: str, size: int, channels: int) -> None:
    """Refuse a size that channels cannot be parted into. Raises :class:`NetError` that names both."""
    check_positive(**{what: size})
    if channels % size:
        raise NetError(f"{channels} channels cannot be parted by {what}={size}: give one that divides them")


def in_heads(images: Tensor, head_dim: int) -> Tensor:
    """Images of shape (n, heads * head_dim, h, w) as (n, heads, head_dim, h * w)."""
    return images.unflatten(1, (-1, head_dim)).flatten(3)


def as_images(heads: Tensor, like: Tensor) -> Tensor:
    """What :func:`in_heads` made, as images of the size of others."""
    return heads.flatten(1, 2).unflatten(2, like.shape[2:])


def linear_attention(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Attention with the kernel ReLU(q)·ReLU(k): keys meet values first, so the cost is linear in the positions.

    Katharopoulos et al. 2020 (arXiv 2006.16236), with the kernel of EfficientViT (arXiv 2205.14756).

    Args:
        queries, keys, values: each of shape (..., channels, positions).

    Returns:
        Of the values' shape.
    """
    queries, keys = F.relu(queries), F.relu(keys)
    found = (values @ keys.transpose(-1, -2)) @ queries
    return found / (keys.sum(-1, keepdim=True).transpose(-1, -2) @ queries + 1e-6)
