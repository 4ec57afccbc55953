"""The stages of the whole job, each with what it needs and what it leaves in the output directory."""

from __future__ import annotations

import fcntl
import io
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn

from .core.candidate import Candidate
from .core.errors import CheckpointError, MeasureError, NetwrightError, RecipeError, StoreError, one_line
from .core.front import Front
from .core.limits import parse_limit
from .core.metric import Measurement, Metric
from .core.record import Record
from .formats.bundle import Bundle, export, run_onnx, versions, write_json
from .measure.base import Measurer
from .measure.counts import METRICS, Count
from .measure.latency import Latency
from .measure.protocol import Protocol as LatencyProtocol
from .measure.quality import Accuracy, proportion
from .measure.targets import OnnxRuntime
from .nets.inputs import call
from .nets.recalibrate import recalibrate
from .nets.state import load_state, read_tensors, sha256, state_of, write_atomically, write_tensors
from .nets.supernet import SuperNet
from .picks import README, RUN, roles
from .recipe import Recipe, resolve
from .report.data import Network, Story
from .strategies.base import Strategy
from .strategies.evolution import Nsga2
from .strategies.guided import Guided
from .strategies.random import Random
from .study.journal import read_journal
from .study.sqlite import SqliteStore
from .study.study import Step, Study
from .training.data import Batches, Data
from .training.loop import Progress, finetune, train
from .training.rules import Sandwich

STRATEGIES: Mapping[str, type[Strategy]] = {"guided": Guided, "nsga2": Nsga2, "random": Random}


class Watch(Protocol):
    """Who is told how the job goes on."""

    def stage(self, text: str) -> None:
        """A stage begins."""

    def trained(self, progress: Progress) -> None:
        """A training step was made."""

    def measured(self, step: Step, study: Study) -> None:
        """A network was measured."""


class Silent:
    """Tells nobody."""

    def stage(self, text: str) -> None:
        pass

    def trained(self, progress: Progress) -> None:
        pass

    def measured(self, step: Step, study: Study) -> None:
        pass


