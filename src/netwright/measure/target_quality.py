"""How well a target's own file does: on a target of low precision that is what runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from ..core.metric import Measurement
from ..nets.inputs import Inputs, tensors_in
from ..tasks import Task
from .base import EvaluationContext, Place
from .examples import in_batches
from .exported import ExportedModule
from .latency import OnTarget
from .quality import Quality

JOB_BYTES = 64 << 20
"""Of the inputs of one job."""


def job_size(inputs: Inputs) -> int:
    """How many of these inputs, along the first dimension of their tensors, one job takes."""
    each = sum(tensor.nbytes // max(1, len(tensor)) for tensor in tensors_in(inputs) if tensor.dim())
    return max(1, JOB_BYTES // max(1, each))


class FileOnTarget(ExportedModule):
    """A target's file as a module: it is run there, at the target's batch size.

    Args:
        target: that runs the file.
        path: of the file.
        network: that the file was written of.
        example: what the network is called with.
    """

    def __init__(self, target: OnTarget, path: Path, network: nn.Module, example: Inputs) -> None:
        super().__init__(network, example)
        self._target, self._path = target, path

    def run(self, inputs: Inputs) -> Iterable[Any]:
        batches = list(in_batches(inputs, self.dims, self._target.runtime.batch))
        return self._target.outputs(self._path, batches, trust=True)


class TargetQuality(Quality):
    """The metrics of a task that a target's own file has, run there on all examples.

    Args:
        task: see :class:`Quality`.
        loader: see :class:`Quality`; each of its batches is one job there.
        target: whose file is judged, such as :class:`netwright.measure.latency.Latency`.
    """

    def __init__(self, task: Task | str, loader: Iterable[Any], target: OnTarget) -> None:
        super().__init__(task, loader)
        self.target = target

    @property
    def place(self) -> Place:
        return self.target.place

    def prepare(self, context: EvaluationContext) -> None:
        self.target.prepare(context)

    def network(self, context: EvaluationContext) -> nn.Module:
        return FileOnTarget(self.target, self.target.file(context), context.module, context.example_inputs)

    def of_file(self, path: Path, network: nn.Module, example: Inputs) -> dict[str, Measurement]:
        """Every metric of a file that was written of a network."""
        return self.all_of(FileOnTarget(self.target, path, network, example))

    def require(self) -> None:
        self.target.require()

    def provenance(self) -> Mapping[str, Any]:
        return self.target.provenance()
