"""Who is told how a job goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from ..study.run import Step
    from ..study.study import Study
    from ..training.run import Progress


class Callback(Protocol):
    """Is told how the job goes on."""

    def stage(self, text: str) -> None:
        """A stage begins, or something is to be said of it."""

    def trained(self, progress: Progress) -> None:
        """A training step was made."""

    def finetuned(self, id_: str, progress: Progress) -> None:
        """A step was made in fine-tuning the network with this id."""

    def measured(self, step: Step, study: Study) -> None:
        """A network was measured."""


class NullCallback:
    """Tells nobody."""

    def stage(self, text: str) -> None:
        pass

    def trained(self, progress: Progress) -> None:
        pass

    def finetuned(self, id_: str, progress: Progress) -> None:
        pass

    def measured(self, step: Step, study: Study) -> None:
        pass
