"""In which order depth leaves out the blocks of a model that comes trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..core.errors import CheckpointError, NetError, format_error
from ..core.files import read_json, write_json
from ..core.launch import launched
from ..core.shape import expect
from ..nets.axes import Depth
from ..nets.surgery import sort_blocks
from ..recipe.schema import Recipe
from ..sources.base import Source
from .callback import Callback
from .run_directory import LEFT, RunDirectory, trained_in

Orders = Mapping[str, Sequence[str]]
"""The blocks of each axis of depth, the one to keep longest first, by the axis's name."""


def in_order(recipe: Recipe, source: Source, batches: Sequence[Any], run: RunDirectory, callback: Callback) -> Source:
    """The source whose depth keeps the blocks that matter, where its channels are sorted too and it comes trained.

    They are put in order once, before anything is measured or trained, and the order is kept in the output directory:
    a job that goes on goes on with it. Weights that another job has trained are taken up with the order that they were
    trained in. A directory that holds a super-network or a study without an order keeps to that of the model.

    Args:
        recipe: of the job.
        source: as the recipe's model gives it.
        batches: of training data.
        run: the output directory.
        callback: is told the order that was found.
    """
    if not (source.pretrained and recipe.train.importance and batches):
        return source
    if recipe.train.weights:
        return _ordered(source, _read(trained_in(recipe.train.weights)[0]))
    if run.training.exists() or run.study.exists():
        return _ordered(source, _read(run))
    if source.new_head and recipe.train.epochs:  # what its outputs depend on is known once it is fine-tuned
        return source
    return put_in_order(recipe, source, batches, run, callback)


def put_in_order(
    recipe: Recipe, source: Source, batches: Sequence[Any], run: RunDirectory, callback: Callback
) -> Source:
    """The same for a job in which nothing was measured or trained yet that an order would change."""
    if not (source.pretrained and recipe.train.importance and batches):
        return source
    try:
        net = sort_blocks(source.supernet(), batches[:1])  # a hundred examples or so tell; each block is a run
    except NetError:  # there is no depth, or only the last blocks can be left out
        return source
    orders = {axis.name: axis.order for axis in net.axes if isinstance(axis, Depth)}
    for name, order in orders.items():
        first = ", ".join(path.rpartition(".")[2] for path in order[::-1])
        callback.stage(f"{name}: blocks are left out by how little the outputs change without each: {first}")
    if run.path.is_dir() and not launched().rank:
        run.supernet.mkdir(exist_ok=True)
        write_json(run.blocks, orders)
    return source.of(net)


def _ordered(source: Source, orders: Orders) -> Source:
    """The source with its blocks in these orders, as far as they are its blocks."""
    net = source.supernet()
    axes = [
        replace(axis, order=tuple(orders[axis.name]))
        if isinstance(axis, Depth) and sorted(orders.get(axis.name, ())) == sorted(axis.blocks)
        else axis
        for axis in net.axes
    ]
    return source if axes == list(net.axes) else source.of(net.with_axes(axes))


def _read(run: RunDirectory) -> Orders:
    """The orders that a directory keeps; none where it keeps to the model's."""
    try:
        found: Orders = expect(read_json(run.blocks), Mapping[str, list[str]])
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{run.blocks} is not what netwright writes ({format_error(error)}); {LEFT} {run.path} away to train anew"
        ) from None
    return found
