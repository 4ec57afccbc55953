"""What an executor is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from ...core.candidate import Candidate
from ...core.metric import Measurement
from ...core.record import Record
from ..evaluate import NOTHING, EvaluationPlan
from ..racing import Rivals


class Executor(ABC):
    """Where candidates are evaluated."""

    @abstractmethod
    def evaluate(
        self,
        plan: EvaluationPlan,
        candidate: Candidate,
        provenance: Mapping[str, Any] = NOTHING,
        rivals: Rivals | None = None,
        predictions: Mapping[str, Measurement] = NOTHING,
    ) -> Record:
        """The record of a candidate; see :func:`netwright.study.evaluate.evaluate`.

        Whatever becomes of the evaluation makes the record ``failed``, with the reason, but for faults of the machine:
        they raise :class:`MachineFault`.
        """

    def close(self) -> None:  # noqa: B027  # most start nothing
        """End what was started for evaluations; the next one starts it again."""
