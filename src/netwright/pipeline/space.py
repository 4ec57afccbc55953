"""The space that pays on a target: options that save time there, and layers that few bits make faster."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ..core.candidate import Candidate, Option
from ..core.errors import MeasureError, NetError, RecipeError, ShapeError, format_error
from ..core.files import read_json, write_atomically, write_json
from ..core.limits import metric_named
from ..core.shape import expect
from ..core.temporary import TemporaryFolder
from ..measure.base import EvaluationContext
from ..measure.convert import example, feeds_of
from ..measure.explain import Explanation, LayerReport, explain
from ..measure.latency import Latency
from ..measure.lookup import LookupTable
from ..measure.sampling import SamplingPlan
from ..measure.targets import Target
from ..measure.worth import KindTimes, OptionWorth, Saving, bits_saving, kind_times, saving
from ..nets.axes import Axis, Bits
from ..nets.precisions.registry import FLOAT32
from ..nets.supernet import SuperNet
from ..recipe.load import folder_of, load, name_of
from ..recipe.schema import Recipe
from ..recipe.text import written
from ..sources.base import Source
from .callback import Callback, NullCallback
from .context import Context, open_run
from .device_space import DeviceSpace
from .space_page import page

INT8 = "int8"
MOST_S = 0.3
"""Seconds that a block, and each file whose operators are timed, is measured at most: few repeats of many things."""

TIMES = ("latency", "throughput", "energy")
"""Metrics that an option is worth having for; others are known without measuring."""


def find_space(
    recipe: Recipe | Mapping[str, Any] | str | Path,
    out: str | Path,
    *,
    seconds: float = 300.0,
    overrides: Mapping[str, Any] | None = None,
    callback: Callback | None = None,
) -> DeviceSpace:
    """Measure on a recipe's target which options of its model's choices pay there, and write a recipe of these.

    An option is judged by the time of the blocks that it changes in the whole network, beside the next larger one that
    stays; 8 bits by the times of single layers, as the runtime tells them, in the largest and the smallest network.
    Nothing is trained. What was measured is kept, and the same call goes on from there.

    Args:
        recipe, overrides, callback: see :func:`netwright.fit`.
        out: the directory of what is measured, of the page ``space.md``, and of ``recipe.yaml``; the recipe lies beside
            the given one where that is a file, which its code and data are found from.
        seconds: after which no further option is measured; options that are not measured stay.

    Raises :class:`RecipeError` for several targets, and for a model whose options cannot be left out.
    """
    wish, name, folder = load(recipe, overrides), name_of(recipe), folder_of(recipe)
    if len(wish.targets) > 1:
        raise RecipeError(f"target: a space is found for one of them, and the recipe has {', '.join(wish.targets)}")
    with open_run(wish, out, name, folder, callback or NullCallback()) as context:
        found = _Search(context, time.monotonic() + seconds).found()
        path = Path(folder) / f"{context.name}-space.yaml" if folder else Path(out) / "recipe.yaml"
        found = replace(found, path=path, page=Path(out) / "space.md")
        write_atomically(path, written(found.recipe).encode())
        write_atomically(found.page, page(found).encode())
        return found


class _Search:
    """Measures, and keeps what it finds in the directory of a context.

    Args:
        context: of the recipe.
        until: by the monotonic clock, when no further option is measured.
    """

    def __init__(self, context: Context, until: float) -> None:
        self._context, self._until, self._notes = context, until, list[str]()
        if context.recipe.lengths:
            raise RecipeError("lengths: options are judged at the length that the model names: leave the key out")
        wish, target = context.recipe, context.target
        self._plan = SamplingPlan(wish.latency.precision, MOST_S)
        self._float = Target(target.runtime.in_float32, target.at, target.token)
        self._low = _in_int8(target)
        self._source: Source = context.source
        if not isinstance(self._source.net, SuperNet):
            raise RecipeError(
                f"model: {wish.model} gives no netwright.SuperNet, of which alone options can be left out"
            )
        if self._low is None:
            self._notes.append(f"{target.runtime.name} has no single layers in 8 bits: sizes alone are judged")
        elif not self._bits() and wish.bits.options:
            self._low = None
            self._notes.append("8 bits are not among the recipe's bits.options: sizes alone are judged")
        elif not self._bits():
            self._add_bits()

    @property
    def _net(self) -> SuperNet:
        return self._source.supernet()

    def _bits(self, losers: Sequence[str] = ()) -> list[Bits]:
        """The axes on which 8 bits are an option, but for some."""
        found = [axis for axis in self._net.axes if isinstance(axis, Bits) and INT8 in axis.options]
        return [axis for axis in found if axis.name not in losers]

    def _add_bits(self) -> None:
        """8 bits as an option of the layers, where the recipe has none, to be judged."""
        bits = self._context.recipe.bits
        try:
            self._source = self._source.in_bits([INT8], bits.by, bits.ends)
        except NetError as error:
            self._low = None
            self._notes.append(f"8 bits are not judged: {format_error(error)}")

    @property
    def _added(self) -> bool:
        """Whether 8 bits are an option that the recipe does not have."""
        return self._source is not self._context.source

    def found(self) -> DeviceSpace:
        """What pays."""
        context, size = self._context, self._context.source.space.size
        kinds, bits = self._precisions()
        losers = [name for name, each in bits.items() if not each.may_pay]
        target = self._target(kinds, bits, losers)
        options = self._options(losers)
        kept = self._kept(losers, options)
        self._net.keep_options(kept)
        choices = {**context.recipe.choices, **{name: [*some] for name, some in kept.items()}}
        wish = replace(context.recipe, choices=choices, target=target)
        if self._added:
            wish = replace(wish, bits=replace(wish.bits, options=[INT8]))
        if not {metric_named(text) or text for text in (*wish.objectives, *wish.limits)} & {*TIMES}:
            self._notes.append("no objective and no limit is a time, and times alone are what options are left out by")
        sizes, nowhere = (size, self._net.space.size), Path()
        return DeviceSpace(
            wish, nowhere, nowhere, str(context.target), sizes, list(kinds.values()), bits, options, self._notes
        )

    def _target(self, kinds: Mapping[str, KindTimes], bits: Mapping[str, Saving], losers: Sequence[str]) -> str:
        """The target of the recipe: in 8 bits where these are new in it and pay. Where they do not, they are no longer
        among the options."""
        given = self._context.recipe.targets[""]
        pays = len(losers) < len(bits)
        if bits and not pays:
            pay = [each.kind for each in kinds.values() if each.saving.may_pay]
            apart = f"; of {' and '.join(pay)} alone they do: bits.by may be layer or type" if pay else ""
            self._notes.append(f"8 bits pay in no choice of bits here{apart}")
        if not self._added:
            return given
        if pays:
            number = len(bits) - len(losers)
            self._notes.append(f"8 bits are an option of {number} choices, which the recipe did not have")
            return str(self._low)
        self._source = self._context.source
        return str(self._float) if bits else given

    # -- precisions ----------------------------------------------------------------------------------------------

    def _precisions(self) -> tuple[dict[str, KindTimes], dict[str, Saving]]:
        """The times of layers by kind, and what 8 bits save on each axis."""
        if self._low is None:
            return {}, {}
        space = self._net.space
        networks = {
            space.largest: "largest",
            space.build(lambda c: c.options[-1 if self._is_bits(c.name) else 0]): "smallest",
        }
        layers: dict[Candidate, list[LayerReport]] = {}
        for candidate, which in networks.items():
            self._context.callback.stage(f"timing the layers of the {which} network in float32 and in 8 bits")
            try:
                layers[candidate] = self._layers(candidate)
            except MeasureError as error:
                self._notes.append(f"layers in 8 bits are not judged: {format_error(error)}")
                return {}, {}
        kinds = kind_times([each for some in layers.values() for each in some])
        savings = {axis.name: bits_saving(layers[space.largest], axis.layers, kinds) for axis in self._bits()}
        return kinds, {name: each for name, each in savings.items() if each is not None}

    def _is_bits(self, name: str) -> bool:
        return any(axis.name == name for axis in self._net.axes if isinstance(axis, Bits))

    def _in_bits(self, candidate: Mapping[str, Option]) -> Candidate:
        """A network with all layers in 8 bits that can be."""
        return self._net.space.candidate({**candidate, **{axis.name: INT8 for axis in self._bits()}})

    def _layers(self, candidate: Candidate) -> list[LayerReport]:
        """The layers of a network in float32 and in 8 bits; kept in a file."""
        assert self._low is not None
        path, target = self._context.run.path / "layers.json", self._low.described["fingerprint"]
        known = _read_layers(path, target)
        if candidate.key not in known:
            low, whole = Latency(self._low, self._plan), Latency(self._float, self._plan)
            with TemporaryFolder() as folder:
                files = []
                for at, (latency, each) in enumerate(((low, self._in_bits(candidate)), (whole, candidate))):
                    network = EvaluationContext(self._net, each, ()).module
                    files.append(folder / f"{at}" / f"network{latency.runtime.suffix}")
                    files[-1].parent.mkdir()
                    latency.write(network, self._source.example_of(network), files[-1])
                # Without them sizes that the files leave open would be 1.
                feeds = feeds_of(example(self._source.example_of(network), low.runtime.batch, network))
                found: Explanation = explain(files[0], self._low, files[1], feeds, plan=self._plan, trust=True)
            known[candidate.key] = [_kept_layer(each) for each in found.layers]
            write_json(path, {"target": target, "networks": known})
        return [_layer(each) for each in known[candidate.key]]

    # -- options -------------------------------------------------------------------------------------------------

    def _options(self, losers: Sequence[str]) -> dict[str, list[OptionWorth]]:
        """The options of each choice that is none of bits, judged in each precision that the space has."""
        tables = {FLOAT32: self._table(self._float)}
        if self._low is not None and self._bits(losers):
            tables[INT8] = self._table(self._low)
        axes = [axis for axis in self._net.axes if not isinstance(axis, Bits) and len(axis.options) > 1]
        unknown = []
        found: dict[str, list[OptionWorth]] = {}
        for at, axis in enumerate(axes):
            if time.monotonic() < self._until:
                self._context.callback.stage(f"measuring the options of {axis.name} ({at + 1} of {len(axes)})")
            try:
                found[axis.name] = self._judged(axis, tables, losers)
            except _TimeIsUp:
                unknown.append(axis.name)
            except MeasureError as error:
                self._notes.append(f"{axis.name} keeps all its options: {format_error(error)}")
        if unknown:
            self._notes.append(
                f"the time was up before {len(unknown)} of {len(axes)} choices were measured, which keep all their "
                "options; the same command goes on from here"
            )
        return found

    def _table(self, target: Target) -> LookupTable:
        latency = Latency(target, self._plan)
        return LookupTable(latency, self._context.run.path / f"blocks-{target.runtime.precision}.json")

    def _judged(self, axis: Axis, tables: Mapping[str, LookupTable], losers: Sequence[str]) -> list[OptionWorth]:
        """The options of an axis, the largest first."""
        *smaller, whole = axis.options
        before, larger = self._blocks(axis.name, whole, tables, losers), whole
        found = [OptionWorth(whole, None, {})]
        for option in reversed(smaller):
            after = self._blocks(axis.name, option, tables, losers)
            found.append(
                OptionWorth(option, larger, {p: saving(table, before[p], after[p]) for p, table in tables.items()})
            )
            if found[-1].is_kept:
                before, larger = after, option
        return found

    def _blocks(
        self, name: str, option: Option, tables: Mapping[str, LookupTable], losers: Sequence[str]
    ) -> dict[str, list[str]]:
        """The keys of the blocks of the whole network but for one option, which the tables have rows of, by precision.

        Raises :class:`_TimeIsUp` where the time was up before they were measured.
        """
        found = {}
        for precision, table in tables.items():
            low = {axis.name: INT8 for axis in self._bits(losers)} if precision == INT8 else {}
            context = EvaluationContext(self._net, self._net.largest_with({name: option, **low}), ())
            known = len(table.rows)
            if time.monotonic() > self._until and table.unmeasured(context.module, context.example_inputs):
                raise _TimeIsUp
            found[precision] = [block.key for block in table.blocks(context.module, context.example_inputs)]
            if len(table.rows) > known:
                self._context.callback.stage(
                    f"  {name} = {option} in {precision}: {len(table.rows) - known} new blocks"
                )
        return found

    def _kept(
        self, losers: Sequence[str], options: Mapping[str, Sequence[OptionWorth]]
    ) -> dict[str, tuple[Option, ...]]:
        """The options to keep, of the choices that lose some; float32 alone where 8 bits do not pay."""
        found: dict[str, tuple[Option, ...]] = {}
        for axis in self._net.axes:
            if axis.name in losers:
                found[axis.name] = tuple(each for each in axis.options if each != INT8)
            elif axis.name in options:
                left = {each.option for each in options[axis.name] if each.is_kept}
                if len(left) < len(axis.options):
                    found[axis.name] = tuple(each for each in axis.options if each in left)
        return found


class _TimeIsUp(Exception):
    """No further option is measured."""


def _in_int8(target: Target) -> Target | None:
    """The same place with single layers in 8 bits; None where its runtime has none."""
    runtime = target.runtime
    if INT8 not in runtime.mixes.get(INT8, ()):
        return None
    return Target(replace(runtime, precision=INT8), target.at, target.token)


# -- what is kept ------------------------------------------------------------------------------------------------


def _kept_layer(layer: LayerReport) -> dict[str, Any]:
    told = asdict(layer)
    del told["errors"]  # those on noise
    return {**told, "operators": list(layer.operators)}


_LAYER = {
    "path": str, "kind": str, "bits": int, "float_ms": float | None, "ms": float, "conversions_ms": float,
    "runs_in": str, "operators": list[str],
}  # fmt: skip


def _layer(kept: Mapping[str, Any]) -> LayerReport:
    told = expect(kept, _LAYER)
    return LayerReport(**{**{name: told[name] for name in _LAYER}, "operators": tuple(told["operators"])})


def _read_layers(path: Path, fingerprint: str) -> dict[str, Any]:
    """What was measured on the target before; nothing where it was another one, or cannot be read."""
    try:
        kept = expect(read_json(path), {"target": str, "networks": dict[str, list[Any]]})
        for layers in kept["networks"].values():
            for each in layers:
                _layer(each)
    except (OSError, ValueError, ShapeError):
        return {}
    return dict(kept["networks"]) if kept["target"] == fingerprint else {}
