"""The stage that trains the super-network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from torch import Tensor

from ..core.errors import CheckpointError, NetwrightError
from ..core.files import sha256
from ..core.launch import launched
from ..core.metric import Measurement
from ..core.provenance import versions
from ..nets.axes import Bits
from ..nets.importance import CRITERIA, Criterion, Importance, sort_channels
from ..nets.state import load_state, read_tensors, state_of, write_tensors
from ..nets.supernet import SuperNet
from ..recipe.load import resolve
from ..recipe.schema import Recipe
from ..report.data import format_measurement
from ..training import loop
from ..training.defaults import default_distillation, default_optimizer
from ..training.optimizers import OPTIMIZERS
from ..training.rules import RULES
from ..training.run import Progress
from ..training.teachers import Teachers
from .callback import NullCallback
from .context import Context
from .context import resolve as resolve_recipe
from .given import key_of
from .judgement import judge_given, worry
from .run_directory import LEFT, RunDirectory, Training, trained_in
from .whole import with_whole


def train(context: Context) -> Importance | None:
    """Train the super-network, or load it where it is trained; one that comes with its weights is left alone.

    Returns what its channels are worth, where they were sorted before that.
    """
    if context.untrained:
        context.callback.stage(f"not training: {context.untrained}")
        return None
    net = _prepared(context)
    if _load(context, net):
        return None
    if elsewhere := context.recipe.train.weights:
        context.callback.stage(f"taking up the super-network that was trained in {elsewhere}")
        return _take_up(context, net)
    return _train(context, net)


def train_along(recipe: Recipe, out: str | Path, name: str, folder: str | None) -> None:
    """What all processes but the first do of a job that several were launched for: they train along, and write nothing.

    Args:
        recipe: of the job.
        out: its directory, which the first process has taken.
        name: what the person called the recipe.
        folder: where the recipe's own code lies.
    """
    context = resolve_recipe(recipe, RunDirectory(out), name, folder, NullCallback())
    if not context.untrained and not recipe.train.weights:
        train(with_whole(context))


def criterion_of(context: Context) -> Criterion:
    """By what channels are judged, on training data where there are any."""
    at_hand = {"batches": context.calibration} if context.data is not None else {}
    return CRITERIA.make(context.recipe.train.importance, **at_hand)


def _sorted(context: Context, net: SuperNet) -> Importance | None:
    """Sort the channels where the recipe wants it."""
    return sort_channels(net, criterion_of(context)) if context.recipe.train.importance else None


def require_trained(context: Context) -> None:
    """Load the super-network that is trained here; say how to get it where it is not there yet."""
    if not context.untrained and not _load(context, _prepared(context)):
        raise NetwrightError(f"no trained super-network in {context.run}: run 'netwright train' with it first")


def _prepared(context: Context) -> SuperNet:
    """The super-network with all weights that its rule trains."""
    net = context.source.supernet()
    RULES.make(context.recipe.train.rule).prepare(net)
    return net


def _load(context: Context, net: SuperNet) -> bool:
    """Load what was trained; returns whether there was something."""
    run, about = context.run, context.run.read_training()
    if about is None:
        return False
    if about.key != key_of(context.recipe, context.data):
        raise CheckpointError(f"{run.supernet} was trained by another recipe; use another output directory")
    load_state(net.module, _weights(run, about), run.weights)
    net.module.eval()
    return True


def _train(context: Context, net: SuperNet) -> Importance | None:
    assert context.validation is not None and context.data is not None
    recipe, wish, run, metric = context.recipe, context.recipe.train, context.run, context.validation.metrics[0]
    given, pretrained, chance = judge_given(context)
    promise = Promise(context, net, given[metric.name], chance) if pretrained and chance is not None else None
    found: dict[str, Measurement] = {}

    def evaluate() -> Mapping[str, Measurement]:
        for name in ("largest", "smallest"):
            known = promise.take() if promise and name == "largest" else None
            found[name] = known or context.validate(context.network(getattr(net, name))[0])[metric.name]
        return dict(found)

    teacher = _teacher(context, net, bool(pretrained))
    importance = _sorted(context, net)
    optimizer = _optimizer(context, net, given[metric.name] if pretrained else None)
    loop.train(
        net,
        context.training_loader(),
        task=context.task,
        epochs=wish.epochs,
        rule=wish.rule,
        sampling=wish.sampling,
        distillation=_distillation(context, net, bool(pretrained)),
        optimizer=optimizer,
        schedule=wish.schedule,
        teacher=teacher,
        device=wish.device,
        clip_norm=wish.clip_norm,
        accumulate=wish.accumulate,
        ema=wish.ema,
        precision=wish.precision,
        seed=recipe.seed,
        checkpoint=run.checkpoint,
        checkpoint_steps=wish.checkpoint_steps,
        key=key_of(context.recipe, context.data),
        evaluate=evaluate,
        holds=promise.holds if promise else None,
        callback=_telling_rate(context, optimizer),
    )
    if launched().rank:  # the first process does all else
        return importance
    if not found:  # no epoch is asked for, or all were done before an interruption
        evaluate()
    warning = worry(metric, given[metric.name], found["largest"], optimizer) if wish.epochs else ""
    if warning:
        context.callback.stage(f"warning: {warning}")
    validation = {"given": given[metric.name].value, **{name: m.value for name, m in found.items()}}
    _write(context, net, metric.name, validation, {} if pretrained is False else given, warning)
    run.checkpoint.unlink(missing_ok=True)
    return importance


class Promise:
    """That the largest network stays near the given one; it is said where the weights are drawn back for that.

    Args:
        context: of the job.
        net: what is trained.
        given: the figure of the given model by the first metric.
        chance: that of a constant answer.
    """

    def __init__(self, context: Context, net: SuperNet, given: Measurement, chance: float) -> None:
        assert context.validation is not None
        self._context, self._net, self._given = context, net, given
        self._metric = context.validation.metrics[0]
        scale = 1.0 if self._metric.unit == "%" else abs(chance) / 100
        self._most = self._metric.loss(given.value) + context.recipe.train.keep * scale
        self._draws = False
        self._found: Measurement | None = None

    def take(self) -> Measurement | None:
        """The figure of the largest network where :meth:`holds` has just found that its weights stay: once."""
        found, self._found = self._found, None
        return found

    def holds(self) -> bool:
        """Whether it is near enough as it is."""
        network, _ = self._context.network(self._net.largest)
        now = self._context.figure_of(network)
        kept = now is not None and self._metric.loss(now.value) <= self._most
        self._found = now if kept else None
        if not kept and not self._draws:
            given = format_measurement(self._given)
            has = "cannot be judged" if now is None else f"has {format_measurement(now)}"
            self._context.callback.stage(
                f"the largest network {has}, the given model {given}: the weights are drawn "
                "back towards the given ones (train.keep)"
            )
        self._draws = not kept
        return kept


def _teacher(context: Context, net: SuperNet, pretrained: bool) -> Teachers | None:
    """From whom networks learn besides the targets and the largest, if from anybody."""
    name = _teacher_name(context, pretrained)
    if name == "none":
        return None
    if name == "given":
        return net.extract(net.largest)  # whose weights are copies
    teacher: Teachers = resolve(name, "train.teacher", object)
    return teacher


def _teacher_name(context: Context, pretrained: bool) -> str:
    return context.recipe.train.teacher or ("given" if pretrained and context.recipe.train.epochs else "none")


def _distillation(context: Context, net: SuperNet, pretrained: bool) -> str:
    """The recipe's, or what suits the given model where that teaches; said then."""
    if context.recipe.train.distillation:
        return context.recipe.train.distillation
    if not pretrained or _teacher_name(context, pretrained) != "given":
        return "outputs"
    found = default_distillation(net.module)
    context.callback.stage(f"training: networks learn from the given model by {found} (train.distillation)")
    return found


