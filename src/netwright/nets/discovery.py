"""What may be an axis of a model: sizes, runs of blocks and windows, read off its trace and its dependency groups."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from math import gcd

import numpy as np
from torch import nn

from ..core.errors import NetError
from .axes import ChannelSlice, Depth, Kernel, OneOf, Width, fractions
from .cut import ModuleIndex
from .dependency_groups import DependencyGroups
from .layers import CONVOLUTIONS, is_convolution, is_transposed_linear
from .makers import made_by_constants
from .menu import Menu
from .paths import join, overlap, within
from .report import Dimension
from .stand_ins import Passthrough
from .trace import ADDITIONS, Trace
from .union_find import RIGID

SHARES = (0.25, 0.5, 0.75, 1.0)


def widths(
    index: ModuleIndex, deps: DependencyGroups, round_to: int, reasons: dict[str | Dimension, str]
) -> Iterator[Width]:
    """Groups of channels that lie in the same dimensions of the same weights, in a layout that a prefix can cut.

    Why others are not given goes into ``reasons``, by tensor and dimension.
    """
    idle = deps.trace.idle()
    labels = {
        (tensor, dim): row
        for tensor, position in deps.trace.names.items()
        if tensor not in idle
        for dim, row in enumerate(deps.of(position))
        if not np.all(row == RIGID)
    }
    taken: set[str] = set()
    constant = made_by_constants(index, deps)
    for key, members in _groups(labels):
        name = _name(index, key, taken)
        if constant[members].all() and len(members) > 1:
            found: Width | str = f"its {len(members)} channels are those of a constant, each with its own meaning"
        else:
            found = _width(index, name, members, {k: labels[k] for k in key}, round_to)
        if isinstance(found, Width):
            taken.add(name)
            yield found
        else:
            for dimension in key:
                reasons.setdefault(dimension, found)


def _width(
    index: ModuleIndex, name: str, members: np.ndarray, labels: dict[Dimension, np.ndarray], round_to: int
) -> Width | str:
    """The width of a group of channels, or why it is none.

    Args:
        index: the module index of the network.
        name: the name of the width.
        members: the labels of the channels.
        labels: the labels of the dimensions that have them.
        round_to: the multiple that hardware likes.
    """
    whole = len(members)
    if whole < 2:
        return "its channels are tied to one another: they stay or go together"
    slices = _slices(members, labels)
    if slices is None:
        return f"its {whole} channels are not contiguous in the same order in all of their tensors"
    blocks = [s.block for s in slices if _is_made(index, s)]
    each = Counter[Dimension]()
    for s in slices:
        each[s.tensor, s.dim] += s.block
    # A channel may stand for a block of indices (a head, a group), or for one in each of several (a shuffle), which
    # counts towards the multiple.
    step = max(gcd(*(blocks or [s.block for s in slices])), gcd(*each.values()))
    options = fractions(whole, SHARES, max(1, round_to // step))
    if len(options) > 1:
        return Width(name, slices, options)
    return f"{whole} channels are too few for multiples of {round_to}: see round_to="


def _is_made(index: ModuleIndex, slot: ChannelSlice) -> bool:
    """Whether a layer's outputs lie there, of which hardware likes multiples."""
    layer = index.modules[index.owners[slot.tensor][0]]
    if len(index.shapes[slot.tensor]) < 2 or not isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d):
        return is_transposed_linear(layer) and slot.dim == 1
    return slot.dim == 0


def causes(index: ModuleIndex, deps: DependencyGroups) -> Iterator[tuple[Dimension, str]]:
    """Why layers cannot have fewer channels, by tensor and dimension."""
    idle = deps.trace.idle()
    for tensor, position in deps.trace.names.items():
        shape = index.shapes.get(tensor)
        if shape is None or tensor not in index.parameters:
            continue
        windows = is_convolution(index.modules[index.owners[tensor][0]])
        for dim in range(min(len(shape), 2) if windows else len(shape)):  # see :func:`kernels`
            why = deps.why(position, dim)
            if max(shape) == 1:
                why = "it is a single number"
            if tensor in idle:
                why = "it did not run on the example inputs"
            if why:
                yield (tensor, dim), why


