"""Self-attention over the positions of an image, of several kinds: which layer needs which is a question for a menu."""

from __future__ import annotations

from typing import Literal, get_args

from torch import Tensor, nn
from torch.nn import functional as F

from ...core.errors import NetError
from .parts import as_images, check_divides, conv_norm, in_heads, linear_attention, transition
from .uib import UniversalInvertedBottleneck

Kind = Literal["softmax", "linear", "cosine", "none"]
KINDS: tuple[Kind, ...] = get_args(Kind)


class Attention(nn.Module):
    """Every position attends to every other, by softmax or otherwise, then a feed-forward part; each is added.

    Kinds: ``softmax`` (Vaswani et al. 2017, arXiv 1706.03762); ``linear``, with ReLU as its kernel (EfficientViT, arXiv
    2205.14756); ``cosine``, without a softmax and linear too, over the root of the number of positions (Cottention:
    Mongaras et al. 2024, arXiv 2409.18747); ``none``, the feed-forward part alone. Nothing tells a position but the
    depthwise convolution of the feed-forward part.

    Args:
        inputs, outputs, stride: see :mod:`netwright.nets.blocks`; a change of either is a convolution before.
        kind: how attention is weighed.
        head_dim: channels of a head; it must divide ``outputs``.
        expansion: hidden channels of the feed-forward part, as a multiple of ``outputs``.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        stride: int = 1,
        kind: Kind = "softmax",
        head_dim: int = 8,
        expansion: float = 2,
    ) -> None:
        super().__init__()
        if kind not in KINDS:
            raise NetError(f"kind is one of {', '.join(KINDS)}, not {kind!r}")
        check_divides("head_dim", head_dim, outputs)
        self.kind, self.head_dim = kind, head_dim
        self.enter = transition(inputs, outputs, stride)
        if kind != "none":
            self.norm = nn.BatchNorm2d(outputs)
            self.queries, self.keys, self.values = (nn.Conv2d(outputs, outputs, 1, bias=False) for _ in range(3))
            self.project = conv_norm(outputs, outputs)
        self.feed_forward = UniversalInvertedBottleneck(outputs, outputs, expansion=expansion)

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x)
        if self.kind != "none":
            y = self.norm(x)
            heads = [in_heads(part(y), self.head_dim) for part in (self.queries, self.keys, self.values)]
            x = x + self.project(as_images(attend(self.kind, *heads), x))
        return self.feed_forward(x)


def attend(kind: str, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Values as weighed by queries and keys, all of shape (n, heads, channels, positions)."""
    if kind == "linear":
        return linear_attention(queries, keys, values)
    if kind == "cosine":
        queries, keys = F.normalize(queries, dim=2), F.normalize(keys, dim=2)
        return (values @ keys.transpose(2, 3)) @ queries / queries.shape[3] ** 0.5
    queries, keys, values = queries.transpose(2, 3), keys.transpose(2, 3), values.transpose(2, 3)
    return F.scaled_dot_product_attention(queries, keys, values).transpose(2, 3)
