"""Any model as a super-network: its axes are found, and each is proved before it is believed."""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from itertools import groupby
from math import gcd

import numpy as np
import torch
from torch import Tensor, nn

from ..core.candidate import Option
from ..core.errors import NetError, nearest, one_line
from .axes import Axis, Depth, Kernel, Slot, Width, fractions
from .cut import Anatomy, Cut, Draft, applied
from .importance import permute
from .inputs import Inputs, call, each_tensor, tensors_in
from .layers import CONVOLUTIONS
from .supernet import SuperNet
from .ties import RIGID, Ties
from .trace import Trace, Tracer

KINDS = ("width", "depth", "kernel")
COUNTING = ("head", "group", "channel", "dim", "size", "embed", "features", "nf", "nx")
"""What the names of attributes that count channels contain. Whether one does is found out by running the network."""
SHARES = (0.25, 0.5, 0.75, 1.0)


def wrap(
    module: nn.Module,
    example_inputs: Inputs,
    *,
    axes: Iterable[str] = KINDS,
    only: Iterable[str] = ("*",),
    except_: Iterable[str] = (),
    round_to: int = 8,
    extra: Iterable[Axis] = (),
) -> SuperNet:
    """Make a super-network of a model that nobody prepared.

    The model is traced on its example inputs. Sizes that several tensors share become :class:`Width` axes (attention
    heads among them, where a reshape makes them), runs of residual blocks :class:`Depth` axes, large windows
    :class:`Kernel` axes. An axis is kept only if the numbers bear it out: permuting a width's channels in all its
    tensors must leave the model's output unchanged, and the model must run with the axis at its smallest. What is
    left rigid stands in ``net.report``, with the reason.

    Args:
        module: the model; shared, not copied, and left as it is.
        example_inputs: what it is called with: a tensor, a tuple of positional or a mapping of keyword tensors.
        axes: kinds of axes to look for: ``width``, ``depth``, ``kernel``.
        only: patterns of module paths (``layer1.*``); an axis is kept if all modules that it changes match one.
        except_: patterns of module paths; an axis that changes a module that matches one is left out.
        round_to: widths are rounded up to multiples of this where the layer allows.
        extra: axes of the caller's own, added to those that are found.

    Raises :class:`NetError` when the model does not run on its example inputs.
    """
    kinds = tuple(axes)
    for kind in kinds:
        if kind not in KINDS:
            raise NetError(f"there is no kind of axis {kind!r}; {nearest(kind, KINDS)}")
    anatomy = Anatomy(module)
    trace = Tracer(anatomy, example_inputs).run(Cut())
    search = _Search(anatomy, example_inputs, tuple(only), tuple(except_))
    for axis in extra:
        search.keep(axis)
    ties = Ties(trace)
    if "depth" in kinds:
        for depth in _depths(anatomy, trace):
            search.consider(depth)
    if "width" in kinds:
        for width in _widths(anatomy, trace, ties, round_to, search.reasons):
            search.consider_width(width)
    if "kernel" in kinds:
        for kernel in _kernels(anatomy):
            search.consider(kernel)
    for operator, modules in ties.unknown.items():
        for path in modules:
            search.reasons.setdefault(path, f"operator {operator} is not known to keep channels apart")
    return SuperNet(module, search.kept, example_inputs, search.reasons)


# -- what may be an axis ---------------------------------------------------------------------------------------


