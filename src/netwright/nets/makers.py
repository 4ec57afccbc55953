"""Which channels are made by constants: filters of a spectrogram, anchors, tables of positions."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from .cut import ModuleIndex
from .dependency_groups import DependencyGroups


def made_by_constants(index: ModuleIndex, deps: DependencyGroups) -> np.ndarray:
    """For each label, whether buffers make its channel and no parameter does; each then has a meaning of its own.

    A tensor makes a channel where an operator's result has it of that tensor, and nothing that follows from the inputs
    had it before: a layer's outputs are made by its weight, the channels that a normalisation scales are not.
    """
    names = deps.trace.names.items()
    learned = _made(deps, (p for name, p in names if name in index.parameters))
    return _made(deps, (p for name, p in names if name not in index.parameters)) & ~learned


def _made(deps: DependencyGroups, tensors: Iterable[int]) -> np.ndarray:
    """For each label, whether one of some tensors, or what is made of it alone, makes its channel."""
    buffers, labels = deps.trace.buffers, deps.labels
    own = {buffers[p] for p in tensors}
    given = set(deps.trace.inputs)  # and what follows from it
    made = labels.none()
    for op in deps.ops:
        reads, writes = ({buffers[p] for p in positions} for positions in (op.reads, op.writes))
        if reads & given:
            given |= writes - deps.trace.weights
        elif reads & own:
            own |= writes
        if not reads & own or not writes - reads:
            continue
        before, held = labels.none(), labels.none()
        for position in op.reads:
            marks = before if buffers[position] in given else held if buffers[position] in own else None
            if marks is not None:
                for row in deps.known[position]:
                    marks[labels.find(row)] = True
        for position in op.writes:
            for row in deps.known[position]:
                found = labels.find(row)
                made[found[held[found] & ~before[found]]] = True
    return made
