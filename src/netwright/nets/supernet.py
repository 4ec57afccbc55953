"""A network plus the ways it may be cut."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import cached_property, lru_cache
from typing import Any

import torch
from torch import nn

from ..core.arguments import shown
from ..core.candidate import Candidate, Option
from ..core.encoding import Candidates
from ..core.errors import NetError, SpaceError, did_you_mean, format_error
from ..core.space import Choice, Space
from .axes import Axis, OneOf, RelativeWidth
from .batch import BatchDims, Given, find_batch_dims
from .contradictions import check_axes, checking
from .counts import Counter, Counts, ManyCounts
from .cut import Cut, CutBuilder, ModuleIndex, applied
from .extract import extract
from .inputs import Inputs, call, evaluating, fresh
from .isolation import isolated
from .paths import join, within
from .report import Dimension, Reasons, Report, rigidity, shapes_of
from .rounding import INPUTS
from .saving import guard_saving
from .trace import Tracer, check_tensors
from .weight_sets import Sharing


class SuperNet:
    """A network whose weights serve very many sub-networks.

    Args:
        module: any module; it stays the caller's and is shared, not copied.
        axes: the ways of cutting it. Axes that lie wholly inside a block that a :class:`Depth` axis may skip
            become conditional on it, so that one network has one candidate.
        example_inputs: what the network is called with once, for shapes: a tensor, a tuple of positional or a
            mapping of keyword tensors. Their batch size is the one that counts are made for.
        reasons: why modules are not elastic, by path, or a tensor's dimension, by its name and number; for the report.
        batch_dims: which dimension of the inputs is the batch, where that is not to be found by trying: see
            :data:`netwright.nets.batch.Given`.

    Raises :class:`NetError` for axes that name what the network does not have, or that contradict one another, and
    for a network that raises on its example inputs.
    """

    _left_out: tuple[Axis, ...] = ()  # axes of one option, of which only the report speaks

    def __init__(
        self,
        module: nn.Module,
        axes: Iterable[Axis],
        example_inputs: Inputs,
        reasons: Reasons | None = None,
        *,
        batch_dims: Given | None = None,
    ) -> None:
        self.module = module
        self._reasons: dict[str | Dimension, str] = dict(reasons or {})
        self.axes: tuple[Axis, ...] = tuple(axes)
        self.example_inputs = example_inputs
        self.sharing: Sharing | None = None
        self.index = ModuleIndex(module)
        self.writes = check_axes(self.index, self.axes)
        self._fixed_menus = [path for path in self.index.menus if path not in self.writes.menus]
        self.space = Space(self._choices())
        self._active: Candidate | None = None
        self._remember()
        self._check_runs()
        self._given_batch = batch_dims
        if batch_dims is not None:
            _ = self.batch_dims

    def _remember(self) -> None:
        """Begin to keep what is asked for again."""
        self._applied = ExitStack()
        self._cut = lru_cache(maxsize=4096)(lambda candidate, version: self.cut_of(self.space.candidate(candidate)))
        self._count = lru_cache(maxsize=65536)(lambda candidate: self.counts([candidate])[0])

    def __getstate__(self) -> dict[str, Any]:
        """What a copy, here or in another process, is made of: the weights, and nothing that is kept of candidates."""
        if self._active:
            raise NetError("this super-network is active; leave the 'with net.active(...)' block to copy it")
        kept = ("_applied", "_cut", "_count", "_counter", "report", "tracer", "turns")
        return {name: value for name, value in vars(self).items() if name not in kept}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._remember()

    def share(self, sharing: Sharing) -> None:
        """Let sub-networks share weights beyond one set, from now on; see :mod:`netwright.nets.sharing`.

        Args:
            sharing: of sets that the network has by now.

        Raises :class:`NetError` where its weights cannot be cut as those that they are other sets of.
        """
        if self._active:
            raise NetError("this super-network is active; leave the 'with net.active(...)' block to share its weights")
        self.sharing, self.index = sharing, ModuleIndex(self.module)
        self.writes = self.writes.with_transforms(sharing.transforms(self.index))
        self._forget()
        self._check_runs()

    def _forget(self) -> None:
        """Find anew what follows from the axes when it is asked for."""
        self._cut.cache_clear()
        self._count.cache_clear()
        for name in ("turns", "report", "tracer", "_counter"):
            vars(self).pop(name, None)

    @cached_property
    def batch_dims(self) -> BatchDims:
        """Which dimension of every input and output is the batch: found when it is first asked for."""
        return find_batch_dims(self.module, self.example_inputs, self._given_batch)

    @property
    def largest(self) -> Candidate:
        """The whole network."""
        return self.space.largest

    def is_whole(self, candidate: Candidate | Mapping[str, Option]) -> bool:
        """Whether a candidate is the whole network, in whatever precision: what was found for that holds for it too."""
        own, whole = (_but_for_rounding(self.cut(each)) for each in (candidate, self.largest))
        return own == whole

    def largest_with(self, options: Mapping[str, Option]) -> Candidate:
        """The whole network but for some choices; what lies in an option that is chosen of a menu is whole, too."""
        return self.space.build(lambda choice: options.get(choice.name, choice.options[-1]))

    @property
    def smallest(self) -> Candidate:
        """The first option of every axis."""
        return self.space.smallest

    @contextmanager
    def active(self, candidate: Candidate | Mapping[str, Option]) -> Iterator[nn.Module]:
        """The original module as the sub-network, on slices of the shared weights, until the block is left.

        Gradients reach the shared weights. The module is the caller's own: do not keep it beyond the block, and do
        not activate two candidates of one super-network at once.
        """
        if self._active:
            raise NetError("this super-network is already active; leave the first 'with net.active(...)' block first")
        candidate = self._candidate(candidate)
        cut = self.cut(candidate)
        self._active = candidate
        try:
            with self._applied:
                yield self._applied.enter_context(applied(self.index, cut))
        finally:
            self._active = None

    def extract(self, candidate: Candidate | Mapping[str, Option]) -> nn.Module:
        """The sub-network as a plain module of the model's own classes, with weights of its own.

        Its normalisation statistics are slices of the shared ones, which are right for the largest alone, if for any:
        :func:`netwright.recalibrate` it before use.
        The attribute ``example_inputs`` holds the super-network's, ``candidate`` the candidate's choices, and
        ``batch_dims`` the super-network's where they are known. Where a transform says how a tensor is stored (in fewer
        bits), ``stored_tensors`` holds that, by tensor (:class:`netwright.nets.transforms.Stored`).
        """
        candidate = self._candidate(candidate)
        cut = self.cut(candidate)
        if self._active is None:
            network = extract(self.index, cut)
        elif self._active == candidate:
            self._applied.close()
            try:
                network = extract(self.index, cut)
            finally:
                self._applied.enter_context(applied(self.index, cut))
        else:
            raise NetError("another candidate is active; leave its 'with net.active(...)' block first")
        network.example_inputs = self.example_inputs
        if "batch_dims" in vars(self):
            network.batch_dims = self.batch_dims  # type: ignore[assignment]
        network.candidate = dict(candidate)  # type: ignore[assignment]
        guard_saving(network)
        return network

    def with_axes(self, axes: Iterable[Axis]) -> SuperNet:
        """A super-network of the same module, cut in other ways.

        Raises :class:`NetError` where it is of a family, whose networks follow from its own axes.
        """
        if self.sharing:
            raise NetError("choose the axes before the weights are shared in several sets")
        if type(self) is not SuperNet:
            raise NetError(f"the axes of a {type(self).__name__} are its family's; wrap() its module to choose others")
        return SuperNet(self.module, axes, self.example_inputs, self._reasons, batch_dims=self._given_batch)

    def keep_options(self, options: Mapping[str, Sequence[Option]]) -> None:
        """Leave the other options of some axes out of the space, in place; the weights stay whole.

        Args:
            options: for the names of some axes, those to keep; the last of an axis, the whole, is always among them.

        Raises :class:`NetError` for names and options that there are not, and for axes that need all of theirs.
        """
        if self.sharing or self._active:
            raise NetError(
                "keep options before the weights are shared in several sets, and outside 'with net.active()'"
            )
        axes = {axis.name: axis for axis in self.axes}
        for name, kept in options.items():
            if name not in axes:
                raise NetError(f"there is no axis {name!r}; {did_you_mean(name, axes)}")
            own = axes[name].options
            if unknown := [each for each in kept if each not in own]:
                raise NetError(f"axis {name!r} has no option {unknown[0]!r}; it has {', '.join(map(str, own))}")
            if own[-1] not in kept:
                raise NetError(
                    f"axis {name!r}: {own[-1]!r}, the whole, stays among its options; got {shown(list(kept))}"
                )
            axes[name] = axes[name].keeping([each for each in own if each in kept])
        for name, axis in axes.items():
            if isinstance(axis, RelativeWidth):
                axes[name] = replace(axis, of=axes[axis.of.name])
        self.axes = tuple(axes.values())
        self.writes = check_axes(self.index, self.axes)
        self.space = Space(self._choices())
        self._forget()

    def count(self, candidate: Candidate | Mapping[str, Option]) -> Counts:
        """Parameters, multiply-accumulates, bytes: exact, from the cut and the traced shapes."""
        return self._count(self._candidate(candidate))

    def counts(self, candidates: Sequence[Candidate | Mapping[str, Option]]) -> ManyCounts:
        """The same of many candidates at once, as arrays: thousands in the time in which some ten are counted one by
        one."""
        if self._active:
            raise NetError("count before the 'with net.active(...)' block or after it: inside, its layers are changed")
        known = isinstance(candidates, Candidates)
        return self._counter.counts(candidates if known else [self._candidate(c) for c in candidates])

    @property
    def counts_fast(self) -> bool:
        """Whether :meth:`counts` reads a table; otherwise it traces each candidate, which takes about as long as
        running it."""
        return self._counter.is_fast

    def cut(self, candidate: Candidate | Mapping[str, Option]) -> Cut:
        """What the candidate means to the tensors."""
        version = self.sharing.version(self.index) if self.sharing else ()
        return self._cut(self._candidate(candidate), version)

    def _candidate(self, given: Candidate | Mapping[str, Option]) -> Candidate:
        """A candidate, also of a mapping of its choices. Raises :class:`NetError` for what is none."""
        if isinstance(given, Candidate):
            return given
        try:
            return self.space.candidate(given)
        except SpaceError as error:
            raise NetError(f"{shown(given)} is no candidate: {error}") from None

    def cut_of(self, options: Mapping[str, Option]) -> Cut:
        """The cut for some of the choices; the axes that are not named stay whole."""
        if self._active:
            raise NetError("this super-network is active; leave the 'with net.active(...)' block to make another cut")
        builder = CutBuilder()
        for menu in self._fixed_menus:
            builder.choose(menu, self.index.menu(menu).options[-1])
        for axis in self.axes:
            if axis.name in options:
                axis.write(self.given(axis, options), builder, self.index)
        if self.sharing:
            self.sharing.write(options, builder, self.index)
        return builder.finish(self.index)

    def given(self, axis: Axis, options: Mapping[str, Option]) -> Option:
        """What an axis writes for: its own option, in a tuple with those of the axes that it reads, if any.

        An axis that is read and not among ``options`` counts as whole.
        """
        if not axis.depends_on:
            return options[axis.name]
        return (options[axis.name], *(options.get(name, self.space[name].options[-1]) for name in axis.depends_on))

    @cached_property
    def turns(self) -> tuple[Candidate, ...]:
        """The whole network as often as it takes for every option of every menu to run once: it alone, without menus.

        What is found of a network's channels on data is found in these.
        """
        options = [join(menu, own) for menu, held in self.index.menus.items() for own in held.options]
        runs = {axis.name: self.skipped_modules(axis) for axis in self.axes}
        waiting = {path for path in options if any(path in paths for paths in runs.values())}
        found: list[Candidate] = []

        def chosen(choice: Choice) -> Option:
            own = runs[choice.name]
            for option in reversed(choice.options):
                here = [path for path in options if option in own.get(path, ())]
                if any(within(left, path) for left in waiting for path in here):
                    return option
            return choice.options[-1]

        while not found or waiting:
            found.append(self.space.build(chosen))
            ran = {path for path in waiting if not self.cut(found[-1]).skips(path)}
            if not ran and len(found) > 1:
                break  # no candidate runs what is left
            waiting -= ran
        return tuple(found)

    @cached_property
    def report(self) -> Report:
        """What is elastic, what is not, and how far it reaches."""
        axes = [*self.axes, *self._left_out]
        rigid, partly = rigidity(self.index, axes, self._reasons)
        return Report(
            elastic={axis.name: axis.options for axis in axes if len(axis.options) > 1},
            menus={axis.name: self.index.menu(axis.menu).kinds() for axis in axes if isinstance(axis, OneOf)},
            fixed={axis.name: axis.options[0] for axis in axes if len(axis.options) == 1}
            | {path: self.index.menu(path).options[-1] for path in self._fixed_menus},
            rigid=rigid,
            partly=partly,
            space_size=self.space.size,
            smallest=self.count(self.smallest),
            largest=self.count(self.largest),
            counted_for=shapes_of(self.example_inputs),
        )

    @cached_property
    def tracer(self) -> Tracer:
        """Traces this network and its sub-networks, in the form in which they run."""
        return Tracer(self.index, self.example_inputs, folds=True)

    @cached_property
    def _counter(self) -> Counter:
        return Counter(self)

    def _choices(self) -> list[Choice]:
        hidden = [(path, axis.name, runs) for axis in self.axes for path, runs in self.skipped_modules(axis).items()]
        when = {axis.name: self._condition(axis, hidden) for axis in self.axes}
        # A depth axis comes before what lies in its blocks.
        choices: dict[str, Choice] = {}
        waiting = [*(a for a in self.axes if a.skipped_modules()), *(a for a in self.axes if not a.skipped_modules())]
        while waiting:
            ready = [a for a in waiting if all(name in choices for clause in when[a.name] or () for name in clause)]
            if not ready:
                raise NetError(f"depth axes hide one another: {', '.join(a.name for a in waiting)}")
            for axis in ready[:1]:
                if axis.name in choices:
                    raise NetError(f"two axes are called {axis.name!r}; names must be unique")
                choices[axis.name] = Choice(axis.name, axis.options, when[axis.name])
                waiting.remove(axis)
        return list(choices.values())

    def skipped_modules(self, axis: Axis) -> dict[str, tuple[Option, ...]]:
        """Of an axis that skips modules: all paths of each to the options with which it runs there."""
        return {
            join(place, own): runs
            for path, runs in axis.skipped_modules().items()
            for above, _, own in [path.rpartition(".")]
            for place in self.index.twins(above)
        }

    def _condition(
        self, axis: Axis, hidden: list[tuple[str, str, tuple[Option, ...]]]
    ) -> list[dict[str, tuple[Option, ...]]] | None:
        """The axis has a meaning while any of the modules that it changes runs."""
        homes: list[dict[str, tuple[Option, ...]]] = []
        for place in sorted(axis.affected_modules(self.index)):
            around: dict[str, tuple[Option, ...]] = {}
            for path, name, runs in hidden:
                if name != axis.name and within(place, path):
                    around[name] = tuple(o for o in around.get(name, runs) if o in runs)
            if not around:
                return None
            homes.append(around)
        # What holds wherever another does adds nothing.
        least = [home for home in homes if not any(other.items() < home.items() for other in homes)]
        return [home for at, home in enumerate(least) if home not in least[:at]] or None

    def _check_runs(self) -> None:
        without_data = check_tensors(self.index, self.example_inputs)
        try:
            with isolated(self.module), evaluating(self.module), torch.no_grad():
                if without_data:
                    self.tracer.form(self.cut(self.smallest))
                    return
                every = Cut(choose=dict.fromkeys(self.index.menus))
                with checking(self.index, self.writes.stand_ins), applied(self.index, every):
                    call(self.module, fresh(self.example_inputs))
                with self.active(self.smallest) as module:
                    call(module, fresh(self.example_inputs))
        except NetError:
            raise
        except Exception as error:
            raise NetError(f"the network raises on its example inputs: {format_error(error)}") from error


def _but_for_rounding(cut: Cut) -> Cut:
    """The cut without what only takes fewer bits."""
    others = {name: tuple(t for t in chain if t.kind != "round") for name, chain in cut.transforms.items()}
    kept = {path: values for path, values in cut.set.items() if path.rpartition(".")[2] != INPUTS}
    return replace(cut, set=kept, transforms={name: chain for name, chain in others.items() if chain})
