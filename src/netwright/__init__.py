"""netwright cuts networks to fit hardware.

``import netwright as nw`` is light; torch is imported when a name that needs it is first used.
"""

from __future__ import annotations

from importlib import import_module
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

from .core.version import __version__ as __version__

# Where each public name lives: resolved on first use.
_HOME = {
    "Candidate": "core.candidate",
    "Choice": "core.space",
    "Space": "core.space",
    "Metric": "core.metric",
    "Measurement": "core.metric",
    "Record": "core.record",
    "Front": "core.front",
    "front": "core.front",
    "NetwrightError": "core.errors",
    "SuperNet": "nets.supernet",
    "Axis": "nets.axes",
    "Bits": "nets.axes",
    "Depth": "nets.axes",
    "Kernel": "nets.axes",
    "factorise": "nets.axes",
    "add_transforms": "nets.axes",
    "RelativeWidth": "nets.axes",
    "Attribute": "nets.axes",
    "Resolution": "nets.axes",
    "Resize": "nets.axes",
    "Rank": "nets.axes",
    "OneOf": "nets.axes",
    "oneof": "nets.menu",
    "Instead": "nets.stand_ins",
    "Around": "nets.stand_ins",
    "Zeros": "nets.stand_ins",
    "Scaled": "nets.stand_ins",
    "Transform": "nets.transforms",
    "Part": "nets.axes",
    "Parts": "nets.axes",
    "TiedAxes": "nets.axes",
    "Route": "nets.axes",
    "Heads": "nets.axes",
    "Experts": "nets.axes",
    "ChannelSlice": "nets.axes",
    "Width": "nets.axes",
    "fold": "nets.folding",
    "recalibrate": "nets.recalibrate",
    "sort_channels": "nets.importance",
    "prune_to_budget": "nets.importance",
    "assign_bits": "nets.sensitivity",
    "gptq": "nets.gptq",
    "distil_inputs": "nets.sensitivity",
    "block_importance": "nets.surgery",
    "sort_blocks": "nets.surgery",
    "part_importance": "nets.surgery",
    "sort_parts": "nets.surgery",
    "stitch": "nets.stitching",
    "split": "nets.sharing",
    "mixture": "nets.sharing",
    "to_foldable_norm": "nets.surgery",
    "to_low_rank": "nets.surgery",
    "to_experts": "nets.surgery",
    "DynamicRanks": "nets.surgery",
    "add_adapters": "nets.surgery",
    "merge_adapters": "nets.surgery",
    "save_adapters": "nets.surgery",
    "add_free_experts": "nets.surgery",
    "merge_experts": "nets.surgery",
    "share_layers": "nets.surgery",
    "grow": "nets.surgery",
    "wrap": "nets.wrap",
    "Task": "tasks.base",
    "Evaluator": "tasks.base",
    "Data": "tasks.data",
    "Split": "tasks.data",
    "TensorLoader": "tasks.data",
    "train": "training.loop",
    "finetune": "training.loop",
    "find_learning_rate": "training.rate_range",
    "Accuracy": "measure.quality",
    "Quality": "measure.quality",
    "Count": "measure.counts",
    "Decoding": "measure.decoding",
    "Latency": "measure.latency",
    "Throughput": "measure.latency",
    "Memory": "measure.latency",
    "Energy": "measure.latency",
    "EnergyEstimate": "measure.estimate",
    "explain": "measure.explain",
    "LookupTable": "measure.lookup",
    "Measurer": "measure.base",
    "NetworkCounts": "measure.counts",
    "Strategy": "strategies.base",
    "Random": "strategies.random",
    "Nsga2": "strategies.evolution",
    "Guided": "strategies.guided",
    "Nsga3": "strategies.moea",
    "UNsga3": "strategies.moea",
    "AgeMoea": "strategies.moea",
    "MoeaD": "strategies.moea",
    "CTaea": "strategies.moea",
    "Ga": "strategies.moea",
    "CmaEs": "strategies.cmaes",
    "CoarseToFine": "strategies.coarse_to_fine",
    "AgingEvolution": "strategies.aging_evolution",
    "LocalSearch": "strategies.local_search",
    "Linas": "strategies.linas",
    "ConcurrentNas": "strategies.linas",
    "WeakNas": "strategies.weaknas",
    "BoTorch": "strategies.botorch",
    "Study": "study.study",
    "SqliteStore": "study.stores.sqlite",
    "read_warm_start": "study.warm_starts",
    "write_records": "study.record_files",
    "search": "simple",
    "fit": "pipeline.fit",
    "Recipe": "recipe.schema",
    "Callback": "pipeline.callback",
    "TabularBenchmark": "sources.table",
    "export": "formats.bundle",
    "load": "formats.bundle",
}
_MODULES = {
    "blocks": "nets.blocks",
    "families": "nets.families",
    "importance": "nets.importance",
    "sensitivity": "nets.sensitivity",
    "rules": "training.rules",
    "sampling": "training.sampling",
    "distillation": "training.distillation",
    "tasks": "tasks",
    "targets": "measure.targets",
    "testing": "testing",
}

