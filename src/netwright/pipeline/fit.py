"""The whole job as one readable function."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..core.front import Front
from ..study.study import Study
from .job import Job


@dataclass(frozen=True)
class Fitted:
    """What the job gave.

    Args:
        study: every record.
        front: the non-dominated networks that keep the limits.
        picked: id to role of the exported networks.
        report: path of the page.
    """

    study: Study
    front: Front
    picked: dict[str, str]
    report: Path


def fit(job: Job, retry: str = "") -> Fitted:
    """From a recipe to files that run without netwright. The same job again continues where it stopped.

    Args:
        job: with its recipe and output directory.
        retry: ``"failed"`` measures again what could not be measured.
    """
    job.check()
    job.train()
    study = job.search(retry)
    front = study.front()
    picked = job.export_picked(front)
    return Fitted(study, front, picked, job.report())
