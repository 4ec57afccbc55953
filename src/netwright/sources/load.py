"""What a recipe's functions give: the model and the data, checked before anything costly begins."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from ..core.errors import RecipeError, format_error
from ..core.registry import make_importable
from ..core.space import Space
from ..measure.base import Measurer
from ..nets.inputs import Inputs
from ..nets.supernet import SuperNet
from ..recipe.load import resolve
from ..tasks.base import Task
from ..tasks.data import Data
from ..tasks.files import names_files, read_files
from ..tasks.files.preparation import NOTHING, Preparation
from .base import Source, measurers_of
from .checkpoints.wrapped import wrapped
from .external import ExternalSource
from .supernet import SuperNetSource
from .table import TableSource, TabularBenchmark


def load_model(reference: str, inputs: Callable[[], Inputs]) -> Source:
    """What a recipe's ``model`` gives.

    Args:
        reference: ``module:function``.
        inputs: gives example inputs for a network, or a super-network made elsewhere, that has none.
    """
    made = resolve(reference, "model", object)
    if isinstance(made, SuperNet):
        _check_measurers(made, reference)
        return SuperNetSource(made, reference)
    if isinstance(made, TabularBenchmark):
        return TableSource(made, reference)
    try:
        space, extract = getattr(made, "space", None), getattr(made, "extract", None)
    except Exception as error:
        raise RecipeError(f"model: the space of {reference} raised {format_error(error)}") from error
    if isinstance(made, nn.Module) and (space is None or not callable(extract)):
        own = getattr(made, "example_inputs", None)
        return wrapped(made.eval(), inputs() if own is None else own, reference, pretrained=False)
    if space is None or not callable(extract):
        raise RecipeError(
            f"model: {reference}() must give a network, a netwright.SuperNet, a netwright.TabularBenchmark, or an "
            f"object with space and extract(candidate), but gave a {_kind(made)}"
        )
    if not isinstance(space, Space):
        raise RecipeError(f"model: the space of {reference} must be a netwright.Space, not a {_kind(space)}")
    _check_measurers(made, reference)
    return ExternalSource(made, reference, inputs)


def _check_measurers(made: Any, reference: str) -> None:
    """Refuse an attribute ``measurers`` that holds others."""
    for measurer in measurers_of(made):
        if not isinstance(measurer, Measurer):
            raise RecipeError(f"model: the measurers of {reference} must be netwright.Measurer, not {_kind(measurer)}")


def load_data(reference: str, task: Task, folder: str | None, prepared: Preparation = NOTHING) -> Data:
    """What a recipe's ``data`` names.

    Args:
        reference: ``module:function``, or a path with settings, see :func:`netwright.tasks.files.read_files`.
        task: what the data are for.
        folder: where the recipe lies, that paths start from.
        prepared: what a pre-trained model wants files to be made into.
    """
    if names_files(reference, folder):
        return read_files(reference, task, folder, prepared)
    return replace(resolve(reference, "data", Data), name=reference)


def _kind(value: object) -> str:
    return type(value).__name__


def load_network(reference: str) -> tuple[nn.Module, Inputs]:
    """What ``module:function`` gives to be measured, and what it is called with.

    A ``torch.nn.Module`` with an attribute ``example_inputs``, a pair of a module and its inputs, or a super-network,
    of which the largest network is taken.
    """
    make_importable(Path.cwd())
    made = resolve(reference, "measure", object)
    if isinstance(made, tuple) and len(made) == 2 and isinstance(made[0], nn.Module):
        return made
    if callable(getattr(made, "extract", None)) and isinstance(getattr(made, "space", None), Space):
        inputs = getattr(made, "example_inputs", None)
        made = made.extract(made.space.largest)
    else:
        inputs = getattr(made, "example_inputs", None)
    if not isinstance(made, nn.Module):
        raise RecipeError(
            f"measure: {reference}() must give a torch.nn.Module with example_inputs, a pair of a module and its "
            f"inputs, or a super-network, but gave a {_kind(made)}"
        )
    if inputs is None:
        raise RecipeError(
            f"measure: {reference}() gives a {_kind(made)} without example_inputs: return (module, inputs) instead"
        )
    return made, inputs
