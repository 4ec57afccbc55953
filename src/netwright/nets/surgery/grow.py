"""Growing: a wider or deeper network that computes what the smaller one did."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ...core.errors import NetError, did_you_mean
from ..axes import Axis, Depth, Experts, TiedAxes, Width
from ..axes.width import ChannelSlice
from ..cut import Cut, ModuleIndex
from ..extract import copied, copy_of, extract
from ..importance.base import reads_from
from ..isolation import outputs_of
from ..layers import attributes
from ..paths import join
from ..places import numbers, replaced
from ..supernet import SuperNet
from ..trace import ADDITIONS
from .parts import Finder, Sum
from .same import called, computes, trained


def grow(net: SuperNet, sizes: Mapping[str, int]) -> nn.Module:
    """The whole network with more channels or blocks, as a module of its own that computes what the network computes
    (Chen et al. 2016, "Net2Net"; Cai et al. 2018, "Efficient architecture search by network transformation").

    New channels of a width are made as the first ones are, and read with weights of zero, so that they are trained
    apart from these. New blocks are copies of the last one of a depth that add zero, and come after it. Wrap the module
    again to cut it, train it on, or grow it further.

    Args:
        net: the super-network; it stays as it is.
        sizes: by axis, how many channels or blocks there are to be; more than there are.

    Raises :class:`NetError` for axes of other kinds, sizes that are no larger, blocks that cannot be made to add
    nothing, and where the network would compute something else: channels that a norm takes together cannot be more.
    """
    if not isinstance(sizes, Mapping) or not sizes:
        raise NetError(f"sizes= says how large axes are to be, such as {{'{net.axes[0].name}': ...}}, not {sizes!r}")
    axes = {axis.name: axis for axis in net.axes}
    for name, wanted in sizes.items():
        if name not in axes:
            raise NetError(f"there is no axis {name!r}; {did_you_mean(name, list(axes))}")
        if not isinstance(axes[name], Width | Depth | TiedAxes) or isinstance(axes[name], Experts):
            raise NetError(f"{name} is a {type(axes[name]).__name__} axis; widths and depths can grow")
        whole = axes[name].options[-1]
        if type(wanted) is not int or not isinstance(whole, int) or wanted <= whole:
            raise NetError(f"{name} is to be {wanted!r}; it is {whole} and can only grow")
    before = outputs_of(net.module.eval(), net.example_inputs)
    grown = _widened(net, [part for name, wanted in sizes.items() for part in _widths(axes[name], wanted)])
    deeper = [axis for name in sizes if isinstance(axis := axes[name], Depth)]
    if deeper:
        finder = Finder(net.index, trained(net.index, net.example_inputs))
        for axis in deeper:
            _deepen(net, grown, axis, sizes[axis.name] - len(axis.blocks), finder)
    if not computes(grown, net.example_inputs, before):
        raise NetError(
            f"with {', '.join(f'{name} {size}' for name, size in sizes.items())} the network would compute something "
            "else: a norm or a softmax takes the channels together, or a block does more than add; grow other axes"
        )
    return grown


def _widths(axis: Axis, wanted: int) -> Iterator[tuple[Width, int]]:
    """Widths, and how many channels more each is to have."""
    if isinstance(axis, Width):
        yield axis, wanted - axis.channels
    elif isinstance(axis, TiedAxes):
        whole: Any = axis.options[-1]
        for part in axis.members():
            if not isinstance(part, Width) or isinstance(part, Experts) or part.channels * wanted % whole:
                raise NetError(f"{axis.name} cannot be {wanted}: {part.name} has no such size in proportion to it")
            yield part, part.channels * wanted // whole - part.channels


def _widened(net: SuperNet, widths: list[tuple[Width, int]]) -> nn.Module:
    index = net.index
    more: dict[str, list[tuple[ChannelSlice, int, int]]] = {}
    counted: dict[tuple[str, str], int] = {}
    for width, extra in widths:
        for slot in width.slices:
            more.setdefault(slot.tensor, []).append((slot, width.channels, extra))
        for path, place, times in width.counted(index):
            counted[path, place] = counted.get((path, place), 0) + extra * times

    def part(name: str, piece: Tensor) -> Tensor:
        for slot, channels, extra in sorted(more.get(name, ()), key=lambda each: -each[0].offset):
            layer = index.modules[index.owners[name][0]]
            piece = _with_more(piece, slot, channels, extra, reads_from(layer, slot) is not None)
        return copied(name, piece)

    def shape(name: str) -> tuple[int, ...]:
        grown = list(index.shapes[name])
        for slot, _, extra in more.get(name, ()):
            grown[slot.dim] += extra * slot.block
        return tuple(grown)

    changes: dict[str, dict[str, Any]] = {}
    for path in {owner for name in more for owner in index.owners[name]}:
        shapes = {own: shape(name) for own, name in index.tensors_of[path].items()}
        changes[path] = attributes(index.modules[path], shapes)
    for (path, place), by in counted.items():
        now = index.number(path, place)
        changes.setdefault(path, {})[place] = type(now)(now + by)
    return extract(index, Cut(set=changes), part)


def _with_more(whole: Tensor, slot: ChannelSlice, channels: int, extra: int, read: bool) -> Tensor:
    """A tensor with more channels behind those of a slice: zeros where they are read, copies where they are made."""
    end = slot.offset + channels * slot.block
    again = torch.arange(extra) % channels
    rows = (again[:, None] * slot.block + torch.arange(slot.block)).flatten() + slot.offset
    new = whole.index_select(slot.dim, rows.to(whole.device))
    before, after = whole.narrow(slot.dim, 0, end), whole.narrow(slot.dim, end, whole.shape[slot.dim] - end)
    return torch.cat([before, torch.zeros_like(new) if read else new, after], slot.dim)


def _deepen(net: SuperNet, grown: nn.Module, axis: Depth, count: int, finder: Finder) -> None:
    """Put copies of the last block behind it, which add zero."""
    last = axis.blocks[-1]
    parent, _, own = last.rpartition(".")
    held = grown.get_submodule(parent)
    if not own.isdigit() or not isinstance(held, nn.Sequential | nn.ModuleList):
        raise NetError(f"{axis.name} cannot grow: {last} does not stand in an nn.Sequential or nn.ModuleList")
    silent = _silent(finder, last)
    blocks = list(held)
    for i in range(1, count + 1):
        block = copy_of(blocks[int(own)])
        tensors = dict(block.named_parameters())
        with torch.no_grad():
            for name in silent:
                tensors[name].zero_()
        for module in block.modules():
            for place, value in list(numbers(module)):
                if place == "layer_idx":
                    vars(module).update(replaced(module, {place: value + i}))
        blocks.insert(int(own) + i, block)
    for at, module in enumerate(blocks):
        held._modules[str(at)] = module
    path = parent
    while True:  # what counts the blocks
        path = path.rpartition(".")[0]
        around = grown.get_submodule(path)
        for place, value in list(numbers(around)):
            if value == len(blocks) - count and "layers" in place.rpartition(".")[2]:
                vars(around).update(replaced(around, {place: value + count}))
        if not path:
            break
    _check_runs(net, grown, [join(parent, str(int(own) + i)) for i in range(1, count + 1)])


def _silent(finder: Finder, block: str) -> list[str]:
    """The parameters of a block, by their names in it, without which it adds nothing."""
    found: list[str] = []
    for each in finder.sums:
        if finder.inside(each, block):
            names = _last_weights(finder, each)
            if not names or not all(name.startswith(f"{block}.") for name in names):
                raise NetError(f"{block} cannot be made to add nothing: no weights make what it adds; grow other axes")
            found += [name.removeprefix(f"{block}.") for name in names]
    if not found:
        raise NetError(f"{block} adds nothing to what it takes, so that no copy of it does nothing; grow other axes")
    return found


def _last_weights(finder: Finder, each: Sum) -> list[str]:
    """The parameters that are read last on the way to what is added."""
    trace, flow = finder.trace, finder.flow
    names = {trace.buffers[trace.names[name]]: name for name in finder.index.parameters if name in trace.names}
    found: list[str] = []
    value = each.branch
    while value.made_by is not None:
        op = trace.ops[value.made_by]
        own = [names[trace.buffers[p]] for p in op.reads if trace.buffers[p] in names]
        found += own
        if own and op.name not in ADDITIONS:
            return found
        inner = [v for v in flow.reads[value.made_by] if flow.comes_of(v, each.stream)]
        if len(inner) != 1:
            return []
        value = inner[0]
    return []


def _check_runs(net: SuperNet, grown: nn.Module, paths: list[str]) -> None:
    ran = called(ModuleIndex(grown), net.example_inputs)
    for path in paths:
        if path not in ran:
            raise NetError(
                f"the new block {path} does not run: the network counts its blocks in a place of its own; let it loop "
                "over all that its list holds"
            )
