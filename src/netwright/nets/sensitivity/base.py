"""What a criterion of sensitivity is, and what several of them need."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...core.candidate import Option
from ...core.errors import NetError
from ...core.registry import Registry
from ..axes import Bits
from ..precisions.registry import FLOAT32
from ..rounding import Rounded
from ..supernet import SuperNet


@dataclass(frozen=True)
class Scores:
    """What a network loses where one :class:`netwright.Bits` axis takes an option and all else is whole.

    Args:
        of: by the name of the axis and the option; 0 for ``float32``, and more is worse.
    """

    of: Mapping[str, Mapping[Option, float]]

    def __call__(self, candidate: Mapping[str, Option]) -> float:
        """The sum over the axes of a candidate: what its bits lose, as far as layers alone tell. Also a hint of a
        study, ``hints={"sensitivity": scores}``."""
        return sum(found[candidate[name]] for name, found in self.of.items() if name in candidate)

    def ranked(self, option: Option) -> list[str]:
        """The axes that have this option, the most sensitive first."""
        having = [name for name, found in self.of.items() if option in found]
        return sorted(having, key=lambda name: -self.of[name][option])


class Sensitivity(ABC):
    """Says how much a network loses where layers have fewer bits."""

    @abstractmethod
    def scores(self, net: SuperNet) -> Scores:
        """The score of every option of every :class:`netwright.Bits` axis.

        Args:
            net: the super-network; its weights and buffers are left as they are.

        Raises :class:`NetError` where it has no such axis.
        """


def bits_axes(net: SuperNet) -> list[Bits]:
    """The axes of bits. Raises :class:`NetError` where there are none."""
    found = [axis for axis in net.axes if isinstance(axis, Bits)]
    if not found:
        raise NetError(
            "the network has no axis of bits, whose options could be judged; add them: "
            "net.with_axes([*net.axes, *nw.Bits.of(net)])"
        )
    return found


def weights_of(net: SuperNet) -> dict[str, Tensor]:
    """The weights of the layers of all axes of bits, by the paths of the layers. Raises :class:`NetError` where there
    are none."""
    return {path: net.index.modules[path].weight for axis in bits_axes(net) for path in axis.layers}  # type: ignore[misc]


@torch.no_grad()
def rounding_error(net: SuperNet, path: str, option: Option) -> Tensor:
    """What rounding changes of a layer's weight, in its own shape."""
    layer: Any = net.index.modules[path]
    return Rounded.of(layer, str(option))(layer.weight) - layer.weight


def by_curvature(net: SuperNet, curvature: Mapping[str, Tensor]) -> Scores:
    """Scores of a quadratic model of the loss: half the curvature times the squared rounding error of the weights.

    Args:
        net: the super-network.
        curvature: by the path of a layer, one number, or one for each of its weights.
    """
    return Scores({
        axis.name: {
            option: 0.0 if option == FLOAT32 else 0.5 * sum(
                float((curvature[path].double() * rounding_error(net, path, option).double().square()).sum())
                for path in axis.layers
            )
            for option in axis.options
        }
        for axis in bits_axes(net)
    })  # fmt: skip


SENSITIVITIES: Registry[Sensitivity] = Registry(
    "sensitivity",
    Sensitivity,
    __package__ or "",
    {
        "output_error": "output_error:OutputError",
        "hessian": "hessian:Hessian",
        "fisher": "fisher:Fisher",
    },
    error=NetError,
)
