"""How well a target's own file does: on a target of low precision that is what runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ..core.metric import Measurement
from ..nets.batch import BatchDims, batch_dims_of
from ..nets.inputs import Inputs, call, each_tensor, fresh, tensors_in
from ..tasks.base import Task
from .base import EvaluationContext
from .examples import in_batches
from .latency import OnTarget
from .quality import Quality

JOB_BYTES = 64 << 20
"""Of the inputs of one job."""


def job_size(inputs: Inputs) -> int:
    """How many of these inputs, along the first dimension of their tensors, one job takes."""
    return max(1, JOB_BYTES // max(1, sum(tensor[0].nbytes for tensor in tensors_in(inputs))))


class FileOnTarget(nn.Module):
    """A target's file as a module: it is run there, at the target's batch size, and gives what the network gives.

    Args:
        target: that runs the file.
        path: of the file.
        network: that the file was written of.
        example: what the network is called with.
    """

    def __init__(self, target: OnTarget, path: Path, network: nn.Module, example: Inputs) -> None:
        super().__init__()
        self._target, self._path = target, path
        self._dims: BatchDims = batch_dims_of(network, example)
        with torch.no_grad():
            self._like = call(network, fresh(example))

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The outputs for inputs of any batch size."""
        inputs: Inputs = kwargs or (args if len(args) != 1 else args[0])
        total = self._dims.size(inputs)
        found = self._target.outputs(self._path, list(in_batches(inputs, self._dims, self._target.runtime.batch)))
        outputs = (
            torch.from_numpy(several[0] if dim is None else np.concatenate(several, axis=dim).take(range(total), dim))
            for several, dim in zip(found, self._dims.outputs, strict=False)
        )
        return each_tensor(self._like, lambda _: next(outputs))


class TargetQuality(Quality):
    """The metrics of a task that a target's own file has, run there on all examples.

    Args:
        task: see :class:`Quality`.
        loader: see :class:`Quality`; each of its batches is one job there.
        target: whose file is judged, such as :class:`netwright.measure.latency.Latency`.
    """

    def __init__(self, task: Task, loader: Iterable[Any], target: OnTarget) -> None:
        super().__init__(task, loader)
        self.target = target

    def network(self, context: EvaluationContext) -> nn.Module:
        return FileOnTarget(self.target, self.target.file(context), context.module, context.example_inputs)

    def of_file(self, path: Path, network: nn.Module, example: Inputs) -> dict[str, Measurement]:
        """Every metric of a file that was written of a network."""
        return self.all_of(FileOnTarget(self.target, path, network, example))

    def require(self) -> None:
        self.target.require()

    def provenance(self) -> Mapping[str, Any]:
        return self.target.provenance()
