"""The recipe: one dataclass tree that the YAML file, the flags, the documentation and the provenance come from."""

from __future__ import annotations

import math
import re
from dataclasses import Field, asdict, dataclass, field, fields, is_dataclass
from importlib import import_module
from typing import Any, Literal

from ..core.candidate import digest
from ..core.errors import NetwrightError, RecipeError
from ..core.limits import metric_named
from ..core.precision import Rounding
from ..core.registry import Registry
from ..core.shape import told
from ..core.units import DAY_S, MOST_INT, MOST_THREADS, parse_bytes
from ..formats import STANDARD
from ..report.sections import STANDARD as SECTIONS

CLASSIFICATION = "classification"

NO_DATA = (
    "accuracy is judged on it: add data (module:function, a table, or a folder of images), or name objectives that "
    "need none, such as [latency, macs]"
)


def kind(registry: str, check: Literal["made", "named", "later"] = "made") -> dict[str, Any]:
    """The metadata of a key that names things of a kind, or a list of them.

    Args:
        registry: where the kind's registry is, ``module:NAME``.
        check: what a recipe is read with: things are ``made`` once; only their name and settings are looked at where
            making needs more than the recipe or does something (``named``); or nothing is, where the key may hold
            more than a name, and who reads it says what is wrong (``later``).
    """
    return {"registry": registry, "check": check}


def registry_of(key: Field[Any]) -> Registry[Any] | None:
    """The registry of what a key names; None for other keys."""
    module, _, name = key.metadata.get("registry", "").partition(":")
    return getattr(import_module(f"..{module}", __package__), name) if module else None


MOST = {"seed": 2**63 - 1, "threads": MOST_THREADS, "latency.max_seconds": DAY_S}
"""The most that a number may be, where it is another than :data:`MOST_INT`; of seeds the largest of torch."""


