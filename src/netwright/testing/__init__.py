"""Contracts for who writes an axis, family, super-network, measurer, runtime, predictor, store, strategy or task: call
them from a test. And fakes: a space, a net and a measurer for tests of searches."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .fakes import FakeMeasurer, FakeNet, fake_space
    from .measurers import check_measurer
    from .nets import check_axis, check_supernet
    from .predictors import check_predictor
    from .runtimes import check_runtime
    from .stores import check_store
    from .strategies import check_strategy
    from .tasks import check_task

# Where each contract lives: those of networks need torch, so each is imported on first use.
_HOME = {
    "FakeMeasurer": "fakes",
    "FakeNet": "fakes",
    "check_axis": "nets",
    "check_measurer": "measurers",
    "check_predictor": "predictors",
    "check_runtime": "runtimes",
    "check_store": "stores",
    "check_strategy": "strategies",
    "check_supernet": "nets",
    "check_task": "tasks",
    "fake_space": "fakes",
}

__all__ = [
    "FakeMeasurer",
    "FakeNet",
    "check_axis",
    "check_measurer",
    "check_predictor",
    "check_runtime",
    "check_store",
    "check_strategy",
    "check_supernet",
    "check_task",
    "fake_space",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
