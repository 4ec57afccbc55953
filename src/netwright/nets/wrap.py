"""Any model as a super-network: its axes are found, and each is verified before it is kept."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from torch import nn

from ..core.errors import NetError, did_you_mean
from .axes import Axis, Depth, Parts, Rank
from .batch import Given
from .contradictions import check_axes
from .cut import Cut, ModuleIndex
from .dependency_groups import DependencyGroups
from .discovery import causes, depths, kernels, menus, widths
from .inputs import Inputs
from .isolation import seeded
from .noise import repeats
from .paths import overlap
from .propagation import PROPAGATORS, plain
from .propagation.compute import ELEMENTWISE
from .supernet import SuperNet
from .surgery.low_rank import ranks
from .surgery.parts import parts
from .surgery.same import check_patterns, several
from .trace import Trace, Tracer
from .verification import Verifier

KINDS = ("oneof", "width", "depth", "kernel")
"""The kinds of axes that are looked for unless others are asked for."""

NO_PARTS = (
    "no parts were found: modules with weights (attention, feed-forward networks) that run once and whose only result "
    "is added to what they read, and without which the network runs; leave 'parts' out of axes=, or see only= and "
    "except_="
)

NO_RANKS = (
    "no rank can be cut: there is no factorised layer of which a lower rank is cheaper than one layer; "
    "netwright.to_low_rank(model, example_inputs) makes those for which it pays, or leave 'rank' out of axes="
)

MORE_KINDS = ("parts", "rank")
"""Those that are looked for when they are asked for."""

DRAWS, ALIKE = 16, 3
"""Traces in training mode, at most, and how many must leave out the same for that not to be chance."""


def wrap(
    module: nn.Module,
    example_inputs: Inputs,
    *,
    axes: Iterable[str] = KINDS,
    only: Iterable[str] = ("*",),
    except_: Iterable[str] = (),
    round_to: int = 8,
    extra: Iterable[Axis] = (),
    batch_dims: Given | None = None,
) -> SuperNet:
    """Make a super-network of a model that nobody prepared.

    The model is traced on its example inputs. Sizes that several tensors share become :class:`Width` axes (attention
    heads among them, where a reshape makes them), runs of residual blocks :class:`Depth` axes, large windows
    :class:`Kernel` axes, menus (:func:`netwright.oneof`) :class:`OneOf` axes. Of the first three an axis is kept only
    if the numbers bear it out: permuting a width's channels in all its tensors must leave the model's output unchanged,
    and the model must run with the axis at its smallest; both also for smaller and larger inputs (shorter sequences,
    other images), where the model takes such, and in all options of menus at once. What is left rigid stands in
    ``net.report``, with the reason.

    Args:
        module: the model; shared, not copied, and left as it is. It may lie on the meta device: then widths are
            verified with noise for weights, block by block.
        example_inputs: what it is called with: a tensor, a tuple of positional or a mapping of keyword tensors.
        axes: kinds of axes to look for: ``oneof``, ``width``, ``depth``, ``kernel``; also ``parts``, how many of the
            attentions and of the feed-forward networks run (:class:`Parts`), which takes the place of ``depth`` where
            blocks are made of such, and ``rank``, the ranks of layers that :func:`to_low_rank` made two of.
        only: patterns of module paths (``layer1.*``); an axis is kept if all modules that it changes match one.
        except_: patterns of module paths; an axis that changes a module that matches one is left out.
        round_to: widths are rounded up to multiples of this where the layer allows.
        extra: axes of the caller's own, added to those that are found.
        batch_dims: see :class:`SuperNet`.

    Raises :class:`NetError` when the model does not run on its example inputs, and for patterns that match no module.
    """
    kinds, wanted, unwanted = several("axes", axes), several("only", only), several("except_", except_)
    index = ModuleIndex(module)
    _check(index, kinds, (*wanted, *unwanted), round_to)
    tracer = Tracer(index, example_inputs, supposes=True)
    trace = tracer.whole
    learning = _learning(tracer, trace, index)
    # In a mode that draws its own numbers nothing could be verified.
    if learning and not repeats(index, example_inputs):
        learning = None
    deps = DependencyGroups(learning or trace)
    verifier = Verifier(index, tracer, example_inputs, wanted, unwanted, deps, learning is not None)
    extra = tuple(extra)
    for axis in extra:
        verifier.keep(axis)
    if "oneof" in kinds:
        verifier.take_menus(menus(index, check_axes(index, extra).menus))
    _take_more(kinds, verifier, index, trace, round_to)
    if "depth" in kinds:
        verifier.take(_beside(verifier.kept, depths(index, trace)))
    if "width" in kinds:
        verifier.take_widths(widths(index, deps, round_to, verifier.reasons))
    else:
        verifier.reasons.update((path, "widths were not asked for: see axes=") for path in index.modules)
    if "kernel" in kinds:
        verifier.take(kernels(index, deps.trace, verifier.reasons))
    for dimension, reason in causes(index, deps):
        verifier.reasons.setdefault(dimension, reason)
    try:
        return SuperNet(module, verifier.all_axes, example_inputs, verifier.reasons, batch_dims=batch_dims)
    except NetError:  # what verification cannot see: values that the module keeps from one call to the next
        mine = {axis.name for axis in extra}
        for axis in [axis for axis in verifier.kept if axis.name not in mine]:
            try:
                SuperNet(module, [axis], example_inputs)
            except NetError as error:
                verifier.take_back(axis, str(error))
        return SuperNet(module, verifier.all_axes, example_inputs, verifier.reasons, batch_dims=batch_dims)


def _check(index: ModuleIndex, kinds: Iterable[str], patterns: Iterable[str], round_to: int) -> None:
    """Refuse kinds of axes that there are not, patterns that match nothing, and multiples that are none."""
    for kind in kinds:
        if kind not in (*KINDS, *MORE_KINDS):
            raise NetError(f"there is no kind of axis {kind!r}; {did_you_mean(kind, (*KINDS, *MORE_KINDS))}")
    if type(round_to) is not int or round_to < 1:
        raise NetError(f"round_to is a whole number from 1, not {round_to!r}")
    check_patterns(index, patterns)


def _take_more(kinds: Iterable[str], verifier: Verifier, index: ModuleIndex, trace: Trace, round_to: int) -> None:
    """Take in axes of the kinds that are found only where they are asked for. Raises :class:`NetError` for none."""
    if "parts" in kinds:
        verifier.take(parts(index, trace))
        if not any(isinstance(axis, Parts) for axis in verifier.kept):
            raise NetError(NO_PARTS)
    if "rank" in kinds:
        verifier.take_widths(ranks(index, round_to))
        if not any(isinstance(axis, Rank) for axis in verifier.kept):
            raise NetError(NO_RANKS)


def _beside(kept: Iterable[Axis], found: Iterable[Depth]) -> Iterator[Depth]:
    """The depths of blocks none of whose parts may be left out alone: all of a block's parts are the block, and two
    candidates would be one network."""
    left_out = [path for axis in kept if isinstance(axis, Parts) for path in axis.skipped_modules()]
    return (axis for axis in found if not any(overlap(block, left_out) for block in axis.blocks))


def _learning(tracer: Tracer, trace: Trace, index: ModuleIndex) -> Trace | None:
    """The trace in training mode, where the network then does something else: other operators, or with other tensors.

    What works index by index (dropout) and counts of batches do not matter.
    """
    try:
        learning = _undropped(tracer, trace)
    except NetError:  # a network need not run in training mode on one example
        return None
    new = {name for name in trace.idle() - learning.idle() if index.shapes[name]}
    return learning if new or _doings(learning) != _doings(trace) else None


def _undropped(tracer: Tracer, trace: Trace) -> Trace:
    """The trace in training mode that leaves out the fewest layers, of a few: some networks leave layers out at random
    then (LayerDrop: Fan, Grave and Joulin, "Reducing Transformer depth on demand with structured dropout", 2019)."""
    found: list[Trace] = []
    for seed in range(DRAWS):
        with seeded(seed):
            found.append(tracer.run(Cut(), training=True))
        dropped = [each.idle() - trace.idle() for each in found]
        if not dropped[-1] or (len(found) == ALIKE and all(each == dropped[0] for each in dropped)):
            break  # what is left out three times is not left out at random
    return min(found, key=lambda each: len(each.idle() - trace.idle()))


def _doings(trace: Trace) -> list[tuple[Any, list[tuple[int, ...]]]]:
    """What the operators do that do not work index by index, and the shapes of their results."""
    found = []
    for op in (trace.ops[at] for at in sorted(trace.live())):
        if plain(op) not in ELEMENTWISE:
            found.append((PROPAGATORS.get(plain(op), op.name), [trace.shapes[position] for position in op.writes[:1]]))
    return found
