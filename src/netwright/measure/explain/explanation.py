"""What is found of a file of low precision beside float32."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from ...core.metric import Measurement
from .errors import LayerErrors


@dataclass(frozen=True)
class LayerReport:
    """One layer of a file beside the same in float32; times in ms.

    Args:
        path: of the module in the network, as far as the files' names tell.
        kind: what it is, such as ``depthwise convolution``.
        bits: of its weights in the file.
        float_ms: the time of all its operators in float32; None where that file has no such layer.
        ms: the same in the file, without conversions.
        conversions_ms: the time of conversions between precisions and layouts at its results.
        runs_in: the precision that it is computed in.
        operators: what it consists of as the file runs, by the runtime's names.
        errors: what quantisation does to it.
    """

    path: str
    kind: str
    bits: int
    float_ms: float | None
    ms: float
    conversions_ms: float
    runs_in: str
    operators: tuple[str, ...]
    errors: LayerErrors = field(default_factory=LayerErrors)

    @property
    def whole_ms(self) -> float:
        """With its conversions."""
        return self.ms + self.conversions_ms

    @property
    def fell_back(self) -> bool:
        """Whether its weights have few bits and yet it is computed in float32."""
        return self.bits <= 8 and self.runs_in.startswith("float")


@dataclass(frozen=True)
class Conversion:
    """An operator that only changes the precision or the layout of a result.

    Args:
        name: the runtime's own.
        kind: what it does, as the runtime calls it.
        ms: its time.
        layer: the path of the layer whose result it converts; empty for the network's inputs.
    """

    name: str
    kind: str
    ms: float
    layer: str


@dataclass(frozen=True)
class Explanation:
    """Why a file of low precision is as fast, and as far from float32, as it is.

    Args:
        file: the path of the file.
        against: the path of the float32 file, or what it was made of.
        target: the runtime, its settings and the machine.
        latency: of the file, without a profiler.
        float_latency: of the float32 file.
        sqnr: the ratio of the outputs to their error, in dB; None where it cannot be told.
        layers: in the order of the network.
        conversions: those of the file, the slowest first.
        others_ms: the time of operators that belong to no layer.
        float_others_ms: the same in float32, conversions of its layouts included.
        notes: what should be known of how this was found.
        sentences: what to do about it, in words.
    """

    file: str
    against: str
    target: Mapping[str, Any]
    latency: Measurement
    float_latency: Measurement
    sqnr: float | None
    layers: tuple[LayerReport, ...]
    conversions: tuple[Conversion, ...]
    others_ms: float
    float_others_ms: float
    notes: tuple[str, ...] = ()
    sentences: tuple[str, ...] = ()

    @property
    def ms(self) -> float:
        """The time of all operators of the file."""
        return sum(each.whole_ms for each in self.layers) + self.others_ms

    @property
    def float_ms(self) -> float:
        """The time of all operators in float32."""
        return sum(each.float_ms or 0.0 for each in self.layers) + self.float_others_ms

    def to_json(self) -> dict[str, Any]:
        """All of it, as JSON values."""
        return {
            **asdict(self),
            "target": dict(self.target),
            "latency": self.latency.to_json(),
            "float_latency": self.float_latency.to_json(),
            "layers": [asdict(each) for each in self.layers],
            "ms": self.ms,
            "float_ms": self.float_ms,
        }

    def __str__(self) -> str:
        return "\n".join(self.sentences)


def of_kind(layers: Sequence[LayerReport]) -> dict[str, list[LayerReport]]:
    """Layers by their kind, in order."""
    found: dict[str, list[LayerReport]] = {}
    for each in layers:
        found.setdefault(each.kind, []).append(each)
    return found
