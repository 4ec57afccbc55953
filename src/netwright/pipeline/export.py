"""The stage that hands networks back: fine-tuned, written, read back, compared, and measured again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from ..core.files import is_as_written, write_atomically, write_json
from ..core.limits import explain
from ..core.metric import Measurement
from ..core.provenance import git_commit
from ..core.record import Record
from ..formats import FORMATS, STANDARD, bundle
from ..formats.base import Format
from ..formats.bundle import Bundle
from ..formats.onnx import Onnx
from ..measure.at_target import at
from ..measure.exported import OnnxModule
from ..measure.latency import Latency
from ..measure.output_distance import lost, output_distance
from ..measure.quality import Quality
from ..measure.target_quality import FileOnTarget, TargetQuality, job_size
from ..nets.inputs import Inputs
from ..report.data import ExportedNetwork
from ..study.study import Study
from ..tasks.data import JUDGED, Split, loader_of, read
from .context import Context
from .finetune import Finetuned, finetune
from .held_out import run_script, write_test_part
from .readme import readme, run_snippet
from .run_directory import MANIFEST, read_manifest
from .search import check_device
from .selection import assign_roles

FLOAT32 = "{}_float32"
"""The name of a metric of ``model.onnx``, beside that of the file of lower precision that the target runs."""

UNGIVEN = "chosen"
"""The role of a network until the figures of all are known."""


def export(context: Context, study: Study, records: Sequence[Record]) -> list[ExportedNetwork]:
    """Fine-tune, export, reload, compare and measure again some networks; returns them with what each of them is among
    all that are handed back, by the figures of the files.

    Without data a network is exported as it is extracted. Of a table there are none.
    """
    if context.source.no_networks:
        context.callback.stage(f"not exporting: {context.source.no_networks}")
        return []
    if context.data is not None:
        write_test_part(context.run, context.task, context.data.test)
    for number, record in enumerate(records, 1):
        _export_network(context, study, record, f"{number} of {len(records)}")
    wanted = {record.id for record in records}
    return [network for network in _give_roles(context, study) if network.id in wanted]


def _export_network(context: Context, study: Study, record: Record, which: str) -> None:
    folder = context.run.network(record.id)
    if not is_complete(folder, _key(context, record)):
        context.callback.stage(f"exporting {record.id} ({which})")
        _write_network(context, study, record, folder)
    context.run.finetuning(record.id).unlink(missing_ok=True)


def _write_network(context: Context, study: Study, record: Record, folder: Path) -> None:
    check_device(context, study)
    tuned = finetune(context, record.candidate)
    example = context.source.example_of(tuned.network)
    run = _run(context, tuned, example)
    _write_readme(context, record.id, UNGIVEN, run)  # before the manifest, which says that all is there
    own_files = {
        latency.file_name: partial(latency.write, calibration=context.calibration)
        for latency in context.latencies.values()
        if latency.file_name != "model.onnx"
    }
    bundle.export(
        tuned.network,
        folder,
        _formats(context),
        example_inputs=example,
        check_inputs=_check_inputs(context),
        about=lambda written: {**_manifest(context, study, record, tuned, written), "run": run},
        further=own_files,
    )


def _manifest(context: Context, study: Study, record: Record, tuned: Finetuned, written: Bundle) -> Mapping[str, Any]:
    """What is told of a network whose files are written; measures them."""
    file, example = written.files[context.latency.file_name], context.source.example_of(tuned.network)
    found = _figures(context, tuned, written, example)
    test = {**_test_quality(context, tuned, written, file, example), **found}
    validation = _validation_quality(context, tuned, file, example)
    beyond = explain(study.limits, {**record.measurements, **found, **validation})
    if beyond:
        context.callback.stage(f"{record.id}, as handed back, does not keep a limit: {beyond}")
    targets: dict[str, Any] = {}
    for name, latency in context.latencies.items():
        targets |= at(name, {"target": latency.target})
    if failed := lost(context.quality.metrics if context.quality else (), validation, tuned.validation):
        context.callback.stage(f"{record.id}, as the target runs it, fails: {failed}")
    return {
        "id": record.id,
        "role": UNGIVEN,
        **({"beyond_limits": beyond} if beyond else {}),
        **({"failed": failed} if failed else {}),
        "candidate": dict(record.candidate),
        "status": record.status,
        "measurements": {name: m.to_json() for name, m in record.measurements.items()},
        "finetuning": {"kept": tuned.kept, **_finetuning(tuned)},
        **({"statistics": tuned.statistics} if tuned.statistics else {}),
        "validation": {name: m.to_json() for name, m in validation.items()},
        "test": {name: m.to_json() for name, m in test.items()},
        **targets,
        "seed": context.recipe.seed,
        "recipe": context.recipe.to_json(),
        "git": git_commit(),
        **_shape_of(example),
        "key": _key(context, record),
    }


def _figures(context: Context, tuned: Finetuned, written: Bundle, example: Inputs) -> dict[str, Measurement]:
    """What the targets say of their own files, by metric name."""
    found = dict[str, Measurement]()
    for name, latency in context.latencies.items():
        file = written.files[latency.file_name]
        found |= at(name, latency.of(file, example, tuned.network, context.calibration, trust=True))
        if name and latency.lossy and context.data is not None:
            found |= at(name, _own_quality(context, latency, tuned, file, example))
    return found


def _own_quality(
    context: Context, latency: Latency, tuned: Finetuned, file: Path, example: Inputs
) -> dict[str, Measurement]:
    """How well a target's own file does on the test data, as it runs there."""
    assert context.data is not None
    test = context.data.test
    loader = loader_of(test, job_size(test.inputs) if isinstance(test, Split) else JUDGED)
    return TargetQuality(context.task, loader, latency).of_file(file, tuned.network, example)