def _widths(anatomy: Anatomy, trace: Trace, ties: Ties, round_to: int, reasons: dict[str, str]) -> Iterator[Width]:
    """Groups of channels that lie in the same dimensions of the same weights, in a layout that a prefix can cut."""
    places: dict[int, list[tuple[str, int, int]]] = defaultdict(list)
    for tensor, position in trace.names.items():
        for dim, row in enumerate(ties.of(position)):
            for index, label in enumerate(row.tolist()):
                if label != RIGID:
                    places[label].append((tensor, dim, index))
    groups: dict[tuple[tuple[str, int], ...], list[int]] = defaultdict(list)
    for label, where in places.items():
        groups[tuple(sorted({(tensor, dim) for tensor, dim, _ in where}))].append(label)
    taken: set[str] = set()
    for key, labels in groups.items():
        name = _name(anatomy, key, taken)
        if len(labels) < 2:
            continue
        slots = _slots([places[label] for label in labels], key)
        if slots is None:
            reasons.setdefault(name, f"its {len(labels)} channels do not lie one behind the other")
            continue
        step = gcd(*(s.block for s in slots))
        whole = len(labels)
        # A channel may stand for a block of indices (a head, a group), which counts towards the multiple.
        options = fractions(whole, SHARES, max(1, round_to // step))
        if len(options) > 1:
            taken.add(name)
            yield Width(name, slots, options)
        else:
            for tensor, _ in key:
                for owner in anatomy.owners[tensor]:
                    reasons.setdefault(
                        owner, f"{whole} channels are too few for multiples of {round_to}: see round_to="
                    )


def _slots(channels: list[list[tuple[str, int, int]]], key: Sequence[tuple[str, int]]) -> tuple[Slot, ...] | None:
    """Where the channels lie, if in every dimension they are runs of equal blocks, one behind the other."""
    slots: list[Slot] = []
    tables = {}
    for tensor, dim in key:
        rows = [sorted(i for t, d, i in channel if (t, d) == (tensor, dim)) for channel in channels]
        if len({len(row) for row in rows}) != 1:
            return None
        tables[tensor, dim] = np.array(rows)
    first = tables[min(tables, key=lambda k: tables[k].shape[1])]
    order = np.argsort(first[:, 0])
    for (tensor, dim), table in tables.items():
        table = table[order]
        column = 0
        while column < table.shape[1]:
            block = 1
            while column + block < table.shape[1] and np.all(table[:, column + block] == table[:, column] + block):
                block += 1
            if np.any(np.diff(table[:, column]) != block):
                return None
            slots.append(Slot(tensor, dim, int(table[0, column]), block))
            column += block
    return tuple(slots)


def _name(anatomy: Anatomy, key: Sequence[tuple[str, int]], taken: set[str]) -> str:
    """After the first layer, in the network's own order, that makes the channels."""
    order = {name: i for i, name in enumerate(anatomy.shapes)}
    makers = [t for t, d in key if len(anatomy.shapes[t]) > 1 and d == _made_in(anatomy, t)] or [t for t, _ in key]
    tensor = min(makers, key=lambda t: order[t])
    name = f"{anatomy.owners[tensor][0] or tensor}.width"
    while name in taken:
        name += "'"
    return name


def _made_in(anatomy: Anatomy, tensor: str) -> int:
    """The dimension of a weight that its layer's output has."""
    return 1 if isinstance(anatomy.modules[anatomy.owners[tensor][0]], nn.Embedding) else 0


def _depths(anatomy: Anatomy, trace: Trace) -> Iterator[Depth]:
    """Runs of neighbouring residual blocks in one container."""
    residual = [path for path in trace.around if path and _is_residual(anatomy, trace, path)]
    listed = [p for p in residual if isinstance(anatomy.modules[p.rpartition(".")[0]], nn.Sequential | nn.ModuleList)]
    outermost = [p for p in listed if not any(p.startswith(q + ".") for q in listed)]
    # Residual modules that stand alone, where no list of blocks lies in them or around them.
    alone = [p for p in residual if not any(_nested(p, q) for q in listed)]
    outermost += [p for p in alone if not any(p.startswith(q + ".") for q in alone)]
    ran = list(dict.fromkeys(op.module for op in trace.ops))
    for parent, paths in groupby(sorted(outermost, key=ran_first(ran)), key=lambda p: p.rpartition(".")[0]):
        blocks = tuple(paths)
        if not isinstance(anatomy.modules[parent], nn.Sequential | nn.ModuleList):
            for block in blocks:
                yield Depth(f"{block}.depth", (block,), (0, 1))
            continue
        children = [f"{parent}.{name}" for name in anatomy.modules[parent]._modules]
        least = 0 if set(blocks) != set(children) else 1
        if len(blocks) > least:
            yield Depth(f"{parent}.depth", blocks, tuple(range(least, len(blocks) + 1)))


def _nested(one: str, other: str) -> bool:
    return one == other or one.startswith(other + ".") or other.startswith(one + ".")


def ran_first(ran: Sequence[str]) -> Callable[[str], int]:
    """A sort key: when a module, or one in it, first ran."""
    return lambda path: next((i for i, r in enumerate(ran) if r == path or r.startswith(path + ".")), len(ran))


def _is_residual(anatomy: Anatomy, trace: Trace, path: str) -> bool:
    """Whether a module gives what it takes, and adds what it takes to something on the way."""
    module = anatomy.modules[path]
    if isinstance(module, nn.Sequential | nn.ModuleList) or not any(True for _ in module.parameters()):
        return False
    into, out = trace.around[path]
    if trace.shapes[trace.owners[into]] != trace.shapes[trace.owners[out]] or into == out:
        return False
    inside = [op for op in trace.ops if op.module == path or op.module.startswith(path + ".")]
    return any(
        op.name in ("add", "add_") and len(op.reads) == 2 and into in {trace.buffers[t] for t in op.reads}
        for op in inside
    )


def _kernels(anatomy: Anatomy) -> Iterator[Kernel]:
    for path, layer in anatomy.modules.items():
        if not isinstance(layer, CONVOLUTIONS):
            continue
        sizes = set(layer.kernel_size)
        size = max(sizes)
        if len(sizes) == 1 and size >= 5 and size % 2 and not isinstance(layer.padding, str):
            yield Kernel(f"{path}.kernel", path, tuple(range(3, size + 1, 2)))


# -- proof -----------------------------------------------------------------------------------------------------


@dataclass
class _Search:
    """Axes that have been proved so far, and why others were not.

    Args:
        anatomy: of the model.
        example_inputs: of the model.
        only, except_: patterns of module paths.
    """

    anatomy: Anatomy
    example_inputs: Inputs
    only: tuple[str, ...]
    except_: tuple[str, ...]

    def __post_init__(self) -> None:
        self.kept: list[Axis] = []
        self.reasons: dict[str, str] = {}
        self._names: set[str] = set()
        # A copy with noise for weights: a fresh network's zeros and ones would hide a wrong tie.
        self._twin = Anatomy(_noisy(copy.deepcopy(self.anatomy.root)))
        self._inputs = _noisy_inputs(self.example_inputs)
        self._output = self._run(Cut())

    def keep(self, axis: Axis) -> None:
        """Take an axis in without proof."""
        self.kept.append(axis)
        self._names.add(axis.name)

    def consider(self, axis: Axis) -> bool:
        """Take an axis in if it is wanted and the network runs with it; note why not."""
        places = axis.places(self.anatomy)
        if not self._wanted(places):
            return self._refuse(places, "left out by only= or except_=")
        rival = next((a for a in self.kept if self._overlap(a, axis)), None)
        if rival is not None:
            return self._refuse(places, f"{axis.name} would cut what {rival.name} cuts")
        try:
            for option in dict.fromkeys((axis.options[0], axis.options[len(axis.options) // 2])):
                found = self._run(self._cut_of([(axis, option)]))
                self._same_form(found)
            found = self._run(self._cut_of([(a, a.options[0]) for a in (*self.kept, axis)]))
            self._same_form(found)
        except Exception as error:  # the model's own code meets sizes that it did not expect
            return self._refuse(places, f"the network does not run when {axis.name} is cut: {one_line(error)[:160]}")
        self.keep(axis)
        return True

    def consider_width(self, width: Width) -> bool:
        """Take a width in if a permutation of its channels leaves the output as it is, and the network runs."""
        places = width.places(self.anatomy)
        if not self._wanted(places):
            return self._refuse(places, "left out by only= or except_=")
        difference = self._permuted(width)
        if difference > 1e-6:
            return self._refuse(
                places, f"the tie of {width.name} is incomplete: permuting its channels changes the output "
                f"by {difference:.1g} of its size"
            )  # fmt: skip
        for counts in self._countings(width):
            if self.consider(Width(width.name, width.slots, width.options, counts)):
                for place in places:
                    self.reasons.pop(place, None)
                return True
        return False

    def _countings(self, width: Width) -> Iterator[tuple[tuple[str, str], ...]]:
        """Attributes that may count the channels: none, then any of the modules around that has the right number."""
        yield ()
        around = {path for place in width.places(self.anatomy) for path in _upwards(place)}
        found = []
        for path in sorted(around):
            for name, value in vars(self.anatomy.modules[path]).items():
                is_count = isinstance(value, int) and not isinstance(value, bool) and value == width.channels
                if is_count and not name.startswith("_") and any(word in name for word in COUNTING):
                    found.append((path, name))
        if found:
            yield tuple(found)

    def _overlap(self, one: Axis, other: Axis) -> bool:
        regions = list(one.regions(self.anatomy))
        return bool(set(one.hides()) & set(other.hides())) or any(
            t == u and d == e and a < y and x < b
            for u, e, x, y in other.regions(self.anatomy)
            for t, d, a, b in regions
        )

    def _wanted(self, places: set[str]) -> bool:
        return all(any(fnmatch(p, o) for o in self.only) for p in places) and not any(
            fnmatch(p, e) for p in places for e in self.except_
        )

    def _refuse(self, places: set[str], reason: str) -> bool:
        for place in places:
            self.reasons.setdefault(place, reason)
        return False

    def _cut_of(self, chosen: Sequence[tuple[Axis, Option]]) -> Cut:
        draft = Draft()
        for axis, option in chosen:
            axis.write(option, draft, self._twin)
        return draft.finish(self._twin)

    def _run(self, cut: Cut) -> list[Tensor]:
        with torch.no_grad(), applied(self._twin, cut) as module:
            return list(tensors_in(call(module, self._inputs)))

    def _same_form(self, found: list[Tensor]) -> None:
        before, now = [tuple(t.shape) for t in self._output], [tuple(t.shape) for t in found]
        if before != now:
            raise NetError(f"the output's shape becomes {now[0] if now else None}, it was {before[0]}")

    def _permuted(self, width: Width) -> float:
        """The largest change of the output, relative to its size, when the width's channels change places."""
        order = torch.randperm(width.channels, generator=torch.Generator().manual_seed(0))
        permute(self._twin, width, order)
        try:
            found = self._run(Cut())
        finally:
            permute(self._twin, width, torch.argsort(order))
        worst = 0.0
        for a, b in zip(self._output, found, strict=True):
            if a.is_floating_point():
                worst = max(worst, float((a - b).abs().max() / a.abs().max().clamp_min(1e-12)))
        return worst


def _upwards(path: str) -> Iterator[str]:
    while True:
        yield path
        if not path:
            return
        path = path.rpartition(".")[0]


@torch.no_grad()
def _noisy(network: nn.Module) -> nn.Module:
    """The network in double precision with noise added to its weights and statistics."""
    generator = torch.Generator().manual_seed(0)
    network = network.eval().double()
    for tensor in (*network.parameters(), *network.buffers()):
        if tensor.is_floating_point():
            scale = float(tensor.std()) if tensor.numel() > 1 else 0.0
            noise = torch.rand(tensor.shape, generator=generator, dtype=tensor.dtype)
            tensor.mul_(1 + 0.2 * noise).add_(0.1 * max(scale, 0.1) * noise)
    return network


def _noisy_inputs(inputs: Inputs) -> Inputs:
    generator = torch.Generator().manual_seed(1)

    def noisy(tensor: Tensor) -> Tensor:
        if not tensor.is_floating_point():
            return tensor
        noise = torch.randn(tensor.shape, generator=generator, dtype=torch.float64)
        return tensor.double() + noise

    return each_tensor(inputs, noisy)