@dataclass(frozen=True)
class Train:
    """How the super-network is trained."""

    epochs: int = 30
    """Passes over the training data; 0 takes the weights as the model function gives them."""
    batch_size: int = 64
    """Examples of a step, where the data are in memory; a loader of your own makes its own batches."""
    rule: str = field(default="sandwich", metadata=kind("training.rules:RULES"))
    """Which sub-networks learn from each batch, and from whom, such as "sandwich,random=2"."""
    sampling: str = field(default="uniform", metadata=kind("training.sampling:SAMPLINGS"))
    """How the rule's random sub-networks are drawn."""
    distillation: str = field(default="", metadata=kind("training.distillation:DISTILLATIONS"))
    """How a network learns from the answer of another: a sub-network from the largest, any from a teacher. By default
    by the outputs, and where a given convolutional model comes trained and teaches, by what its stages give as well."""
    optimizer: str = field(default="", metadata=kind("training.optimizers:OPTIMIZERS"))
    """How the weights change, such as "adamw,lr=1e-3", or module:function of your own, which takes the network. By
    default one that fits the network and its weights: which, is said."""
    schedule: str = field(default="cosine", metadata=kind("training.schedules:SCHEDULES"))
    """The learning rate over the steps, such as "linear,warmup=0.1"."""
    importance: str = field(default="", metadata=kind("nets.importance:CRITERIA", "named"))
    """By what channels, heads and experts are sorted before training, so that a cut keeps the most important; empty
    leaves them as they are given. For pre-trained weights, those of train.weights among them; of a pre-trained model
    the blocks are put in order too, so that depth leaves out those that the outputs depend on least."""
    teacher: str = ""
    """From whom networks learn besides: "given", the model as it was given, frozen, which is the default where it comes
    trained; "none"; or module:function that gives a network, or a list of several whose outputs are averaged."""
    keep: float = 0.3
    """How far below a given model that comes trained the largest network may be, in points of a percentage, or per cent
    of what a constant answer has by another metric. It is looked at as training goes on, on the validation data; where
    it is too far, the weights are drawn back towards the given ones. 100 lets it go."""
    clip_norm: float | None = None
    """The longest that the gradient may be, over all weights."""
    accumulate: int = 1
    """Batches of one step of the optimizer."""
    ema: float | None = None
    """The decay of a moving average of the weights, such as 0.999, which are what is kept."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """What networks compute with while they learn."""
    device: str = "cpu"
    """Where networks are trained, fine-tuned and judged: cpu, cuda or auto."""
    checkpoint_steps: int = 0
    """Batches between checkpoints, besides those at the end of each epoch; of fine-tuning too."""
    weights: str = ""
    """The output directory of another job, whose trained super-network is taken up as it is: one training, many
    devices."""


@dataclass(frozen=True)
class Search:
    """Which networks are evaluated next, and how."""

    strategy: str = field(default="guided", metadata=kind("strategies:STRATEGIES"))
    """What proposes candidates, such as "nsga2,population=50"."""
    calibration: int = 512
    """Training examples that each candidate's normalisation statistics are computed from."""
    racing: float = 0.0
    """A confidence below 1, such as 0.95: a network is judged on growing parts of the validation data, and no further
    once another dominates it with this confidence. 0 judges every network on all of them."""
    hints: list[str] = field(default_factory=list)
    """Functions of your own, module:function, that give a cheap figure of a candidate, such as a zero-cost proxy: asked
    for a shortlist only, as features of what is predicted."""
    warm_start: str = field(default="", metadata=kind("study.warm_starts:WARM_STARTS", "later"))
    """What another search has measured of this space, on whatever device: its best networks are measured first, and its
    figures are features of what is predicted. A study.db or output directory, or what 'netwright records --out' wrote;
    "dynast,path=results.csv" or "optuna,storage=sqlite:///trials.db". It must stay as it is."""
    warm_names: dict[str, str] = field(default_factory=dict)
    """What choices are called there to what they are called here, or to a pattern of ours, such as
    ``{ks: "*.kernel"}``; to "" where it is to be left out. A list there has an entry for each of ours, in order."""
    executor: str = field(default="local", metadata=kind("study.executors:EXECUTORS"))
    """Where networks are evaluated, and how many at once: "local,workers=2" evaluates two at a time, in processes of
    their own; on the CPU only. One at a time measures on the target."""
    timeout: float = 0.0
    """Seconds that evaluating one network may take. With this or search.memory networks are evaluated in a process of
    their own, so that one that crashes, hangs or needs too much is no more than a failed network; on the CPU only. 0
    sets no limit."""
    memory: str = ""
    """How much memory evaluating one network may need beyond what the search holds, such as "2 GB"; what measures on
    the target has processes of its own, which do not count. Empty sets no limit. On Linux only."""


@dataclass(frozen=True)
class Bits:
    """Which precisions layers may have."""

    options: list[str] = field(default_factory=list)
    """Precisions of layers beside float32, such as int8: they are trained and searched with everything else. Empty:
    all layers are in float32, or in what the target makes of them."""
    by: str = "block"
    """What takes one precision together: each layer, each block, or each type of layer."""
    ends: bool = False
    """Whether the first and the last layer may have fewer bits too."""
    rounding: Rounding = "nearest"
    """How weights of few bits are rounded in networks that are judged and handed back: each to the nearest value, or
    "gptq", by what layers give on the calibration data. It takes time for each network, and pays below 8 bits."""


@dataclass(frozen=True)
class Latency:
    """How long run time is measured."""

    precision: float = 0.02
    """Sample until half the 95 % interval of the median is this small, relative to the median."""
    max_seconds: float = 1.0
    """Seconds after which sampling stops all the same; the precision that was reached is recorded."""
    table: str = ""
    """A JSON file of a table of blocks, filled where it is not: latency is predicted by it in a search, and measured of
    the networks that are handed back. For devices that are slow or far away."""


@dataclass(frozen=True)
class Trim:
    """How 'netwright trim' goes down to its limits; by what it judges is train.importance."""

    rounds: int = 0
    """Rounds in which a few proposals are tuned for a short while, and the one that does best is gone on with
    (NetAdapt); 0 takes what importance says in one go."""
    proposals: int = 4
    """Proposals that are tuned in each round."""
    batches: int = 20
    """Batches that each of them is tuned with."""


