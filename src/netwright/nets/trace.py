"""What a network does on its example inputs, operator by operator, without computing anything (meta tensors)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from ..core.errors import NetError, one_line
from .cut import Anatomy, Cut, applied
from .extract import extract
from .inputs import Inputs, call, each_tensor


@dataclass(frozen=True)
class Op:
    """One operator call.

    Args:
        name: the ATen operator, such as ``convolution``.
        module: path of the innermost module that ran it.
        reads: positions in :attr:`Trace.tensors` of its tensor arguments.
        writes: the same of its results (an argument again, for in-place operators).
        transposed: for convolutions.
    """

    name: str
    module: str
    reads: tuple[int, ...]
    writes: tuple[int, ...]
    transposed: bool = False


@dataclass
class Trace:
    """The operators in the order in which they ran, and the tensors between them.

    Args:
        shapes: of every distinct tensor seen.
        buffers: for each tensor, which storage holds it; views and in-place results share one.
        itemsize: for each storage, bytes of an element.
        owners: for each storage, the position of a tensor that spans it.
        weights: storages of parameters and module buffers.
        inputs, outputs: storages of the network's own.
        around: module path to the storages of its first tensor argument and result, for modules that ran once.
    """

    ops: list[Op] = field(default_factory=list)
    shapes: list[tuple[int, ...]] = field(default_factory=list)
    buffers: list[int] = field(default_factory=list)
    itemsize: list[int] = field(default_factory=list)
    owners: list[int] = field(default_factory=list)
    weights: set[int] = field(default_factory=set)
    inputs: set[int] = field(default_factory=set)
    outputs: set[int] = field(default_factory=set)
    around: dict[str, tuple[int, int]] = field(default_factory=dict)

    def signature(self) -> list[tuple[str, str, tuple[int, ...], tuple[int, ...]]]:
        """Everything but the sizes: equal for two runs that did the same things to the same tensors."""
        return [(op.name, op.module, op.reads, op.writes) for op in self.ops]


class Tracer:
    """Traces sub-networks of one network on a copy of it that holds no data."""

    def __init__(self, anatomy: Anatomy, example_inputs: Inputs) -> None:
        with torch.inference_mode(False):
            self._twin = extract(anatomy, Cut(), lambda t: torch.empty_like(t, device="meta")).eval()
            self._anatomy = Anatomy(self._twin)
            self._inputs = each_tensor(example_inputs, lambda t: torch.empty_like(t, device="meta"))

    def run(self, cut: Cut) -> Trace:
        """The trace of the sub-network. Raises :class:`NetError` where the network does not run on meta tensors."""
        # In inference mode composite operators (linear, conv2d) would reach the recorder whole.
        with torch.inference_mode(False), applied(self._anatomy, cut), _Recorder(self._twin) as recorder:
            return recorder.record(self._inputs)


class _Recorder(TorchDispatchMode):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.trace = Trace()
        self._tensors: dict[int, int] = {}
        self._storages: dict[int, int] = {}
        self._alive: list[Tensor] = []  # ids and storages must not be reused while the trace is made
        self._stack: list[str] = [""]

    def record(self, inputs: Inputs) -> Trace:
        trace = self.trace
        for tensor in (*self.network.parameters(), *self.network.buffers()):
            trace.weights.add(trace.buffers[self._see(tensor)])
        for tensor in _tensors_in(inputs):
            trace.inputs.add(trace.buffers[self._see(tensor)])
        with self._module_paths():
            try:
                output = call(self.network, inputs)
            except NetError:
                raise
            except Exception as error:
                raise NetError(f"the network raises on its example inputs: {one_line(error)}") from error
        trace.outputs = {trace.buffers[self._see(tensor)] for tensor in _tensors_in(output)}
        return trace

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        reads = tuple(self._see(t) for t in _tensors_in((args, kwargs)))
        writes = tuple(self._see(t) for t in _tensors_in(result))
        name = func.overloadpacket.__name__
        transposed = name == "convolution" and bool(args[6])
        self.trace.ops.append(Op(name, self._stack[-1], reads, writes, transposed))
        return result

    def _see(self, tensor: Tensor) -> int:
        known = self._tensors.get(id(tensor))
        if known is not None:
            return known
        trace, position = self.trace, len(self.trace.shapes)
        self._alive.append(tensor)
        self._tensors[id(tensor)] = position
        trace.shapes.append(tuple(tensor.shape))
        storage = self._storages.setdefault(tensor.untyped_storage()._cdata, len(self._storages))
        trace.buffers.append(storage)
        if storage == len(trace.owners):
            trace.owners.append(position)
            trace.itemsize.append(tensor.element_size())
        return position

    @contextlib.contextmanager
    def _module_paths(self) -> Iterator[None]:
        handles = []
        ran_twice: set[str] = set()

        def enter(path: str) -> Any:
            def hook(module: nn.Module, args: Any, kwargs: Any) -> None:
                self._stack.append(path)

            return hook

        def leave(path: str) -> Any:
            def hook(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
                self._stack.pop()
                into, out = next(_tensors_in((args, kwargs)), None), next(_tensors_in(output), None)
                if path in self.trace.around:
                    ran_twice.add(path)
                if into is not None and out is not None:
                    buffers = self.trace.buffers
                    self.trace.around[path] = (buffers[self._see(into)], buffers[self._see(out)])

            return hook

        try:
            for path, module in self.network.named_modules():
                handles.append(module.register_forward_pre_hook(enter(path), with_kwargs=True))
                handles.append(module.register_forward_hook(leave(path), with_kwargs=True))
            yield
        finally:
            for handle in handles:
                handle.remove()
        for path in ran_twice:
            del self.trace.around[path]


def _tensors_in(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        for part in value.values():
            yield from _tensors_in(part)
    elif isinstance(value, tuple | list):
        for part in value:
            yield from _tensors_in(part)
