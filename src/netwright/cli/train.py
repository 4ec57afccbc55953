"""``netwright train``: the super-network alone."""

from __future__ import annotations

from collections.abc import Sequence

from ..pipeline.search import check, open_study
from ..pipeline.train import train
from .display import Display
from .recipes import opened, read, recipe_parser

TEXT = """Train the super-network of a recipe.

Training that was interrupted goes on from its last epoch. 'netwright search' is next.
"""


def run(arguments: Sequence[str]) -> None:
    """Run the verb."""
    given = read(recipe_parser("train", TEXT), arguments)
    with Display() as display, opened(given, display) as context:
        check(context, open_study(context))
        train(context)
    nothing = "nothing was trained; 'netwright search' is next"
    display.say(nothing if context.untrained else f"trained: {context.run.supernet}")
