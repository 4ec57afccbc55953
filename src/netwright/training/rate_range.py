"""The learning rate, found by a range test: it rises from step to step, until the loss does."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

import numpy as np
import torch
from torch import nn

from ..core.errors import CallError, TrainingError
from ..nets.devices import device_for
from ..nets.isolation import isolated
from ..nets.supernet import SuperNet
from ..tasks import Task, task_of
from .batches import generators_kept
from .defaults import default_optimizer
from .distillation import DISTILLATIONS
from .distillation.base import Distillation
from .learners import by_rule
from .lesson import LossError
from .optimizers import OPTIMIZERS
from .optimizers.base import Optimizer
from .processes import Processes
from .rules import RULES
from .rules.base import Rule
from .run import Learner, Precision, Run, Settings
from .sampling import SAMPLINGS
from .sampling.base import Sampling
from .schedules.base import Schedule
from .schedules.constant import Constant
from .steps import State, Step
from .teachers import Teachers, teaching

LOW, HIGH = 1e-6, 10.0
"""The first rate and the last."""

STEPS, LEAST = 100, 10
"""Steps of a test, and the fewest that tell something."""

SMOOTH = 0.9
"""How much of the moving average of the losses stays with each step."""

DIVERGED = 4.0
"""A loss that is so many times the least before it ends the test."""

BELOW = 10.0
"""The rate is so many times below that of the least loss, which is where the weights begin to be undone."""

LONG = 1000
"""Epochs of the training that the test is the beginning of, as rules and schedules see it."""


@dataclass(frozen=True)
class RateRange:
    """What a range test has found.

    Args:
        rates: of its steps.
        losses: after each of them, in a moving average: the mean over all that learned, without a teacher's part.
        best: the rate to train with: a tenth of that with the least loss. The first quarter of the steps, whose rates
            are too small to matter, only shows how much batches and sub-networks differ.
    """

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    best: float


def find_learning_rate(
    net: SuperNet,
    loader: Any,
    *,
    task: Task | str | None = None,
    rule: Rule | str = "sandwich",
    sampling: Sampling | str = "uniform",
    optimizer: Optimizer | str | None = None,
    teacher: Teachers | None = None,
    distillation: Distillation | str = "outputs",
    device: str | torch.device | None = None,
    clip_norm: float | None = None,
    precision: Precision = "float32",
    seed: int = 0,
    steps: int = STEPS,
) -> RateRange:
    """Try learning rates on a super-network, by the rule that it is to be trained with; nothing of it is changed.

    The learning rate range test of Smith, "Cyclical learning rates for training neural networks" (arXiv 1506.01186):
    the rate rises with each step, here by the same factor, until the loss does. Afterwards weights, statistics and
    random generators are as they were.

    Args:
        net: the super-network. A rule with further sets of weights gives them to it, as training with it does.
        loader: of the training data; read again from its beginning where it is shorter than the test.
        optimizer: such as ``"adamw"``; whatever learning rate it has does not count. By default that of
            :func:`netwright.train`.
        steps: how many, 10 or more.

    All other arguments are those of :func:`netwright.train`.

    Raises :class:`TrainingError` where no rate makes the loss less.
    """
    task, chosen, drawn = task_of(task), RULES.make(rule), SAMPLINGS.make(sampling)
    way = DISTILLATIONS.make(distillation)
    chosen.prepare(net)
    made = OPTIMIZERS.make(default_optimizer(net.module)[0] if optimizer is None else optimizer)
    settings = Settings(LONG, made, Constant(), device, clip_norm, precision=precision, seed=seed)
    with teaching(teacher, device_for(net.module, device)) as taught:
        return range_test(by_rule(net, loader, task, chosen, drawn, way, taught), loader, settings, steps)


def with_rate(settings: Settings, learner: Learner, loader: Any, processes: Processes) -> Settings:
    """Settings whose optimizer has a learning rate, found by a range test where it is to be; of a training that goes on
    from its checkpoint, it is the rate that is kept there."""
    if not settings.optimizer.automatic or settings.goes_on:
        return settings
    found = torch.tensor(range_test(learner, loader, settings).best, dtype=torch.float64)
    processes.copy([found], device_for(learner.module, settings.device))
    return replace(settings, optimizer=settings.optimizer.at(float(f"{float(found):.3g}")))


def range_test(learner: Learner, loader: Any, settings: Settings, steps: int = STEPS) -> RateRange:
    """The same of whatever learns, see :func:`find_learning_rate`.

    Args:
        learner: what learns.
        loader: of the training data.
        settings: of its training; its optimizer takes a learning rate.
        steps: how many.
    """
    if steps < LEAST:
        raise CallError(f"steps is a number of steps of the range test, {LEAST} or more, not {steps}")
    rising = _Rising(steps)
    settings = replace(
        settings, optimizer=settings.optimizer.at(1.0), schedule=rising, epochs=LONG, ema=None, accumulate=1,
        checkpoint=None,
    )  # fmt: skip
    found: list[float] = []

    def learn(batch: Any, rng: np.random.Generator, at: Step, state: State) -> float:
        try:
            value = learner.learn(batch, rng, at, state)
        except LossError:
            found.append(math.inf)
            return 0.0
        found.append(fmean(learner.losses or [value]))
        return value

    with _unchanged(learner.module, loader):
        run = Run(replace(learner, learn=learn, state=dict(learner.state)), loader, settings)
        with run.prepared():
            losses = _smoothed(found, (None for epoch in run.remaining() for _ in run.epoch(epoch, {})), steps)
    rates = [rising.share(step, steps) for step in range(len(losses))]
    quiet = steps // 4
    least = min(range(quiet, len(losses)), key=losses.__getitem__, default=0)
    if least <= quiet:
        first = f" than {losses[quiet]:.3g}" if least else ""
        raise TrainingError(
            f"the range test found no learning rate that makes the loss less{first}: the weights have learned what "
            "these data teach, or the data hold values that are not finite; give a rate, such as lr=0.001"
        )
    return RateRange(tuple(rates), tuple(losses), rates[least] / BELOW)


def _smoothed(found: list[float], taken: Iterable[None], steps: int) -> list[float]:
    """The moving average of the losses after each step, which the batch of the next one shows; ends early where it has
    diverged."""
    losses, total = list[float](), 0.0
    for _ in taken:
        at = len(found) - 1
        if not math.isfinite(found[at]):
            break
        total = SMOOTH * total + (1 - SMOOTH) * found[at]
        losses.append(total / (1 - SMOOTH ** (at + 1)))
        if len(losses) > steps or losses[-1] > DIVERGED * min(losses):
            break
    return losses[1:]


@dataclass(frozen=True)
class _Rising(Schedule):
    """From the lowest rate to the highest, by the same factor with each step.

    Args:
        within: how many steps.
    """

    within: int

    def share(self, step: int, steps: int) -> float:
        return LOW * (HIGH / LOW) ** (step / (self.within - 1))


@contextmanager
def _unchanged(module: nn.Module, loader: Any) -> Iterator[None]:
    """What training changes is as it was when the block is left: weights and buffers, gradients, modes, generators."""
    modes = [(m, m.training) for m in module.modules()]
    gradients = [(p, p.grad) for p in module.parameters()]
    for p, _ in gradients:
        p.grad = None
    try:
        with isolated(module), generators_kept(loader):
            yield
    finally:
        for m, mode in modes:
            m.training = mode
        for p, gradient in gradients:
            p.grad = gradient
