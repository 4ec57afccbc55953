"""What a recipe resolves to: everything that the stages of a job need, found once and checked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from math import inf
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..core.candidate import Candidate, Option, digest, option_of
from ..core.errors import (
    CallError,
    MachineFault,
    MeasureError,
    NetError,
    NetwrightError,
    RecipeError,
    did_you_mean,
    format_error,
)
from ..core.faults import no_memory
from ..core.limits import metric_named
from ..core.metric import Measurement, Metric
from ..core.registry import find_object
from ..measure.at_target import AtTarget
from ..measure.base import EvaluationContext, Measurer, check_rounding
from ..measure.latency import Energy, Latency
from ..measure.lengths import describe
from ..measure.lookup import LookupTable
from ..measure.quality import Quality
from ..measure.sampling import SamplingPlan
from ..measure.target_quality import TargetQuality, job_size
from ..measure.targets import Target, parse_target
from ..nets.axes import Bits
from ..nets.devices import device_of
from ..nets.importance import CRITERIA, Criterion, sort_channels
from ..nets.inputs import Inputs
from ..nets.recalibrate import Statistics, needs_recalibration
from ..nets.supernet import SuperNet
from ..nets.surgery.adapters import require_peft
from ..recipe.schema import NO_DATA, Recipe, Train
from ..sources.base import Source
from ..sources.checkpoints import checkpoint_of
from ..sources.load import load_data, load_model
from ..study.executors import executor_of
from ..study.executors.base import Executor
from ..tasks import TASKS, Task
from ..tasks.data import JUDGED, Data, Split, TensorLoader, calibration_batches, judged_size, loader_of
from ..tasks.files.preparation import NOTHING, Preparation
from ..tasks.own_metrics import extended
from .block_order import in_order, put_in_order
from .callback import Callback, NullCallback
from .given import as_learned
from .lengths import lengths_of
from .run_directory import RunDirectory, trained_in
from .tracking import tracked


@dataclass(frozen=True)
class Context:
    """A recipe, its output directory, and what the recipe names.

    Args:
        recipe: with its objectives, also where they are those by default.
        name: what the person called the recipe, for reports.
        folder: where the recipe's own code lies; None for a built-in one.
        run: the output directory.
        source: what is searched.
        data: None where the recipe names none.
        calibration: training batches for normalisation statistics, as networks are trained on them: the same for every
            candidate; none without data.
        task: what the networks are for.
        target: where networks will run; the first of several.
        latencies: on each target, by its name, as the recipe wants it measured; the name of one alone is empty.
        validation: how well a network does, on the validation data; None without data.
        quality: the same as the search judges it: on a target of low precision, of the target's own file there.
        measurers: of everything that can be an objective or a limit.
        on_target: those of them that ask the target.
        executor: evaluates networks.
        callback: is told how the job goes on.
    """

    recipe: Recipe
    name: str
    folder: str | None
    run: RunDirectory
    source: Source
    data: Data | None
    calibration: Sequence[Any]
    task: Task
    target: Target
    latencies: Mapping[str, Latency]
    validation: Quality | None
    quality: Quality | None
    measurers: tuple[Measurer, ...]
    on_target: tuple[Measurer, ...]
    executor: Executor
    callback: Callback

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """Everything that can be an objective or a limit."""
        return tuple(metric for measurer in self.measurers for metric in measurer.metrics)

    @property
    def latency(self) -> Latency:
        """On the target, the first of several."""
        return next(iter(self.latencies.values()))

    @property
    def fingerprint(self) -> str:
        """Of the target, or of all of them: which devices figures are of. They are asked for it."""
        each = [str(latency.target["fingerprint"]) for latency in self.latencies.values()]
        return each[0] if len(each) == 1 else digest(each)

    @property
    def untrained(self) -> str:
        """Why nothing is trained; empty where the super-network is."""
        if self.source.untrained or self.data is not None:
            return self.source.untrained
        return "there are no data: the super-network keeps the weights that it comes with"

    def evaluation(self, candidate: Candidate) -> EvaluationContext:
        """A candidate as the search measures it, its network made."""
        self.source.require_networks()
        found = EvaluationContext(
            self.source.net,
            candidate,
            self.calibration,
            judge=self.quality,
            of_largest=lambda: self.evaluation(self.source.space.largest).statistics,
            rounding=self.recipe.bits.rounding,
        )
        try:
            _ = found.module
        except NetwrightError:
            raise
        except Exception as error:  # a network that does not take all batches
            if fix := no_memory(error):
                raise MachineFault(f"{fix} ({format_error(error)})") from error
            raise MeasureError(f"the networks cannot be run on the train data: {format_error(error)}") from error
        return found

    def network(self, candidate: Candidate) -> tuple[nn.Module, Statistics | None]:
        """A candidate's network as the search measures it, and where its running statistics come from, if it has any.
        Without data they are inherited."""
        found = self.evaluation(candidate)
        inherited: Statistics | None = "inherited" if needs_recalibration(found.module) else None
        return found.module, found.statistics or inherited

    def training_loader(self) -> Any:
        """The training data as networks learn from them, in batches."""
        assert self.data is not None
        return loader_of(self.data.train, self.recipe.train.batch_size, shuffle=True, augment=self.data.augment)

    def given(self) -> nn.Module:
        """The model as it was given, whatever the super-network has been trained to since."""
        return self.given_source().largest().eval()

    def given_source(self) -> Source:
        """What is searched, as the recipe's model gives it; where its head was new, with what it has learned."""
        return _source(self.recipe, self.task, self.data, self.folder, self.run)

    def plain_source(self) -> Source:
        """The same as the recipe's model gives it, without precisions to choose."""
        return _plain_source(self.recipe, self.task, self.data, self.folder)

    def learned(self, tensors: Mapping[str, Tensor], file: Path) -> Context:
        """The context whose model has these weights, which know the task.

        Args:
            tensors: by name.
            file: where they lie, for messages.
        """
        source = _in_bits(self.recipe, self.plain_source().learned(tensors, file))
        ordered = put_in_order(self.recipe, _kept(self.recipe, source), self.calibration, self.run, self.callback)
        return replace(self, source=ordered)

    def validate(self, network: nn.Module) -> dict[str, Measurement]:
        """How well a network does on the validation data, by metric name; nothing without data."""
        if self.validation is None:
            return {}
        return self.validation.all_of(network)

    def figure_of(self, network: nn.Module) -> Measurement | None:
        """The first metric of a network on the validation data; None where it cannot be judged."""
        assert self.validation is not None
        metric = self.validation.metrics[0]
        try:
            return self.validate(network)[metric.name]
        except MeasureError:  # its outputs are not finite
            return None

    def loss_of(self, network: nn.Module) -> float:
        """How badly a network does on the validation data by the first metric; infinitely where it cannot be judged."""
        assert self.validation is not None
        found = self.figure_of(network)
        return inf if found is None else self.validation.metrics[0].loss(found.value)


