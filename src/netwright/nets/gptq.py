"""Weights of few bits that are chosen by what layers give, not each by itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from math import isqrt, prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..core.candidate import Candidate, Option
from ..core.errors import NetError
from .axes.bits import Bits
from .devices import device_under, to_device
from .importance.base import given_batches
from .inputs import call, evaluating, fresh
from .isolation import isolated, seeded
from .layers import is_linear
from .precisions.even import Even
from .precisions.registry import FLOAT32, precision_of
from .recalibrate import calibration_inputs, find_ranges
from .rounding import output_dim, roundings
from .supernet import SuperNet

NEAR = 1e-4
"""Steps that float32 may take the largest weight away from its whole number."""
DAMPING = 0.01
"""Of the mean of the diagonal, added to it: inputs of few examples do not span all directions."""
ENOUGH = 256
"""Positions at which a convolution is looked at for each input of an output, at least, where there are as many."""
AT_ONCE = 1 << 20
"""Numbers of a layer's inputs whose columns are made at once: of a convolution these are as often as its kernel is
large."""


def gptq(net: SuperNet, candidate: Candidate | Mapping[str, Option], batches: Iterable[Any]) -> nn.Module:
    """The network of a candidate, as :meth:`SuperNet.extract` gives it, with weights of few bits that keep what layers
    give rather than the weights themselves (GPTQ: Frantar et al. 2023, arXiv 2210.17323). No labels, no training.

    Layer after layer, in the order in which they run, given what the layers before make of the inputs: a layer's
    weights are rounded input by input, those that matter most first, and the error of each is made up for by the
    weights that are not rounded yet, by the second moments of the layer's inputs. Scales are those of rounding to the
    nearest, and the weight that a scale comes from keeps its value, so that runtimes, which find scales by themselves,
    find these.

    Linear layers and two-dimensional convolutions in evenly spaced bits (int8, int4, ``uniform``); others are rounded
    to the nearest, as they are without this.

    Args:
        net: with axes of bits (:class:`netwright.Bits`); left as it is.
        candidate: which network.
        batches: inputs, or tuples whose first entry is the input: some hundred examples, such as calibrate ranges.

    Raises :class:`NetError` where no layer of the candidate has few bits, or where inputs are not finite.
    """
    candidate, given = net.space.candidate(candidate), given_batches(batches, "gptq")
    network = find_ranges(net.extract(candidate), given)
    if not round_by_outputs(net, candidate, network, given):
        raise NetError(f"gptq: no layer of {candidate} has few bits: there is nothing to round")
    return network.eval()


def round_by_outputs(net: SuperNet, candidate: Candidate, network: nn.Module, batches: Iterable[Any]) -> bool:
    """Round the weights of an extracted network anew, in place, as :func:`gptq` does; whether any has few bits.

    All batches run through the network once, together, where they can be one batch; a layer that runs more than once
    takes a run of its own, as every layer does where batches have different shapes.

    Args:
        net, candidate: what it was extracted from.
        network: with the statistics of normalisation and the ranges of inputs that it is to have meanwhile.
        batches: see :func:`gptq`.
    """
    layers = {path: precision_of(own.precision) for path, own in roundings(network).items() if own.precision != FLOAT32}
    if not layers:
        return False
    bits = {axis.name: FLOAT32 for axis in net.axes if isinstance(axis, Bits)}
    whole = net.extract(net.space.candidate({**candidate, **bits}))
    device = device_under(network)
    with seeded(0):  # what batches draw is the same for all networks
        examples = [to_device(calibration_inputs(net, batch), device) for batch in batches]
    times = _times(network, examples[0], list(layers))
    rounding = _Rounding(
        network,
        {path: whole.get_submodule(path).get_parameter("weight").detach().to(device) for path in layers},
        {
            path: own
            for path, own in layers.items()
            if isinstance(own, Even) and _is_product(network.get_submodule(path))
        },
    )
    joined = _joined(net, examples)
    order = [
        *(path for path in times if path in rounding.precisions),
        *(path for path in rounding.precisions if path not in times),
    ]
    for at_once, paths in groupby(order, lambda path: len(joined) == 1 and times[path] < 2):
        if at_once:
            rounding.in_one_run(joined[0], list(paths))
        else:
            for path in paths:
                rounding.alone(joined, path)
    return True


def _joined(net: SuperNet, examples: list[Any]) -> list[Any]:
    """The examples as one batch, where they can be."""
    if len(examples) == 1 or not net.batch_dims:
        return examples
    try:
        return [net.batch_dims.join(*examples)]
    except RuntimeError:  # texts of different lengths
        return examples


def _is_product(layer: nn.Module) -> bool:
    """Whether a layer multiplies its weight by columns of its inputs, in a way that is known here."""
    return is_linear(layer) or isinstance(layer, nn.Conv2d)


def _times(network: nn.Module, inputs: Any, paths: list[str]) -> Counter[str]:
    """How often each layer runs, in the order in which they do first."""
    ran = Counter[str]()
    with _watching({path: network.get_submodule(path) for path in paths}, lambda path, _: ran.update([path])):
        _run(network, inputs)
    return ran


@dataclass(frozen=True)
class _Rounding:
    """Rounds the layers of a network, in place.

    Args:
        network: whose layers.
        weights: theirs in float32, by path.
        precisions: of those that can be rounded so.
    """

    network: nn.Module
    weights: Mapping[str, Tensor]
    precisions: Mapping[str, Even]

    def in_one_run(self, inputs: Any, paths: list[str]) -> None:
        """Round layers as they are reached, so that the next ones are given what comes of that."""
        made: dict[str, Tensor] = {}

        def reached(path: str, given: Tensor) -> None:
            if path not in made:
                layer: Any = self.network.get_submodule(path)
                made[path] = self._rounded(path, _moments(layer, given))
                layer.weight.copy_(made[path])

        with _watching({path: self.network.get_submodule(path) for path in paths}, reached):
            _run(self.network, inputs)  # which leaves the network as it was
        for path, weight in made.items():
            self._give(path, weight)

    def alone(self, examples: list[Any], path: str) -> None:
        """Round a layer by all that it is given in all runs."""
        layer, found = self.network.get_submodule(path), list[Tensor]()
        with _watching({path: layer}, lambda _, given: found.append(_moments(layer, given))):
            for inputs in examples:
                _run(self.network, inputs)
        if found:
            self._give(path, self._rounded(path, torch.stack(found).sum(0)))

    def _rounded(self, path: str, moments: Tensor) -> Tensor:
        if not bool(torch.isfinite(moments).all()):
            raise NetError(f"gptq: what the layer {path} is given is not finite")
        return _rounded(
            self.weights[path], output_dim(self.network.get_submodule(path)), self.precisions[path], moments
        )

    @torch.no_grad()
    def _give(self, path: str, weight: Tensor) -> None:
        self.network.get_submodule(path).get_parameter("weight").copy_(weight)


def _moments(layer: Any, inputs: Tensor) -> Tensor:
    """The second moments of what a layer's weight is multiplied with: of shape (groups, inputs, inputs)."""
    inputs, apart = inputs.detach().float(), 1
    if isinstance(layer, nn.Conv2d):
        inputs = inputs[None] if inputs.dim() == 3 else inputs
        apart = _apart(layer, inputs)
    else:
        inputs = inputs.reshape(-1, inputs.shape[-1])
    each = max(1, inputs.numel() // max(1, len(inputs)))
    parts = (_columns(layer, part, apart) for part in inputs.split(max(1, AT_ONCE // each)))
    return torch.stack([columns @ columns.transpose(1, 2) for columns in parts]).sum(0, dtype=torch.float64)


def _apart(layer: nn.Conv2d, inputs: Tensor) -> int:
    """How far apart the positions are at which a convolution is looked at, along both sides. It is odd, so that the
    pattern that strides and upsampling leave is seen whole."""
    number = inputs.shape[0] * prod(inputs.shape[2:]) // prod(layer.stride)
    found = isqrt(max(1, number // (ENOUGH * layer.weight[0].numel())))
    return found - (found + 1) % 2


def _run(network: nn.Module, inputs: Any) -> None:
    with isolated(network), evaluating(network), torch.no_grad():
        call(network, fresh(inputs))


@contextmanager
def _watching(layers: Mapping[str, nn.Module], told: Any) -> Iterator[None]:
    """Each layer's inputs are told, as they are after its own rounding of them."""

    def hook(path: str) -> Any:
        return lambda _, args, kwargs: told(path, args[0] if args else next(iter(kwargs.values())))

    handles = [m.register_forward_pre_hook(hook(path), with_kwargs=True) for path, m in layers.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _columns(layer: Any, inputs: Tensor, apart: int) -> Tensor:
    """What each group of a layer's outputs is computed from: (groups, inputs of a group, positions); of a convolution
    at each so many-th position."""
    if not isinstance(layer, nn.Conv2d):
        return inputs.T[None]
    stride = tuple(own * apart for own in layer.stride)
    mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
    padded = F.pad(inputs, layer._reversed_padding_repeated_twice, mode=mode)
    unfolded = F.unfold(padded, layer.kernel_size, layer.dilation, 0, stride)  # (n, inputs, positions)
    return unfolded.unflatten(1, (layer.groups, -1)).movedim(0, 2).flatten(2)


def _rounded(weight: Tensor, dim: int, precision: Even, moments: Tensor) -> Tensor:
    """A layer's rounded weight, whose dimension ``dim`` is the output channels."""
    rows = weight.transpose(0, dim).flatten(1)
    steps = precision.steps(rows)
    parts = zip(rows.chunk(len(moments)), steps.chunk(len(moments)), moments, strict=True)
    numbers = torch.cat([_whole(part.double(), step.double(), precision, own) for part, step, own in parts])
    made = numbers.to(rows.dtype) * steps  # in the arithmetic of rounding to the nearest
    return made.reshape(weight.transpose(0, dim).shape).transpose(0, dim)


def _whole(rows: Tensor, steps: Tensor, precision: Even, moments: Tensor) -> Tensor:
    """The whole numbers of rows of weights, found one column after another (algorithm 1 of the paper; columns of the
    greatest moments first)."""
    moments = moments.clone()
    diagonal = moments.diagonal()
    diagonal += DAMPING * diagonal.mean().clamp_min(torch.finfo(torch.float32).tiny)
    order = diagonal.argsort(descending=True)
    inverse = torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(moments[order][:, order])), upper=True)
    exact = (rows / steps)[:, order]
    rows, steps, numbers = rows[:, order], steps[:, order], torch.empty_like(exact)
    # The weight that a step comes from: it keeps its number, so that the step stays what it is.
    held, kept = exact.abs() >= precision.greatest - NEAR, exact.round().clamp(precision.low, precision.high)
    for i in range(rows.shape[1]):
        nearest = (rows[:, i] / steps[:, i]).round().clamp(precision.low, precision.high)
        numbers[:, i] = torch.where(held[:, i], kept[:, i], nearest)
        error = (rows[:, i] - numbers[:, i] * steps[:, i]) / inverse[i, i]
        rows[:, i + 1 :] -= error[:, None] * inverse[i, i + 1 :]
    return numbers[:, order.argsort()]
