"""Files of networks as modules that give what the network gives, all of it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ..formats.onnx import feed
from ..formats.plain import input_names
from ..nets.batch import BatchDims, batch_dims_of
from ..nets.inputs import Inputs, call, each_tensor, evaluating, fresh
from .examples import in_batches


class ExportedModule(nn.Module):
    """A network's outputs, computed by a file of it.

    Args:
        network: the network that the file was written of.
        example: what the network is called with.
    """

    def __init__(self, network: nn.Module, example: Inputs) -> None:
        super().__init__()
        self.dims: BatchDims = batch_dims_of(network, example)
        with torch.no_grad(), evaluating(network):
            self._like = call(network, fresh(example))

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The outputs for inputs of any batch size, in the network's own structure."""
        inputs: Inputs = kwargs or (args if len(args) != 1 else args[0])
        total = self.dims.size(inputs)
        outputs = (
            torch.from_numpy(several[0] if dim is None else np.concatenate(several, axis=dim).take(range(total), dim))
            for several, dim in zip(self.run(inputs), self.dims.outputs, strict=False)
        )
        return each_tensor(self._like, lambda _: next(outputs))

    def run(self, inputs: Inputs) -> Iterable[Any]:
        """For each output, what it is for each part of the inputs, in order: NumPy arrays."""
        raise NotImplementedError


class OnnxModule(ExportedModule):
    """An ONNX file, run by ONNX Runtime on the CPU in this process.

    Args:
        path: the path of the file.
        network: the network that it was written of.
        example: what the network is called with.
    """

    def __init__(self, path: Path, network: nn.Module, example: Inputs) -> None:
        super().__init__(network, example)
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.log_severity_level = 3
        self._session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self._fixed = self._fixed_batch(example)

    def _fixed_batch(self, example: Inputs) -> int:
        """The batch size of a file that takes no other; 0 where any will do."""
        shapes = {each.name: each.shape for each in self._session.get_inputs()}
        dims = zip(input_names(example), self.dims.inputs, strict=True)
        found = [shapes[name][dim] for name, dim in dims if dim is not None and name in shapes]
        return next((size for size in found if isinstance(size, int)), 0)

    def run(self, inputs: Inputs) -> Iterable[Any]:
        size = self._fixed or self.dims.size(inputs)
        parts = [self._session.run(None, feed(self._session, part)) for part in in_batches(inputs, self.dims, size)]
        return zip(*parts, strict=True)
