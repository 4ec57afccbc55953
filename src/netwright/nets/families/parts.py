"""What families of depthwise networks share: TensorFlow's padding, ties."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor, nn
from torch.nn import functional as F

from ..axes import Width


def same(kernel: int, stride: int) -> int:
    """The symmetric part of TensorFlow's "same" padding of an odd window; see :func:`halve` for the rest."""
    return (kernel - 3) // 2 if stride == 2 else kernel // 2


def halve(images: Tensor) -> Tensor:
    """The other part of "same" padding with stride 2: zeros after each image, and before it where its size is odd.

    TensorFlow pads so that the output has ceil(n / 2) positions, and where it must pad unevenly, more at the end.
    What is left is symmetric and the convolution's own, so that a :class:`~netwright.Kernel` axis crops the window
    and the result is that of a network built with the smaller one. Windows of 1 do not fit: TensorFlow never pads
    them.

    Args:
        images: images of shape (n, channels, h, w), for a convolution with ``padding=same(kernel, 2)``.
    """
    height, width = (int(size) % 2 for size in images.shape[-2:])
    return F.pad(images, (width, 1, height, 1))


def tie(
    net: nn.Module,
    name: str,
    options: Iterable[int],
    *,
    out_of: Iterable[str],
    through: Iterable[str] = (),
    into: Iterable[str],
) -> Width:
    """:meth:`~netwright.Width.tie` for paths of units: normalisation goes with its convolution."""

    def layers(paths: Iterable[str], kinds: tuple[type[nn.Module], ...]) -> list[str]:
        inside = {f"{p}.{own}" if own else p: m for p in paths for own, m in net.get_submodule(p).named_modules()}
        return [path for path, module in inside.items() if isinstance(module, kinds)]

    weighted, norms, out_of, through = (nn.Conv2d, nn.Linear), (nn.BatchNorm2d,), tuple(out_of), tuple(through)
    return Width.tie(
        net,
        name,
        options,
        out_of=layers(out_of, weighted),
        through=[*layers(out_of, norms), *layers(through, (*weighted, *norms))],
        into=layers(into, weighted),
    )