@contextmanager
def open_run(
    recipe: Recipe, out: str | Path, name: str = "", folder: str | None = None, callback: Callback | None = None
) -> Iterator[Context]:
    """Take the output directory for this process, and resolve the recipe. The directory is free again at the end.

    Args:
        recipe: of the job.
        out: the directory; made if it is missing.
        name: what the person called the recipe, for reports; by default the directory's name.
        folder: where the recipe's own code lies, so that the directory alone is enough later.
        callback: is told how the job goes on.
    """
    run = RunDirectory(out)
    name = name or run.path.name
    with run.locked(), tracked(recipe, run.path, name, callback or NullCallback()) as told:
        yield resolve(recipe, run, name, folder, told)


def resolve(recipe: Recipe, run: RunDirectory, name: str, folder: str | None, callback: Callback) -> Context:
    """Find and check what a recipe names. Raises :class:`RecipeError` with the fix for what does not fit together."""
    try:
        device = device_of(recipe.train.device)
    except CallError as error:
        raise RecipeError(f"train.{error}") from None
    executor = _executor(recipe, device.type)
    torch.set_num_threads(recipe.threads)
    task = extended(TASKS.make(recipe.task), recipe.metric)
    data = _data(recipe, task, folder) if recipe.data else None
    source = _source(recipe, task, data, folder, run)
    for note in (*source.notes, *(data.notes if data else ())):
        callback.stage(note)
    if data is None and recipe.train.importance and not source.untrained:
        sort_channels(source.supernet(), _without_data(recipe.train.importance))  # with data it is done before training
    if data is not None:
        if source.no_networks:
            raise RecipeError(f"the key 'data' is of no use: {source.untrained}; leave the key out")
        task.check(source.largest().eval(), data)
    source = _kept(recipe, source)
    targets = {name: parse_target(text) for name, text in recipe.targets.items()}
    latencies = _latencies(recipe, targets, _preparation(recipe, task, folder), folder, callback)
    target, latency = next(zip(targets.values(), latencies.values(), strict=True))
    validation = None if data is None else _validation(recipe, task, data)
    quality = validation if validation is None or len(targets) > 1 else _quality(recipe, validation, latency)
    there = _on_targets(recipe, targets, latencies, validation)
    measurers = _measurers(source, there, quality)
    there += [quality] if quality is not None and quality is not validation else []
    context = Context(
        recipe=recipe,
        name=name,
        folder=folder,
        run=run,
        source=source,
        data=data,
        calibration=() if data is None else _calibration(recipe, task, data),
        task=task,
        target=target,
        latencies=latencies,
        validation=validation,
        quality=quality,
        measurers=measurers,
        on_target=tuple(m for m in there if m in measurers),
        executor=executor,
        callback=callback,
    )
    _check(context)  # before anything costly
    return replace(context, source=in_order(recipe, source, context.calibration, run, callback))