__all__ = sorted([*_HOME, *_MODULES, "__version__"])


def __getattr__(name: str) -> Any:
    from .core.calls import tell_all
    from .core.errors import did_you_mean

    if name in _MODULES:
        value: Any = import_module(f"{__name__}.{_MODULES[name]}")
        tell_all(value.__name__)
    elif name in _HOME:
        value = _told(import_module(f"{__name__}.{_HOME[name]}"), name)
    else:
        near = did_you_mean(name, __all__)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}{f'; {near}' * near.endswith('?')}")
    globals()[name] = value
    return value


def _told(home: ModuleType, name: str) -> Any:
    """A function or class from where it lives, which tells of wrong arguments from now on."""
    from .core.calls import TELLS, tell, told

    value = getattr(home, name)
    if isinstance(value, FunctionType) and not hasattr(value, TELLS):
        value = told(value, name)
        setattr(home, name, value)  # one function, whichever way it is reached
    elif isinstance(value, type):
        tell(value, name)
    return value


def __dir__() -> list[str]:
    return __all__


if TYPE_CHECKING:
    from . import tasks as tasks
    from . import testing as testing
    from .core.candidate import Candidate as Candidate
    from .core.errors import NetwrightError as NetwrightError
    from .core.front import Front as Front
    from .core.front import front as front
    from .core.metric import Measurement as Measurement
    from .core.metric import Metric as Metric
    from .core.record import Record as Record
    from .core.space import Choice as Choice
    from .core.space import Space as Space
    from .formats.bundle import export as export
    from .formats.bundle import load as load
    from .measure import targets as targets
    from .measure.base import Measurer as Measurer
    from .measure.counts import Count as Count
    from .measure.counts import NetworkCounts as NetworkCounts
    from .measure.decoding import Decoding as Decoding
    from .measure.estimate import EnergyEstimate as EnergyEstimate
    from .measure.explain import explain as explain
    from .measure.latency import Energy as Energy
    from .measure.latency import Latency as Latency
    from .measure.latency import Memory as Memory
    from .measure.latency import Throughput as Throughput
    from .measure.lookup import LookupTable as LookupTable
    from .measure.quality import Accuracy as Accuracy
    from .measure.quality import Quality as Quality
    from .nets import blocks as blocks
    from .nets import families as families
    from .nets import importance as importance
    from .nets import sensitivity as sensitivity
    from .nets.axes import Attribute as Attribute
    from .nets.axes import Axis as Axis
    from .nets.axes import Bits as Bits
    from .nets.axes import ChannelSlice as ChannelSlice
    from .nets.axes import Depth as Depth
    from .nets.axes import Experts as Experts
    from .nets.axes import Heads as Heads
    from .nets.axes import Kernel as Kernel
    from .nets.axes import OneOf as OneOf
    from .nets.axes import Part as Part
    from .nets.axes import Parts as Parts
    from .nets.axes import Rank as Rank
    from .nets.axes import RelativeWidth as RelativeWidth
    from .nets.axes import Resize as Resize
    from .nets.axes import Resolution as Resolution
    from .nets.axes import Route as Route
    from .nets.axes import TiedAxes as TiedAxes
    from .nets.axes import Width as Width
    from .nets.axes import add_transforms as add_transforms
    from .nets.axes import factorise as factorise
    from .nets.folding import fold as fold
    from .nets.gptq import gptq as gptq
    from .nets.importance import prune_to_budget as prune_to_budget
    from .nets.importance import sort_channels as sort_channels
    from .nets.menu import oneof as oneof
    from .nets.recalibrate import recalibrate as recalibrate
    from .nets.sensitivity import assign_bits as assign_bits
    from .nets.sensitivity import distil_inputs as distil_inputs
    from .nets.sharing import mixture as mixture
    from .nets.sharing import split as split
    from .nets.stand_ins import Around as Around
    from .nets.stand_ins import Instead as Instead
    from .nets.stand_ins import Scaled as Scaled
    from .nets.stand_ins import Zeros as Zeros
    from .nets.stitching import stitch as stitch
    from .nets.supernet import SuperNet as SuperNet
    from .nets.surgery import DynamicRanks as DynamicRanks
    from .nets.surgery import add_adapters as add_adapters
    from .nets.surgery import add_free_experts as add_free_experts
    from .nets.surgery import block_importance as block_importance
    from .nets.surgery import grow as grow
    from .nets.surgery import merge_adapters as merge_adapters
    from .nets.surgery import merge_experts as merge_experts
    from .nets.surgery import part_importance as part_importance
    from .nets.surgery import save_adapters as save_adapters
    from .nets.surgery import share_layers as share_layers
    from .nets.surgery import sort_blocks as sort_blocks
    from .nets.surgery import sort_parts as sort_parts
    from .nets.surgery import to_experts as to_experts
    from .nets.surgery import to_foldable_norm as to_foldable_norm
    from .nets.surgery import to_low_rank as to_low_rank
    from .nets.transforms import Transform as Transform
    from .nets.wrap import wrap as wrap
    from .pipeline.callback import Callback as Callback
    from .pipeline.fit import fit as fit
    from .recipe.schema import Recipe as Recipe
    from .simple import search as search
    from .sources.table import TabularBenchmark as TabularBenchmark
    from .strategies.aging_evolution import AgingEvolution as AgingEvolution
    from .strategies.base import Strategy as Strategy
    from .strategies.botorch import BoTorch as BoTorch
    from .strategies.cmaes import CmaEs as CmaEs
    from .strategies.coarse_to_fine import CoarseToFine as CoarseToFine
    from .strategies.evolution import Nsga2 as Nsga2
    from .strategies.guided import Guided as Guided
    from .strategies.linas import ConcurrentNas as ConcurrentNas
    from .strategies.linas import Linas as Linas
    from .strategies.local_search import LocalSearch as LocalSearch
    from .strategies.moea import AgeMoea as AgeMoea
    from .strategies.moea import CTaea as CTaea
    from .strategies.moea import Ga as Ga
    from .strategies.moea import MoeaD as MoeaD
    from .strategies.moea import Nsga3 as Nsga3
    from .strategies.moea import UNsga3 as UNsga3
    from .strategies.random import Random as Random
    from .strategies.weaknas import WeakNas as WeakNas
    from .study.record_files import write_records as write_records
    from .study.stores.sqlite import SqliteStore as SqliteStore
    from .study.study import Study as Study
    from .study.warm_starts import read_warm_start as read_warm_start
    from .tasks.base import Evaluator as Evaluator
    from .tasks.base import Task as Task
    from .tasks.data import Data as Data
    from .tasks.data import Split as Split
    from .tasks.data import TensorLoader as TensorLoader
    from .training import distillation as distillation
    from .training import rules as rules
    from .training import sampling as sampling
    from .training.loop import finetune as finetune
    from .training.loop import train as train
    from .training.rate_range import find_learning_rate as find_learning_rate
