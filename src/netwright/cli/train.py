"""``netwright train``: the super-network alone."""

from __future__ import annotations

from collections.abc import Sequence

from .arguments import read, recipe_job, recipe_parser
from .display import Display

TEXT = """Train the super-network of a recipe.

Training that was interrupted goes on from its last epoch. 'netwright search' is next.
"""


def run(arguments: Sequence[str]) -> None:
    """Run the verb."""
    given = read(recipe_parser("train", TEXT), arguments)
    with Display() as display:
        job = recipe_job(given, display)
        job.check()
        job.train()
    display.say(f"trained: {job.out / 'supernet'}" if job.trains else "nothing was trained; 'netwright search' is next")
