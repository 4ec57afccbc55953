"""A lesson: one batch, and all that networks may learn from it with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..core.candidate import Candidate
from ..core.errors import NetwrightError, TrainingError, format_error
from ..nets.inputs import Inputs, tensors_in
from ..nets.supernet import SuperNet
from ..tasks.base import Task
from ..tasks.losses import scalar
from .answers import Answer, Teacher, answer_of
from .distillation.base import Distillation
from .distillation.outputs import Outputs
from .sampling.base import Sampling
from .sampling.uniform import Uniform
from .steps import State, Step


class LossError(TrainingError):
    """A loss that is not a finite number.

    Args:
        value: the loss.
        who: whose, in words.
    """

    def __init__(self, value: float, who: str) -> None:
        super().__init__(f"the loss of {who} is {value}")
        self.value, self.who = value, who


@dataclass(frozen=True)
class Lesson:
    """One batch, and all that networks may learn from it with.

    Networks learn by :meth:`learn` (from the targets, and from the teacher where there is one) and by :meth:`imitate`
    (from another network's answer, and from the targets for a share); both add gradients to the shared weights. The
    running statistics of the shared normalisation layers are those of the largest sub-network where it learns by
    :meth:`learn`, which alone is tracked: all others', mixed, would be those of no network.

    Args:
        batch: as the loader gives it, on the device of the network.
        task: says what of the batch are inputs and targets, and what is learned.
        rng: the only source of randomness besides the global generators of PyTorch, NumPy and Python.
        at: which step of how many.
        teacher: a network that sub-networks learn from as well, if there is one.
        distillation: how a network learns from the answer of another.
        sampling: which sub-networks are drawn.
        state: tensors of the rule's own by name, to be read and changed; empty at first.
    """

    batch: Any
    task: Task
    rng: np.random.Generator
    at: Step = Step()  # noqa: RUF009  # frozen
    teacher: Teacher | None = None
    distillation: Distillation = Outputs()  # noqa: RUF009
    sampling: Sampling = Uniform()  # noqa: RUF009
    state: State = field(default_factory=dict)

    @property
    def inputs(self) -> Inputs:
        """Of the batch."""
        return self._split[0]

    @property
    def targets(self) -> Any:
        """Of the batch."""
        return self._split[1]

    @cached_property
    def _split(self) -> tuple[Inputs, Any]:
        return self.task.split(self.batch)

    def sample(self, net: SuperNet) -> Candidate:
        """A random sub-network, drawn as the training wants it."""
        return self.sampling.sample(net, self.rng, self.at, self.state)

    def answer(self, module: nn.Module) -> Answer:
        """What a network gives for the inputs, with what the distillation compares."""
        return answer_of(module, self.inputs, self.distillation.watched(module))

    def taught(self, module: nn.Module) -> Answer | None:
        """The teacher's answer, if there is a teacher: computed once.

        Args:
            module: a network that learns from it.
        """
        if self.teacher is None:
            return None
        known: dict[str, Answer] = self.__dict__.setdefault("_taught", {})
        if "answer" not in known:
            known["answer"] = self.teacher(self.inputs, self.distillation.watched(module))
        return known["answer"]

    def taught_by(self, answer: Answer) -> Lesson:
        """The same lesson with a teacher that gives this answer."""
        return replace(self, teacher=lambda inputs, watched=(): answer)

    @torch.no_grad()
    def judge(self, net: SuperNet, candidate: Candidate) -> float:
        """The loss of a sub-network from the targets; nothing is learned.

        Raises :class:`LossError` where it is not finite.
        """
        with net.active(candidate) as module, tracked(module, False):
            value = self._missed(self.answer(module))
            return float(finite(value, named(net, candidate)))

    def learn(self, net: SuperNet, candidate: Candidate, *, weight: float = 1.0) -> tuple[float, Answer]:
        """Add the gradients of a sub-network that learns from the targets, and from the teacher where there is one.

        Args:
            net: in training mode, if it is to be.
            candidate: the sub-network.
            weight: what its gradients are multiplied by.

        Returns the loss of the targets, and what the sub-network gave, detached. Raises :class:`LossError` where the
        loss is not finite, and :class:`TrainingError` for a loss that nothing can be learned from.
        """
        with net.active(candidate) as module, tracked(module, candidate == net.largest):
            value, answer = self.learn_alone(module, weight=weight, who=named(net, candidate))
        self.sampling.told(net, candidate, value, self.at, self.state)
        return value, answer

    def learn_alone(self, module: nn.Module, *, weight: float = 1.0, who: str = "the network") -> tuple[float, Answer]:
        """The same of a network that is no super-network.

        With a teacher the two losses count the same.
        """
        answer = self.answer(module)
        value = self._missed(answer)
        if not value.requires_grad and any(p.requires_grad for p in module.parameters()):
            raise TrainingError(
                "the loss does not depend on the weights, so that nothing can be learned: argmax, a comparison, "
                "detach() or item() in it cuts it off"
            )
        goal, taught = finite(value, who), self.taught(module)
        if taught is not None:
            goal = (value + finite(self.compared(answer, taught), f"{who} from its teacher")) / 2
        (goal * weight if weight != 1 else goal).backward()
        return float(value.detach()), answer.detached()

    def learn_largest(self, net: SuperNet) -> tuple[float, Answer]:
        """The same of the largest sub-network, which others may imitate then.

        Returns the loss of the targets, and what the others learn from: the teacher's answer where there is a teacher,
        else what the largest gave.
        """
        value, answer = self.learn(net, net.largest)
        return value, self.taught(net.module) or answer

    def imitate(
        self, net: SuperNet, candidate: Candidate, answer: Answer, *, targets: float = 0.0, weight: float = 1.0
    ) -> float:
        """Add the gradients of a sub-network that learns from another's answer.

        Args:
            net: in training mode, if it is to be.
            candidate: the sub-network.
            answer: detached, as :meth:`learn` and :meth:`taught` give it.
            targets: the share of the targets in what is learned; that of the answer is the rest.
            weight: what its gradients are multiplied by.

        Returns the loss. Raises :class:`LossError` where it is not finite.
        """
        with net.active(candidate) as module, tracked(module, False):
            own = self.answer(module)
            value = self.compared(own, answer) if targets < 1 else self._missed(own)
            if 0 < targets < 1:
                value = targets * self._missed(own) + (1 - targets) * value
            value = finite(value, named(net, candidate))
            (value * weight if weight != 1 else value).backward()
        loss = float(value.detach())
        self.sampling.told(net, candidate, loss, self.at, self.state)
        return loss

    def _missed(self, answer: Answer) -> Tensor:
        """The task's loss of an answer from the targets."""
        return scalar(self.task.loss(answer.outputs, self.targets))

    def compared(self, student: Answer, teacher: Answer) -> Tensor:
        """How far one answer is from another, as the distillation says.

        Raises :class:`TrainingError` for outputs that do not go together.
        """
        try:
            return scalar(self.distillation.loss(self.task, student, teacher, self.targets))
        except NetwrightError:
            raise
        except Exception as error:  # whatever a loss makes of outputs that do not go together
            own, other = (_shapes(answer) for answer in (student, teacher))
            if own == other:
                raise
            raise TrainingError(
                f"a network whose outputs have the shapes {own} cannot learn from one whose outputs have the shapes "
                f"{other} ({format_error(error)}): give a teacher with the same outputs, or a distillation that "
                "compares something else, such as relational"
            ) from error


@contextmanager
def tracked(module: nn.Module, wanted: bool) -> Iterator[None]:
    """What runs leaves its trace in the running statistics, or none."""
    norms = [] if wanted else [m for m in module.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    for norm in norms:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True


def _shapes(answer: Answer) -> str:
    return ", ".join(str(tuple(t.shape)) for t in tensors_in(answer.outputs)) or "of no tensors"


def named(net: SuperNet, candidate: Candidate) -> str:
    """Which sub-network, for messages."""
    for name in ("largest", "smallest"):
        if candidate == getattr(net, name):
            return f"the {name} sub-network"
    settings = ", ".join(f"{name}={value}" for name, value in list(candidate.items())[:6])
    return f"the sub-network {settings}{', ...' if len(candidate) > 6 else ''}"


def finite(value: Tensor, who: str) -> Tensor:
    """The loss itself. Raises :class:`LossError` where it is not finite."""
    if not torch.isfinite(value):
        raise LossError(float(value.detach()), who)
    return value
