"""``netwright train``: the super-network alone."""

from __future__ import annotations

from collections.abc import Sequence

from ..core.launch import launched
from ..pipeline.search import check, open_study
from ..pipeline.train import train, train_along
from ..pipeline.whole import with_whole
from .display import Display
from .recipes import job_of, opened, read, recipe_parser

TEXT = """Train the super-network of a recipe.

Training that was interrupted goes on from its last epoch. 'netwright search' is next. Several processes train
together: torchrun --nproc-per-node=2 -m netwright train RECIPE
"""


def run(arguments: Sequence[str]) -> None:
    """Run the verb."""
    given = read(recipe_parser("train", TEXT), arguments)
    if launched().rank:  # beside the first process, which writes and tells
        train_along(*job_of(given))
        return
    with Display() as display, opened(given, display) as context:
        check(context, open_study(context))
        train(with_whole(context))
    nothing = "nothing was trained; 'netwright search' is next"
    display.say(nothing if context.untrained else f"trained: {context.run.supernet}")
