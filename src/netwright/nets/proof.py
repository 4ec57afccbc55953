"""No axis is believed because a rule says so: ties are proved by numbers, and cuts by running them.

Permuting a width's channels in all its tensors must leave the output as it is. All widths are permuted at once, each
in an order of its own; where the output changes, halves of them are tried, and halves of these. Whether the network
runs with an axis cut is tried on tensors without data: with many axes cut at once, in such combinations that for any
two axes there is one with only the first and one with only the second.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from fnmatch import fnmatch
from itertools import combinations
from typing import TypeVar

from ..core.candidate import Option
from ..core.errors import NetError, one_line
from .axes import Axis, Depth, Joint, Width
from .cut import Anatomy, Cut, Draft
from .inputs import Inputs, evaluating
from .layers import follows
from .noise import DoesNotRun, Excerpt, excerpts
from .noise import follows as follows_inputs
from .trace import Tracer

COUNTING = (
    *("head", "group", "chan", "dim", "size", "shape", "embed", "feature", "hidden", "model", "unit", "filter"),
    *("plane", "width", "inner", "ffn", "nf", "nx", "nz", "rank", "state"),
)
"""What the names of attributes that count channels contain. Whether one does is found out by running the network."""

A = TypeVar("A", bound=Axis)

LARGE = 50_000_000
"""Parameters above which ties are proved part by part and in single precision."""

PART = 250_000_000
"""Parameters of all blocks that are proved at once in a large network: a gigabyte."""


class Proof:
    """Axes that have been proved so far, and why others were not.

    Args:
        anatomy: of the model.
        tracer: of the model.
        example_inputs: of the model.
        only, except_: patterns of module paths.
        learning: whether parts of the model run in training mode only: then all is tried in that mode too.
    """

    def __init__(
        self,
        anatomy: Anatomy,
        tracer: Tracer,
        example_inputs: Inputs,
        only: Iterable[str],
        except_: Iterable[str],
        learning: bool = False,
    ) -> None:
        self.anatomy, self.example_inputs = anatomy, example_inputs
        self._modes = (False, True) if learning else (False,)
        self.only, self.except_ = tuple(only), tuple(except_)
        self.kept: list[Axis] = []
        self.reasons: dict[str, str] = {}
        self._names: set[str] = set()
        self._claimed: dict[tuple[str, int], list[tuple[int, int, str]]] = {}
        self._tracer = tracer
        self._whole = self._form(Cut())
        if not self._whole:
            raise NetError(
                "the network's output holds no tensor; give one, or a tuple, list, dict or dataclass of them"
            )

    def _form(self, cut: Cut) -> list[tuple[int, ...]]:
        return [shape for mode in self._modes for shape in self._tracer.form(cut, mode)]

    def keep(self, axis: Axis) -> None:
        """Take an axis in without proof."""
        self.kept.append(axis)
        self._names.add(axis.name)
        for tensor, dim, start, stop in axis.regions(self.anatomy):
            self._claimed.setdefault((tensor, dim), []).append((start, stop, axis.name))

    def take_back(self, axis: Axis, why: str) -> None:
        """Leave out an axis that was taken in."""
        self.kept.remove(axis)
        self._refuse(axis, f"the network does not run when {axis.name} is cut: {why}")

    def take(self, axes: Iterable[Axis]) -> None:
        """Take in those of the axes that are wanted, contradict none that is kept, and with which the network runs."""
        candidates = [axis for axis in map(self._named_apart, axes) if self._admits(axis)]
        if self._all_run(candidates):
            for axis in candidates:
                self.keep(axis)
            return
        refused = [axis for axis in candidates if not self._take_alone(axis)]
        for axis in refused:
            if isinstance(axis, Width) and axis.name not in self._names:
                self._take_together(axis, [a for a in refused if isinstance(a, Width) and a.name not in self._names])

    def take_widths(self, widths: Iterable[Width]) -> None:
        """The same for widths, of which only those are considered whose channels are tied as they say."""
        wanted = [width for width in map(self._named_apart, widths) if self._admits(width)]
        self.take(self._tied(wanted))

    # -- whether it runs ---------------------------------------------------------------------------------------

    def _take_alone(self, axis: Axis) -> bool:
        if not isinstance(axis, Width):
            return self._take_first([axis], axis)
        return self._take_first((replace(axis, counts=counts) for counts in self._counts(axis)), axis)

    def _take_together(self, width: Width, others: Sequence[Width]) -> None:
        """Widths that a layer wants in proportion: the channels of a model, and the heads of its attention; or of one
        size: what a layer takes, and what it makes, where that is reshaped by the number of what was taken."""
        near = [o for o in others if o is not width and o.places(self.anatomy) & width.places(self.anatomy)]
        alike = [o for o in near if o.options == width.options]
        joined = (
            Joint(width.name, width.options, tuple((a, width.options) for a in (replace(width, counts=counts), *alike)))
            for counts in self._counts(width)
        )
        if alike and self._take_first(joined, width):
            self._names |= {o.name for o in alike}
            return
        inner = [o for o in near if o.channels < width.channels]
        if not inner or len({o.options for o in inner}) > 1 or width.channels % inner[0].channels:
            return
        size, options = width.channels // inner[0].channels, inner[0].options
        outer = replace(width, options=tuple(size * option for option in options))

        def attempts() -> Iterator[Axis]:
            for counts in self._counts(outer):
                for own in self._counts(inner[0]):
                    names = {name for _, name in own}
                    heads = [replace(o, counts=self._named(o, names)) for o in inner]
                    axes = [(replace(outer, counts=counts), outer.options), *((o, options) for o in heads)]
                    yield Joint(width.name, outer.options, tuple(axes))

        if self._take_first(attempts(), width):
            self._names |= {o.name for o in inner}

    def _named(self, width: Width, names: set[str]) -> tuple[tuple[str, str], ...]:
        return next((counts for counts in self._counts(width) if {name for _, name in counts} == names), ())

    def _take_first(self, attempts: Iterable[Axis], axis: Axis) -> bool:
        """Take in the first of several forms of an axis with which the network runs."""
        first = ""
        for attempt in attempts:
            why = self._fails(attempt)
            if why is None:
                for place in attempt.places(self.anatomy):
                    self.reasons.pop(place, None)
                self.keep(attempt)
                return True
            first = first or why
        return self._refuse(axis, f"the network does not run when {axis.name} is cut: {first}")

    def _fails(self, axis: Axis) -> str | None:
        """Why the network does not run with the axis cut, alone or with all that is kept."""
        for option in dict.fromkeys((axis.options[0], axis.options[len(axis.options) // 2])):
            why = self._does_not_run([(axis, option)])
            if why:
                return why
        return self._does_not_run([(a, a.options[0]) for a in (*self.kept, axis)])

    def _all_run(self, axes: Sequence[Axis]) -> bool:
        """Whether the network runs with each of the axes cut and the others not, as far as combinations tell."""
        for middle in (0, 2):
            if self._does_not_run(
                [(a, a.options[len(a.options) // middle if middle else 0]) for a in (*self.kept, *axes)]
            ):
                return False
        for bit in range(max(len(axes) - 1, 0).bit_length()):
            for side in (0, 1):
                half = [a for i, a in enumerate(axes) if i >> bit & 1 == side]
                if self._does_not_run([(a, a.options[0]) for a in half]):
                    return False
        return True

    def _does_not_run(self, chosen: Sequence[tuple[Axis, Option]]) -> str | None:
        draft = Draft()
        taken = {a.name: a.options[-1] for a in self.kept} | {a.name: option for a, option in chosen}
        try:
            for axis, option in chosen:
                read = tuple(taken[name] for name in axis.reads)
                axis.write((option, *read) if read else option, draft, self.anatomy)
            cut = draft.finish(self.anatomy)
            now = self._form(cut)
            if cut.skip and self._tracer.is_stale(cut):
                return "it would read what an earlier call has left, which the skipped module makes anew"
        except Exception as error:  # the model's own code meets sizes that it did not expect
            return one_line(error)[:160]
        if now != self._whole:
            a, b = next(
                ((a, b) for a, b in zip(self._whole, now, strict=False) if a != b), (len(self._whole), len(now))
            )
            return f"the output's shape becomes {b}, it was {a}"
        return None

    def _counts(self, width: Width) -> list[tuple[tuple[str, str], ...]]:
        """Which attributes of the modules around may count the channels: none, then all that have their number, then
        those of fewer names."""
        around = {path for place in width.places(self.anatomy) for path in _upwards(place)}
        sizes = {width.channels * block for block in (1, *(s.block for s in width.slots))}
        found = [
            (path, name)
            for path in sorted(around, key=lambda path: (not path, -path.count("."), path))  # inner first
            if not follows(self.anatomy.modules[path])
            for name, value in vars(self.anatomy.modules[path]).items()
            if any(type(v) is int and v in sizes for v in (value if isinstance(value, tuple) else (value,)))
            and not name.startswith("_")
            and any(word in name for word in COUNTING)
        ]
        names = list(dict.fromkeys(name for _, name in found))[:4]
        some = [set(found)] if len({name for _, name in found}) > 4 else []
        some += [{c for c in found if c[1] in few} for n in range(len(names), 0, -1) for few in combinations(names, n)]
        return [(), *(tuple(c for c in found if c in own) for own in some)]

    # -- whether it is tied ------------------------------------------------------------------------------------

    def _tied(self, widths: Sequence[Width]) -> list[Width]:
        """Those whose channels can change places without a change of the output."""
        refused: set[str] = set()
        try:
            for excerpt in self._excerpts():
                own = [w for w in (excerpt.share(w) for w in widths if w.name not in refused) if w.slots]
                if not excerpt.follows and self._follows():
                    raise DoesNotRun("its output is the same for all inputs, with noise for weights")
                for width, change in excerpt.untied(own):
                    refused.add(width.name)
                    self._refuse(
                        width,
                        f"the tie of {width.name} is incomplete: permuting its channels changes the output "
                        f"by {change:.1g} of its size",
                    )
        except DoesNotRun as error:
            for width in widths:
                self._refuse(width, f"{error}: no tie is proved")
            return []
        return [w for w in widths if w.name not in refused]

    def _follows(self) -> bool:
        """Whether the network itself gives something else for other inputs; taken for granted where it has no data."""
        with evaluating(self.anatomy.root):
            return any(t.is_meta for t in self.anatomy.root.parameters()) or follows_inputs(
                self.anatomy.root, self.example_inputs
            )

    def _excerpts(self) -> Iterator[Excerpt]:
        """The network, or, where it is large, the network with some of the blocks of its stages at a time."""
        sizes = {name: self.anatomy.tensor(name).numel() for name in self.anatomy.parameters}
        stages = [axis for axis in self.kept if isinstance(axis, Depth)]
        gives = {
            path: s.gives[i] if s.gives else 0 for s in stages for i, path in enumerate(s.blocks) if path in s.hides()
        }
        large = sum(sizes.values()) > LARGE
        parts: list[set[str]] = [set()]
        room = PART
        for path in gives:
            block = sum(size for name, size in sizes.items() if name.startswith(path + "."))
            if large and block > room and parts[-1]:
                parts.append(set())
                room = PART
            parts[-1].add(path)
            room -= block
        cuts = []
        for part in parts:
            draft = Draft()
            for path in gives.keys() - part:
                draft.skip(path, gives[path])
            cuts.append(draft.finish(self.anatomy))
        return excerpts(self.anatomy, self.example_inputs, cuts, self._modes, gives, large)

    # -- whether it is wanted ----------------------------------------------------------------------------------

    def _named_apart(self, axis: A) -> A:
        """The axis under a name that no other has; the caller's own axes have names of any kind."""
        name = axis.name
        while name in self._names:
            name += "'"
        return axis if name == axis.name else replace(axis, name=name)  # type: ignore[type-var]

    def _admits(self, axis: Axis) -> bool:
        places = axis.places(self.anatomy)
        wanted = all(any(fnmatch(p, o) for o in self.only) for p in places) and not any(
            fnmatch(p, e) for p in places for e in self.except_
        )
        if not wanted:
            return self._refuse(axis, "left out by only= or except_=")
        rival = next(
            (
                name
                for tensor, dim, start, stop in axis.regions(self.anatomy)
                for a, b, name in self._claimed.get((tensor, dim), ())
                if a < stop and start < b
            ),
            None,
        )
        skips = next((a.name for a in self.kept if set(a.hides()) & set(axis.hides())), None)
        if rival or skips:
            return self._refuse(axis, f"{axis.name} would cut what {rival or skips} cuts")
        return True

    def _refuse(self, axis: Axis, reason: str) -> bool:
        for place in axis.places(self.anatomy):
            self.reasons.setdefault(place, reason)
        return False


def _upwards(path: str) -> Iterator[str]:
    while True:
        yield path
        if not path:
            return
        path = path.rpartition(".")[0]
