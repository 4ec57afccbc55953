"""A menu of inverted residuals at each place: identity, or an expansion and a window (ProxylessNAS, FBNet).

Cai et al. 2019 (arXiv 1812.00332) choose among expansions 3 and 6 with windows 3, 5 and 7, Wu et al. 2019 (FBNet, arXiv
1812.03443) among expansions 1, 3 and 6 with windows 3 and 5; both may leave a block out where the shapes allow it. Each
option has weights of its own: in once-for-all's spaces, which are the other families here, they are shared.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...core.errors import NetError
from ..axes import Axis, OneOf
from ..menu import oneof
from ..supernet import SuperNet
from ..units import check_positive, unit
from .mobilenet import EPS, Bottleneck
from .parts import halve, same

STAGES = ((24, 4, 2), (40, 4, 2), (80, 4, 2), (96, 4, 1), (192, 4, 2), (320, 1, 1))
"""ProxylessNAS's: channels, blocks, and the stride of the first block."""
STEM, FIRST, LAST = 32, 16, 1280


class MobileMenus(nn.Module):
    """A stem of stride 2, a block without expansion, stages of menus, a 1x1 head, pooling, a classifier.

    Args:
        classes: number of classes.
        stages: channels, number of blocks and the first block's stride of each stage.
        expansions, kernels: of the options of each menu, ``mb3_k5`` for expansion 3 and window 5.
        head: channels of the head.
    """

    def __init__(
        self,
        classes: int = 1000,
        stages: Sequence[tuple[int, int, int]] = STAGES,
        expansions: Sequence[int] = (3, 6),
        kernels: Sequence[int] = (3, 5, 7),
        head: int = LAST,
    ) -> None:
        super().__init__()
        self.stem = unit(3, STEM, 3, 2, same(3, 2))
        self.first = Bottleneck(STEM, STEM, FIRST, 3, 1, EPS)
        menus: list[nn.Module] = []
        into = FIRST
        for width, blocks, stride in stages:
            for b in range(blocks):
                step = 1 if b else stride
                options: dict[str, nn.Module] = {"skip": nn.Identity()} if step == 1 and into == width else {}
                for e, k in product(sorted(expansions), sorted(kernels)):
                    options[f"mb{e}_k{k}"] = Bottleneck(into, into * e, width, k, step, EPS)
                menus.append(oneof(**options))
                into = width
        self.blocks = nn.Sequential(*menus)
        self.head = unit(into, head, 1, 1, 0)
        self.classifier = nn.Linear(head, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(self.first(F.relu6(self.stem(halve(x)))))
        return self.classifier(F.relu6(self.head(x)).mean((2, 3)))


def mobile_menus(
    classes: int = 1000,
    image: int = 224,
    stages: Sequence[tuple[int, int, int]] = STAGES,
    *,
    expansions: Sequence[int] = (3, 6),
    kernels: Sequence[int] = (3, 5, 7),
    head: int = LAST,
) -> SuperNet:
    """The super-network of :class:`MobileMenus`: the option of each block, called ``block0``, ``block1``, ...

    Args:
        classes, stages, expansions, head: see :class:`MobileMenus`.
        image: side of the images.
        kernels: windows, odd, 3 or more.
    """
    check_positive(classes=classes, image=image, head=head)
    for name, given, least in (("expansions", expansions, 1), ("kernels", kernels, 3)):
        if not given or len(set(given)) < len(given) or any(not isinstance(g, int) or g < least for g in given):
            raise NetError(f"{name} are different whole numbers of {least} or more, not {list(given)}")
    if any(k % 2 == 0 for k in kernels) or len(expansions) * len(kernels) < 2:
        raise NetError(
            f"windows are odd, and a menu has two options or more; got {list(expansions)} and {list(kernels)}"
        )
    net = MobileMenus(classes, stages, expansions, kernels, head)
    axes: list[Axis] = [OneOf.of(net, f"blocks.{i}", f"block{i}") for i in range(len(net.blocks))]
    return SuperNet(net, axes, torch.zeros(1, 3, image, image))