def _groups(labels: dict[Dimension, np.ndarray]) -> Iterator[tuple[tuple[Dimension, ...], np.ndarray]]:
    """The dimensions that share labels, with these labels: those that occur in exactly the same dimensions."""
    most = max((int(row.max()) for row in labels.values()), default=0)
    marks = np.zeros(most + 1, dtype=np.uint64)  # of a label: the sum of a random number for each of its dimensions
    rng = np.random.default_rng(0)
    distinct = {key: np.unique(row[row != RIGID]) for key, row in labels.items()}
    for found in distinct.values():
        marks[found] += rng.integers(1, 2**62, dtype=np.uint64)
    members: dict[int, np.ndarray] = {}
    keys: dict[int, list[Dimension]] = {}
    for key, found in distinct.items():
        for mark in np.unique(marks[found]).tolist():
            keys.setdefault(mark, []).append(key)
            members.setdefault(mark, found[marks[found] == mark])
    for mark, own in keys.items():
        yield tuple(sorted(own)), members[mark]


def _slices(members: np.ndarray, labels: dict[Dimension, np.ndarray]) -> tuple[ChannelSlice, ...] | None:
    """Where the channels lie, if in every dimension they are contiguous runs of equal blocks."""
    tables = {}
    for key, row in labels.items():
        at = np.flatnonzero(np.isin(row, members))
        at = at[np.argsort(row[at], kind="stable")]  # channel by channel, each in ascending order
        counts = np.unique(row[at], return_counts=True)[1]
        if np.any(counts != counts[0]):
            return None
        tables[key] = at.reshape(len(members), -1)
    first = tables[min(tables, key=lambda k: tables[k].shape[1])]
    order = np.argsort(first[:, 0])
    slices: list[ChannelSlice] = []
    for (tensor, dim), table in tables.items():
        table = table[order]
        column = 0
        while column < table.shape[1]:
            block = 1
            while column + block < table.shape[1] and np.all(table[:, column + block] == table[:, column] + block):
                block += 1
            if np.any(np.diff(table[:, column]) != block):
                return None
            slices.append(ChannelSlice(tensor, dim, int(table[0, column]), block))
            column += block
    return tuple(slices)


def _name(index: ModuleIndex, key: Sequence[Dimension], taken: set[str]) -> str:
    """After the first layer, in the network's own order, that makes the channels."""
    order = {name: i for i, name in enumerate(index.shapes)}
    makers = [t for t, d in key if len(index.shapes[t]) > 1 and d == _made_in(index, t)] or [t for t, _ in key]
    tensor = min(makers, key=lambda t: order[t])
    name = f"{index.owners[tensor][0] or tensor}.width"
    while name in taken:
        name += "'"
    return name


def _made_in(index: ModuleIndex, tensor: str) -> int:
    """The dimension of a weight that its layer's output has."""
    layer = index.modules[index.owners[tensor][0]]
    if len(index.shapes[tensor]) < 2:
        return 0
    return 1 if isinstance(layer, nn.Embedding) or is_transposed_linear(layer) else 0


def menus(index: ModuleIndex, chosen: Collection[str]) -> Iterator[OneOf]:
    """A choice for every menu, but of those that something has ``chosen`` already."""
    for path, menu in index.menus.items():
        if path not in chosen:
            yield OneOf(join(path, "option"), path, menu.options)


