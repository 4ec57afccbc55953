"""A mix of lengths of texts: what a network costs on average over texts that are shorter and longer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import hypot
from typing import Any

import numpy as np

from ..core.errors import MeasureError
from ..core.metric import Measurement

Mix = tuple[tuple[int, float], ...]
"""Lengths in tokens, ascending, each with its share; the shares sum to 1."""

GROUPS = 5
"""Into how many groups of as many texts those of a file are put, each of about one length."""

MOST = 1_000_000
"""Tokens of a text."""


def parse_mix(text: str) -> Mix:
    """The mix that a text such as ``24`` or ``8:3,32:1`` names: lengths with their weights, 1 where there is none.

    Raises :class:`ValueError` for another text.
    """
    weights: dict[int, float] = {}
    for part in text.split(","):
        length, colon, weight = part.partition(":")
        number = int(length)
        weights[number] = weights.get(number, 0.0) + (float(weight) if colon else 1.0)
    return mix_of(weights)


def mix_of(weights: Mapping[int, float]) -> Mix:
    """Lengths by their weights, of any sum. Raises :class:`ValueError` for what are none."""
    total = sum(weights.values())
    if not weights or not all(1 <= n <= MOST and 0 < weight < float("inf") for n, weight in weights.items()):
        raise ValueError("a length is a number of tokens from 1, and its weight a number above 0")
    return tuple((n, weights[n] / total) for n in sorted(weights))


def grouped(lengths: Sequence[int], groups: int = GROUPS) -> Mix:
    """The mix of many lengths: groups of as many texts, the shorter before the longer, each by its mean length."""
    parts = [part for part in np.array_split(np.sort(np.asarray(lengths)), groups) if len(part)]
    weights: dict[int, float] = {}
    for part in parts:
        mean = max(1, round(float(part.mean())))
        weights[mean] = weights.get(mean, 0.0) + len(part)
    return mix_of(weights)


def describe(mix: Mix) -> str:
    """In words: ``8 (20 %) and 24 (80 %) tokens``."""
    *others, last = (f"{n} ({share:.0%})".replace("%", " %") if len(mix) > 1 else f"{n}" for n, share in mix)
    return f"{', '.join(others)} and {last} tokens" if others else f"{last} tokens"


def at_length(inputs: Any, tokens: int) -> Any:
    """Inputs whose texts are of another length: those of their ids, and what has an entry for each.

    Raises :class:`MeasureError` for inputs that begin with no whole numbers, (n, length).
    """
    import torch

    from ..nets.inputs import tensors_in
    from ..nets.lengths import resized

    tensors = list(tensors_in(inputs))
    if not tensors or tensors[0].dim() != 2 or tensors[0].dtype not in (torch.int32, torch.int64):
        raise MeasureError(
            "lengths are of texts, and the network's first input is no tensor of token ids, (n, length): leave "
            "lengths out"
        )
    length = tensors[0].shape[1]
    return resized(inputs, {(at, 1): tokens for at, t in enumerate(tensors) if t.dim() > 1 and t.shape[1] == length})


def mean_of(found: Sequence[Mapping[str, Measurement]], mix: Mix) -> dict[str, Measurement]:
    """What a text costs on average, by metric name: times and energies; of rates, texts by the time that all take; of
    bytes the most.

    Args:
        found: the figures at each length of the mix.
        mix: the lengths and their shares.
    """
    shares = [share for _, share in mix]
    names = [name for name in found[0] if all(name in each for each in found)]
    return {name: _mean([each[name] for each in found], shares, [n for n, _ in mix]) for name in names}


def _mean(several: Sequence[Measurement], shares: Sequence[float], lengths: Sequence[int]) -> Measurement:
    first = several[0]
    if first.unit == "B":
        return max(several, key=lambda m: m.value)
    power = -1 if first.unit == "/s" else 1

    def mean(values: Sequence[float]) -> float:
        return float(sum(w * v**power for w, v in zip(shares, values, strict=True)) ** power)

    value = mean([m.value for m in several])
    # The derivative of the mean by each value.
    slopes = [w * (m.value / value) ** (power - 1) for w, m in zip(shares, several, strict=True)]
    moved = any(m.uncorrected is not None for m in several)
    told: dict[str, Any] = {"lengths": {str(n): m.value for n, m in zip(lengths, several, strict=True)}}
    told |= {"shares": {str(n): share for n, share in zip(lengths, shares, strict=True)}}
    if warnings := dict.fromkeys(m.details["warning"] for m in several if "warning" in m.details):
        told |= {"warning": "; ".join(warnings)}
    return Measurement(
        value,
        first.unit,
        ci95=hypot(*(slope * m.ci95 for slope, m in zip(slopes, several, strict=True))),
        n=sum(m.n for m in several),
        kind="corrected" if moved else first.kind,
        details=told,
        uncorrected=mean([m.value if m.uncorrected is None else m.uncorrected for m in several]) if moved else None,
    )
