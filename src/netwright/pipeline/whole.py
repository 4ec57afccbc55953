"""A pre-trained model that does not know the task yet is fine-tuned whole before anything is cut, as a person would do.

That network is the given one from then on: what heads, channels and blocks are worth is judged on it, sub-networks
learn from it, and limits that are relative to how well the model does are relative to it.
"""

from __future__ import annotations

from contextlib import suppress

from ..core.launch import launched
from ..nets.state import state_of, write_tensors
from ..report.data import format_measurement
from ..training import loop
from ..training.defaults import default_optimizer
from .context import Context
from .given import key_of
from .judgement import judge_given

NEW_HEAD_STEPS = 300
"""Steps in which cut networks of a pre-trained body learn something with a new head: MiniLM's first three layers, on
600 sentences of SST-2, answer at random after 74 and are 3 points below the whole after 222."""


def with_whole(context: Context) -> Context:
    """The context whose given model has learned the task, by ordinary fine-tuning with the settings of ``train``.

    The context itself where the model comes with a head that does the task, or nothing is trained. The weights are kept
    in the output directory: a job that goes on has them, and one that takes up its super-network.
    """
    source, wish, run = context.source, context.recipe.train, context.run
    if not source.pretrained or context.untrained or not wish.epochs or wish.weights:
        return context
    if run.training.exists() or run.whole.exists():
        return context
    if not source.new_head and judge_given(context)[1] is not False:
        return context
    network = context.plain_source().largest()
    optimizer = wish.optimizer or default_optimizer(network, "pretrained")[0]
    context.callback.stage(f"fine-tuning the whole network for the task, with {optimizer}{_few_steps(context)}")
    checkpoint = run.supernet / "whole_checkpoint.safetensors"
    loop.finetune(
        network,
        context.training_loader(),
        task=context.task,
        epochs=wish.epochs,
        optimizer=optimizer,
        schedule=wish.schedule,
        device=wish.device,
        clip_norm=wish.clip_norm,
        accumulate=wish.accumulate,
        ema=wish.ema,
        precision=wish.precision,
        seed=context.recipe.seed,
        checkpoint=checkpoint,
        checkpoint_steps=wish.checkpoint_steps,
        key=key_of(context.recipe, context.data),
        callback=context.callback.trained,
    )
    learned = context.learned(state_of(network), run.whole)
    if not launched().rank:  # after what is found of it: a job that has the file goes on with that
        write_tensors(run.whole, state_of(network), {"key": key_of(context.recipe, context.data)})
        checkpoint.unlink(missing_ok=True)
    figure = learned.figure_of(learned.network(learned.source.space.largest)[0])
    if figure is not None:
        context.callback.stage(f"the whole network has {format_measurement(figure)}, fine-tuned: it is the given model")
    return learned


def _few_steps(context: Context) -> str:
    """What is to be said where a new head has few steps to learn in; nothing where there are enough."""
    wish = context.recipe.train
    with suppress(TypeError):  # a loader that does not say how long it is
        each = len(context.training_loader()) // wish.accumulate
        if 0 < each * wish.epochs < NEW_HEAD_STEPS:
            return (
                f"; it learns for {each * wish.epochs} steps, and small networks are worth little before some "
                f"{NEW_HEAD_STEPS}: give --train.epochs {-(-NEW_HEAD_STEPS // each)}, or more data"
            )
    return ""