def depths(index: ModuleIndex, trace: Trace) -> Iterator[Depth]:
    """Residual blocks of one container, in the order in which they run.

    Whatever runs between two of them (the blocks of another container, in a U-Net) runs on: each block that is skipped
    gives on what it takes.
    """
    residual = [path for path in trace.passthrough if path and not _is_option(index, path)]
    residual = [path for path in residual if _is_residual(index, trace, path)]
    listed = [p for p in residual if isinstance(index.modules[p.rpartition(".")[0]], nn.Sequential | nn.ModuleList)]
    size = Counter(p.rpartition(".")[0] for p in listed)
    # A stage whose first block adds what the stage takes looks like a block.
    stages = {p for p in listed if size[p.rpartition(".")[0]] == 1 and any(size[q] > 1 and within(q, p) for q in size)}
    residual, listed = ([p for p in paths if p not in stages] for paths in (residual, listed))
    outermost = _outermost(listed)
    # Residual modules that stand alone, where no list of blocks lies in them or around them.
    outermost += _outermost([p for p in residual if not overlap(p, listed)])
    first = ran_first(list(dict.fromkeys(op.module for op in trace.ops)))
    containers: dict[str, list[str]] = {}
    for path in sorted(outermost, key=first):
        containers.setdefault(path.rpartition(".")[0], []).append(path)
    end = -1
    for parent, blocks in containers.items():
        if not isinstance(index.modules[parent], nn.Sequential | nn.ModuleList):
            for block in blocks:
                yield Depth(f"{block}.depth", (block,), (0, 1), _passthrough(trace, (block,)))
            continue
        # One block of a stage stays, unless others do: of its own container, or of one whose blocks run between.
        whole = len(blocks) == len(index.modules[parent]._modules)
        least = 1 if whole and first(blocks[0]) > end else 0
        end = max(end, first(blocks[-1]))
        if len(blocks) > least:
            yield Depth(
                f"{parent}.depth", tuple(blocks), tuple(range(least, len(blocks) + 1)), _passthrough(trace, blocks)
            )


def _passthrough(trace: Trace, blocks: Sequence[str]) -> tuple[Passthrough, ...]:
    found = tuple(trace.passthrough[block] for block in blocks)
    return () if all(passthrough == 0 for passthrough in found) else found


def _outermost(paths: Sequence[str]) -> list[str]:
    return [p for p in paths if not any(p != q and within(p, q) for q in paths)]


def ran_first(ran: Sequence[str]) -> Callable[[str], int]:
    """A sort key: when a module, or one in it, first ran."""
    return lambda path: next((i for i, r in enumerate(ran) if within(r, path)), len(ran))


def _is_option(index: ModuleIndex, path: str) -> bool:
    return isinstance(index.modules[path.rpartition(".")[0]], Menu)


def _is_residual(index: ModuleIndex, trace: Trace, path: str) -> bool:
    """Whether a module gives what it takes, and adds what it takes to something on the way; of a menu, all options."""
    module = index.modules[path]
    if isinstance(module, Menu):
        return all(f"{path}.{o}" in trace.around and _is_residual(index, trace, f"{path}.{o}") for o in module.options)
    if isinstance(module, nn.Sequential | nn.ModuleList) or not any(True for _ in module.parameters()):
        return False
    into, out = trace.around[path]
    buffers = trace.buffers
    if trace.shapes[into] != trace.shapes[out] or buffers[into] == buffers[out]:
        return False
    inside = [op for op in trace.ops if within(op.module, path) and not isinstance(index.modules[op.module], Menu)]
    return any(
        op.name in ADDITIONS and len(op.reads) == 2 and buffers[into] in {buffers[t] for t in op.reads} for op in inside
    )


def kernels(index: ModuleIndex, trace: Trace, reasons: dict[str | Dimension, str]) -> Iterator[Kernel]:
    """Windows of five or more that can be cropped. Why others are not given goes into ``reasons``."""
    idle = trace.idle()
    for path, layer in index.modules.items():
        if not isinstance(layer, CONVOLUTIONS) or idle & set(index.tensors_of.get(path, {}).values()):
            continue
        sizes = set(layer.kernel_size)
        size = max(sizes)
        if len(sizes) == 1 and size >= 5 and size % 2 and not isinstance(layer.padding, str):
            axis = Kernel(f"{path}.kernel", path, tuple(range(3, size + 1, 2)))
            try:
                axis.affected_modules(index)
            except NetError as error:
                reasons[index.tensors_of[path]["weight"], 2] = str(error)
                continue
            yield axis
