"""How a chosen network is fine-tuned before it is handed back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn

from ..core.candidate import Candidate
from ..core.metric import Measurement
from ..nets.extract import copy_of
from ..nets.recalibrate import Statistics
from ..recipe.load import resolve
from ..training import loop
from ..training.teachers import Teachers
from .context import Context, teachers_in


@dataclass(frozen=True)
class Finetuned:
    """The network to hand back.

    Args:
        network: the fine-tuned one, or the plain one where fine-tuning made it worse.
        kept: whether it is the fine-tuned one.
        statistics: where its running statistics come from, if it has any.
        before: how well the plain one does on the validation data, by metric name; nothing without data.
        after: the same of the fine-tuned one; nothing where nothing was fine-tuned.
    """

    network: nn.Module
    kept: bool
    statistics: Statistics | None
    before: Mapping[str, Measurement]
    after: Mapping[str, Measurement]

    @property
    def validation(self) -> Mapping[str, Measurement]:
        """How well the network does on the validation data, by metric name."""
        return self.after if self.kept else self.before


def finetune(context: Context, candidate: Candidate) -> Finetuned:
    """Fine-tune a candidate. Its running statistics are then those that fine-tuning has set, computed from all that it
    was trained on as it was trained on it; or, with ``export.normalisation: tune``, those from before."""
    recipe, wish = context.recipe, context.recipe.export
    plain, statistics = context.network(candidate)
    before = context.validate(plain)
    if context.data is None or context.validation is None or wish.epochs == 0:
        return Finetuned(plain, False, statistics, before, {})
    tuned = copy_of(plain)
    loop.finetune(
        tuned,
        context.training_loader(),
        task=context.task,
        epochs=wish.epochs,
        optimizer=wish.optimizer or None,
        schedule=wish.schedule,
        teacher=_teacher(context),
        distillation=wish.distillation,
        trainable=wish.trainable or None,
        normalisation=wish.normalisation,
        loss=lambda: context.loss_of(tuned),
        patience=wish.patience,
        device=recipe.train.device,
        precision=recipe.train.precision,
        seed=recipe.seed,
    )
    after, metric = context.validate(tuned), context.validation.metrics[0]
    if metric.loss(after[metric.name].value) > metric.loss(before[metric.name].value):
        return Finetuned(plain, False, statistics, before, after)
    stay = statistics is None or wish.normalisation == "tune"
    return Finetuned(tuned, True, statistics if stay else "fine-tuned", before, after)


def _teacher(context: Context) -> Teachers | None:
    """From whom networks learn besides the targets, if from anybody."""
    several: list[nn.Module] = []
    for name in teachers_in(context.recipe.export.teacher):
        if name == "largest":
            several.append(context.network(context.source.space.largest)[0])
        elif name == "given":
            several.append(context.given())
        else:
            made = resolve(name, "export.teacher", object)
            several += made if isinstance(made, list | tuple) else [made]
    return several or None
