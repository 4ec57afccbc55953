"""Trackers of experiments are told what a callback is told."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.errors import NetwrightError, format_error
from ..core.metric import Measurement
from ..recipe.schema import Recipe
from ..trackers import TRACKERS
from ..trackers.base import Tracker
from .callback import Callback

if TYPE_CHECKING:
    from ..study.run import Step
    from ..study.study import Study
    from ..training.run import Progress


class Tracking:
    """A callback that keeps figures in trackers, and passes on what it is told.

    Args:
        callback: is told the same.
        trackers: started ones.
    """

    def __init__(self, callback: Callback, trackers: list[Tracker]) -> None:
        self.callback, self.trackers = callback, trackers

    def stage(self, text: str) -> None:
        self.callback.stage(text)

    def trained(self, progress: Progress) -> None:
        figures = {
            f"train/{name}": found.value if isinstance(found, Measurement) else found
            for name, found in progress.figures.items()
        }
        self._log({"train/loss": progress.loss, **figures}, progress.step)
        self.callback.trained(progress)

    def finetuned(self, id_: str, progress: Progress) -> None:
        self._log({f"finetune/{id_}/loss": progress.loss}, progress.step)
        self.callback.finetuned(id_, progress)

    def measured(self, step: Step, study: Study) -> None:
        values = {f"search/{name}": value for name, value in step.record.values.items()}
        self._log({**values, "search/front": float(len(study.front()))}, step.done)
        self.callback.measured(step, study)

    def _log(self, values: Mapping[str, float], step: int) -> None:
        for tracker in self.trackers:
            with _told(tracker):
                tracker.log(values, step)


@contextmanager
def tracked(recipe: Recipe, out: Path, name: str, callback: Callback) -> Iterator[Callback]:
    """The callback, beside the trackers that the recipe names, which are finished when the block is left."""
    if not recipe.track:
        yield callback
        return
    with ExitStack() as stack:
        trackers = [TRACKERS.make(text) for text in recipe.track]
        for tracker in trackers:
            with _told(tracker):
                tracker.start(out, name, dict(_flat(recipe.to_json(), "")))
            stack.callback(tracker.finish)
        yield Tracking(callback, trackers)


@contextmanager
def _told(tracker: Tracker) -> Iterator[None]:
    """Say that it is a tracker that failed."""
    try:
        yield
    except NetwrightError:
        raise
    except Exception as error:  # a person's own code, or a server that is not there
        raise NetwrightError(
            f"the tracker {TRACKERS.text(tracker)} raised {format_error(error)}; mend it or leave the key 'track' out: "
            "what was measured is kept"
        ) from error


def _flat(tree: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, str]]:
    """The keys of a recipe, dotted, with their values as texts."""
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, str(value)
