"""The training of super-networks, and the fine-tuning of extracted networks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import torch
from torch import nn

from ..core.errors import CallError, TrainingError
from ..core.interruption import ending
from ..core.space import Choice
from ..nets.devices import device_for, device_under, to_device
from ..nets.inputs import describe
from ..nets.rounding import settle
from ..nets.supernet import SuperNet
from ..tasks import Task, task_of
from .batches import NO_BATCHES, peeking, require_loader
from .checkpoint import Checkpoint
from .defaults import Weights, default_optimizer, weights_of
from .distillation import DISTILLATIONS
from .distillation.base import Distillation
from .learners import alone, by_rule
from .optimizers import OPTIMIZERS
from .optimizers.base import Optimizer
from .processes import Processes, together
from .rate_range import with_rate
from .rules import RULES
from .rules.base import Rule
from .run import Figures, Precision, Progress, Run, Settings
from .sampling import SAMPLINGS
from .sampling.base import Sampling
from .schedules import SCHEDULES
from .schedules.base import Schedule
from .teachers import Teachers, teaching
from .trainable import Trainable, only
from .tuning import Normalisation, tuning
from .watching import Best, Keeping


def train(
    net: SuperNet,
    loader: Any,
    *,
    task: Task | str | None = None,
    epochs: int = 30,
    rule: Rule | str = "sandwich",
    sampling: Sampling | str = "uniform",
    optimizer: Optimizer | str | Callable[[nn.Module], Any] | None = None,
    schedule: Schedule | str = "cosine",
    teacher: Teachers | None = None,
    distillation: Distillation | str = "outputs",
    device: str | torch.device | None = None,
    clip_norm: float | None = None,
    accumulate: int = 1,
    ema: float | None = None,
    precision: Precision = "float32",
    seed: int = 0,
    checkpoint: str | Path | None = None,
    checkpoint_steps: int = 0,
    key: str = "",
    evaluate: Callable[[], Figures] | None = None,
    holds: Callable[[], bool] | None = None,
    callback: Callable[[Progress], None] | None = None,
) -> None:
    """Train the shared weights, in place.

    Training that was interrupted goes on from its checkpoint as if it had not been: on a CPU to the same bits.

    Processes that ``torchrun`` has started train together, where each of them makes this call: each learns from its
    part of every batch, all end with the same weights, and the first evaluates, calls back and writes checkpoints.

    Args:
        net: the super-network; left in evaluation mode.
        loader: batches anew at each iteration: a DataLoader, a :class:`netwright.TensorLoader`, a list. A loader
            without a length is counted once.
        task: what is learned from a batch, or a text such as ``"regression"``; classification by default.
        epochs: passes over the loader.
        rule: which sub-networks learn from each batch, and from whom.
        sampling: how the rule's random sub-networks are drawn.
        optimizer: such as ``"adamw,lr=0.001"``; ``"adamw,lr=auto"``, whose rate a range test finds before the training
            (see :func:`find_learning_rate`); or a function of the network that makes a torch optimizer; by default
            one that fits the network, with a tenth of the rate where the largest network does the task well already
            (see :func:`~netwright.training.defaults.default_optimizer`).
        schedule: of the learning rate, such as ``"linear,warmup=0.1"``.
        teacher: a network that sub-networks learn from too, or several, whose outputs are averaged.
        distillation: how a network learns from the answer of another, such as ``"outputs"``.
        device: ``cpu``, ``cuda`` or ``auto`` to have the network there while it trains; by default it stays where it
            is. Batches are moved to it.
        clip_norm: the longest that the gradient may be, over all weights; longer ones are shortened.
        accumulate: batches of one step of the optimizer.
        ema: the decay of a moving average of the weights, such as 0.999, which are what is kept in the end.
        precision: ``bfloat16`` has networks compute in it where PyTorch's autocast does (weights stay as they are).
        seed: of everything random.
        checkpoint: a file that holds the state; training goes on from it where it exists.
        checkpoint_steps: batches between checkpoints, besides those at the end of each epoch.
        key: names what is trained; a checkpoint with another key is refused.
        evaluate: called now and then, and after the last epoch; its figures are passed to ``callback``. Without one,
            weights that were better before are warned of: the loss of the last steps is compared with the first's.
        holds: for weights that come trained: whether the super-network still does what it must, such as its largest
            network what the given one did. Asked as often; where it says no, the weights are drawn back on the straight
            line to the given ones until it says yes.
        callback: called after every step.

    Raises :class:`TrainingError` when the loss is no longer a finite number, and for loaders, losses and networks that
    do not go together.
    """
    if not isinstance(net, SuperNet):
        raise CallError(
            f"train() takes a super-network, not {describe(net)}; nw.wrap(network, example) makes one of a network, "
            "and nw.finetune() trains a network as it is"
        )
    _require_functions(evaluate=evaluate, holds=holds, callback=callback)
    processes, task, chosen = together(), task_of(task), RULES.make(rule)
    chosen.prepare(net)
    way, drawn = DISTILLATIONS.make(distillation), SAMPLINGS.make(sampling)
    with teaching(teacher, device_for(net.module, device)) as taught:
        learner = by_rule(net, loader, task, chosen, drawn, way, taught)
        settings = _settings(
            net.module, "fresh", optimizer, schedule, checkpoint, key, epochs=epochs, device=device,
            clip_norm=clip_norm, accumulate=accumulate, ema=ema, precision=precision, seed=seed,
            checkpoint_steps=checkpoint_steps, choices=net.space.choices,
        )  # fmt: skip
        if optimizer is None:
            settings = _suited(settings, net, loader, task, processes)
        settings = with_rate(settings, learner, loader, processes)
        run = Run(learner, loader, settings, Keeping(net.module, holds) if holds else None, processes)
        _train(run, callback, evaluate)
    if evaluate is None:
        run.warn_if_worse()


def finetune(
    network: nn.Module,
    loader: Any,
    *,
    task: Task | str | None = None,
    epochs: int,
    optimizer: Optimizer | str | Callable[[nn.Module], Any] | None = None,
    schedule: Schedule | str = "cosine",
    teacher: Teachers | None = None,
    distillation: Distillation | str = "outputs",
    trainable: Trainable | None = None,
    normalisation: Normalisation = "batch",
    device: str | torch.device | None = None,
    clip_norm: float | None = None,
    accumulate: int = 1,
    ema: float | None = None,
    precision: Precision = "float32",
    seed: int = 0,
    checkpoint: str | Path | None = None,
    checkpoint_steps: int = 0,
    key: str = "",
    loss: Callable[[], float] | None = None,
    patience: int = 0,
    until: float = 1.0,
    callback: Callable[[Progress], None] | None = None,
) -> None:
    """Train a stand-alone network, in place, as :func:`train` does; left in evaluation mode.

    Args:
        network: such as an extracted one.
        teacher: the network learns from it as much as from the targets: the largest network, any other, or several.
        trainable: the parameters that may move: patterns of names such as ``"*head*"``, or a function of a name and a
            parameter; all that require gradients by default. Layers that do not move keep their running statistics.
        normalisation: ``tune`` has batch normalisation keep its running statistics and folds it into convolutions as it
            trains, which takes about half the memory (see :func:`~netwright.training.tuning.tuning`): recompute them
            first (:func:`netwright.recalibrate`). By default, ``batch``, it normalises by each batch.
        loss: for early stopping: how badly the network does on validation data, asked after every epoch.
        patience: epochs without a lower ``loss`` after which training ends; the weights of the best epoch are kept. 0
            goes on to the end, and keeps the last.
        until: the share of the steps after which training pauses, with its state in the checkpoint: the same call with
            a larger share goes on from there as if it had not.

    All other arguments are those of :func:`train`.
    """
    if not isinstance(network, nn.Module):
        raise CallError(
            f"finetune() takes a network, a torch.nn.Module, not {describe(network)}; of a super-network extract one "
            "first: net.extract(candidate)"
        )
    _require_functions(callback=callback, loss=loss)
    _require_end(loss, patience, until, checkpoint)
    processes, task, way = together(), task_of(task), DISTILLATIONS.make(distillation)
    normalised = _normalised(network, loader, task, normalisation)
    with only(network, trainable), normalised, teaching(teacher, device_for(network, device)) as taught:
        learner = alone(network, loader, task, way, taught)
        settings = _settings(
            network, "extracted", optimizer, schedule, checkpoint, key, epochs=epochs, device=device,
            clip_norm=clip_norm, accumulate=accumulate, ema=ema, precision=precision, seed=seed,
            checkpoint_steps=checkpoint_steps, until=until,
        )  # fmt: skip
        settings = with_rate(settings, learner, loader, processes)
        watch = Best(network, loss, patience) if loss and patience else None
        try:
            _train(Run(learner, loader, settings, watch, processes), callback)
        finally:
            settle(network)


def _require_end(loss: Any, patience: int, until: float, checkpoint: Any) -> None:
    """Raise :class:`CallError` where it is not known when a fine-tuning ends, or where it is to be gone on with."""
    if patience < 0 or (patience and loss is None):
        raise CallError(
            f"patience is a number of epochs, 0 or more, and takes a loss=, which it is about; not {patience}"
        )
    if until != 1 and checkpoint is None:
        raise CallError(
            f"until={until} pauses a training, which goes on from a checkpoint: give it checkpoint=, a path"
        )


def _normalised(network: nn.Module, loader: Any, task: Task, how: Normalisation) -> AbstractContextManager[None]:
    """While it lasts, batch normalisation normalises as it is to. What the network is called with is its own example,
    or the inputs of the first batch."""
    if how not in get_args(Normalisation):
        raise CallError(f"normalisation is {' or '.join(get_args(Normalisation))}, not {how!r}")
    if how == "batch":
        return nullcontext()
    if (example := getattr(network, "example_inputs", None)) is None:
        require_loader(loader)
        with peeking(loader) as batches:
            if (first := next(batches, None)) is None:
                raise TrainingError(NO_BATCHES)
            example, _ = task.split(to_device(first, device_under(network)))
    return tuning(network, example)


def _train(
    run: Run, callback: Callable[[Progress], None] | None, evaluate: Callable[[], Figures] | None = None
) -> None:
    """All epochs of a run."""
    figures: Figures = {}
    with ending(_kept(run.settings.checkpoint)), run.prepared():
        for epoch in run.remaining():
            for progress in run.epoch(epoch, figures):
                if callback and run.processes.first:
                    callback(progress)
            if evaluate and run.processes.first and run.is_looked_at(epoch):
                with run.evaluating():
                    figures = evaluate()
                if callback:
                    callback(run.progress(figures))


def _kept(checkpoint: Checkpoint | None) -> str:
    """What is so once a training was ended by a signal."""
    if checkpoint is None:
        return "nothing of the training is kept: give it checkpoint=, a path, for that"
    return f"the same call continues from the last checkpoint in {checkpoint.path}"


def _require_functions(**given: Any) -> None:
    for name, value in given.items():
        if value is not None and not callable(value):
            raise CallError(f"{name} is a function, or None, not {value!r}")


def _settings(
    module: nn.Module,
    weights: Weights,
    optimizer: Any,
    schedule: Schedule | str,
    checkpoint: str | Path | None,
    key: str,
    choices: Sequence[Choice] = (),
    **rest: Any,
) -> Settings:
    """The settings of a run, with what texts name."""
    made = OPTIMIZERS.make(default_optimizer(module, weights)[0] if optimizer is None else optimizer)
    if checkpoint is not None and not isinstance(checkpoint, str | Path):
        raise CallError(f"checkpoint is the path of a file, or None, not {checkpoint!r}")
    told = {choice.name: ", ".join(map(str, choice.options)) for choice in choices}
    file = Checkpoint(Path(checkpoint), key, str(made), told) if checkpoint else None
    return Settings(optimizer=made, schedule=SCHEDULES.make(schedule), checkpoint=file, **rest)


def _suited(settings: Settings, net: SuperNet, loader: Any, task: Task, processes: Processes) -> Settings:
    """Settings of a training that begins with the default optimizer, which goes by whether the weights come trained.
    One that goes on has its rate in the checkpoint."""
    if not settings.epochs or settings.goes_on:
        return settings
    trained = processes.agree(weights_of(net, loader, task) == "pretrained", device_for(net.module, settings.device))
    text, _ = default_optimizer(net.module, "pretrained" if trained else "fresh")
    return replace(settings, optimizer=OPTIMIZERS.make(text))