class Job:
    """A recipe and its output directory.

    One process works on a directory at a time. What is there already is used: training and search go on where they
    stopped, exported networks are not exported again.

    Args:
        recipe: of the job.
        out: the directory; made if it is missing.
        name: what the person called the recipe, for reports.
        watch: who is told.
        folder: where the recipe's own code lies; kept for the verbs that take only the directory.
    """

    def __init__(
        self, recipe: Recipe, out: str | Path, name: str = "", watch: Watch | None = None, folder: str | None = None
    ) -> None:
        self.folder = folder
        self.recipe, self.out, self.name, self.watch = recipe, Path(out), name or str(out), watch or Silent()
        self._lock = self._claim()
        torch.set_num_threads(recipe.threads)

    # -- what the recipe names ---------------------------------------------------------------------------------

    @cached_property
    def net(self) -> SuperNet:
        """The super-network, with the weights of the recipe's model function."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.recipe.seed)
            net: SuperNet = resolve(self.recipe.model, "model", SuperNet)
        return net

    @cached_property
    def data(self) -> Data:
        """The data; the network is tried on a little of it."""
        data: Data = resolve(self.recipe.data, "data", Data)
        self.net.module.eval()
        for name in ("train", "validation", "test"):
            inputs = getattr(data, name).inputs
            try:
                with torch.no_grad():
                    scores = call(self.net.module, inputs[:2])
            except Exception as error:
                raise RecipeError(
                    f"the model {self.recipe.model} cannot take the data of {self.recipe.data}, {name} inputs of "
                    f"shape {tuple(inputs.shape[1:])} and {inputs.dtype}: {one_line(error)}"
                ) from error
        if not isinstance(scores, torch.Tensor):
            raise RecipeError(f"the model gives a {type(scores).__name__}; it must give a tensor of scores alone")
        most = int(max(p.labels.max() for p in (data.train, data.validation, data.test)))
        if scores.ndim != 2 or scores.shape[1] <= most:
            raise RecipeError(
                f"the model gives scores of shape {tuple(scores.shape)}, but labels go up to {most}: "
                f"it must give (batch, {most + 1} or more)"
            )
        return data

    @cached_property
    def calibration(self) -> Batches:
        """Training inputs for normalisation statistics: the same for every candidate."""
        part = self.data.train
        count = min(self.recipe.search.calibration, len(part))
        picked = torch.randperm(len(part), generator=torch.Generator().manual_seed(self.recipe.seed))[:count]
        return Batches(type(part)(part.inputs[picked], part.labels[picked]), 256)

    @cached_property
    def latency(self) -> Latency:
        """Latency on this machine, as the recipe wants it measured."""
        wish = self.recipe.latency
        return Latency(
            OnnxRuntime(threads=wish.threads, batch=wish.batch), LatencyProtocol(width=wish.width, budget_s=wish.budget)
        )

    @cached_property
    def validation(self) -> Accuracy:
        """Accuracy on the validation part."""
        return Accuracy(Batches(self.data.validation, 512))

    # -- stages ------------------------------------------------------------------------------------------------

    def check(self) -> None:
        """Say what cannot work before anything costly begins: the recipe's code, the directory, the limits."""
        self.study.probe()  # opening the study loads the model and the data, reads the limits and the journal
        self.remember_recipe()

    def train(self) -> None:
        """Train the super-network, or load it where it is trained."""
        folder, key = self.out / "supernet", self.recipe.key("model", "data", "train", "seed")
        weights, manifest = folder / "weights.safetensors", folder / "manifest.json"
        if manifest.exists():
            about = _read_json(manifest)
            if about.get("key") != key:
                raise CheckpointError(f"{folder} was trained by another recipe; use another output directory")
            tensors, _ = read_tensors(weights)
            if about.get("files", {}).get(weights.name, {}).get("sha256") != sha256(weights):
                raise CheckpointError(
                    f"{weights} is not what its manifest says (damaged?); it is left as it is: move {folder} away "
                    "to train anew"
                )
            load_state(self.net.module, tensors, weights)
            self.net.module.eval()
            return
        self.watch.stage("training")
        wish, checkpoint = self.recipe.train, folder / "checkpoint.safetensors"
        figures: dict[str, float] = {}

        def judge() -> Mapping[str, float]:
            for name in ("largest", "smallest"):
                network = recalibrate(self.net.extract(getattr(self.net, name)), self.calibration)
                figures[name] = self.validation.of(network).value
            return dict(figures)

        train(
            self.net,
            Batches(self.data.train, wish.batch_size, shuffle=True, augment=self.data.augment),
            epochs=wish.epochs,
            lr=wish.lr,
            weight_decay=wish.weight_decay,
            rule=Sandwich(wish.random),
            seed=self.recipe.seed,
            checkpoint=checkpoint,
            key=key,
            judge=judge,
            watch=self.watch.trained,
        )
        if not figures:  # all epochs were done before an interruption
            judge()
        write_tensors(weights, state_of(self.net.module))
        write_json(
            manifest,
            {
                "format": 1,
                "key": key,
                "recipe": self.recipe.to_json(),
                "space": self.net.space.fingerprint,
                "validation_accuracy": figures,
                "versions": versions(),
                "files": {weights.name: {"sha256": sha256(weights), "bytes": weights.stat().st_size}},
            },
        )
        checkpoint.unlink(missing_ok=True)

    def require_trained(self) -> None:
        """Load the trained super-network; say how to get one where there is none."""
        if not (self.out / "supernet" / "manifest.json").exists():
            raise NetwrightError(f"no trained super-network in {self.out}: run 'netwright train' with it first")
        self.train()

    @cached_property
    def study(self) -> Study:
        """The study in the output directory, opened."""
        measurers = self._measurers
        named = [m.name for m in self.metrics]
        limited = {parse_limit(text, self.metrics).metric for text in self.recipe.limits}
        wanted = {*self.recipe.objectives, *limited}
        recorded = [m for m in measurers if all(x.exact for x in m.metrics) or any(x.name in wanted for x in m.metrics)]
        return Study(
            SqliteStore(self.study_path),
            self.net,
            objectives=[self.metrics[named.index(name)] for name in self.recipe.objectives],
            record=recorded,
            limits=self.recipe.limits,
            calibration=self.calibration,
            seed=self.recipe.seed,
            key=self._study_key(),
        )

    def search(self) -> Study:
        """Measure networks until the study holds as many as the recipe asks for."""
        self.watch.stage("searching")
        strategy = STRATEGIES[self.recipe.search.strategy]()
        self.study.run(strategy, self.recipe.evaluations, lambda step: self.watch.measured(step, self.study))
        failed = [r.reason for r in self.study.records if r.status == "failed"]
        if failed and len(failed) == len(self.study.records):
            raise MeasureError(f"none of {len(failed)} networks could be measured: {failed[-1]}")
        write_json(self.out / "front.json", [record.to_json() for record in self.study.front()])
        return self.study

    def export(self, record: Record, role: str) -> Path:
        """Fine-tune, export, reload, compare and measure again one network; returns its directory."""
        folder, key = self.out / "networks" / record.id, self._export_key(record)
        manifest = folder / "manifest.json"
        readme = README.format(role=role, id=record.id, run=RUN).encode()
        done = _read_json(manifest) if manifest.exists() else {}
        if not (self.out / "test.npz").exists():
            self._write_test_part()
        if done.get("key") == key and _whole(folder, done):
            if done["role"] != role:
                write_json(manifest, {**done, "role": role})
                write_atomically(folder / "README.md", readme)
            return folder
        self.watch.stage(f"exporting {record.id} ({role})")
        network, tuned, accuracies = self._finetuned(record.candidate)
        formats = list(dict.fromkeys(["onnx", *self.recipe.export.formats]))

        def about(bundle: Bundle) -> Mapping[str, Any]:
            path = bundle.files["model.onnx"]
            test = {"accuracy": self._test_accuracy(path), **self.latency.of(path, self.net.example_inputs)}
            return {
                "id": record.id,
                "role": role,
                "candidate": dict(record.candidate),
                "status": record.status,
                "measurements": {name: m.to_json() for name, m in record.measurements.items()},
                "finetuning": {"kept": tuned, **{k: m.to_json() for k, m in accuracies.items()}},
                "validation": {"accuracy": accuracies["after" if tuned else "before"].to_json()},
                "test": {name: m.to_json() for name, m in test.items()},
                "target": self.latency.target,
                "seed": self.recipe.seed,
                "recipe": self.recipe.to_json(),
                "git": _git_commit(),
                "inputs": {"shape": list(self.data.test.inputs.shape[1:]), "dtype": "float32"},
                "key": key,
            }

        write_atomically(folder / "README.md", readme)  # before the manifest, which says that all is there
        check = self.data.validation.inputs[:64]
        bundle = export(
            network, folder, formats, example_inputs=self.net.example_inputs, check_inputs=check, about=about
        )
        return bundle.path

    def export_picked(self, front: Front) -> dict[str, str]:
        """Export the networks that :func:`roles` picks; returns id to role."""
        self._write_test_part()
        picked = roles(front)
        for record in front:
            if record.id in picked:
                self.export(record, picked[record.id])
        return picked

    def report(self) -> Path:
        """Write ``report.html``."""
        from .report.page import write_page

        self.watch.stage("writing the report")
        path = self.out / "report.html"
        write_page(self.story(), path)
        return path

    def story(self) -> Story:
        """What the report shows."""
        study = self.study
        picked = roles(study.front())
        manifests = {r.id: self.out / "networks" / r.id / "manifest.json" for r in study.front()}
        networks = [
            _network(record, picked.get(record.id, "chosen"), manifests[record.id])
            for record in study.front()
            if manifests[record.id].exists()
        ]
        largest = self.net.count(self.net.largest)
        found = {name for record in study.records for name in record.values}
        return Story(
            title=self.name,
            objectives=study.objectives,
            metrics=tuple(m for m in study.metrics if m.name in found or m in study.objectives),
            limits=study.limits,
            records=tuple(study.records),
            front=study.front(),
            space=self.net.space,
            space_size=self.net.space.size,
            largest={name: float(getattr(largest, name)) for name in METRICS},
            networks=tuple(networks),
            target=self.latency.target,
            versions=versions(),
            facts=self._facts(),
        )

    # -- parts -------------------------------------------------------------------------------------------------

    @property
    def study_path(self) -> Path:
        """Of the journal."""
        return self.out / "study.db"

    @cached_property
    def metrics(self) -> tuple[Metric, ...]:
        """Everything that can be an objective or a limit."""
        return tuple(x for m in self._measurers for x in m.metrics)

    def require_searched(self) -> None:
        """Say how to get a front where there is none."""
        if not self.study.records:
            raise NetwrightError(f"no network was measured in {self.out} yet: run 'netwright search' with it first")

    def remember_recipe(self) -> None:
        """Keep the recipe for the verbs that take only the directory."""
        kept = {"name": self.name, "folder": self.folder, "recipe": self.recipe.to_json()}
        write_json(self.out / "recipe.json", kept)

    @cached_property
    def _measurers(self) -> tuple[Measurer, ...]:
        return (*(Count(name) for name in METRICS), self.latency, self.validation)

    def _study_key(self) -> dict[str, Any]:
        recipe = self.recipe.to_json()
        key = {name: recipe[name] for name in ("model", "data", "train", "seed", "threads")}
        key["calibration"] = self.recipe.search.calibration
        limited = " ".join(self.recipe.limits)
        header = read_journal(SqliteStore(self.study_path)).header if self.study_path.exists() else None
        # Limits come and go: once a study is of a target it stays so, and one that is not never becomes it.
        measured = any(x in self.recipe.objectives or x in limited for x in ("latency", "file_bytes"))
        if "target" in header if header is not None else measured:
            key["target"] = {"fingerprint": self.latency.target["fingerprint"], **recipe["latency"]}
        return key

    def _export_key(self, record: Record) -> str:
        return f"{record.id} {self.recipe.key('model', 'data', 'train', 'seed', 'export')}"

    def _finetuned(self, candidate: Candidate) -> tuple[nn.Module, bool, dict[str, Measurement]]:
        """The network to hand back, whether it is the fine-tuned one, and validation accuracy before and after."""
        wish = self.recipe.export
        plain = recalibrate(self.net.extract(candidate), self.calibration)
        found = {"before": self.validation.of(plain)}
        if wish.epochs == 0:
            return plain, False, found
        tuned = recalibrate(self.net.extract(candidate), self.calibration)
        finetune(
            tuned,
            Batches(self.data.train, self.recipe.train.batch_size, shuffle=True, augment=self.data.augment),
            epochs=wish.epochs,
            lr=wish.lr,
            weight_decay=self.recipe.train.weight_decay,
            seed=self.recipe.seed,
        )
        recalibrate(tuned, self.calibration)
        found["after"] = self.validation.of(tuned)
        kept = found["after"].value >= found["before"].value
        return (tuned if kept else plain), kept, found

    def _test_accuracy(self, onnx: Path) -> Measurement:
        test = self.data.test
        scores = run_onnx(onnx, test.inputs)
        return proportion(int((scores.argmax(axis=1) == test.labels.numpy()).sum()), len(test))

    def _write_test_part(self) -> None:
        buffer = io.BytesIO()
        np.savez(buffer, inputs=self.data.test.inputs.numpy(), labels=self.data.test.labels.numpy())
        write_atomically(self.out / "test.npz", buffer.getvalue())

    def _facts(self) -> dict[str, str]:
        manifest = self.out / "supernet" / "manifest.json"
        trained = _read_json(manifest).get("validation_accuracy", {}) if manifest.exists() else {}
        facts = {
            "recipe": self.name,
            "command": shlex.join(["netwright", *sys.argv[1:]]),
            "strategy": self.recipe.search.strategy,
            "seed": str(self.recipe.seed),
            "training": f"{self.recipe.train.epochs} epochs",
        }
        if trained:
            facts["shared weights"] = ", ".join(f"{name} {value:.2f} %" for name, value in trained.items())
        commit = _git_commit()
        return {**facts, **({"git": commit} if commit else {})}

    def _claim(self) -> Any:
        """Make the directory and lock it for this process; the lock goes when the process does, however it ends."""
        try:
            self.out.mkdir(parents=True, exist_ok=True)
            lock = (self.out / ".lock").open("w")
        except OSError as error:
            raise StoreError(
                f"cannot write to the output directory {self.out}: {error.strerror}; choose another with --out"
            ) from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise StoreError(f"another netwright is working on {self.out}; wait for it or use another --out") from None
        return lock


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{path} cannot be read ({one_line(error)}); {_LEFT} {path.parent} away to make it anew"
        ) from None
    if not isinstance(value, dict):
        raise CheckpointError(f"{path} must hold a JSON object; {_LEFT} {path.parent} away to make it anew")
    return value


_LEFT = "it is left as it is: move"


def _network(record: Record, role: str, manifest: Path) -> Network:
    """An exported network, as its manifest says."""
    about = _read_json(manifest)
    try:
        figures = [{k: Measurement.from_json(m) for k, m in about[x].items()} for x in ("validation", "test")]
        files = {name: entry["bytes"] for name, entry in about["files"].items()}
    except (KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{manifest} is not what an export writes ({one_line(error)}); {_LEFT} {manifest.parent} away"
        ) from None
    return Network(record.id, role, record, figures[0], figures[1], files, RUN)


def _whole(folder: Path, manifest: Mapping[str, Any]) -> bool:
    """Whether an exported network's files are all there, as they were written."""
    files = {folder / name: entry["sha256"] for name, entry in manifest["files"].items()}
    return (folder / "README.md").exists() and all(p.exists() and sha256(p) == found for p, found in files.items())


def _git_commit() -> str | None:
    """The commit of the working directory, if git knows one."""
    try:
        told = subprocess.run(
            ["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=True, cwd=os.getcwd()
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return told.stdout.strip()
