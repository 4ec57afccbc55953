"""Distillations of what modules within the networks give, beside another of the outputs."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...core.errors import RecipeError, TrainingError, did_you_mean
from ...nets.inputs import tensors_in
from ...nets.pieces import find_blocks
from ...tasks.base import Task
from ..answers import Answer
from .base import Distillation
from .registry import DISTILLATIONS

QUARTERS = 4
"""At the end of how many equal parts of a network's only list of blocks these are compared."""


@dataclass(frozen=True)
class Inner(Distillation):
    """What modules of the same name give in both networks is compared, beside the outputs.

    Where a module gives several tensors, the first is compared. Modules that one of the networks does not have, or that
    did not run in it, are left out; what stands in for a skipped block counts as that block.

    Args:
        weight: of the comparison, the mean over the modules.
        modules: patterns of paths, such as ``(layer1,layer2)`` or ``*.project``. By default those with which stages
            end: the last block of every list of blocks; of the only list, the blocks at its four quarters; of a
            sequence that is the whole network, all with weights but the last. Where both this and ``beside`` have
            patterns of their own, each compares its own.
        beside: the distillation that is added to it, such as ``outputs`` or ``(kl,temperature=2)``; it may be one of
            modules too. With none the last layers learn nothing from this.
    """

    weight: float = 1.0
    modules: tuple[str, ...] = ()
    beside: Distillation | str | None = "outputs"

    def __post_init__(self) -> None:
        if not self.weight > 0:
            raise RecipeError(f"{self._name}: weight is a number above 0, not {self.weight}")
        if isinstance(self.modules, str):
            object.__setattr__(self, "modules", (self.modules,))
        _ = self._other

    @property
    def _name(self) -> str:
        return DISTILLATIONS.name_of(type(self))

    @cached_property
    def _other(self) -> Distillation | None:
        return None if self.beside is None else DISTILLATIONS.make(self.beside)

    def watched(self, module: nn.Module) -> Sequence[str]:
        others = self._other.watched(module) if self._other else ()
        return [*dict.fromkeys([*self._own(module), *others])]

    def loss(self, task: Task, student: Answer, teacher: Answer, targets: Any) -> Tensor:
        value = self.weight * torch.stack([*self._compared(student, teacher)]).mean()
        return value + self._other.loss(task, student, teacher, targets) if self._other else value

    @abstractmethod
    def compare(self, student: Tensor, teacher: Tensor) -> Tensor | None:
        """How far what one module gives is from what it gives in the teacher: a tensor without dimensions; None where
        that cannot be compared."""

    def _compared(self, student: Answer, teacher: Answer) -> list[Tensor]:
        """What is found of each module."""
        found = []
        for name in (name for name in student.features if self._wants(name) and name in teacher.features):
            pair = [next((t for t in tensors_in(each.features[name]) if t.is_floating_point()), None)
                    for each in (student, teacher)]  # fmt: skip
            if pair[0] is not None and pair[1] is not None and pair[0].dim() == pair[1].dim():
                value = self.compare(pair[0], pair[1])
                found += [] if value is None else [value]
        if not found:
            raise TrainingError(
                f"{self._name} compares what modules give, and none of those that it watches gives the same kind of "
                f"tensor in the network ({', '.join(student.features) or 'none ran'}) and in its teacher "
                f"({', '.join(teacher.features) or 'none ran'}); name others in modules="
            )
        return found

    def _wants(self, name: str) -> bool:
        """Whether a module is one of this one's, where it is watched for others too."""
        return not self.modules or any(fnmatchcase(name, pattern) for pattern in self.modules)

    def _own(self, module: nn.Module) -> list[str]:
        names = [name for name, _ in module.named_modules() if name]
        if not self.modules:
            return stages(module)
        for pattern in self.modules:
            if not any(fnmatchcase(name, pattern) for name in names):
                raise TrainingError(f"{self._name}: modules={pattern} names no module; {did_you_mean(pattern, names)}")
        return [name for name in names if self._wants(name)]


def stages(module: nn.Module) -> list[str]:
    """The modules with which the stages of a network end; see :class:`Inner`."""
    blocks = find_blocks(module)
    if isinstance(module, nn.Sequential):
        return [path for path in blocks if any(True for _ in module.get_submodule(path).parameters())][:-1]
    lists: dict[str, list[str]] = {}
    for path in blocks:
        nested = isinstance(module.get_submodule(path), nn.Sequential)
        lists.setdefault(path if nested else path.rpartition(".")[0], []).append(path)
    if len(lists) > 1:
        return [members[-1] for members in lists.values()]
    for members in lists.values():
        ends = dict.fromkeys((i + 1) * len(members) // QUARTERS for i in range(QUARTERS))
        return [members[end - 1] for end in ends if end]
    return []


def channels_of(tensor: Tensor) -> int:
    """The dimension of channels: 1 of images (n, channels, h, w), else the last: (n, tokens, channels)."""
    return 1 if tensor.dim() > 3 else tensor.dim() - 1


def of_one_size(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """Both with the smaller one's height and width: the larger is averaged."""
    if student.dim() not in (4, 5) or student.shape[2:] == teacher.shape[2:]:
        return student, teacher
    size = [min(a, b) for a, b in zip(student.shape[2:], teacher.shape[2:], strict=True)]
    return averaged(student, size), averaged(teacher, size)


def averaged(tensor: Tensor, size: Sequence[int]) -> Tensor:
    """Images (n, channels, h, w) or volumes of another size: the means of what becomes one place."""
    pool = F.adaptive_avg_pool2d if tensor.dim() == 4 else F.adaptive_avg_pool3d
    return pool(tensor, size)  # type: ignore[arg-type]