def _data(recipe: Recipe, task: Task, folder: str | None) -> Data:
    """What the recipe's data name, as its model wants them."""
    return load_data(recipe.data, task.plain, folder, _preparation(recipe, task, folder))


def _preparation(recipe: Recipe, task: Task, folder: str | None) -> Preparation:
    """What the recipe's model wants files to be made into."""
    checkpoint = checkpoint_of(recipe.model, folder)
    return checkpoint.preparation(task.plain) if checkpoint else NOTHING


def _latencies(
    recipe: Recipe, targets: Mapping[str, Target], prepared: Preparation, folder: str | None, callback: Callback
) -> dict[str, Latency]:
    """On each target, as the recipe wants it measured: at each of several lengths of texts for its share of the time.
    Which these are is said."""
    seconds, lengths = recipe.latency.max_seconds, lengths_of(recipe, prepared, folder)
    if lengths:
        callback.stage(f"latency is the mean over texts of {describe(lengths)} (lengths)")
        seconds /= len(lengths)
    plan = SamplingPlan(precision=recipe.latency.precision, max_seconds=seconds)
    return {name: Latency(target, plan, dict(lengths)) for name, target in targets.items()}


def _executor(recipe: Recipe, device: str) -> Executor:
    """What evaluates networks, which are judged on a device of this type."""
    try:
        executor = executor_of(recipe.search.executor, recipe.search.timeout, recipe.search.memory)
    except CallError as error:
        raise RecipeError(f"search.executor: {error}") from None
    if device != "cpu" and executor.isolates:
        raise RecipeError(
            "several workers, search.timeout and search.memory need processes of their own, and one that uses "
            f"{device} cannot be copied: train with train.device: cpu, or leave them out"
        )
    return executor


