"""What is told of a job: the story of its report, and where its code comes from."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..core.provenance import git_commit, versions
from ..measure.counts import METRICS
from ..nets.supernet import SuperNet
from ..report.data import Story
from ..sources.table import TabularBenchmark
from ..strategies.surrogate import cross_validate
from .selection import network_of, read_json

if TYPE_CHECKING:
    from .job import Job


def story_of(job: Job) -> Story:
    """What the report shows."""
    study = job.study
    best = {record.id for record in study.front()}
    exported = [*study.front(), *(record for record in study.records if record.id not in best)]
    manifests = {record.id: job.out / "networks" / record.id / "manifest.json" for record in exported}
    networks = [network_of(r, manifests[r.id], job.run_snippet) for r in exported if manifests[r.id].exists()]
    found = {name for record in study.records for name in record.values}
    return Story(
        title=job.name,
        objectives=study.objectives,
        metrics=tuple(m for m in study.metrics if m.name in found or m in study.objectives),
        limits=study.limits,
        records=tuple(study.records),
        front=study.front(),
        space=job.net.space,
        space_size=job.net.space.size,
        largest=_largest(job),
        predicted=cross_validate(study.problem, study.records),
        networks=tuple(networks),
        target=_target(job),
        versions=versions(),
        facts=_facts(job),
    )


def _target(job: Job) -> Mapping[str, Any]:
    """Where things were measured: as the last record says, which does not ask a device that may be gone."""
    if isinstance(job.net, TabularBenchmark):
        return {}
    told = [r.provenance["target"] for r in job.study.records if "target" in r.provenance]
    return told[-1] if told else job.latency.target


def _facts(job: Job) -> dict[str, str]:
    manifest = job.out / "supernet" / "manifest.json"
    about = read_json(manifest) if manifest.exists() else {}
    trained = about.get("validation_accuracy", {})
    facts = {
        "recipe": job.name,
        "command": shlex.join(["netwright", *sys.argv[1:]]),
        "strategy": job.recipe.search.strategy,
        "seed": str(job.recipe.seed),
    }
    if not isinstance(job.net, TabularBenchmark):
        facts["training"] = f"{job.recipe.train.epochs} epochs" if job.trains else "none: the model comes with weights"
    if trained:
        facts["shared weights"] = ", ".join(f"{name} {value:.2f} %" for name, value in trained.items())
    if "warning" in about:
        facts["warning"] = about["warning"]
    commit = git_commit()
    return {**facts, **({"git": commit} if commit else {})}


def _largest(job: Job) -> dict[str, float]:
    """The counts of the largest network, as far as they are known."""
    net = job.net
    if isinstance(net, SuperNet):
        counts = net.count(net.largest)
        return {name: float(getattr(counts, name)) for name in METRICS}
    record = None if isinstance(net, TabularBenchmark) else job.study.journal.found.get(net.space.largest)
    return {name: record.values[name] for name in METRICS if name in record.values} if record else {}