@dataclass(frozen=True)
class Export:
    """What is done with the networks that are handed back."""

    epochs: int = 8
    """Passes of fine-tuning over the training data; kept only where the network does not become
    worse on validation data."""
    optimizer: str = field(default="", metadata=kind("training.optimizers:OPTIMIZERS"))
    """See train.optimizer."""
    schedule: str = field(default="cosine", metadata=kind("training.schedules:SCHEDULES"))
    """See train.schedule."""
    candidates: int = 3
    """Networks of which one is handed back as the best within limits on what networks cost: the search's best, and
    those that it cannot tell from it. Each is fine-tuned for a quarter of its steps, and the one that does best then
    goes on. 1 takes the search's best."""
    patience: int = 0
    """Epochs without a better figure on the validation data after which fine-tuning ends; the best epoch's weights are
    kept. 0 goes on to the end, and keeps the last."""
    teacher: str = ""
    """From whom a network learns besides the targets: "given", the model as it was given, which is the default where it
    comes trained; "largest", the super-network as a whole; module:function that gives a network, or a list of them; or
    several of these with "+" between them, whose outputs are averaged; "none"."""
    distillation: str = field(default="", metadata=kind("training.distillation:DISTILLATIONS"))
    """See train.distillation."""
    trainable: list[str] = field(default_factory=list)
    """Patterns of the names of the parameters that may move, such as "*head*"; all of them by default."""
    lora: int = 0
    """Rank of low-rank adapters (LoRA) of linear layers, which learn in fine-tuning in the place of the weights: memory
    for their gradients and the optimizer's state alone. Files hold the sums; the adapters are written beside them, as
    the library peft reads them. 0 fine-tunes the weights themselves."""
    normalisation: Literal["batch", "tune"] = "batch"
    """By what batch normalisation normalises in fine-tuning: each batch; or its running statistics, "tune", folded into
    convolutions as they train, which takes about half the memory."""
    formats: list[str] = field(default_factory=lambda: list(STANDARD), metadata=kind("formats:FORMATS"))
    """Files to write."""


@dataclass(frozen=True)
class Report:
    """What the page shows."""

    sections: list[str] = field(default_factory=lambda: list(SECTIONS), metadata=kind("report.sections:SECTIONS"))
    """Figures and tables, in this order."""
    more: list[str] = field(default_factory=list, metadata=kind("report.sections:SECTIONS"))
    """Further sections, such as module:Class of your own, after those."""


