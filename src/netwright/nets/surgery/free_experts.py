"""Experts that cost next to nothing, beside those of a mixture: tokens that need little are given to them.

MoE++ (Jin et al. 2024, arXiv 2410.07348, section 3.1): of the experts that are chosen for a token some give nothing,
some the token itself, some a mixture of it and a vector that is learned, so that fewer feed-forward networks run for
it. Its gating residuals, by which a router reads the scores of the layer before, are not here: a layer would depend on
what another one keeps, which can be neither traced nor cut.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ...core.errors import NetError, did_you_mean
from ..cut import ModuleIndex
from ..importance.base import given_batches
from .experts import ExpertMixture, given_to

MARGIN = 1e-3
"""By how much a score is below all others at first, relative to their range."""


class ZeroExpert(nn.Module):
    """Gives nothing: the token goes past the mixture."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.zeros_like(x)


class ConstantExpert(nn.Module):
    """A mixture of the token and a vector, by shares that the token decides (MoE++, equation 5).

    Args:
        channels: of a token.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.constant = nn.Parameter(torch.zeros(channels))
        self.weigh = nn.Linear(channels, 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        share = self.weigh(x).softmax(-1)
        return share[..., :1] * x + share[..., 1:] * self.constant


KINDS: dict[str, Callable[[int], nn.Module]] = {
    "zero": lambda channels: ZeroExpert(),
    "copy": lambda channels: nn.Identity(),
    "constant": ConstantExpert,
}


@torch.no_grad()
def add_free_experts(
    module: nn.Module, mixture: str, kinds: Sequence[str], batches: Iterable[Any], share: float = 0.0
) -> None:
    """Give a mixture of experts others that cost next to nothing, in place (Jin et al. 2024, "MoE++").

    Each has a score of its own, at first the same for all tokens, and counts among the ``active`` ones of a token.
    With ``share=0`` no token of the batches chooses one, and the network computes what it computed; training may
    change that.

    Args:
        module: the network, changed in place and put into evaluation mode.
        mixture: path of what :func:`to_experts` made, whose ``active`` is set to fewer than all.
        kinds: of the experts: ``zero`` gives nothing, ``copy`` the token, ``constant`` a learned mixture of the token
            and a vector; several of a kind may be.
        batches: inputs, or tuples whose first entry is the input; a few hundred examples are enough.
        share: of the tokens, how many shall choose them at first, in the place of the expert that is least for them.

    Raises :class:`NetError` for what is no such mixture, and for kinds that there are not.
    """
    index = ModuleIndex(module.eval())
    found = index.module(mixture)
    if not isinstance(found, ExpertMixture) or len(found.free):
        what = "has such experts already" if isinstance(found, ExpertMixture) else f"is a {type(found).__name__}"
        raise NetError(f"{mixture} {what}; add_free_experts takes what to_experts has made, once")
    if not kinds:
        raise NetError(f"kinds= is a list of {', '.join(KINDS)}, and it is empty")
    for kind in kinds:
        if kind not in KINDS:
            raise NetError(f"there is no expert {kind!r}; {did_you_mean(kind, list(KINDS))}")
    count, channels = found.router.weight.shape
    if not 0 < found.active < count:
        raise NetError(
            f"{mixture} runs all its {count} experts for each token; set its attribute active to fewer first"
        )
    if not 0 <= share < 1:
        raise NetError(f"share= is a share of the tokens from 0 to below 1, not {share!r}")
    rows = given_to(index, mixture, given_batches(batches, "add_free_experts"))
    least = found.router(rows).topk(found.active, 1).values[:, -1].double()
    level = least.quantile(share) - (0.0 if share else MARGIN * (least.max() - least.min() + 1))
    router = nn.Linear(channels, len(kinds)).to(rows.device, rows.dtype)
    nn.init.zeros_(router.weight)
    nn.init.constant_(router.bias, float(level))
    found.free_router = router
    found.free.extend(KINDS[kind](channels).to(rows.device, rows.dtype) for kind in kinds)
