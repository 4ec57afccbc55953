"""Models of ``timm``: by name, or a directory with ``config.json`` as its hub's have."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import Any, Literal

from torch import nn

from ...core.errors import MissingExtra, NetwrightError, RecipeError, format_error
from ...core.files import read_json
from ...core.quiet import quiet
from ...nets.state import load_state, read_tensors
from ...tasks.base import Task
from ...tasks.classification import Classification
from ...tasks.data import Data
from ...tasks.files.preparation import Preparation
from ...tasks.multilabel import MultiLabel
from ...tasks.regression import Regression
from ..base import Source
from .base import Checkpoint, image_of, keeps_head, outputs_for
from .hub import hub_or_cache
from .wrapped import LEAST, wrapped

PREFIX = "timm/"


@dataclass(frozen=True)
class Timm(Checkpoint):
    """A model of ``timm``, with its own head or a new one.

    Args:
        path: ``timm/NAME``, whose weights are fetched from the hub unless a file is given; or a directory, with
            ``timm/`` before it or not, with ``config.json`` and ``model.safetensors``.
        weights: a ``.safetensors`` file of the model of this name.
        head: ``new`` begins with a fresh head also where the data have no more classes than the head.
        least: the smallest share of its widths and of blocks that may be left out.
        folder: that relative paths start from.
    """

    path: str
    weights: str = ""
    head: Literal["own", "new"] = "own"
    least: float = LEAST
    folder: str = "."

    @classmethod
    def reads(cls, path: str) -> bool:
        return path.startswith(PREFIX) or "architecture" in _config(Path(path))

    def preparation(self, task: Task) -> Preparation:
        if not isinstance(task, Classification | MultiLabel | Regression):
            raise RecipeError(f"model: {self.path} is a model of images, which has no head for {type(task).__name__}")
        told = self._told
        height = told.get("input_size", (3, 224, 224))
        images: dict[str, Any] = {"channels": int(height[0]), "size": int(height[-1])}
        images |= {name: tuple(told[name]) for name in ("mean", "std") if name in told}
        names = () if self.head == "new" else tuple(told.get("label_names") or ())
        return Preparation(images=images, classes=names)

    def source(self, task: Task, data: Data | None) -> Source:
        told, wanted = self._told, outputs_for(task, data)
        outputs, names = int(told.get("num_classes", 0)), tuple(told.get("label_names") or ())
        own = self.head == "own" and keeps_head(outputs, names, data, wanted, self.path)
        model = self._model(outputs, 0 if own else wanted)
        what = f"model: {type(model).__name__} {self._name} of timm, with "
        what += "its own head" if own else f"a new head of {wanted} outputs"
        example = image_of(task, data, self.preparation(task).images)
        return wrapped(model, example, self.path, (what,), not own, least=self.least)

    @property
    def _directory(self) -> Path | None:
        """Where the model lies; None where it is known by its name."""
        place = Path(self.folder) / self.path.removeprefix(PREFIX)
        return next((each for each in (Path(self.path), place) if _config(each)), None)

    @property
    def _name(self) -> str:
        place = self._directory
        return str(_config(place)["architecture"]) if place else self.path.removeprefix(PREFIX)

    @property
    def _told(self) -> Mapping[str, Any]:
        """What is known of how the weights were trained."""
        if place := self._directory:
            config = _config(place)
            return {**config, **config.get("pretrained_cfg", {})}
        found = timm().get_pretrained_cfg(self._name.partition(".")[0])
        return found.to_dict() if found is not None else {}

    @property
    def _arguments(self) -> Mapping[str, Any]:
        """What a directory says that its model is built with; not what timm would read files by."""
        told = _config(self._directory).get("model_args") if self._directory else None
        own = signature(timm().create_model).parameters
        return {name: value for name, value in (told or {}).items() if name not in own}

    def _model(self, outputs: int, wanted: int) -> nn.Module:
        """The model, with a new head of ``wanted`` outputs unless that is 0."""
        place = self._directory
        file = Path(self.folder) / self.weights if self.weights else place / "model.safetensors" if place else None
        try:
            with quiet(), nullcontext() if file else hub_or_cache():
                built = {**self._arguments, **({"num_classes": outputs} if outputs else {})}
                model: Any = timm().create_model(self._name, pretrained=file is None, **built)
            if file is not None:
                load_state(model, read_tensors(file)[0], file)
        except NetwrightError as error:
            raise RecipeError(f"model: {self.path}: {format_error(error)}") from error
        except Exception as error:  # of the library, of the hub's client
            raise RecipeError(
                f"model: timm does not give {self._name!r} ({format_error(error)[:200]}); where there is no network, "
                "give a directory with its config.json and model.safetensors, or weights=FILE.safetensors"
            ) from error
        if wanted:
            model.reset_classifier(wanted)
        found: nn.Module = model.eval()
        return found


def _config(path: Path) -> Mapping[str, Any]:
    """What the ``config.json`` of a model of timm says; nothing where it is none."""
    file = path / "config.json"
    try:
        found = read_json(file) if file.is_file() else {}
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) and "architecture" in found else {}


def timm() -> Any:
    """The package. Raises :class:`MissingExtra` where there is none."""
    try:
        with quiet():
            return importlib.import_module("timm")
    except ImportError:
        raise MissingExtra("timm", "timm", "a pre-trained model of timm") from None
    except Exception as error:  # a torchvision that was built for another PyTorch
        raise RecipeError(f"model: timm cannot be imported ({format_error(error)[:200]}): install a torchvision that "
                          "fits this PyTorch") from error  # fmt: skip
