"""Fine-tuning with normalisation that is folded into convolutions on the fly."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..core.errors import NetwrightError
from ..nets.cut import ModuleIndex
from ..nets.folding import factor_and_shift
from ..nets.inputs import Inputs
from ..nets.layers import BATCH_NORMS, CONVOLUTIONS
from ..nets.trace import Tracer

Normalisation = Literal["batch", "tune"]
"""By what batch normalisation normalises while a network is fine-tuned: the batch, or its running statistics."""


@contextmanager
def tuning(network: nn.Module, example: Inputs) -> Iterator[None]:
    """Batch normalisation normalises by its running statistics, which stay, while the block lasts; where it follows a
    convolution, it is part of that.

    The Tune mode of You et al., "Efficient ConvBN blocks for transfer learning and beyond" (arXiv 2305.11624): what a
    convolution gives is not kept for the normalisation, since one convolution with folded weights takes the place of
    both; gradients reach the weights and the normalisation's factors and shifts as in evaluation mode.

    Args:
        network: trained in this block; put into training mode but for its normalisation.
        example: what it is called with. A network that cannot be traced with it has nothing folded, which computes the
            same.
    """
    if not network.training:
        network.train()
    for module in network.modules():
        if isinstance(module, _BatchNorm) and module.track_running_stats:
            module.eval()
    pairs = _pairs(network, example)
    for pair in pairs:
        pair.conv.forward = pair.folded
        pair.norm.forward = _given
    try:
        yield
    finally:
        for pair in pairs:
            del pair.conv.forward, pair.norm.forward


@dataclass(frozen=True, eq=False)
class _Pair:
    """A convolution and what normalises it. A method of this is copied with them where the network is copied."""

    conv: Any
    norm: Any

    def folded(self, x: Tensor) -> Tensor:
        """What the normalisation gives for the convolution's input."""
        factor, shift = factor_and_shift(self.norm)
        weight = self.conv.weight * factor.reshape(-1, *[1] * (self.conv.weight.dim() - 1))
        bias = shift if self.conv.bias is None else self.conv.bias * factor + shift
        result: Tensor = self.conv._conv_forward(x, weight, bias)
        return result


def _given(x: Tensor) -> Tensor:
    return x


def _pairs(network: nn.Module, example: Inputs) -> list[_Pair]:
    """Convolutions whose result nothing reads but a normalisation; each runs once."""
    index = ModuleIndex(network)
    try:
        trace = Tracer(index, example).whole
    except NetwrightError:
        return []
    after = {trace.around[p][0]: p for p, m in index.modules.items() if type(m) in BATCH_NORMS and trace.runs(p)}
    readers: dict[int, set[str]] = {}
    for op in trace.ops:
        for at in op.reads:
            readers.setdefault(trace.buffers[at], set()).add(op.module)
    found = []
    for path, conv in index.modules.items():
        if type(conv) not in CONVOLUTIONS or not trace.runs(path):
            continue
        result = trace.around[path][1]
        norm = index.modules.get(after.get(result, ""))
        storage = trace.buffers[result]
        if norm is None or storage in trace.outputs or readers.get(storage) != {after[result]}:
            continue
        if norm.affine and norm.track_running_stats and not _altered(conv) and not _altered(norm):
            found.append(_Pair(conv, norm))
    return found


def _altered(module: nn.Module) -> bool:
    """Whether somebody hooks or replaces what the module computes."""
    return bool("forward" in vars(module) or module._forward_hooks or module._forward_pre_hooks)
