"""What families and blocks are built of: a convolution with its normalisation, and sizes that a network can have."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from ..core.errors import NetError


def check_positive(**given: float) -> None:
    """Refuse sizes that no network has. Raises :class:`NetError` that names the argument."""
    for name, value in given.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
            raise NetError(f"{name} is a number above 0, not {value!r}")


def check_windows(**given: int) -> None:
    """Refuse windows that do not keep the size of an image: even ones have no middle. Raises :class:`NetError` that
    names the argument."""
    for name, value in given.items():
        if type(value) is not int or value < 1 or not value % 2:
            raise NetError(f"{name} is the side of a window, an odd number from 1, not {value!r}")


def hidden_channels(channels: int, expansion: float) -> int:
    """As many channels as an expansion makes of some. Raises :class:`NetError` where that is none."""
    check_positive(expansion=expansion)
    if not round(channels * expansion):
        raise NetError(f"expansion={expansion} of {channels} channels is none: give {1 / channels:.2g} or more")
    return round(channels * expansion)


def unit(
    into: int,
    out: int,
    kernel: int,
    stride: int,
    padding: int,
    *,
    groups: int = 1,
    dilation: int = 1,
    eps: float | None = 1e-3,
) -> nn.Module:
    """A convolution and batch normalisation, as its children ``conv`` and ``bn``; or a convolution with a bias.

    Args:
        into, out, kernel, stride, padding, groups, dilation: the convolution's channels, window and layout.
        eps: the epsilon of the normalisation; None for none, as in published weights whose normalisation is folded.
    """
    conv = nn.Conv2d(into, out, kernel, stride, padding, dilation, groups, bias=eps is None)
    nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")  # fan-in: also right for depthwise windows
    if eps is None:
        nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
        return conv
    return nn.Sequential(OrderedDict(conv=conv, bn=nn.BatchNorm2d(out, eps)))


def channels_of(net: nn.Module, path: str) -> int:
    """The channels that a unit gives."""
    return next(m.out_channels for m in net.get_submodule(path).modules() if isinstance(m, nn.Conv2d))
