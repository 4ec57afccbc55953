"""Re-parameterised convolutions: branches in training, one convolution afterwards.

RepVGG (Ding et al. 2021, arXiv 2101.03697, section 3.3) and, with several copies of the branches, MobileOne (Vasu et
al. 2022, arXiv 2206.04040, section 3.2).
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from ..units import check_positive, check_windows
from .merging import merged
from .parts import conv_norm


class Reparam(nn.Module):
    """The sum of convolutions, a 1x1 convolution and the input itself, each normalised; then ReLU.

    Args:
        inputs, outputs, stride: see :mod:`netwright.nets.blocks`.
        kernel: the window, an odd number.
        copies: of the convolution with the window, of which each has weights of its own.
        depthwise: whether each channel has a window of its own, and a second such block of 1x1 windows follows, which
            mixes the channels.
    """

    def __init__(
        self, inputs: int, outputs: int, stride: int = 1, kernel: int = 3, copies: int = 1, depthwise: bool = False
    ) -> None:
        super().__init__()
        check_positive(inputs=inputs, outputs=outputs, stride=stride, copies=copies)
        check_windows(kernel=kernel)
        own, groups = (inputs, inputs) if depthwise else (outputs, 1)
        self.windows = nn.ModuleList(conv_norm(inputs, own, kernel, stride, groups=groups) for _ in range(copies))
        self.point = conv_norm(inputs, own, 1, stride, groups=groups) if kernel > 1 else None
        self.norm = nn.BatchNorm2d(inputs) if own == inputs and stride == 1 else None
        self.mix = Reparam(inputs, outputs, kernel=1, copies=copies) if depthwise else None

    def forward(self, x: Tensor) -> Tensor:
        first, *others = [branch(x) for branch in self._branches()]
        for other in others:
            first = first + other
        y = F.relu(first)
        return y if self.mix is None else self.mix(y)

    def folded(self) -> nn.Module:
        """One convolution and ReLU; two of each where it is depthwise."""
        made = nn.Sequential(merged(self._branches()), nn.ReLU())
        return made if self.mix is None else nn.Sequential(made, self.mix)

    def _branches(self) -> list[nn.Module]:
        return [each for each in (*self.windows, self.point, self.norm) if each is not None]
