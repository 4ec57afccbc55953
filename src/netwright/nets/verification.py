"""No axis is kept because it was found: dependency groups are verified by numbers, and cuts by running them.

Permuting a width's channels in all its tensors must leave the output as it is. All widths are permuted at once, each
in an order of its own; where the output changes, halves of them are tried, and halves of these. Whether the network
runs with an axis cut is tried on tensors without data: with many axes cut at once, in such combinations that for any
two axes there is one with only the first and one with only the second.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from fnmatch import fnmatch
from functools import cached_property
from math import lcm
from typing import TypeVar

from ..core.candidate import Option
from ..core.errors import NetError, format_error
from .axes import Axis, Depth, OneOf, TiedAxes, Width, fractions
from .cut import Cut, CutBuilder, ModuleIndex
from .dependency_groups import DependencyGroups
from .discovery import SHARES
from .expected_sizes import ExpectedSizes, Watcher
from .inputs import Inputs, evaluating, tensors_in
from .lengths import Lengths, describe, larger, other_lengths, resized, smaller
from .noise import DoesNotRun, Subgraph, subgraphs
from .noise import follows as follows_inputs
from .report import Dimension
from .size_attributes import ENDS, Outcome, SizeAttributes
from .trace import Tracer

A = TypeVar("A", bound=Axis)

LARGE = 50_000_000
"""Parameters above which dependency groups are verified part by part and in single precision."""

PART = 250_000_000
"""Parameters of all blocks that are verified at once in a large network: a gigabyte."""


class Verifier:
    """Axes that have been verified so far, and why others were not.

    Args:
        index: the module index of the model.
        tracer: the tracer of the model.
        example_inputs: the example inputs of the model.
        only, except_: patterns of module paths.
        deps: the dependency groups of the model; in training mode, where parts of it run in that mode only.
        learning: whether that is so: then all is tried in training mode too.
    """

    def __init__(
        self,
        index: ModuleIndex,
        tracer: Tracer,
        example_inputs: Inputs,
        only: Iterable[str],
        except_: Iterable[str],
        deps: DependencyGroups,
        learning: bool = False,
    ) -> None:
        self.index, self.example_inputs = index, example_inputs
        self._modes = (False, True) if learning else (False,)
        self._beyond = deps.beyond
        self._expected = ExpectedSizes(deps)
        self._sizes = SizeAttributes(index, self._expected)
        self.only, self.except_ = tuple(only), tuple(except_)
        self.kept: list[Axis] = []
        self._menus: list[OneOf] = []
        self.reasons: dict[str | Dimension, str] = {}
        self._names: set[str] = set()
        self._claimed: dict[tuple[str, int], list[tuple[int, int, str]]] = {}
        self._tracer = tracer
        self._whole = self._form(Cut())
        if not self._whole:
            raise NetError(
                "the network's output holds no tensor; give one, or a tuple, list, dict or dataclass of them"
            )

    def _form(self, cut: Cut, watcher: Watcher | None = None) -> list[tuple[int, ...]]:
        first, *others = reversed(self._modes)  # the groups are those of the first
        return [
            *self._tracer.form(cut, first, watcher),
            *(shape for mode in others for shape in self._tracer.form(cut, mode)),
        ]

    @cached_property
    def _elsewhere(self) -> tuple[Lengths, list[tuple[int, ...]]]:
        """Smaller sizes of the inputs that the network takes, if any, and the form of its outputs there."""
        forms: list[list[tuple[int, ...]]] = [[]]

        def runs(lengths: Lengths) -> bool:
            with suppress(Exception):  # the model's own code meets sizes that it does not take
                forms.append(self._tracer.form(Cut(), lengths=lengths))
                return True
            return False

        return other_lengths(self.example_inputs, smaller, runs), forms[-1]

    def keep(self, axis: Axis) -> None:
        """Take an axis in without verification."""
        self.kept.append(axis)
        self._names.add(axis.name)
        for tensor, dim, start, stop in axis.regions(self.index):
            self._claimed.setdefault((tensor, dim), []).append((start, stop, axis.name))

    @property
    def all_axes(self) -> list[Axis]:
        """Those of menus, and all that are kept."""
        return [*self._menus, *self.kept]

    def take_menus(self, axes: Iterable[OneOf]) -> None:
        """Take in those choices that are wanted. All options of menus run while other axes are verified."""
        for axis in filter(self._admits, map(self._named_apart, axes)):
            self._menus.append(axis)
            self._names.add(axis.name)

    def take_back(self, axis: Axis, why: str) -> None:
        """Leave out an axis that was taken in."""
        self.kept.remove(axis)
        self._refuse(axis, f"the network does not run when {axis.name} is cut: {why}")

    def take(self, axes: Iterable[Axis]) -> None:
        """Take in those of the axes that are wanted, contradict none that is kept, and with which the network runs."""
        candidates = [axis for axis in map(self._named_apart, axes) if self._admits(axis)]
        fitting, refused = self._fitting(candidates)
        if not fitting or self._all_run(fitting):
            for axis in fitting:
                self._taken(axis)
        else:
            refused += [axis for axis in fitting if not self._take_alone(axis)]
        for axis in refused:
            if isinstance(axis, Width) and axis.name not in self._names:
                self._take_together(axis, [a for a in refused if isinstance(a, Width) and a.name not in self._names])

    def take_widths(self, widths: Iterable[Width]) -> None:
        """The same for widths, of which only those are considered whose channels are tied as they say."""
        wanted = [width for width in map(self._named_apart, widths) if self._admits(width)]
        self.take(self._tied(wanted))

    # -- whether it runs ---------------------------------------------------------------------------------------

    def _fitting(self, axes: list[Axis]) -> tuple[list[Axis], list[Axis]]:
        """Axes with all that must count their channels, and those with which the network does not run by themselves.

        All are cut at once, and where the network stops, those that are cut there are tried one by one.
        """
        refused: list[Axis] = []
        looked_at: set[str] = set()
        while any(isinstance(axis, Width) for axis in axes):
            outcome = self._run([(a, _middle(a)) for a in axes])
            if outcome.why is None:
                break
            new = [a for a in axes if a.name not in looked_at]
            there = [a for a in new if isinstance(a, Width) and outcome.place in self._sizes.modules(a)] or new
            if not there:
                break
            for axis in there:
                looked_at.add(axis.name)
                fitted = self._fit(axis)
                at = axes.index(axis)
                if isinstance(fitted, Outcome):
                    self._refuse_run(axis, fitted.why)
                    refused.append(axes.pop(at))
                else:
                    axes[at] = fitted
        return axes, refused

    def _fit(self, axis: Axis) -> Axis | Outcome:
        def attempt(tried: Axis) -> Outcome:
            return self._run([(tried, _middle(tried))])

        if isinstance(axis, Width | TiedAxes):
            return self._sizes.fit(axis, attempt)
        outcome = attempt(axis)
        return axis if outcome.why is None else outcome

    def _take_alone(self, axis: Axis) -> bool:
        fitted = self._fit(axis)
        why = fitted.why if isinstance(fitted, Outcome) else self._fails(fitted)
        if isinstance(fitted, Outcome) or why:
            return self._refuse_run(axis, why)
        self._taken(fitted)
        return True

    def _take_together(self, width: Width, others: Sequence[Width]) -> None:
        """Widths that a layer wants in proportion: the channels of a model, and the heads of its attention; or of one
        size: what a layer takes, and what it makes, where that is reshaped by the number of what was taken."""
        near = [
            o for o in others if o is not width and o.affected_modules(self.index) & width.affected_modules(self.index)
        ]
        alike = [o for o in near if o.options == width.options]
        if alike and self._take_joined(width, width.options, alike):
            return
        inner = [o for o in near if o.channels < width.channels and width.channels % o.channels == 0]
        if inner:
            # As many of each as are whole heads in all layers, whose numbers of heads may differ.
            step = lcm(*(width.channels // o.channels for o in inner))
            least = max(width.channels // o.channels * o.options[0] for o in inner)
            self._take_joined(width, fractions(width.channels, SHARES, max(step, least // step * step)), inner)

    def _take_joined(self, width: Width, options: tuple[int, ...], others: Sequence[Width]) -> bool:
        if len(options) < 2:
            return False
        parts = []
        for part in (width, *others):
            own = tuple(option * part.channels // width.channels for option in options)
            parts.append((replace(part, options=own), own))
        joined = TiedAxes(width.name, options, tuple(parts))
        if not self._take_alone(joined):
            return False
        self._names |= {o.name for o in others}
        return True

    def _taken(self, axis: Axis) -> None:
        for tensor, dim, *_ in axis.regions(self.index):
            self.reasons.pop((tensor, dim), None)
        self.keep(axis)

    def _refuse_run(self, axis: Axis, why: str | None) -> bool:
        hint = "; a size in the code, a global or a closure can follow once it is an attribute of a module"
        advice = hint if any(isinstance(part, Width) for part in axis.members()) else ""
        return self._refuse(axis, f"the network does not run when {axis.name} is cut: {why}{advice}")

    def _fails(self, axis: Axis) -> str | None:
        """Why the network does not run with the axis cut, alone or with all that is kept."""
        for option in dict.fromkeys((axis.options[0], _middle(axis))):
            why = self._run([(axis, option)]).why
            if why:
                return why
        if why := self._stops_elsewhere([(axis, axis.options[0])]):
            return why
        return self._run([(a, a.options[0]) for a in (*self.kept, axis)]).why

    def _all_run(self, axes: Sequence[Axis]) -> bool:
        """Whether the network runs with each of the axes cut and the others not, as far as combinations tell."""
        together = (*self.kept, *axes)
        tried = [[(a, a.options[0]) for a in together]]
        if (middle := [(a, _middle(a)) for a in together]) != tried[0]:
            tried.append(middle)
        for bit in range(max(len(axes) - 1, 0).bit_length()):
            tried += [[(a, a.options[0]) for i, a in enumerate(axes) if i >> bit & 1 == side] for side in (0, 1)]
        return all(self._run(chosen).why is None for chosen in tried) and not self._stops_elsewhere(tried[0])

    def _run(self, chosen: Sequence[tuple[Axis, Option]]) -> Outcome:
        """The network with some axes cut: whether it runs, and does to the sizes of all tensors what it should."""
        watcher = None
        try:
            cut = self._cut(chosen)
            watcher = self._expected.watcher(cut)
            now = self._form(cut, watcher)
            if cut.replace and self._tracer.is_stale(cut):
                return Outcome(0, "it would read what an earlier call has left, which the skipped module makes anew")
        except Exception as error:  # the model's own code meets sizes that it did not expect
            deviation = watcher.deviation if watcher else None
            why = str(deviation) if deviation else format_error(error)[:160]
            return Outcome(watcher.seen, why, watcher.place) if watcher else Outcome(0, why)
        if watcher.deviation:  # the model's own code went on
            return Outcome(watcher.seen, str(watcher.deviation), watcher.place)
        differs = _differ(self._whole, now)
        return Outcome(watcher.seen if differs else ENDS, differs)

    def _stops_elsewhere(self, chosen: Sequence[tuple[Axis, Option]]) -> str | None:
        """Why the network with some axes cut does not run on smaller inputs, which the whole one takes."""
        lengths, whole = self._elsewhere
        if not lengths:
            return None
        try:
            why = _differ(whole, self._tracer.form(self._cut(chosen), lengths=lengths))
        except Exception as error:  # as above
            why = format_error(error)[:160]
        return why and f"{why}, {describe(self.example_inputs, lengths)}"

    def _cut(self, chosen: Sequence[tuple[Axis, Option]]) -> Cut:
        builder = CutBuilder()
        taken = {a.name: a.options[-1] for a in self.kept} | {a.name: option for a, option in chosen}
        for axis, option in chosen:
            read = tuple(taken[name] for name in axis.depends_on)
            axis.write((option, *read) if read else option, builder, self.index)
        return builder.finish(self.index)

    # -- whether it is tied ------------------------------------------------------------------------------------

    def _tied(self, widths: Sequence[Width]) -> list[Width]:
        """Those whose channels can change places without a change of the output."""
        refused: set[str] = set()
        try:
            for subgraph in self._subgraphs():
                own = [w for w in (subgraph.share(w) for w in widths if w.name not in refused) if w.slices]
                if not subgraph.follows and self._follows():
                    raise DoesNotRun("its output is the same for all inputs, with noise for weights")
                for width, change, at in self._untied(subgraph, own):
                    refused.add(width.name)
                    self._refuse(
                        width,
                        f"the tie of {width.name} is incomplete: permuting its channels changes the output "
                        f"by {change:.1g} of its size{at}",
                    )
        except DoesNotRun as error:
            for width in widths:
                self._refuse(width, f"{error}: no width is verified")
            return []
        return [w for w in widths if w.name not in refused]

    def _untied(self, subgraph: Subgraph, widths: Sequence[Width]) -> Iterator[tuple[Width, float, str]]:
        """The widths that cannot be permuted, the change, and for which inputs, in words."""
        bad: set[str] = set()
        for width, change in subgraph.untied(widths):
            bad.add(width.name)
            yield width, change, ""
        for lengths, other in self._resized(subgraph):
            for width, change in other.untied([w for w in widths if w.name not in bad]):
                bad.add(width.name)
                yield width, change, f", {describe(self.example_inputs, lengths)}"

    def _resized(self, subgraph: Subgraph) -> Iterator[tuple[Lengths, Subgraph]]:
        """The subgraph on inputs of other sizes that it takes: smaller ones, and, where the example leaves a part of a
        tensor out, larger ones."""
        most = 2 * sum(t.numel() for t in tensors_in(subgraph.inputs))  # larger images would cost too much
        found: list[Subgraph] = []

        def runs(lengths: Lengths) -> bool:
            if sum(t.numel() for t in tensors_in(resized(subgraph.inputs, lengths))) > most:
                return False
            with suppress(DoesNotRun):  # its numbers may not be what it takes, and then tell nothing
                found.append(subgraph.resized(lengths))
                return True
            return False

        lengths, _ = self._elsewhere
        if lengths and runs(lengths):
            yield lengths, found.pop()
        if self._beyond and (lengths := other_lengths(subgraph.inputs, larger, runs)):
            yield lengths, found.pop()

    def _follows(self) -> bool:
        """Whether the network itself gives something else for other inputs; taken for granted where it has no data."""
        with evaluating(self.index.root):
            return any(t.is_meta for t in self.index.root.parameters()) or follows_inputs(
                self.index.root, self.example_inputs
            )

    def _subgraphs(self) -> Iterator[Subgraph]:
        """The network, or, where it is large, the network with some of the blocks of its stages at a time."""
        sizes = {name: self.index.tensor(name).numel() for name in self.index.parameters}
        stages = [axis for axis in self.kept if isinstance(axis, Depth)]
        passthrough = {
            path: s.passthrough[i] if s.passthrough else 0
            for s in stages
            for i, path in enumerate(s.blocks)
            if path in s.skipped_modules()
        }
        large = sum(sizes.values()) > LARGE
        parts: list[set[str]] = [set()]
        room = PART
        for path in passthrough:
            block = sum(size for name, size in sizes.items() if name.startswith(path + "."))
            if large and block > room and parts[-1]:
                parts.append(set())
                room = PART
            parts[-1].add(path)
            room -= block
        cuts = []
        for part in parts:
            builder = CutBuilder()
            for path in passthrough.keys() - part:
                builder.skip(path, passthrough[path])
            cuts.append(builder.finish(self.index))
        supposes = self._tracer.supposes
        return subgraphs(self.index, self.example_inputs, cuts, self._modes, passthrough, large, supposes)

    # -- whether it is wanted ----------------------------------------------------------------------------------

    def _named_apart(self, axis: A) -> A:
        """The axis under a name that no other has; the caller's own axes have names of any kind."""
        name = axis.name
        while name in self._names:
            name += "'"
        return axis if name == axis.name else replace(axis, name=name)  # type: ignore[type-var]

    def _admits(self, axis: Axis) -> bool:
        places = axis.affected_modules(self.index)
        wanted = all(any(fnmatch(p, o) for o in self.only) for p in places) and not any(
            fnmatch(p, e) for p in places for e in self.except_
        )
        if not wanted:
            return self._refuse(axis, "left out by only= or except_=")
        rival = next(
            (
                name
                for tensor, dim, start, stop in axis.regions(self.index)
                for a, b, name in self._claimed.get((tensor, dim), ())
                if a < stop and start < b
            ),
            None,
        )
        skips = next((a.name for a in self.kept if set(a.skipped_modules()) & set(axis.skipped_modules())), None)
        if rival or skips:
            return self._refuse(axis, f"{axis.name} would cut what {rival or skips} cuts")
        return True

    def _refuse(self, axis: Axis, reason: str) -> bool:
        for tensor, dim, *_ in axis.regions(self.index):
            self.reasons.setdefault((tensor, dim), reason)
        return False


def _differ(before: list[tuple[int, ...]], now: list[tuple[int, ...]]) -> str | None:
    """How the shapes of outputs differ, in words; None where they do not."""
    if before == now:
        return None
    a, b = next(((a, b) for a, b in zip(before, now, strict=False) if a != b), (len(before), len(now)))
    return f"the output's shape becomes {b}, it was {a}"


def _middle(axis: Axis) -> Option:
    """An option between the least and the whole, where there is one; else the least."""
    return axis.options[(len(axis.options) - 1) // 2]
