"""How a chosen network is handed back: fine-tuned, written, read back, compared, and measured again."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from ..core.candidate import Candidate
from ..core.files import write_atomically, write_json
from ..core.limits import explain
from ..core.metric import Measurement
from ..core.provenance import git_commit
from ..core.record import Record
from ..formats import FORMATS
from ..formats.base import Format
from ..formats.bundle import Bundle, export, onnx_runner
from ..formats.onnx import Onnx
from ..measure.target_quality import TargetQuality, job_size
from ..nets.extract import copy_of
from ..nets.inputs import Inputs
from ..nets.recalibrate import Statistics
from ..sources.external import example_of
from ..tasks.classification import Classification
from ..tasks.data import JUDGED, TensorLoader, loader_of
from ..tasks.statistics import proportion
from ..training.loop import finetune
from .selection import OWN_ACCURACY, OWN_FILE, README, files_of, handed_back, read_json, roles_handed_back, whole

if TYPE_CHECKING:
    from .job import Job

FLOAT32 = "accuracy_float32"
"""The accuracy of ``model.onnx``, beside that of the file of lower precision that the target runs."""


def export_network(job: Job, record: Record) -> Path:
    """Fine-tune, export, reload, compare and measure again one network; returns its directory.

    What it is among those that are handed back is told by :func:`give_roles`, when the figures of all are known.

    Without data the network is exported as it is extracted.
    """
    folder, key = job.out / "networks" / record.id, _key(job, record)
    manifest = folder / "manifest.json"
    done = read_json(manifest) if manifest.exists() else {}
    if job.recipe.data and not (job.out / "test.npz").exists():
        write_test_part(job)
    if done.get("key") == key and whole(folder, done):
        return folder
    job.check_device()
    job.watch.stage(f"exporting {record.id}")
    tuned = _finetuned(job, record.candidate)
    network = tuned.network
    example = example_of(network, job.require_networks())
    own_file = job.latency.file_name

    def about(bundle: Bundle) -> Mapping[str, Any]:
        file = bundle.files[own_file]
        found = job.latency.of(file, example, network, job.calibration)
        test = {**_test_accuracy(job, bundle, file, network, example), **found}
        judged = {"accuracy": tuned.accuracies["after" if tuned.kept else "before"]} if tuned.accuracies else {}
        if judged and isinstance(job.quality, TargetQuality):
            judged = {"accuracy": job.quality.of_file(file, network, example)["accuracy"], FLOAT32: judged["accuracy"]}
        beyond = explain(job.study.limits, {**record.measurements, **found})
        if beyond:
            job.watch.stage(f"{record.id}, as handed back, does not keep a limit: {beyond}")
        return {
            "id": record.id,
            "role": _UNGIVEN,
            **({"beyond_limits": beyond} if beyond else {}),
            "candidate": dict(record.candidate),
            "status": record.status,
            "measurements": {name: m.to_json() for name, m in record.measurements.items()},
            "finetuning": {"kept": tuned.kept, **{k: m.to_json() for k, m in tuned.accuracies.items()}},
            **({"statistics": tuned.statistics} if tuned.statistics else {}),
            "validation": {name: m.to_json() for name, m in judged.items()},
            "test": {name: m.to_json() for name, m in test.items()},
            "target": job.latency.target,
            "seed": job.recipe.seed,
            "recipe": job.recipe.to_json(),
            "git": git_commit(),
            **_shape_of(job.data.test.inputs if job.recipe.data else example),
            "key": key,
        }

    _write_readme(job, record.id, _UNGIVEN)  # before the manifest, which says that all is there
    check = job.data.validation.inputs[:64] if job.recipe.data else None
    further = {} if own_file == "model.onnx" else {own_file: partial(job.latency.write, calibration=job.calibration)}
    bundle = export(
        network, folder, _formats(job), example_inputs=example, check_inputs=check, about=about, further=further
    )
    return bundle.path


_UNGIVEN = "chosen"


def give_roles(job: Job) -> dict[str, str]:
    """Say of every network that is handed back what it is among them, by the figures of its file; id to role."""
    given = roles_handed_back(handed_back(job.out, job.study.records), job.study.objectives)
    for id_, role in given.items():
        manifest = job.out / "networks" / id_ / "manifest.json"
        about = read_json(manifest)
        if about["role"] != role:
            write_json(manifest, {**about, "role": role})
            _write_readme(job, id_, role)
    return given


def _write_readme(job: Job, id_: str, role: str) -> None:
    files = files_of(_formats(job))
    text = README.format(role=role, id=id_, run=job.run_snippet, own=_own_file(job), files=files)
    write_atomically(job.out / "networks" / id_ / "README.md", text.encode())


def _formats(job: Job) -> list[Format]:
    """Those of the recipe; ONNX is always among them."""
    asked = [FORMATS.make(each) for each in job.recipe.export.formats]
    return asked if any(isinstance(each, Onnx) for each in asked) else [Onnx(), *asked]


def _key(job: Job, record: Record) -> str:
    return f"{record.id} {job.recipe.key('model', 'data', 'train', 'seed', 'export', 'target')}"


@dataclass(frozen=True)
class _Finetuned:
    """The network to hand back.

    Args:
        network: the fine-tuned one, or the plain one where fine-tuning made it worse.
        kept: whether it is the fine-tuned one.
        statistics: where its running statistics come from, if it has any.
        accuracies: validation accuracy ``before`` and ``after`` fine-tuning, as far as there are data and epochs.
    """

    network: nn.Module
    kept: bool
    statistics: Statistics | None
    accuracies: Mapping[str, Measurement]


def _finetuned(job: Job, candidate: Candidate) -> _Finetuned:
    """Fine-tune a candidate. Its running statistics are then those that fine-tuning has set: computed from all that it
    was trained on, as it was trained on it."""
    wish = job.recipe.export
    plain, statistics = job.network(candidate)
    if not job.recipe.data:
        return _Finetuned(plain, False, statistics, {})
    found = {"before": job.validation.of(plain)}
    if wish.epochs == 0:
        return _Finetuned(plain, False, statistics, found)
    tuned = copy_of(plain)
    finetune(
        tuned,
        loader_of(job.data.train, job.recipe.train.batch_size, shuffle=True, augment=job.data.augment),
        epochs=wish.epochs,
        optimizer=f"sgd,lr={wish.lr},momentum=0.9,nesterov=true,weight_decay={job.recipe.train.weight_decay}",
        seed=job.recipe.seed,
    )
    found["after"] = job.validation.of(tuned)
    if found["after"].value < found["before"].value:
        return _Finetuned(plain, False, statistics, found)
    return _Finetuned(tuned, True, "fine-tuned" if statistics else None, found)


def _own_file(job: Job) -> str:
    """What the README says of the target's own file: how it is run, where it is another than ``model.onnx``."""
    file, runtime = job.latency.file_name, job.target.runtime
    if file == "model.onnx":
        return ""
    said = OWN_FILE.format(file=file, target=job.target)
    if job.recipe.data and job.latency.lossy:
        said += OWN_ACCURACY
    usage = runtime.usage(file)
    return f"{said}\nWith {runtime.packages[0]}:\n\n```python\n{usage}```\n" if usage else said


