"""Real inputs, as a target runs them: for the ranges of 8-bit activations, checks, and accuracy."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from math import ceil
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.errors import MeasureError
from .convert import feeds_of
from .runtimes.base import Feeds

if TYPE_CHECKING:
    from ..nets.batch import BatchDims

CALIBRATION = 256
"""Inputs that ranges are taken from."""

CHECKED = 32
"""Inputs that a file's outputs are compared on."""


def in_batches(inputs: Any, dims: BatchDims, size: int) -> Iterator[Any]:
    """Inputs of any number, in batches of one size, the last filled up with its own first example; as they are where
    they have no batch."""
    total = dims.size(inputs)
    for begin in range(0, total if dims else 1, size):
        part = dims.part(inputs, begin, min(begin + size, total))
        missing = size - dims.size(part)
        yield dims.join(part, *[dims.part(part, 0, 1)] * missing) if missing and dims else part


def real_inputs(network: Any, batches: Iterable[Any], dims: BatchDims, size: int, count: int) -> list[Any]:
    """The first ``count`` inputs of a network's batches, with or without labels, in batches of ``size``: the same each
    time, also where batches are drawn at random."""
    from ..nets.inputs import each_tensor
    from ..nets.isolation import seeded
    from ..nets.recalibrate import calibration_inputs

    with seeded(0):
        found = (one for batch in batches for one in in_batches(calibration_inputs(network, batch), dims, size))
        return [each_tensor(one, lambda t: t.detach().cpu().contiguous()) for one in islice(found, ceil(count / size))]


def check_calibration(samples: Sequence[Feeds], shapes: Mapping[str, Sequence[int | None]]) -> None:
    """Raise :class:`MeasureError` for inputs that no ranges can be taken from.

    Args:
        samples: the inputs, each as the file takes it.
        shapes: of the file's inputs; None where a size may be any.
    """
    for feeds in samples:
        for name, wanted in shapes.items():
            got = feeds[name].shape
            if len(got) != len(wanted) or any(n not in (None, own) for n, own in zip(wanted, got, strict=True)):
                told = tuple("any" if n is None else n for n in wanted)
                raise MeasureError(
                    f"a calibration input {name} has the shape {got}, and the file takes {told}; give batches of "
                    "inputs like those that the network was made for"
                )
    known = {name: feeds[name] for feeds in samples[:1] for name in shapes if feeds[name].dtype.kind == "f"}
    first = {name: value.flat[0] for name, value in known.items() if value.size}
    if first and all((feeds[name] == value).all() for feeds in samples for name, value in first.items()):
        raise MeasureError(
            f"all calibration inputs are alike, every number is {next(iter(first.values())):.3g}: they tell no range "
            "of activations; give real inputs"
        )


def stacked(inputs: Sequence[Any]) -> Feeds:
    """Several inputs as arrays by name, one after the other along a new first dimension."""
    feeds = [feeds_of(each) for each in inputs]
    return {name: np.stack([each[name] for each in feeds]) for name in feeds[0]}
