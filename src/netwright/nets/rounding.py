"""Rounded layers: a transform for their weights, a module for their inputs, and what a network says of both."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from math import prod
from typing import Any, Literal

import torch
from torch import Tensor, nn

from .layers import TRANSPOSED, is_convolution, is_linear, is_transposed_linear
from .precisions.base import FLOAT_BITS
from .precisions.registry import FLOAT32, precision_of
from .transforms import Stored, Transform

INPUTS = "input_rounding"
"""The name under which a layer holds its :class:`InputRounding`."""

MOMENTUM = 0.1
"""How much of the range of activations each batch of training changes, as batch normalisation has it."""

Mode = Literal["round", "leave", "observe"]
_mode: ContextVar[Mode] = ContextVar("netwright_rounding", default="round")


@contextmanager
def inputs_unrounded() -> Iterator[None]:
    """Inputs of layers are left as they are while the block lasts: for counts, and for runtimes, which round
    themselves. Weights stay rounded."""
    with _as("leave"):
        yield


@contextmanager
def observing() -> Iterator[None]:
    """Inputs of layers are left as they are, and their ranges found."""
    with _as("observe"):
        yield


@contextmanager
def _as(mode: Mode) -> Iterator[None]:
    token = _mode.set(mode)
    try:
        yield
    finally:
        _mode.reset(token)


class InputRounding(nn.Module):
    """Rounds what its layer is given.

    In evaluation a constant range is that of calibration (:func:`netwright.recalibrate`), and before that the range of
    each input; training rounds in the range of each batch and keeps a running one, as batch normalisation does.

    Args:
        constant: whether the range is a constant; otherwise that of each input, along the first dimension.

    Attributes:
        precision: what a cut sets; see :data:`netwright.nets.precisions.PRECISIONS`.
        moves: whether the layer's weight is trained and not rounded for good; see :func:`settle`.
        low, high: the range, of no dimensions; both 0 where it is not known yet.
    """

    low: Tensor
    high: Tensor

    def __init__(self, constant: bool = True) -> None:
        super().__init__()
        self.constant = constant
        self.precision: str = FLOAT32
        self.moves = False
        self.register_buffer("low", torch.zeros(()))
        self.register_buffer("high", torch.zeros(()))

    @property
    def calibrates(self) -> bool:
        """Whether its range is one that calibration finds."""
        return self.constant and precision_of(self.precision).activations < FLOAT_BITS

    def forward(self, inputs: Tensor) -> Tensor:
        """The rounded inputs, of their own shape."""
        mode, precision = _mode.get(), precision_of(self.precision)
        if precision.activations >= FLOAT_BITS or mode == "leave" or not inputs.is_floating_point():
            return inputs
        values = inputs.detach()
        if mode == "observe":
            if self.constant:
                self.low.copy_(torch.minimum(self.low, values.amin()))
                self.high.copy_(torch.maximum(self.high, values.amax()))
            return inputs
        if not self.constant:
            dims = tuple(range(1, values.dim()))
            return precision.round_inputs(inputs, values.amin(dims, True), values.amax(dims, True))
        least, most = values.amin(), values.amax()
        known = self.high > self.low
        if self.training:
            for own, seen in ((self.low, least), (self.high, most)):
                own.copy_(torch.where(known, own + MOMENTUM * (seen - own), seen))
            return precision.round_inputs(inputs, least, most)
        return precision.round_inputs(inputs, torch.where(known, self.low, least), torch.where(known, self.high, most))

    def reset(self) -> None:
        """Forget the range."""
        self.low.zero_()
        self.high.zero_()

    def extra_repr(self) -> str:
        """Its precision."""
        return self.precision


def round_layer(layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The hook before a layer: its first argument is rounded, and while it is trained alone its weight.

    What a cut or an extraction makes of a weight is rounded already; a step of an optimizer moves it off.
    """
    own: InputRounding = getattr(layer, INPUTS)
    weight = layer._parameters.get("weight")
    if own.precision != FLOAT32 and isinstance(weight, nn.Parameter) and (own.moves or layer.training):
        own.moves = True
        vars(layer)["weight"] = Rounded.of(layer, own.precision)(weight)
    if args:
        return (own(args[0]), *args[1:]), kwargs
    name = next(iter(kwargs))
    return args, {**kwargs, name: own(kwargs[name])}


def put_weight_back(layer: Any, *_: Any) -> None:
    """The hook after a layer: its weight is the parameter again."""
    vars(layer).pop("weight", None)


def settle(network: nn.Module) -> None:
    """Round the weights of layers that were trained, in place, as they were rounded meanwhile."""
    for path, own in roundings(network).items():
        if own.moves:
            layer: Any = network.get_submodule(path)
            with torch.no_grad():
                layer.weight.copy_(Rounded.of(layer, own.precision)(layer.weight))
            own.moves = False


def add_input_rounding(layer: nn.Module, constant: bool) -> None:
    """Let a layer round its inputs as a cut says, in place; it leaves them as they are until then."""
    own = getattr(layer, INPUTS, None)
    if own is None:
        weight: Any = layer.weight
        layer.add_module(INPUTS, InputRounding(constant).to(weight.device).train(layer.training))
        layer.register_forward_pre_hook(round_layer, with_kwargs=True)
        layer.register_forward_hook(put_weight_back, always_call=True)
    else:
        own.constant = constant


def roundings(network: nn.Module) -> dict[str, InputRounding]:
    """Those of a network, by the paths of their layers."""
    suffix = f".{INPUTS}"
    return {
        path.removesuffix(suffix).removesuffix(INPUTS): module
        for path, module in network.named_modules()
        if isinstance(module, InputRounding)
    }


def precisions_of(network: nn.Module) -> dict[str, str]:
    """The precision of each layer that may have another than float32, by its path; empty for a network of none."""
    return {path: rounding.precision for path, rounding in roundings(network).items()}


def output_dim(layer: nn.Module) -> int:
    """Which dimension of a layer's weight is its output channels."""
    return 1 if isinstance(layer, TRANSPOSED) or is_transposed_linear(layer) else 0


def can_be_rounded(layer: nn.Module) -> bool:
    """Whether a layer is of a kind that runtimes have in few bits."""
    return is_convolution(layer) or is_linear(layer)


@dataclass(frozen=True)
class Rounded(Transform):
    """A layer's weight in another precision.

    Args:
        precision: its name; see :data:`netwright.nets.precisions.PRECISIONS`.
        dim: which dimension is the output channels.
    """

    kind = "round"
    precision: str
    dim: int = 0

    @classmethod
    def of(cls, layer: nn.Module, precision: str) -> Rounded:
        """That of a layer's weight, whose output channels lie where the layer has them."""
        return cls(precision, output_dim(layer))

    def stored(self, before: Stored) -> Stored:
        made, shape = precision_of(self.precision), before.shape
        channels = (shape[self.dim], prod(shape) // max(shape[self.dim], 1))
        return replace(before, bits=made.weights, more_bytes=before.more_bytes + made.more_bytes(channels))

    def __call__(self, kept: Tensor, *others: Tensor) -> Tensor:
        rounded = precision_of(self.precision).round_weights(kept.transpose(0, self.dim))
        return rounded.transpose(0, self.dim).contiguous() if self.dim else rounded
