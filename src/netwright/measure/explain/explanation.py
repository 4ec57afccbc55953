"""What is found of a file of low precision beside float32."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from ...core.metric import Measurement
from .errors import LayerErrors

WEIGHTS_ALONE = ("NBits", "Compressed")
"""In the runtimes' names of operators that read weights of few bits and compute in float32."""


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
        """Whether its weights have few bits and yet it is computed in float32, by an operator that is not made for
        that: with few bits for weights alone."""
        alone = any(word in kind for kind in self.operators for word in WEIGHTS_ALONE)
        return self.bits <= 8 and self.runs_in.startswith("float") and not alone


@dataclass(frozen=True)
class Conversion:
    """An operator that only changes the precision or the layout of a result.

    Args:
        name: the runtime's own.
        kind: what it does, as the runtime calls it.
        ms: its time.
        layer: the path of the layer whose result it converts, or of the first that reads it where it is an input of the
            network; empty where there is none.
    """

    name: str
    kind: str
    ms: float
    layer: str


@dataclass(frozen=True)
class Trial:
    """The same file with some layers in float32, measured.

    Args:
        kinds: what these are, in words.
        layers: their paths.
        latency: of it.
    """

    kinds: str
    layers: tuple[str, ...]
    latency: Measurement


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
        trials: the file with the layers in float32 that are slower in few bits, where that could be measured.
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
    trials: tuple[Trial, ...] = ()
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
            "trials": [{**asdict(each), "latency": each.latency.to_json()} for each in self.trials],
            "ms": self.ms,
            "float_ms": self.float_ms,
        }

    def __str__(self) -> str:
        return "\n".join(self.sentences)


NOTABLE = 0.03
"""Share of the time from which something is worth a sentence."""
SLOWER = 1.05


@dataclass(frozen=True)
class Kind:
    """All layers of one kind.

    Args:
        name: of the kind.
        layers: in order.
    """

    name: str
    layers: tuple[LayerReport, ...]

    @property
    def ms(self) -> float:
        """The time of all of them, conversions included."""
        return sum(each.whole_ms for each in self.layers)

    @property
    def float_ms(self) -> float:
        """The same in float32."""
        return sum(each.float_ms or 0.0 for each in self.layers)

    @property
    def lost(self) -> float:
        """By how much they are slower than in float32."""
        return self.ms - self.float_ms

    @property
    def slow(self) -> tuple[LayerReport, ...]:
        """Those that are slower than in float32."""
        return tuple(each for each in self.layers if each.whole_ms > SLOWER * (each.float_ms or 0.0))

    def __str__(self) -> str:
        many = len(self.layers)
        return f"the {many} {self.name}s" if many > 1 else f"the {self.name}"


def kinds_of(layers: Sequence[LayerReport]) -> list[Kind]:
    """Layers of which the time in float32 is known, by their kind."""
    found: dict[str, list[LayerReport]] = {}
    for each in layers:
        if each.float_ms is not None:
            found.setdefault(each.kind, []).append(each)
    return [Kind(name, tuple(some)) for name, some in found.items()]


def slow_kinds(layers: Sequence[LayerReport], total: float) -> list[Kind]:
    """The kinds of layers that lose a notable share of a total time to float32, the costliest first."""
    found = [kind for kind in kinds_of(layers) if kind.ms > SLOWER * kind.float_ms and kind.lost > NOTABLE * total]
    return sorted(found, key=lambda kind: -kind.lost)