def _test_accuracy(job: Job, bundle: Bundle, file: Path, network: nn.Module, example: Inputs) -> dict[str, Measurement]:
    """Accuracy on the test part: that of ``model.onnx``, and before it, on a target of low precision, that of the
    target's own file as it runs there."""
    if not job.recipe.data:
        return {}
    test, right = job.data.test, 0
    run = onnx_runner(bundle.files["model.onnx"])
    for inputs, labels in TensorLoader(test, JUDGED):
        right += int((run(inputs).argmax(axis=1) == labels.numpy()).sum())
    whole = proportion(right, len(test))
    if not job.latency.lossy:
        return {"accuracy": whole}
    own = TargetQuality(Classification(), TensorLoader(test, job_size(test.inputs)), job.latency)
    return {**own.of_file(file, network, example), FLOAT32: whole}


def write_test_part(job: Job) -> None:
    """Write ``test.npz``: the inputs and labels that nothing was chosen by."""
    buffer, test = io.BytesIO(), job.data.test
    np.savez(buffer, inputs=test.inputs.numpy(), labels=test.targets.numpy())
    write_atomically(job.out / "test.npz", buffer.getvalue())


def _shape_of(inputs: Inputs) -> dict[str, Any]:
    """A manifest's entry of the inputs, where they are one tensor."""
    if not isinstance(inputs, torch.Tensor):
        return {}
    return {"inputs": {"shape": list(inputs.shape[1:]), "dtype": str(inputs.dtype).removeprefix("torch.")}}
