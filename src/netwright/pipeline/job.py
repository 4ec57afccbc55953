"""The stages of the whole job, each with what it needs and what it leaves in the output directory."""

from __future__ import annotations

import fcntl
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ..core.candidate import Candidate
from ..core.errors import CheckpointError, NetwrightError, RecipeError, StoreError, did_you_mean
from ..core.files import sha256, write_json
from ..core.front import Front
from ..core.limits import metric_named, parse_limit
from ..core.metric import Measurement, Metric
from ..core.provenance import versions
from ..core.record import Record
from ..measure.base import EvaluationContext, Measurer
from ..measure.counts import METRICS, Count, NetworkCounts
from ..measure.latency import Energy, Latency
from ..measure.quality import Accuracy, Quality
from ..measure.sampling import SamplingPlan
from ..measure.target_quality import TargetQuality, job_size
from ..measure.targets import Target, parse_target
from ..nets.recalibrate import Statistics, needs_recalibration
from ..nets.state import load_state, read_tensors, state_of, write_tensors
from ..nets.supernet import SuperNet
from ..recipe.schema import NO_DATA, Recipe, Train
from ..report.data import format_measurement
from ..sources.external import ExternalSource
from ..sources.load import load_data, load_model
from ..sources.table import TabularBenchmark
from ..strategies import STRATEGIES
from ..study.failures import commonest
from ..study.journal import read_journal
from ..study.stores.sqlite import SqliteStore
from ..study.study import Step, Study
from ..tasks.classification import Classification
from ..tasks.data import JUDGED, Data, TensorLoader, calibration_batches, loader_of
from ..training.loop import train
from ..training.rules import Sandwich
from ..training.run import Progress
from .export import export_network, give_roles, write_test_part
from .judgement import FRESH_LR, TRAINED_LR, is_trained, worry
from .selection import RUN, RUN_IN_BATCHES, RUN_ON_ZEROS, picks, read_json
from .summary import story_of


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
        torch.set_num_threads(recipe.threads)
        self._check_recipe()
        self._lock = self._claim()

    # -- what the recipe names ---------------------------------------------------------------------------------

    @cached_property
    def net(self) -> SuperNet | TabularBenchmark | ExternalSource:
        """What the recipe's model function gives, with its weights."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.recipe.seed)
            return load_model(self.recipe.model, self._one_input)

    @cached_property
    def data(self) -> Data:
        """The data; the network is tried on a little of it."""
        if not self.recipe.data:
            raise RecipeError(f"the key 'data' is missing; {NO_DATA}")
        net = self.net
        network = net.module if isinstance(net, SuperNet) else net.extract(net.space.largest)
        return load_data(self.recipe.data, network, Classification())

    @property
    def trains(self) -> bool:
        """Whether the super-network is trained here: it is one of ours, and there are data."""
        return isinstance(self.net, SuperNet) and bool(self.recipe.data)

    @property
    def untrained(self) -> str:
        """Why nothing is trained, where nothing is."""
        if isinstance(self.net, TabularBenchmark):
            return f"{self.recipe.model} gives a table"
        if isinstance(self.net, ExternalSource):
            return f"{self.recipe.model} gives a super-network made elsewhere, with its weights"
        return "there are no data: the super-network keeps the weights that it comes with"

    @cached_property
    def calibration(self) -> Sequence[tuple[Tensor, Tensor]]:
        """Training batches for normalisation statistics, as networks are trained on them: the same for every candidate;
        none without data."""
        if not self.recipe.data or isinstance(self.net, TabularBenchmark):
            return ()
        return calibration_batches(self.data, self.recipe.search.calibration, self.recipe.seed)

    def network(self, candidate: Candidate) -> tuple[nn.Module, Statistics | None]:
        """A candidate's network as the search measures it, and where its running statistics come from, if it has any.
        Without data they are inherited."""
        context = EvaluationContext(self.require_networks(), candidate, self.calibration, judge=self._judge)
        network: nn.Module = context.module
        inherited: Statistics | None = "inherited" if needs_recalibration(network) else None
        return network, context.statistics or inherited

    @property
    def _judge(self) -> Measurer | None:
        return self.quality if self.recipe.data else None

    @cached_property
    def target(self) -> Target:
        """Where networks will run."""
        return parse_target(self.recipe.target)

    @cached_property
    def latency(self) -> Latency:
        """Latency on the target, as the recipe wants it measured."""
        return Latency(self.target, self._protocol)

    @cached_property
    def _on_target(self) -> tuple[Measurer, ...]:
        return self.latency, Energy(self.target, self._protocol)

    @property
    def _protocol(self) -> SamplingPlan:
        return SamplingPlan(precision=self.recipe.latency.precision, max_seconds=self.recipe.latency.max_seconds)

    @cached_property
    def validation(self) -> Accuracy:
        """Accuracy on the validation part; for racing in a random order, and in batches that end at its looks."""
        part = self.data.validation
        if not self.recipe.search.racing:
            return Accuracy(TensorLoader(part, JUDGED))
        return Accuracy(TensorLoader(part.drawn(len(part), self.recipe.seed), min(JUDGED, -(-len(part) // 8))))

    @cached_property
    def quality(self) -> Quality:
        """What the search says of how well a network does: :attr:`validation`, or on a target of low precision that of
        the target's own file there."""
        validation = self.validation
        if not self.latency.lossy:
            return validation
        loader = validation.loader
        assert isinstance(loader, TensorLoader)
        # A job for each batch: few large ones, but no larger than a look of a race.
        size = loader.size if self.recipe.search.racing else job_size(loader.split.inputs)
        return TargetQuality(Classification(), TensorLoader(loader.split, size), self.latency)

    @property
    def _chance(self) -> float:
        """The accuracy of a constant answer on the validation part, in percent."""
        return self.validation.evaluate(self.network(self.require_networks().space.largest)[0]).baseline()["accuracy"]

    # -- stages ------------------------------------------------------------------------------------------------

    def check(self) -> None:
        """Say what cannot work before anything costly begins: the recipe's code, the directory, limits, the target."""
        study = self.study  # opening it reads the limits and the journal
        for measurer in study.measurers:
            measurer.require()
        self.check_device()
        if self.trains:
            study.probe()
        elif isinstance(self.net, ExternalSource):
            self.net.check()
        self.remember_recipe()

    def train(self) -> None:
        """Train the super-network, or load it where it is trained; one that comes with its weights is left alone."""
        net = self.net
        if not isinstance(net, SuperNet) or not self.trains:
            self.watch.stage(f"not training: {self.untrained}")
            return
        folder, key = self.out / "supernet", self.recipe.key("model", "data", "train", "seed")
        weights, manifest = folder / "weights.safetensors", folder / "manifest.json"
        if manifest.exists():
            about = read_json(manifest)
            if about.get("key") != key:
                raise CheckpointError(f"{folder} was trained by another recipe; use another output directory")
            tensors, _ = read_tensors(weights)
            if about.get("files", {}).get(weights.name, {}).get("sha256") != sha256(weights):
                raise CheckpointError(
                    f"{weights} is not what its manifest says (damaged?); it is left as it is: move {folder} away "
                    "to train anew"
                )
            load_state(net.module, tensors, weights)
            net.module.eval()
            return
        self.watch.stage("training")
        wish, checkpoint = self.recipe.train, folder / "checkpoint.safetensors"
        found: dict[str, Measurement] = {}

        def judge() -> Mapping[str, float]:
            for name in ("largest", "smallest"):
                network, _ = self.network(getattr(net, name))
                found[name] = self.validation.of(network)
            return {name: found[name].value for name in ("largest", "smallest")}

        judge()
        given, lr = found["largest"], FRESH_LR if wish.lr is None else wish.lr
        if wish.lr is None and wish.epochs and is_trained(given, self._chance):
            lr = TRAINED_LR
            self.watch.stage(
                f"the given model has {format_measurement(given)} of the validation data right: it comes trained, so "
                f"train.lr is {lr:g} by default, not {FRESH_LR:g}"
            )
        train(
            net,
            loader_of(self.data.train, wish.batch_size, shuffle=True, augment=self.data.augment),
            epochs=wish.epochs,
            optimizer=f"sgd,lr={lr},momentum=0.9,nesterov=true,weight_decay={wish.weight_decay}",
            rule=Sandwich(wish.random),
            seed=self.recipe.seed,
            checkpoint=checkpoint,
            key=key,
            evaluate=judge,
            callback=self.watch.trained,
        )
        if wish.epochs and found["largest"] is given:  # all epochs were done before an interruption
            judge()
        wrong = worry(given, found["largest"], lr) if wish.epochs else ""
        if wrong:
            self.watch.stage(f"warning: {wrong}")
        write_tensors(weights, state_of(net.module))
        write_json(
            manifest,
            {
                "format": 1,
                "key": key,
                "recipe": self.recipe.to_json(),
                "space": net.space.fingerprint,
                "validation_accuracy": {"given": given.value, **{name: m.value for name, m in found.items()}},
                **({"warning": wrong} if wrong else {}),
                "versions": versions(),
                "files": {weights.name: {"sha256": sha256(weights), "bytes": weights.stat().st_size}},
            },
        )
        checkpoint.unlink(missing_ok=True)

    def require_trained(self) -> None:
        """Load the super-network that is trained here; say how to get it where it is not there yet."""
        if not self.trains:
            return
        if not (self.out / "supernet" / "manifest.json").exists():
            raise NetwrightError(f"no trained super-network in {self.out}: run 'netwright train' with it first")
        self.train()

    @cached_property
    def study(self) -> Study:
        """The study in the output directory, opened."""
        named = [m.name for m in self.metrics]
        limited = {parse_limit(text, self.metrics).metric for text in self.recipe.limits}
        wanted = {*self.recipe.objectives, *limited}
        free = isinstance(self.net, TabularBenchmark)
        recorded = [
            m
            for m in self._measurers
            if free or all(x.exact for x in m.metrics) or any(x.name in wanted for x in m.metrics)
        ]
        return Study(
            SqliteStore(self.study_path),
            self.net,
            objectives=[self.metrics[named.index(name)] for name in self.recipe.objectives],
            record=recorded,
            limits=self.recipe.limits,
            calibration=self.calibration,
            seed=self.recipe.seed,
            racing=self.recipe.search.racing,
            key=self._study_key(),
        )

    def search(self, retry: str = "") -> Study:
        """Measure networks until the study holds as many as the recipe asks for; with ``retry="failed"`` those that
        could not be measured once more."""
        self.watch.stage("searching")
        self.check_device()
        strategy = STRATEGIES.make(self.recipe.search.strategy)
        wanted = self.recipe.evaluations
        self.study.run(strategy, wanted, lambda step: self.watch.measured(step, self.study), retry=retry)
        if failed := [r for r in self.study.records if r.status == "failed"]:
            which = f"{len(failed)} of {len(self.study.records)} networks could not be measured"
            self.watch.stage(f"{which}: {commonest(failed)}; --retry failed measures them again")
        front = self.study.front()
        if front and all(r.measurements[front.objectives[0].name].at_chance for r in front):
            self.watch.stage(
                "warning: no network on the front is better than a constant answer: train longer, or with "
                "another train.lr"
            )
        write_json(self.out / "front.json", [record.to_json() for record in front])
        return self.study

    def export(self, records: Sequence[Record]) -> dict[str, str]:
        """Fine-tune, export, reload, compare and measure again some networks; returns what each of them is among all
        that are handed back, by the figures of the files: id to role.

        Without data a network is exported as it is extracted.
        """
        for record in records:
            export_network(self, record)
        given = give_roles(self)
        return {record.id: given[record.id] for record in records}

    def export_picked(self, front: Front) -> dict[str, str]:
        """Export the networks that :func:`picks` gives, as :meth:`export` does. Of a table there are none."""
        if isinstance(self.net, TabularBenchmark):
            self.watch.stage(f"not exporting: {self.recipe.model} gives a table of figures, which holds no networks")
            return {}
        if self.recipe.data:
            write_test_part(self)
        return self.export(picks(front))

    def report(self) -> Path:
        """Write ``report.html``."""
        from ..report.page import write_page

        self.watch.stage("writing the report")
        path = self.out / "report.html"
        write_page(story_of(self), path)
        return path

    # -- parts -------------------------------------------------------------------------------------------------

    @property
    def study_path(self) -> Path:
        """Of the journal."""
        return self.out / "study.db"

    @cached_property
    def metrics(self) -> tuple[Metric, ...]:
        """Everything that can be an objective or a limit."""
        return tuple(x for m in self._measurers for x in m.metrics)

    def require_networks(self) -> SuperNet | ExternalSource:
        """Where networks come from; raises for a table."""
        if isinstance(self.net, TabularBenchmark):
            raise NetwrightError(f"{self.recipe.model} gives a table of figures: it holds no networks to export")
        return self.net

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
        net = self.net
        if isinstance(net, TabularBenchmark):
            return net.measurers
        counts = [Count(name) for name in METRICS] if isinstance(net, SuperNet) else [NetworkCounts()]
        ours = [*counts, *self._on_target, *([self.quality] if self.recipe.data else [])]
        own = () if isinstance(net, SuperNet) else net.measurers
        theirs = {metric.name for measurer in own for metric in measurer.metrics}
        return (*own, *(m for m in ours if not any(metric.name in theirs for metric in m.metrics)))

    def _one_input(self) -> torch.Tensor:
        """What a network is called with, where the model does not say."""
        if not self.recipe.data:
            raise RecipeError(
                f"model: {self.recipe.model} gives an object without example_inputs, and the recipe names no data: "
                "give the object an attribute example_inputs, what a network is called with"
            )
        return self.data.validation.inputs[:1]

    def _check_recipe(self) -> None:
        """Say what the recipe asks of a model that cannot give it."""
        recipe, known = self.recipe, [m.name for m in self.metrics]
        limited = [name for name in map(metric_named, recipe.limits) if name]
        if "accuracy" in {*recipe.objectives, *limited} - {*known} and not isinstance(self.net, TabularBenchmark):
            raise RecipeError(f"the key 'data' is missing; {NO_DATA}")
        for name in recipe.objectives:
            if name not in known:
                near = did_you_mean(name, known)
                near = near if near.startswith("did") else f"there are: {', '.join(map(repr, known))}"
                raise RecipeError(f"objectives: there is no metric {name!r} of {recipe.model}; {near}")
        if isinstance(self.net, TabularBenchmark) and recipe.data:
            raise RecipeError(f"the key 'data' is of no use: {self.untrained}; leave the key out")
        if not self.trains and recipe.train.epochs not in (0, Train().epochs):
            raise RecipeError(f"train.epochs is {recipe.train.epochs}, but {self.untrained}; leave the key out")

    @property
    def run_snippet(self) -> str:
        """How an exported network is run without netwright: the target's own file where ONNX Runtime runs that."""
        own = self.latency.file_name
        if not own.endswith(".onnx"):
            return RUN if self.recipe.data else RUN_ON_ZEROS
        lossy = self.recipe.data and self.latency.lossy
        code = RUN_IN_BATCHES.format(batch=self.target.runtime.batch) if lossy else RUN
        return (code if self.recipe.data else RUN_ON_ZEROS).replace("model.onnx", own)

    def _study_key(self) -> dict[str, Any]:
        recipe = self.recipe.to_json()
        key = {name: recipe[name] for name in ("model", "data", "train", "seed", "threads")}
        key["calibration"] = f"{self.recipe.search.calibration} examples as trained on"
        limited = " ".join(self.recipe.limits)
        header = read_journal(SqliteStore(self.study_path)).header if self.study_path.exists() else None
        # Limits come and go: once a study is of a target it stays so, and one that is not never becomes it.
        there = (*self._on_target, *([self.quality] if self.recipe.data and self.latency.lossy else []))
        ours = [x.name for m in there if m in self._measurers for x in m.metrics]
        measured = any(x in self.recipe.objectives or x in limited for x in ours)
        if "target" in header if header is not None else measured:
            wish = {"target": recipe["target"], **recipe["latency"]}
            known = (header or {}).get("target", {})
            # A device is asked who it is when something is to be measured there, and not before.
            trusted = wish == {name: known.get(name) for name in wish}
            key["target"] = known if trusted else {**wish, "fingerprint": self.latency.target["fingerprint"]}
        if not isinstance(self.net, SuperNet):
            key["fingerprint"] = self.net.fingerprint
        return key

    def check_device(self) -> None:
        """Say that the device is another than the one that the study is of."""
        known = (self.study.journal.header or {}).get("target")
        if known and known["fingerprint"] != self.latency.target["fingerprint"]:
            raise StoreError(
                f"{self.out} holds another study: {self.target} is not the device that it was measured on; "
                "use another output directory"
            )

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
