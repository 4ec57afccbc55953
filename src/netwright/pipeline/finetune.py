"""How a chosen network is fine-tuned before it is handed back."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial

from torch import nn

from ..core.candidate import Candidate, digest
from ..core.metric import Measurement
from ..nets.extract import copy_of
from ..nets.recalibrate import Statistics
from ..nets.surgery.adapters import adapting, save_adapters
from ..recipe.load import resolve
from ..training import loop
from ..training.checkpoint import Checkpoint
from ..training.defaults import default_distillation
from ..training.distillation.inner import stages
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
    was trained on as it was trained on it; or, with ``export.normalisation: tune``, those from before.

    It goes on from a checkpoint beside the network's files, which whoever has written these removes."""
    wish = context.recipe.export
    shutil.rmtree(context.run.adapter(candidate.id), ignore_errors=True)  # of an earlier export
    plain, statistics = context.network(candidate)
    if context.data is None or context.validation is None or wish.epochs == 0:
        return Finetuned(plain, False, statistics, context.validate(plain), {})
    evaluator, metric = context.validation.evaluate(plain), context.validation.metrics[0]
    before = context.validation.result_of(evaluator)
    tuned = copy_of(plain)
    _tune(context, candidate, tuned, judged=metric.name in evaluator.baseline())
    after = context.validate(tuned)
    if metric.loss(after[metric.name].value) > metric.loss(before[metric.name].value):
        shutil.rmtree(context.run.adapter(candidate.id), ignore_errors=True)
        return Finetuned(plain, False, statistics, before, after)
    stay = statistics is None or wish.normalisation == "tune"
    return Finetuned(tuned, True, statistics if stay else "fine-tuned", before, after)


def tune_in_part(context: Context, candidate: Candidate, share: float) -> Measurement | None:
    """How well a candidate does on the validation data after a share of the steps of its fine-tuning, by the first
    metric; None where it cannot be judged. :func:`finetune` goes on from there."""
    assert context.validation is not None
    plain, _ = context.network(candidate)
    evaluator, tuned = context.validation.evaluate(plain), copy_of(plain)
    _tune(context, candidate, tuned, context.validation.metrics[0].name in evaluator.baseline(), share)
    return context.figure_of(tuned)


def _tune(context: Context, candidate: Candidate, network: nn.Module, judged: bool, until: float = 1.0) -> None:
    """Fine-tune a candidate's network in place, from its checkpoint on where there is one.

    Args:
        judged: see :func:`_teaching`.
        until: the share of the steps after which it pauses.
    """
    recipe, wish = context.recipe, context.recipe.export
    teacher, distillation = _teaching(context, network, judged)
    checkpoint = Checkpoint(context.run.finetuning(candidate.id), key_of(context, candidate), wish.optimizer)
    checkpoint.drop_other()
    with adapting(network, wish.lora) if wish.lora else nullcontext():
        loop.finetune(
            network,
            context.training_loader(),
            task=context.task,
            epochs=wish.epochs,
            optimizer=wish.optimizer or None,
            schedule=wish.schedule,
            teacher=teacher,
            distillation=distillation,
            trainable=wish.trainable or None,
            normalisation=wish.normalisation,
            loss=lambda: context.loss_of(network),
            patience=wish.patience,
            until=until,
            device=recipe.train.device,
            precision=recipe.train.precision,
            seed=recipe.seed,
            checkpoint=checkpoint.path,
            checkpoint_steps=recipe.train.checkpoint_steps,
            key=checkpoint.key,
            callback=partial(context.callback.finetuned, candidate.id),
        )
        if wish.lora and until == 1:  # of a network that is judged after a part nothing is handed back
            save_adapters(network, context.run.adapter(candidate.id))


def key_of(context: Context, candidate: Candidate) -> str:
    """Of what fine-tuning depends on; the weights that it begins with are among it."""
    recipe, training = context.recipe, context.run.read_training()
    parts = recipe.parts(*recipe.space, "data", "task", "metric", "train", "seed", "export")
    known = [context.source.fingerprint, context.data.fingerprint if context.data is not None else ""]
    return digest([candidate.key, parts, recipe.bits.rounding, known, training.files if training else {}])


def _teaching(context: Context, network: nn.Module, judged: bool) -> tuple[Teachers | None, str]:
    """From whom a network learns besides the targets, if from anybody, and how.

    By default from the given model where that comes trained, by what suits it. Where extraction has named the blocks
    anew, those of one name need not be alike: then it learns from the outputs.

    Args:
        context: of the job.
        network: what learns.
        judged: whether it is known what a constant answer has, and so whether the given model comes trained.
    """
    wish, training = context.recipe.export, context.run.read_training()
    trained = judged and training is not None and bool(training.given)
    name = wish.teacher or ("given" if trained else "none")
    if name == "none":
        return None, wish.distillation or "outputs"
    several: list[nn.Module] = []
    for each in teachers_in(name):
        if each == "largest":
            several.append(context.network(context.source.space.largest)[0])
        elif each == "given":
            several.append(context.given())
        else:
            made = resolve(each, "export.teacher", object)
            several += made if isinstance(made, list | tuple) else [made]
    suits = wish.distillation
    if not suits:
        alike = name == "given" and stages(network) == stages(several[0])
        suits = default_distillation(network) if alike else "outputs"
    if not wish.teacher:
        context.callback.stage(f"exporting: the network learns from the given model by {suits} (export.teacher)")
    return several, suits
