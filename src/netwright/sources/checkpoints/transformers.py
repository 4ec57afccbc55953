"""Checkpoints of ``transformers``: a directory with ``config.json``, or a model's id on the hub."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from ...core.errors import NetError, RecipeError, format_error
from ...core.files import read_json
from ...nets.families.known import family_of
from ...nets.families.pretrained import Family
from ...nets.inputs import Inputs
from ...tasks.base import Task
from ...tasks.classification import Classification
from ...tasks.data import Data, PaddedSplit, Split
from ...tasks.files.preparation import Preparation
from ...tasks.language_modelling import LanguageModelling
from ...tasks.multilabel import MultiLabel
from ...tasks.regression import Regression
from ...tasks.token_classification import TokenClassification
from ..base import Source
from .base import Checkpoint, fingerprint_of, image_of, keeps_head, outputs_for
from .hub import hub_or_cache
from .library import HubTokenizer, hub_quiet, transformers
from .wrapped import made, wrapped

HEADS: tuple[tuple[type[Task], tuple[str, ...]], ...] = (
    (TokenClassification, ("AutoModelForTokenClassification",)),
    (LanguageModelling, ("AutoModelForCausalLM",)),
    (Classification, ("AutoModelForSequenceClassification", "AutoModelForImageClassification")),
    (MultiLabel, ("AutoModelForSequenceClassification", "AutoModelForImageClassification")),
    (Regression, ("AutoModelForSequenceClassification", "AutoModelForImageClassification")),
)
"""Which models do a task; the first that the architecture has is taken."""

PROBLEMS = {Regression: "regression", MultiLabel: "multi_label_classification"}

LENGTH = 128
"""Tokens of a text where no data say how long texts are."""

ORDINARY_FFN = (1 / 4, 1 / 2, 3 / 4)
"""Shares of feed-forward networks, where heads are whole and there are fewer networks."""

HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")


@dataclass(frozen=True)
class Transformers(Checkpoint):
    """A model of ``transformers``, with a head for the task: its own where it comes with one, else a new one.

    Args:
        path: the directory, or the id on the hub.
        length: tokens of the text that latencies and counts are of; by default as many as half of the training texts
            have at most.
        head: ``new`` begins with a fresh head also where the checkpoint has one.
        sizes: which networks there are: ``ordinary``, those that the architecture's config has numbers for, so that
            ``from_pretrained`` reads them as any model; ``alike``, in which heads are cut too where the config cannot
            say it, alike in all layers; or ``own``, in which each layer has sizes of its own.
        depths: numbers of layers; by default all from half of them.
        heads: shares of the heads of a layer beside the whole; by default those of the family.
        ffn: likewise of the channels of its feed-forward network.
    """

    path: str
    length: int = 0
    head: Literal["own", "new"] = "own"
    sizes: Literal["ordinary", "alike", "own"] = "ordinary"
    depths: tuple[int, ...] = ()
    heads: tuple[float, ...] = ()
    ffn: tuple[float, ...] = ()

    @classmethod
    def reads(cls, path: str) -> bool:
        if Path(path).exists():
            return (Path(path) / "config.json").is_file()
        return HUB_ID.fullmatch(path) is not None

    @property
    def config(self) -> Any:
        """What ``config.json`` says. Raises :class:`RecipeError` where it cannot be read, or is not to be had."""
        with hub_quiet(), self._told(), self._fetched():
            return transformers().AutoConfig.from_pretrained(self.path, trust_remote_code=False)

    def preparation(self, task: Task) -> Preparation:
        config = self.config
        auto, own = self._auto(task, config), self._own_head(task, config)
        classes = _names(config) if own else ()
        if "Image" in auto:
            return Preparation(images=self._images(config), classes=classes)
        return Preparation(tokenizer=partial(HubTokenizer.of, self.path, config), classes=classes)

    def source(self, task: Task, data: Data | None) -> Source:
        config = self.config
        wanted = outputs_for(task, data)
        own = self._own_head(task, config) and keeps_head(config.num_labels, _names(config), data, wanted, self.path)
        model = self._model(task, config, data, 0 if own else wanted)
        example = self._example(model, task, data)
        what = f"model: {type(model).__name__} of {self.path}"
        if wanted:
            outputs = f"{wanted} classes" if not isinstance(task, Regression) else f"{wanted} values"
            what += ", with its own head" if own else f", with a new head of {outputs}"
        if length := next((t.shape[1] for t in _texts(example)), 0):
            what += f"; latency is of texts of {length} tokens (length=... of the model gives others)"
        if (known := family_of(model)) is None:
            return wrapped(model, example, self.path, (what,), not own)
        family, supernet = known
        try:
            net = supernet(model, example, **self._options(family))
        except NetError as error:
            raise RecipeError(f"model: {self.path}: {format_error(error)}") from error
        source = made(net, self.path, (what,), not own, ("transformers",))
        source.fingerprint = fingerprint_of(Path(self.path))
        return source

    def _options(self, family: Family) -> dict[str, Any]:
        """What the family's function is asked for."""
        given = {"depths": self.depths, "heads": self.heads, "ffn": self.ffn}
        options = {name: value for name, value in given.items() if value}
        if self.sizes == "ordinary":
            options = {"ffn": ORDINARY_FFN, **options}
            if not family.config_heads:
                options["heads"] = ()
        return {**options, "per_layer": self.sizes == "own"}

    # -- the model ---------------------------------------------------------------------------------------------

    def _auto(self, task: Task, config: Any) -> str:
        """The class of ``transformers`` that makes a model for the task."""
        names = next((names for kind, names in HEADS if isinstance(task, kind)), ())
        with hub_quiet():
            fits = [name for name in names if type(config) in getattr(transformers(), name)._model_mapping]
        if not fits:
            known = ", ".join(dict.fromkeys(kind.__name__ for kind, _ in HEADS))
            raise RecipeError(
                f"model: {self.path} is a {config.model_type}, which transformers has no model of for the task "
                f"{type(task).__name__}; it knows some for {known}: give another task, or model: module:function"
            )
        return fits[0]

    def _own_head(self, task: Task, config: Any) -> bool:
        """Whether the checkpoint comes with a head for the task that is to be kept."""
        auto = self._auto(task, config)
        with hub_quiet():
            kind = getattr(transformers(), auto)._model_mapping[type(config)]
        names = {each.__name__ for each in (kind if isinstance(kind, tuple) else (kind,))}
        return self.head == "own" and bool(names & set(config.architectures or ()))

    def _model(self, task: Task, config: Any, data: Data | None, wanted: int) -> nn.Module:
        """The model, with a new head of so many outputs unless that is 0."""
        auto, changes = getattr(transformers(), self._auto(task, config)), {}
        if wanted:
            names = data.classes if data is not None and data.classes else tuple(f"LABEL_{i}" for i in range(wanted))
            changes = {"num_labels": wanted, "id2label": dict(enumerate(names)), "ignore_mismatched_sizes": True}
            changes |= {"label2id": {name: i for i, name in enumerate(names)}}
            if problem := next((problem for kind, problem in PROBLEMS.items() if isinstance(task, kind)), ""):
                changes["problem_type"] = problem
        with hub_quiet(), self._told(), self._fetched():
            model: Any = auto.from_pretrained(
                self.path, trust_remote_code=False, use_safetensors=True, dtype=torch.float32, **changes
            )
            if wanted:
                _put_new_head(model, auto)
        if hasattr(model.config, "vocab_size") and getattr(model.config, "pad_token_id", None) is None:
            model.config.pad_token_id = HubTokenizer.of(self.path, config).padding["input_ids"]
        found: nn.Module = model.eval()
        return found

    def _example(self, model: Any, task: Task, data: Data | None) -> Inputs:
        """What counts and latencies are of: one text, or one image, in the form of the data."""
        config = model.config
        if "Image" in self._auto(task, config):
            return image_of(task, data, self._images(config))
        if getattr(config, "use_cache", False) and not getattr(config, "is_encoder_decoder", False):
            config.use_cache = False  # an exported network computes whole texts
        most = getattr(config, "max_position_embeddings", None) or LENGTH
        if self.length > most:
            raise RecipeError(f"model: length is a number of tokens up to the {most} that the model takes")
        split = data.train if data is not None and isinstance(data.train, Split) else None
        known = split.inputs if split is not None and isinstance(split.inputs, Mapping) else ("attention_mask",)
        length = self.length or min(LENGTH if split is None else _typical(split), most)
        ones, zeros = torch.ones(1, length, dtype=torch.long), torch.zeros(1, length, dtype=torch.long)
        others = {name: ones if name == "attention_mask" else zeros for name in known if name != "input_ids"}
        return {"input_ids": (torch.arange(length) % config.vocab_size)[None], **others}

    def _images(self, config: Any) -> Mapping[str, Any]:
        """The settings of images: those that the checkpoint was trained with."""
        found: dict[str, Any] = {"channels": getattr(config, "num_channels", 3)}
        told: Mapping[str, Any] = {}
        if (file := Path(self.path) / "preprocessor_config.json").is_file():
            told = read_json(file)
        size = getattr(config, "image_size", None) or told.get("crop_size") or told.get("size") or 224
        if isinstance(size, Mapping):
            size = size.get("height") or size.get("shortest_edge") or 224
        found["size"] = int(size[0] if isinstance(size, list | tuple) else size)
        for ours, theirs in (("mean", "image_mean"), ("std", "image_std")):
            if theirs in told:
                found[ours] = tuple(told[theirs])
        return found

    def _fetched(self) -> AbstractContextManager[None]:
        """Where a model on the hub is read from."""
        return nullcontext() if Path(self.path).exists() else hub_or_cache()

    @contextmanager
    def _told(self) -> Iterator[None]:
        """What the library raises of a checkpoint, in one line with the fix."""
        try:
            yield
        except Exception as error:  # of the library, of the hub's client, of the file
            if not Path(self.path).exists():
                raise RecipeError(
                    f"model: {self.path!r} is no local directory, and the hub does not give it (no network, or no such "
                    "model): give the path of a directory with its config.json, model.safetensors and tokenizer files, "
                    "such as 'hf download NAME --local-dir DIR' makes where there is a network"
                ) from error
            if "trust_remote_code" in str(error):
                why = "it wants to run code of its own, which is not done: give model: module:function instead"
            elif "safetensors" in str(error):
                why = "it holds no model.safetensors (weights that are pickles are not read: save them anew with it)"
            else:
                why = format_error(error)[:300]
            raise RecipeError(f"model: {self.path} cannot be read: {why}") from error


def _put_new_head(model: Any, auto: Any) -> None:
    """Put fresh weights in all that is not the body, also where those of the checkpoint had the same shape."""
    fresh, body = auto.from_config(model.config).state_dict(), f"{model.base_model_prefix}."
    head = {name: tensor for name, tensor in fresh.items() if not name.startswith(body)}
    model.load_state_dict(head, strict=False)


def _names(config: Any) -> tuple[str, ...]:
    """The names of the classes of a head, where they were given."""
    names = tuple(str(config.id2label[i]) for i in range(config.num_labels))
    return () if all(re.fullmatch(r"LABEL_\d+", name) for name in names) else names


def _typical(split: Split) -> int:
    """Tokens that half of the texts have at most, rounded up to a multiple of 8; of texts of one length, that."""
    if not isinstance(split, PaddedSplit):
        return int(split.inputs["input_ids"].shape[1])
    median = int(split.inputs[split.mask].sum(1).median())
    return min(-(-median // 8) * 8, int(split.inputs[split.mask].shape[1]))


def _texts(example: Inputs) -> list[torch.Tensor]:
    return [example["input_ids"]] if isinstance(example, Mapping) and "input_ids" in example else []
