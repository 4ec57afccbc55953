"""How well a target's own file does: on a target of low precision that is what runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..core.metric import Measurement
from ..nets.batch import BatchDims, batch_dims_of
from ..nets.inputs import Inputs, call, each_tensor, fresh
from .base import EvaluationContext
from .examples import in_batches
from .latency import OnTarget
from .quality import Accuracy

JOB_BYTES = 64 << 20
"""Of the inputs of one job."""


def job_size(inputs: Tensor) -> int:
    """How many of these inputs, along the first dimension, one job takes."""
    return max(1, JOB_BYTES // max(1, inputs[0].nbytes))


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


class TargetAccuracy(Accuracy):
    """Top-1 accuracy of a target's own file, run there on all examples, in percent.

    Args:
        loader: see :class:`Accuracy`; each of its batches is one job there.
        target: whose file is judged, such as :class:`netwright.measure.latency.Latency`.
    """

    def __init__(self, loader: Iterable[Any], target: OnTarget) -> None:
        super().__init__(loader)
        self.target = target

    def network(self, context: EvaluationContext) -> nn.Module:
        return FileOnTarget(self.target, self.target.file(context), context.module, context.example_inputs)

    def of_file(self, path: Path, network: nn.Module, example: Inputs) -> Measurement:
        """The accuracy of a file that was written of a network."""
        return self.of(FileOnTarget(self.target, path, network, example))

    def require(self) -> None:
        self.target.require()

    def provenance(self) -> Mapping[str, Any]:
        return self.target.provenance()