def _finetuning(tuned: Finetuned) -> dict[str, Any]:
    """A manifest's entries of how well a network did ``before`` and ``after``, by the first metric."""
    told = {"before": tuned.before, "after": tuned.after}
    return {when: next(iter(found.values())).to_json() for when, found in told.items() if found}


def is_complete(folder: Path, key: str) -> bool:
    """Whether a network was exported with this key, and its files are all there as they were written."""
    about = read_manifest(folder)
    if about is None or about["key"] != key or not (folder / "README.md").exists():
        return False
    return all(is_as_written(folder / name, told["sha256"], told["bytes"]) for name, told in about["files"].items())


def _give_roles(context: Context, study: Study) -> list[ExportedNetwork]:
    """Say of every network that is handed back what it is among them, by the figures of its file."""
    given = assign_roles(context.run.read_networks(study.records), study.objectives)
    for id_, role in given.items():
        folder = context.run.network(id_)
        about = read_manifest(folder)
        if about is not None and about["role"] != role:
            write_json(folder / MANIFEST, {**about, "role": role})
            _write_readme(context, id_, role, about.get("run") or "")
    return context.run.read_networks(study.records)


def _write_readme(context: Context, id_: str, role: str, run: str) -> None:
    metric = context.validation.metrics[0].name if context.validation else ""
    text = readme(id_, role, _formats(context), list(context.latencies.values()), metric, run)
    write_atomically(context.run.network(id_) / "README.md", text.encode())


def _formats(context: Context) -> list[Format]:
    """Those of the recipe, by default those of its model too; ONNX is always among them."""
    names = context.recipe.export.formats
    own = context.source.formats if tuple(names) == STANDARD else ()
    asked = [FORMATS.make(each) for each in (*names, *own)]
    return asked if any(isinstance(each, Onnx) for each in asked) else [Onnx(), *asked]


def _key(context: Context, record: Record) -> str:
    recipe = context.recipe
    key = recipe.key(*recipe.space, "data", "task", "metric", "train", "seed", "export", "target")
    further = [recipe.bits.rounding] if recipe.bits.rounding != "nearest" else []
    return " ".join([record.id, key, *further, *(f"{n}:{share:.4g}" for n, share in context.latency.lengths)])


def _validation_quality(context: Context, tuned: Finetuned, file: Path, example: Inputs) -> dict[str, Measurement]:
    """How well a network does on the validation data: as it was judged before it was written, and before that, on a
    target of low precision, as the target's own file runs there, and how far its outputs are from the network's."""
    found = dict(tuned.validation)
    if not isinstance(context.quality, TargetQuality):
        return found
    module = FileOnTarget(context.latency, file, tuned.network, example)
    own = context.quality.all_of(module)
    own |= output_distance(module, tuned.network, context.task, context.quality.loader)
    return {**own, **{FLOAT32.format(name): m for name, m in found.items()}}


def _test_quality(
    context: Context, tuned: Finetuned, written: Bundle, file: Path, example: Inputs
) -> dict[str, Measurement]:
    """How well a network does on the test data: that of ``model.onnx``, and before it, on a target of low precision,
    that of the target's own file as it runs there."""
    if context.data is None or context.validation is None:
        return {}
    test, task = context.data.test, context.task
    module = OnnxModule(written.files["model.onnx"], tuned.network, example)
    whole = Quality(task, loader_of(test, JUDGED)).all_of(module)
    if not isinstance(context.quality, TargetQuality):
        return whole
    own = _own_quality(context, context.latency, tuned, file, example)
    return {**own, **{FLOAT32.format(name): m for name, m in whole.items()}}


def _check_inputs(context: Context) -> Inputs | None:
    """Inputs that files are compared on, beside the example."""
    if context.data is None:
        return None
    batch = next(iter(read(loader_of(context.data.validation, 64), "the validation data")))
    return context.task.split(batch)[0]


def _run(context: Context, tuned: Finetuned, example: Inputs) -> str:
    """How the network is run on the test examples without netwright; on others where these are not there."""
    latency, script = context.latency, ""
    if context.data is not None and context.run.test_data.exists():
        # As a target of low precision runs it: where a file finds ranges for each input, they are those of a batch.
        batch = latency.runtime.batch if latency.lossy and latency.file_name.endswith(".onnx") else 0
        script = run_script(context.task, context.data.test, tuned.network, example, batch)
    return run_snippet(latency, script)


def _shape_of(inputs: Inputs) -> dict[str, Any]:
    """A manifest's entry of the inputs, where they are one tensor."""
    if not isinstance(inputs, torch.Tensor):
        return {}
    return {"inputs": {"shape": list(inputs.shape[1:]), "dtype": str(inputs.dtype).removeprefix("torch.")}}