@dataclass(frozen=True)
class Recipe:
    """The whole job."""

    model: str
    """module:function that gives a netwright.SuperNet, a netwright.TabularBenchmark, or anything with space and
    extract; or a pre-trained model: a directory of transformers or timm, the id of one on the hub, timm/NAME, or
    module:function,weights=FILE.safetensors."""
    data: str = ""
    """module:function that gives a netwright.Data: training, validation and test part; or a table (train.csv, .tsv,
    .jsonl, .parquet) or a folder of images, with settings such as train.tsv,target=price. Without it nothing is
    trained, and how well networks do their task cannot be measured."""
    task: str = field(default=CLASSIFICATION, metadata=kind("tasks:TASKS"))
    """What networks are for: what a batch is, what is learned, and by which metrics it is judged."""
    metric: str = field(default="", metadata=kind("tasks:METRICS"))
    """Metrics of your own beside the task's, module:Class of a netwright.tasks.OwnMetric; measured on exported files
    too."""
    choices: dict[str, list[Any]] = field(default_factory=dict)
    """Options to keep, by the names of choices or patterns of them, such as ``{"*.width": [16, 32]}``; a choice that is
    not named keeps all of its own. The last option, the whole, is always kept. 'netwright space' finds those that pay
    on a target."""
    objectives: list[str] = field(default_factory=list)
    """What is traded off, the most important first; by default the task's first metric, and latency: a metric of the
    task, latency, throughput, memory, energy, file_bytes, macs, bit_ops,
    params, weight_bytes, peak_activation_bytes, moved_bytes, or a metric of the model's own."""
    limits: list[str] = field(default_factory=list)
    """Bounds on any metric, such as "latency <= 5 ms", "macs <= 300M" or "file_bytes <= 2 MB"; or relative to the given
    model: "latency <= 0.5x", "accuracy >= -1 point"."""
    target: str | list[str] = field(default="onnxruntime", metadata=kind("measure.runtimes:RUNTIMES", "later"))
    """Where networks will run: a runtime with its settings, such as onnxruntime,threads=2,batch=8; with the address of
    an agent before it another machine's, such as ssh://pi/onnxruntime. 'netwright targets' says which work here. A list
    of several has each measured on all of them, by metrics that are named after them, such as latency@pi of
    "pi=ssh://pi/onnxruntime". An objective or a limit that names none, such as latency, is on each of them."""
    lengths: str = ""
    """Of a model of texts, the lengths in tokens that latency, throughput, memory and energy are of: one, or several
    with weights, such as "8:3,32:1"; or a table of texts, such as dev.tsv, or dev.tsv,text=NAME, whose own lengths are
    taken, in five groups. What is measured is the mean. By default one text of the length that the model names."""
    store: str = field(default="sqlite", metadata=kind("study.stores:STORES", "named"))
    """Where the records are kept: in the output directory, unless the store has a path, such as
    "sqlite,path=/data/study.db"."""
    evaluations: int = 100
    """Networks to measure."""
    seed: int = 0
    """The seed of everything random."""
    threads: int = 1
    """CPU threads for training, and for judging how well networks do their task."""
    track: list[str] = field(default_factory=list, metadata=kind("trackers:TRACKERS"))
    """Trackers of experiments that keep the figures of training and search."""
    train: Train = field(default_factory=Train)
    bits: Bits = field(default_factory=Bits)
    search: Search = field(default_factory=Search)
    latency: Latency = field(default_factory=Latency)
    trim: Trim = field(default_factory=Trim)
    export: Export = field(default_factory=Export)
    report: Report = field(default_factory=Report)

    def __post_init__(self) -> None:
        train, numbers = self.train, {
            "latency.precision": self.latency.precision, "latency.max_seconds": self.latency.max_seconds,
            "train.keep": self.train.keep,
            **({} if self.train.clip_norm is None else {"train.clip_norm": self.train.clip_norm}),
        }  # fmt: skip
        for name, value in numbers.items():
            if not math.isfinite(value):
                raise RecipeError(f"{name} must be a finite number, not {value}")
        positive = {
            "evaluations": self.evaluations, "threads": self.threads, "train.batch_size": train.batch_size,
            "train.accumulate": train.accumulate, "search.calibration": self.search.calibration,
            "export.candidates": self.export.candidates,
            "trim.proposals": self.trim.proposals, "trim.batches": self.trim.batches, **numbers,
        }  # fmt: skip
        for name, value in positive.items():
            if not value > 0:
                raise RecipeError(f"{name} must be more than 0, not {told(value)}")
        counts = {
            "export.patience": self.export.patience, "export.lora": self.export.lora,
            "train.epochs": train.epochs, "export.epochs": self.export.epochs, "seed": self.seed,
            "train.checkpoint_steps": train.checkpoint_steps, "trim.rounds": self.trim.rounds,
        }  # fmt: skip
        for name, value in counts.items():
            if value < 0:
                raise RecipeError(f"{name} must be 0 or more, not {told(value)}")
        for name, value in {**positive, **counts}.items():
            if value > (most := MOST.get(name, MOST_INT)):
                raise RecipeError(f"{name} must be at most {most:,}, not {told(value)}")
        self._check_single()
        if unnamed := [name for name in self.choices if not isinstance(name, str)]:
            raise RecipeError(f"choices holds options by the names of choices, which are texts, not {unnamed[0]!r}")
        _check_kinds(self, "")
        if not self.objectives:
            object.__setattr__(self, "objectives", [_first_metric(self.task), "latency"])
        self._name_targets()
        if len(set(self.objectives)) < len(self.objectives):
            raise RecipeError(f"objectives must be one or more different metrics, not {list(self.objectives)}")

    def _check_single(self) -> None:
        """Raise :class:`RecipeError` for settings that have bounds of their own."""
        train = self.train
        if self.export.lora and self.export.trainable:
            raise RecipeError(
                "export.lora has adapters learn, export.trainable names weights that do: give one of them"
            )
        if train.ema is not None and not 0 < train.ema < 1:
            raise RecipeError(f"train.ema is a decay between 0 and 1, such as 0.999, not {train.ema}")
        if not 0 <= self.search.racing < 1:
            raise RecipeError(
                f"search.racing is a confidence below 1, such as 0.95, or 0 for none, not {self.search.racing}"
            )
        if not 0 <= self.search.timeout <= MOST_INT:
            raise RecipeError(f"search.timeout is a number of seconds, or 0 for any time, not {self.search.timeout}")
        if self.search.memory:
            try:
                parse_bytes(self.search.memory)
            except ValueError as error:
                raise RecipeError(f"search.memory is {error}, not {self.search.memory!r}") from None

    def _name_targets(self) -> None:
        """Have objectives and limits that name none of several targets on each of them."""
        names = [name for name in self.targets if name]
        objectives = [each for text in self.objectives for each in _on_each(text, text, names)]
        limits = [each for text in self.limits for each in _on_each(text, metric_named(text), names)]
        object.__setattr__(self, "objectives", objectives)
        object.__setattr__(self, "limits", limits)

    def to_json(self) -> dict[str, Any]:
        """The recipe as JSON values."""
        return asdict(self)

    @property
    def targets(self) -> dict[str, str]:
        """The targets by name: that of the runtime, unless another is given before it; empty where there is one."""
        if isinstance(self.target, str):
            return {"": self.target}
        found: dict[str, str] = {}
        for text in self.target:
            name, equals, rest = text.partition("=")
            if not equals or not NAME.fullmatch(name):
                name, rest = text.rpartition("/")[2].partition(",")[0], text
            if not NAME.fullmatch(name):
                raise RecipeError(f"target: {text!r} needs a name of letters and digits before it: name={text}")
            if name in found:
                raise RecipeError(f"target: two are called {name!r}; name them, such as {name}2={rest}")
            found[name] = rest
        if not found:
            raise RecipeError("target is a runtime, such as onnxruntime, or a list of several")
        return found if len(found) > 1 else {"": next(iter(found.values()))}

    @property
    def space(self) -> tuple[str, ...]:
        """The top-level parts that the space of candidates comes from."""
        return ("model", *(["bits"] if self.bits.options else []), *(["choices"] if self.choices else []))

    def parts(self, *names: str) -> dict[str, Any]:
        """Some top-level parts as JSON values. How weights are rounded is not among them: it is of networks that are
        judged, and changes neither the space nor what is trained."""
        whole = self.to_json()
        del whole["bits"]["rounding"]
        return {name: whole[name] for name in names}

    def key(self, *parts: str) -> str:
        """A digest of some top-level parts, to tell whether two recipes agree on them."""
        return digest(self.parts(*parts))


