"""Resolution: the size to which images are brought before the network sees them."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor, nn
from torch.nn import functional as F

from ...core.errors import NetError
from .attribute import Attribute


class Resize(nn.Module):
    """Brings images to ``size`` x ``size`` (bilinear); of that size already, they stay bit for bit what they are.

    Args:
        size: side in pixels.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        if size < 1:
            raise NetError(f"a side of an image is 1 pixel or more, not {size}")
        self.size = size

    def forward(self, images: Tensor) -> Tensor:
        """Images of shape (n, channels, h, w) to (n, channels, size, size)."""
        return F.interpolate(images, size=(self.size, self.size), mode="bilinear", align_corners=False)


class Resolution(Attribute):
    """The size of a :class:`Resize` module.

    It is a part of the network, and of the exported file, so that every candidate takes the same images and its
    latency holds the resizing.

    Args:
        name: the name of the choice.
        layer: path of the :class:`Resize` module, such as the first of an ``nn.Sequential``.
        options: sides in pixels; the last is the module's own.
    """

    def __init__(self, name: str, layer: str, options: Iterable[int]) -> None:
        super().__init__(name, ((layer, "size"),), tuple(sorted(options)))