def _take_up(context: Context, net: SuperNet) -> Importance | None:
    """Keep the weights that another job has trained, with what it found of them."""
    source, about = trained_in(context.recipe.train.weights)
    in_float32 = net.with_axes(a for a in net.axes if not isinstance(a, Bits)) if context.recipe.bits.options else net
    if about.space not in (*context.source.spaces, in_float32.space.fingerprint):
        raise CheckpointError(
            f"the super-network in {source.path} has other choices than that of {context.recipe.model}: give the model "
            "that it was trained as"
        )
    load_state(net.module, _weights(source, about), source.weights)
    net.module.eval()
    importance = _sorted(context, net)
    _write(context, net, about.metric, about.validation, about.given, about.warning)
    return importance


def keep_weights(context: Context, net: SuperNet) -> None:
    """Keep weights that have changed since they were trained or taken up."""
    about = context.run.read_training()
    if about is not None:
        _write(context, net, about.metric, about.validation, about.given, about.warning)


def _weights(run: RunDirectory, about: Training) -> dict[str, Tensor]:
    """The weights in a directory. Raises :class:`CheckpointError` where they are not those that were trained."""
    tensors, _ = read_tensors(run.weights)
    if about.files.get(run.weights.name, {}).get("sha256") != sha256(run.weights):
        raise CheckpointError(
            f"{run.weights} is not what its manifest says (damaged?); {LEFT} {run.supernet} away to train anew"
        )
    return tensors


def _write(
    context: Context,
    net: SuperNet,
    metric: str,
    validation: Mapping[str, float],
    given: Mapping[str, Measurement],
    warning: str,
) -> None:
    """Keep the trained super-network."""
    run = context.run
    write_tensors(run.weights, state_of(net.module))
    about = Training(
        key=key_of(context.recipe, context.data),
        recipe=context.recipe.to_json(),
        space=net.space.fingerprint,
        metric=metric,
        validation=validation,
        given=given,
        warning=warning,
        versions=versions(),
        files={run.weights.name: {"sha256": sha256(run.weights), "bytes": run.weights.stat().st_size}},
    )
    run.write_training(about)


def _telling_rate(context: Context, optimizer: str) -> Callable[[Progress], None]:
    """The job's callback of each step; a learning rate that a range test has found is said before the first."""
    untold = OPTIMIZERS.make(optimizer).automatic

    def trained(progress: Progress) -> None:
        nonlocal untold
        if untold:
            context.callback.stage(f"training: the range test has found the learning rate {progress.rate:.3g}")
            untold = False
        context.callback.trained(progress)

    return trained


def _optimizer(context: Context, net: SuperNet, pretrained: Measurement | None) -> str:
    """The recipe's, or what suits the given model; said as the stage begins.

    Args:
        context: of the job.
        net: what is trained.
        pretrained: the figure of the given model by the first metric, where it comes trained.
    """
    assert context.validation is not None
    wish, metric = context.recipe.train, context.validation.metrics[0]
    if wish.optimizer:
        context.callback.stage("training")
        return wish.optimizer
    if pretrained is not None:
        optimizer, _ = default_optimizer(net.module, "pretrained")
        given = f"{metric.name} {format_measurement(pretrained)}"
        why = f"the given model has {given} on the validation data: it comes trained"
    elif context.source.pretrained:
        optimizer, _ = default_optimizer(net.module, "pretrained")
        why = "the model comes with trained weights" + " and a new head" * context.source.new_head
    else:
        optimizer, why = default_optimizer(net.module)
    context.callback.stage(f"training: with {optimizer} by default, {why}" if wish.epochs else "training")
    return optimizer