def _on_each(text: str, metric: str | None, names: list[str]) -> list[str]:
    """An objective or a limit on a metric, on each of several targets where it is measured on targets."""
    if not names or metric not in ON_TARGET:
        return [text]
    return [text.replace(metric, f"{metric}@{name}", 1) for name in names]


ON_TARGET = ("latency", "file_bytes", "throughput", "memory", "energy")
"""Metrics that are measured on targets; of several each has its own."""

NAME = re.compile(r"[A-Za-z_][\w.-]*")
"""What one of several targets may be called."""


def _first_metric(task: str) -> str:
    """What a task is judged by before all else."""
    if task == CLASSIFICATION:  # which need not be imported to be known
        return "accuracy"
    registry = registry_of(next(key for key in fields(Recipe) if key.name == "task"))
    assert registry is not None
    return str(registry.make(task).metrics[0].name)


def _check_kinds(tree: Any, prefix: str) -> None:
    """Raise :class:`RecipeError` for a key that names what there is not."""
    for key in fields(tree):
        value = getattr(tree, key.name)
        if is_dataclass(value):
            _check_kinds(value, f"{prefix}{key.name}.")
        elif value and key.metadata.get("check", "later") != "later" and (registry := registry_of(key)) is not None:
            for each in value if isinstance(value, list) else [value]:
                try:
                    registry.check(each, make=key.metadata["check"] == "made")
                except NetwrightError as error:
                    raise RecipeError(f"the key '{prefix}{key.name}': {error}") from None
