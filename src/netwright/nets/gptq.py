"""Weights of few bits that are chosen by what layers give, not each by itself."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..core.candidate import Candidate, Option
from ..core.errors import NetError
from .axes.bits import Bits
from .importance.base import given_batches
from .inputs import call, evaluating, fresh
from .isolation import isolated
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
    axes, given = [axis for axis in net.axes if isinstance(axis, Bits)], given_batches(batches, "gptq")
    candidate = net.space.candidate(candidate)
    whole = net.extract(net.space.candidate({**candidate, **{axis.name: FLOAT32 for axis in axes}}))
    network = find_ranges(net.extract(candidate), given)
    layers = {path: precision_of(own.precision) for path, own in roundings(network).items() if own.precision != FLOAT32}
    if not layers:
        raise NetError(f"gptq: no layer of {candidate} has few bits: there is nothing to round")
    examples = [calibration_inputs(net, batch) for batch in given]
    weights = {path: whole.get_submodule(path).get_parameter("weight").detach() for path in layers}
    for path in _order(network, examples[0], list(layers)):
        layer, precision = network.get_submodule(path), layers[path]
        if isinstance(precision, Even) and _is_product(layer):
            _round(layer, weights[path], precision, _moments(network, layer, examples, path))
    return network.eval()


def _is_product(layer: nn.Module) -> bool:
    """Whether a layer multiplies its weight by columns of its inputs, in a way that is known here."""
    return is_linear(layer) or isinstance(layer, nn.Conv2d)


def _order(network: nn.Module, inputs: Any, paths: list[str]) -> list[str]:
    """The layers that run, in the order in which they do."""
    ran = dict[str, None]()
    with _watching({path: network.get_submodule(path) for path in paths}, lambda path, _: ran.setdefault(path)):
        _run(network, inputs)
    return list(ran)


def _moments(network: nn.Module, layer: Any, examples: list[Any], path: str) -> Tensor:
    """The second moments of what a layer's weight is multiplied with: of shape (groups, inputs, inputs)."""
    found: Tensor | None = None

    def add(_: str, inputs: Tensor) -> None:
        nonlocal found
        columns = _columns(layer, inputs.detach().float())
        new = columns @ columns.transpose(1, 2)
        found = new if found is None else found + new

    with _watching({path: layer}, add):
        for inputs in examples:
            _run(network, inputs)
    assert found is not None
    if not bool(torch.isfinite(found).all()):
        raise NetError(f"gptq: what the layer {path} is given is not finite")
    return found.double()


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


def _columns(layer: Any, inputs: Tensor) -> Tensor:
    """What each group of a layer's outputs is computed from: (groups, inputs of a group, positions)."""
    if not isinstance(layer, nn.Conv2d):
        return inputs.flatten(0, -2).T[None]
    mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
    padded = F.pad(inputs[None] if inputs.dim() == 3 else inputs, layer._reversed_padding_repeated_twice, mode=mode)
    unfolded = F.unfold(padded, layer.kernel_size, layer.dilation, 0, layer.stride)  # (n, inputs, positions)
    return unfolded.unflatten(1, (layer.groups, -1)).movedim(0, 2).flatten(2)


@torch.no_grad()
def _round(layer: Any, weight: Tensor, precision: Even, moments: Tensor) -> None:
    """Give a layer its rounded weight, in place."""
    dim = output_dim(layer)
    rows = weight.transpose(0, dim).flatten(1)
    steps = precision.steps(rows)
    parts = zip(rows.chunk(len(moments)), steps.chunk(len(moments)), moments, strict=True)
    numbers = torch.cat([_whole(part.double(), step.double(), precision, own) for part, step, own in parts])
    made = numbers.to(rows.dtype) * steps  # in the arithmetic of rounding to the nearest
    layer.weight.copy_(made.reshape(weight.transpose(0, dim).shape).transpose(0, dim))


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
