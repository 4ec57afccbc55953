"""Trajectory: how far a channel bends what the rest of the network computes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ...core.candidate import Option
from ...core.errors import NetError
from ..axes import Width
from ..cut import ModuleIndex
from ..inputs import Inputs, call, each_tensor, evaluating, fresh, tensors_in
from ..isolation import State
from ..permutation import expert_tensors
from ..recalibrate import calibration_inputs
from ..supernet import SuperNet
from .base import Effects, Gates, examples_in, given_batches

TOGETHER = 128
"""Examples of one run, in which several channels are left out, each in a copy of the examples."""
ROWS = 256
"""Positions (tokens, pixels) of all examples whose relations are compared, at most."""


class Trajectory(Effects):
    """How much what later layers and the outputs say changes without a channel, by leaving it out (Khaki and
    Plataniotis, "The need for speed: pruning transformers with one recipe" (OPTIN), 2024, section 3.2).

    Each channel is left out where it is read, and the network is run. What counts is how the relations change between
    the positions of all examples (their cosines, as in manifold distillation), in what each layer gives that reads a
    width, summed over the layers; and how the outputs change, relative to their spread, squared: the paper's divergence
    of class probabilities, for any task. No gradients are needed; a run is, for every few channels.

    Args:
        batches: inputs, or tuples whose first entry is the input; the first batch is looked at.
        examples: of it, at most.
    """

    def __init__(self, batches: Iterable[Any], examples: int = 8) -> None:
        self.batches, self.examples = given_batches(batches, "Trajectory"), examples
        if type(examples) is not int or examples < 1:
            raise NetError(f"examples is a number of examples, 1 or more, not {examples!r}")

    def scores(self, net: SuperNet, widths: Sequence[Width]) -> list[Tensor]:
        return _Runs(net, self._inputs(net), widths).scores()

    def change(self, net: SuperNet, options: Mapping[str, Option]) -> float | None:
        widths = [part for axis in net.axes for part in axis.members() if isinstance(part, Width)]
        return _Runs(net, self._inputs(net), widths).change(options)

    def _inputs(self, net: SuperNet) -> Inputs:
        """The first examples of the first batch."""
        inputs = calibration_inputs(net, self.batches[0])
        size = examples_in(inputs)
        return each_tensor(inputs, lambda t: t[: self.examples] if t.dim() and t.shape[0] == size else t)


class _Runs:
    """Runs of a network with channels left out, compared with one of the whole.

    Args:
        net: the super-network.
        inputs: the examples.
        widths: whose channels are left out, and whose readers' results are looked at.
    """

    def __init__(self, net: SuperNet, inputs: Inputs, widths: Sequence[Width]) -> None:
        self.net, self.inputs, self.widths, self.size = net, inputs, widths, examples_in(inputs)
        self._generator = torch.Generator().manual_seed(0)
        self._rows: dict[str, Tensor] = {}
        self._factor: tuple[int, Tensor] | None = None
        with self._watched() as reads:
            self.read = {at for each in reads.values() for at, *_ in each}
            relations, outputs = self._run(State(net.module), net.module, inputs, 1)
        self.whole = {path: each[0] for path, each in relations.items()}
        self.outputs = [each[0] for each in outputs]

    @torch.no_grad()
    def scores(self) -> list[Tensor]:
        """Of every channel of every width."""
        with self._watched():
            state, found = State(self.net.module), []
            for at, width in enumerate(self.widths):
                found.append(self._left_out(at, state) if at in self.read else self._emptied(width, state))
        return found

    def _left_out(self, at: int, state: State) -> Tensor:
        """Several channels a run, each in a copy of the examples."""
        channels, found = self.widths[at].channels, []
        copies = max(1, TOGETHER // self.size)
        for start in range(0, channels, copies):
            some = range(start, min(start + copies, channels))
            factor = torch.ones(len(some), self.size, channels)
            factor[torch.arange(len(some)), :, torch.arange(some.start, some.stop)] = 0
            self._factor = at, factor.flatten(0, 1)
            repeated = each_tensor(self.inputs, partial(self._repeated, copies=len(some)))
            found.append(self._differences(*self._run(state, self.net.module, repeated, len(some))))
        self._factor = None
        return torch.cat(found)

    def _emptied(self, width: Width, state: State) -> Tensor:
        """Channels that no layer reads, and experts: their weights are zeros for a run."""
        index, found = self.net.index, []
        experts = expert_tensors(index, width)
        for i in range(width.channels):
            parts = [
                index.tensor(s.tensor).narrow(s.dim, s.offset + i * s.block, s.block)
                for s in width.slices
                if s.tensor in index.parameters
            ]
            parts += [index.tensor(members[i]) for members in experts]
            before = [part.clone() for part in parts]
            for part in parts:
                part.zero_()
            try:
                found.append(self._differences(*self._run(state, self.net.module, self.inputs, 1)))
            finally:
                for part, values in zip(parts, before, strict=True):
                    part.copy_(values)
        return torch.cat(found)

    @torch.no_grad()
    def change(self, options: Mapping[str, Option]) -> float | None:
        """Of a network that takes some options; None where its outputs are of another form."""
        with self.net.active(self.net.largest_with(options)) as module, self._watched():
            relations, outputs = self._run(State(module), module, self.inputs, 1)
        if [each[0].shape for each in outputs] != [each.shape for each in self.outputs]:
            return None
        return float(self._differences(relations, outputs))

    def _repeated(self, tensor: Tensor, copies: int) -> Tensor:
        if not tensor.dim() or tensor.shape[0] != self.size:
            return tensor
        return tensor.repeat(copies, *[1] * (tensor.dim() - 1))

    # -- one run -----------------------------------------------------------------------------------------------

    @contextmanager
    def _watched(self) -> Iterator[Mapping[str, Any]]:
        """What the layers give that read a width is kept while the block lasts, and factors are applied."""
        index: ModuleIndex = self.net.index
        self._given: dict[str, tuple[Tensor, int]] = {}
        gates = Gates(index, self.widths, self._gate)
        handles = []
        for path, reads in gates.reads.items():

            def keep(module: nn.Module, _: Any, output: Any, path: str = path, dim: int = reads[0][2]) -> None:
                self._given[path] = next(tensors_in(output)), dim

            handles.append(index.modules[path].register_forward_hook(keep))
        try:
            yield gates.reads
        finally:
            gates.remove()
            for handle in handles:
                handle.remove()

    def _gate(self, at: int, examples: int, x: Tensor) -> Tensor | None:
        if self._factor is None or self._factor[0] != at:
            return None
        return self._factor[1].to(x)

    @torch.no_grad()
    def _run(
        self, state: State, module: nn.Module, inputs: Inputs, copies: int
    ) -> tuple[dict[str, Tensor], list[Tensor]]:
        """The relations in what each watched layer gives, of shape (copies, rows, rows), and the outputs, with a first
        dimension of the copies."""
        self._given.clear()
        with state.kept(), evaluating(module):
            output = call(module, fresh(inputs))
            found = dict(self._given)  # what hooks have written is gone when the block is left
        relations = {path: self._relations(path, given, dim, copies) for path, (given, dim) in found.items()}
        outputs = [
            t.detach().double().reshape(copies, t.shape[0] // copies, *t.shape[1:])
            for t in tensors_in(output)
            if t.is_floating_point() and t.dim() and t.shape[0] % copies == 0
        ]
        return relations, outputs

    def _relations(self, path: str, given: Tensor, dim: int, copies: int) -> Tensor:
        features = given.detach().movedim(dim, -1)
        features = features.reshape(copies, -1, features.shape[-1])
        if path not in self._rows:
            self._rows[path] = torch.randperm(features.shape[1], generator=self._generator)[:ROWS].to(given.device)
        unit = nn.functional.normalize(features[:, self._rows[path]].float(), dim=-1)
        return unit @ unit.mT

    def _differences(self, relations: Mapping[str, Tensor], outputs: Sequence[Tensor]) -> Tensor:
        """How far runs are from that of the whole, float64 of shape (copies,)."""
        copies = outputs[0].shape[0] if outputs else 1
        total = torch.zeros(copies, dtype=torch.float64)
        for path, found in relations.items():
            if path in self.whole and found.shape[1:] == self.whole[path].shape:
                total += (found - self.whole[path]).double().square().flatten(1).mean(1).cpu()
        for found, whole in zip(outputs, self.outputs, strict=True):
            scale = whole.std(correction=0).clamp_min(1e-12)
            total += ((found - whole) / scale).square().flatten(1).mean(1).cpu()
        return total