def _source(recipe: Recipe, task: Task, data: Data | None, folder: str | None, run: RunDirectory) -> Source:
    """What the recipe's model gives, anew, with what was learned of the task where its head was new."""
    return _in_bits(recipe, as_learned(_plain_source(recipe, task, data, folder), recipe, data, run))


def _plain_source(recipe: Recipe, task: Task, data: Data | None, folder: str | None) -> Source:
    """What the recipe's model gives, anew."""
    checkpoint = checkpoint_of(recipe.model, folder)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        if checkpoint:
            return checkpoint.source(task.plain, data)
        return load_model(recipe.model, lambda: _one_input(recipe, task, data))


def _in_bits(recipe: Recipe, source: Source) -> Source:
    """The source with the precisions that the recipe wants to choose from."""
    bits = recipe.bits
    return source.in_bits(bits.options, bits.by, bits.ends) if bits.options else source


def _kept(recipe: Recipe, source: Source) -> Source:
    """The source with the options alone that a recipe keeps of the choices that it names. Raises :class:`RecipeError`
    where there is no such choice."""
    names = [choice.name for choice in source.space]
    found: dict[str, tuple[Option, ...]] = {}
    for pattern, options in recipe.choices.items():
        named = [name for name in names if name == pattern or fnmatchcase(name, pattern)]
        if not named:
            raise RecipeError(f"choices: there is no choice {pattern!r}; {did_you_mean(pattern, names)}")
        found |= dict.fromkeys(named, tuple(option_of(each) for each in options))
    return source.keeping(found) if found else source


def _one_input(recipe: Recipe, task: Task, data: Data | None) -> Inputs:
    """What a network is called with, where the model does not say."""
    if data is None:
        raise RecipeError(
            f"model: {recipe.model} gives no example_inputs, and the recipe names no data: "
            "give what it returns an attribute example_inputs, what a network is called with"
        )
    inputs, _ = task.split(next(iter(loader_of(data.validation, 1))))
    return inputs


def _calibration(recipe: Recipe, task: Task, data: Data) -> list[tuple[Inputs, Any]]:
    """Training batches for normalisation statistics, as pairs whatever the task's batches are."""
    return [task.split(batch) for batch in calibration_batches(data, recipe.search.calibration, recipe.seed)]


