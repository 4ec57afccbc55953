"""Sizes that no network has, and things that are no super-network, are refused in words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from torch import nn

import netwright as nw
from netwright.core.errors import NetwrightError


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: nw.families.ofa_mobilenet_v3(width=-1), "width is a number above 0, not -1"),
        (lambda: nw.families.ofa_mobilenet_v3(width="1.0"), "width is a number.*, not '1.0'"),  # type: ignore[arg-type]
        (lambda: nw.families.ofa_proxyless(classes=0), "classes is a number above 0"),
        (lambda: nw.families.ofa_resnet50(classes=-1), "classes is a number above 0"),
        (lambda: nw.families.mobilenet_v1(image=0), "image is a number above 0"),
        (lambda: nw.families.mobilenet_v2(width=float("nan")), "width is a number above 0"),
        (lambda: nw.families.resnet8(classes=-1), "classes is a number above 0"),
        (lambda: nw.families.cifar_resnet(layers=-4), "layers is a number above 0"),
        (lambda: nw.families.simplenet(classes=0), "classes is a number above 0"),
        (lambda: nw.families.simplenet(image=8), "image is at least 16"),
        (lambda: nw.families.simplenet(widths=(8, 16)), "an entry for each of the 13 layers, not 2"),
        (lambda: nw.families.simplenet(widths=(8,) * 12 + (0,)), r"widths\[12\] is a number above 0"),
        (lambda: nw.families.wide_resnet(20), r"6 n \+ 4 layers .*, not 20"),
        (lambda: nw.families.wide_resnet(16, widen=(1, 2)), r"whole numbers of 2 or more, not \[1, 2\]"),
        (lambda: nw.families.wide_resnet(16, dropout=1.5), "dropout is a share from 0 to below 1, not 1.5"),
        (lambda: nw.families.load_ofa(nn.Linear(2, 2), {}), "load_ofa.*a super-network, not a Linear"),  # type: ignore[arg-type]
    ],
)
def test_sizes(make: Callable[[], Any], told: str) -> None:
    with pytest.raises(NetwrightError, match=told):
        make()
