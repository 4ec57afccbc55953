"""What an Optuna study has tried."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...core.errors import MissingExtra, StoreError, did_you_mean, format_error
from ...core.metric import Metric
from ..stores.postgresql import ConnectionString
from .base import Network, WarmStart

SQLITE = "sqlite:///"


@dataclass(frozen=True)
class Optuna(WarmStart):
    """The completed trials of an Optuna study (``netwright[optuna]``): parameters are choices, values the objectives,
    by the study's metric names where it has some, else in order.

    Args:
        storage: ``sqlite:///trials.db`` or another database's address without a password, or the path of a journal
            file.
        study: its name; where the storage holds one study, that.
    """

    storage: str
    study: str = ""

    def read(self, objectives: Sequence[Metric]) -> Iterator[Network]:
        try:
            import optuna
        except ImportError:
            raise MissingExtra("optuna", "optuna", "a warm start from an Optuna study") from None
        file = self.storage.removeprefix(SQLITE) if self.storage.startswith(SQLITE) else self.storage
        if "://" not in file and not Path(file).is_file():  # Optuna would make one
            raise StoreError(f"warm start: there is no {file}")
        try:
            storage = _storage(optuna, self.storage)
            known = optuna.get_all_study_names(storage)
            if self.study not in known and (self.study or len(known) != 1):
                raise StoreError(
                    f"warm start: {self.storage} has no study {self.study!r}; {did_you_mean(self.study, known)}"
                )
            study = optuna.load_study(study_name=self.study or known[0], storage=storage)
            names = study.metric_names or self._by_place(study, objectives)
            trials = study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))
        except StoreError:
            raise
        except Exception as error:  # of Optuna's, of its database's, of what its files hold
            raise StoreError(f"warm start: {self.storage}: {format_error(error)[:300]}") from None
        for trial in trials:
            yield Network(trial.params, dict(zip(names, trial.values or (), strict=False)))

    def _by_place(self, study: Any, objectives: Sequence[Metric]) -> list[str]:
        """The names of the study's values, which has none: those of the objectives in order."""
        theirs = [direction.name.lower()[:3] for direction in study.directions]
        ours = [metric.direction for metric in objectives]
        if theirs != ours:
            raise StoreError(
                f"warm start: {self.storage} has values of which is better {', '.join(theirs)}, and the objectives "
                f"here are {', '.join(f'{m.name} ({m.direction})' for m in objectives) or 'not given'}: have as many "
                "in that order, or name theirs by Optuna's Study.set_metric_names"
            )
        return [metric.name for metric in objectives]


def _storage(optuna: Any, storage: str) -> Any:
    if "://" in storage:
        return str(ConnectionString(storage))
    return optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(storage))