def _validation(recipe: Recipe, task: Task, data: Data) -> Quality:
    """The task's metrics on the validation part; for racing in a random order, and in batches that end at its looks."""
    part, device = data.validation, recipe.train.device
    most = judged_size(part) if device_of(device).type == "cpu" else JUDGED
    if not recipe.search.racing or not isinstance(part, Split):
        return Quality(task, loader_of(part, most), device)
    loader = TensorLoader(part.drawn(len(part), recipe.seed), min(most, -(-len(part) // 8)))
    return Quality(task, loader, device)


def _on_targets(
    recipe: Recipe, targets: Mapping[str, Target], latencies: Mapping[str, Latency], validation: Quality | None
) -> list[Measurer]:
    """What asks the targets; of several each under its name, and how well its own file does where that computes less
    precisely than the network."""
    if len(targets) > 1 and recipe.latency.table:
        raise RecipeError("latency.table is of one target, and the recipe has several: leave it out")
    found: list[Measurer] = []
    for name, latency in latencies.items():
        table = recipe.latency.table
        here: list[Measurer] = [LookupTable(latency, Path(table)) if table else latency]
        here.append(Energy(targets[name], latency.plan, dict(latency.lengths)))
        if name and validation is not None and latency.lossy:
            here.append(_quality(recipe, validation, latency))
        found += [AtTarget(each, name) if name else each for each in here]
    return found


def _quality(recipe: Recipe, validation: Quality, latency: Latency) -> Quality:
    """What the search says of how well a network does."""
    if not latency.lossy:
        return validation
    loader = validation.loader
    if isinstance(loader, TensorLoader) and not recipe.search.racing:
        # A job for each batch: few large ones; in a race they are no larger than a look.
        loader = TensorLoader(loader.split, job_size(loader.split.inputs))
    return TargetQuality(validation.task, loader, latency)


def _measurers(source: Source, on_target: Sequence[Measurer], quality: Measurer | None) -> tuple[Measurer, ...]:
    """The source's own, and ours of metrics that it does not measure itself."""
    if source.no_networks:
        return source.measurers
    ours = [*source.counts, *on_target, *([quality] if quality else [])]
    theirs = {metric.name for measurer in source.measurers for metric in measurer.metrics}
    return (*source.measurers, *(m for m in ours if not any(metric.name in theirs for metric in m.metrics)))


def _without_data(importance: str) -> Criterion:
    try:
        return CRITERIA.make(importance)
    except NetError as error:
        raise RecipeError(
            f"train.importance is {importance}, but there are no data to judge on ({error}); give data, or leave the "
            "key out"
        ) from None


def _check_adapters(recipe: Recipe) -> None:
    """Raise :class:`MissingExtra` before anything costly where adapters are to learn and cannot."""
    if recipe.export.lora and recipe.export.epochs:
        require_peft()


def _check_teachers(recipe: Recipe) -> None:
    """Raise :class:`RecipeError` for teachers that there are not, whether or not anything learns from them."""
    for key, text, names, known in (
        ("train.teacher", recipe.train.teacher, filter(None, [recipe.train.teacher]), ("given",)),
        ("export.teacher", recipe.export.teacher, teachers_in(recipe.export.teacher), ("given", "largest")),
    ):
        for name in names:
            if name not in known and text != "none":
                may_be = " or ".join([*known, "none"])
                find_object(name, f"{key} is {may_be}, or a function of your own", RecipeError)


def _check_bits(context: Context) -> None:
    """Raise :class:`MeasureError` for precisions of layers that the target does not run."""
    net = context.source.net
    if isinstance(net, SuperNet):
        for axis in (axis for axis in net.axes if isinstance(axis, Bits)):
            for option in axis.options:
                for latency in context.latencies.values():
                    latency.runtime.check_layers(net.module, dict.fromkeys(axis.layers, option))


def teachers_in(text: str) -> list[str]:
    """The names in a text such as ``largest+given``."""
    return [name for name in map(str.strip, text.split("+")) if name]


def _check(context: Context) -> None:
    """Say what the recipe asks of a model that cannot give it."""
    recipe, known = context.recipe, [m.name for m in context.metrics]
    limited = [name for name in map(metric_named, recipe.limits) if name]
    judged = {metric.name for metric in context.task.metrics}
    if judged & ({*recipe.objectives, *limited} - {*known}) and not context.source.no_networks:
        raise RecipeError(f"the key 'data' is missing; {NO_DATA}")
    _check_teachers(recipe)
    _check_adapters(recipe)
    for name in recipe.objectives:
        if name not in known:
            near = did_you_mean(name, known)
            near = near if near.startswith("did") else f"there are: {', '.join(map(repr, known))}"
            raise RecipeError(f"objectives: there is no metric {name!r} of {recipe.model}; {near}")
    _check_bits(context)
    check_rounding(recipe.bits.rounding, context.source.net, context.calibration)
    if context.untrained and recipe.train.weights:
        raise RecipeError(f"train.weights is {recipe.train.weights}, but {context.untrained}; leave the key out")
    if recipe.train.importance and context.source.untrained:
        why = context.source.untrained
        raise RecipeError(f"train.importance is {recipe.train.importance}, but {why}; leave the key out")
    if recipe.train.weights:
        trained_in(recipe.train.weights)
    if context.untrained and recipe.train.epochs not in (0, Train().epochs):
        raise RecipeError(f"train.epochs is {recipe.train.epochs}, but {context.untrained}; leave the key out")
