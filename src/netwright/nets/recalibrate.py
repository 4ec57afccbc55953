"""What a sub-network knows of data: normalisation statistics, which are the largest's at best, and ranges of inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import chain
from math import inf
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.rnn import PackedSequence

from ..core.errors import MeasureError, NetError, format_error
from .devices import device_under, to_device
from .inputs import Inputs, call, fresh, has_targets, positional, split_batch
from .isolation import isolated, seeded
from .layout import channels_last
from .rounding import InputRounding, observing, roundings

Statistics = Literal["inherited", "recomputed", "fine-tuned"]
"""Where running statistics come from: slices of the shared ones, calibration batches, or fine-tuning."""


def needs_recalibration(network: nn.Module) -> bool:
    """Whether the network holds running statistics, or layers that round their inputs in a constant range."""
    return bool(_norms(network) or _ranges(network))


def recalibrate(network: nn.Module, batches: Iterable[Any], seed: int = 0) -> nn.Module:
    """Replace the running statistics of batch normalisation by the average over ``batches``, in place; then the ranges
    of rounded inputs by the least and the greatest value there.

    Everything else (dropout among it) is in evaluation mode meanwhile. Yu and Huang, "Universally slimmable
    networks" (2019), section 3.3, find that one pass over a thousand images is enough. Give batches as the network was
    trained on: statistics of plain images are wrong for one that was trained on augmented ones.

    Args:
        network: left in evaluation mode. Its statistics are as they were where it raises.
        batches: gone through once, or twice for both; inputs, or batches with targets of any structure that
            :func:`netwright.nets.inputs.split_batch` reads.
        seed: the seed of what the batches draw (their order, augmentation): the same for every network.

    Raises :class:`NetError` where there are no batches, or where the network cannot be called with them.
    """
    if not isinstance(network, nn.Module):
        raise NetError(
            f"recalibrate() takes a network, not a {type(network).__name__}; of a super-network extract one first: "
            "net.extract(candidate)"
        )
    norms = _norms(network)
    network.eval()
    if norms:
        with seeded(seed), torch.no_grad(), channels_last(network):
            _find_statistics(network, norms, batches)
    return find_ranges(network, batches, seed)


def find_ranges(network: nn.Module, batches: Iterable[Any], seed: int = 0) -> nn.Module:
    """Find the ranges of rounded inputs alone: see :func:`recalibrate`. Without any, the batches are not touched."""
    network.eval()
    if ranges := _ranges(network):
        with seeded(seed), torch.no_grad(), channels_last(network):
            _find_ranges(network, ranges, batches)
    return network


def _find_statistics(network: nn.Module, norms: list[_BatchNorm], batches: Iterable[Any]) -> None:
    remaining = _begun(batches)
    given, momenta, unused = _statistics(norms), [m.momentum for m in norms], norms
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain average over the batches
        norm.train()
    try:
        with isolated(network):  # all but the statistics stays as it was: caches, counters, hooks' dicts
            for batch in remaining:
                _run(network, batch)
            found = _statistics(norms)
        _put_back(norms, found)
        unused = [norm for norm in norms if not norm.num_batches_tracked]  # a skipped block's, for one
    finally:
        _put_back(unused, given)
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
            norm.eval()


def _find_ranges(network: nn.Module, ranges: list[InputRounding], batches: Iterable[Any]) -> None:
    """The ranges of what layers are given while nobody rounds inputs."""
    remaining = _begun(batches)
    with isolated(network), observing():
        for own in ranges:
            own.reset()
        for batch in remaining:
            _run(network, batch)
        found = [(own.low.clone(), own.high.clone()) for own in ranges]
    for own, (low, high) in zip(ranges, found, strict=True):
        if not (low.isfinite() and high.isfinite()):
            raise NetError(
                f"calibration inputs bring values to {own.precision} layers that are not finite; look for NaN and "
                "infinity in the batches, and for overflow in the network"
            )
        if high > low:  # otherwise it did not run, or saw zeros alone
            own.low.copy_(low)
            own.high.copy_(high)


def _begun(batches: Iterable[Any]) -> Iterable[Any]:
    """The batches. Raises :class:`NetError` where there are none."""
    remaining = iter(batches)
    first = next(remaining, None)
    if first is None:
        raise NetError("there are no batches to recalibrate with; is the loader used up?")
    return chain([first], remaining)


def better_statistics(
    network: nn.Module, batches: Iterable[Any], loss: Callable[[nn.Module], float], seed: int = 0
) -> Statistics:
    """Keep the network's own running statistics, or :func:`recalibrate` it where that makes the loss lower, in place.

    Args:
        network: one that may have statistics of its own, such as the largest of a pre-trained super-network.
        batches, seed: see :func:`recalibrate`.
        loss: how well a network does, less is better. What cannot be judged counts as worst.

    Returns which they are.
    """
    norms = _norms(network)
    find_ranges(network, batches, seed)
    if not norms:
        return "inherited"

    def judged() -> float:
        try:
            return loss(network)
        except MeasureError:
            return inf

    own, given = judged(), _statistics(norms)
    recalibrate(network, batches, seed)
    if judged() < own:
        return "recomputed"
    _put_back(norms, given)
    find_ranges(network, batches, seed)
    return "inherited"


def _ranges(network: nn.Module) -> list[InputRounding]:
    return [own for own in roundings(network).values() if own.calibrates]


def _norms(network: nn.Module) -> list[_BatchNorm]:
    return [m for m in network.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]


def _statistics(norms: list[_BatchNorm]) -> dict[_BatchNorm, dict[str, Tensor]]:
    return {norm: {k: v.clone() for k, v in norm.named_buffers(recurse=False)} for norm in norms}


def _put_back(norms: Iterable[_BatchNorm], given: Mapping[_BatchNorm, Mapping[str, Tensor]]) -> None:
    for norm in norms:
        for name, buffer in norm.named_buffers(recurse=False):
            buffer.copy_(given[norm][name])


def _run(network: nn.Module, batch: Any) -> None:
    inputs = to_device(calibration_inputs(network, batch), device_under(network))
    try:
        call(network, fresh(inputs))  # the batches may be used again, and a network may write into them
    except (TypeError, ValueError) as error:  # of another number, or by other names
        raise NetError(
            f"the network cannot be called with the inputs of a calibration batch: {format_error(error)}; batches are "
            "inputs, pairs (inputs, labels), or dicts of keyword inputs"
        ) from error


def calibration_inputs(network: Any, batch: Any) -> Inputs:
    """The inputs of a batch, with targets or without: of several positional ones as many as the example of the network
    or super-network has."""
    if has_targets(batch):
        return split_batch(batch)[0]
    if not isinstance(batch, tuple | list) or isinstance(batch, PackedSequence):
        return batch
    example = getattr(network, "example_inputs", None)
    if not batch or (type(example) is tuple and isinstance(batch[0], Tensor)):
        return tuple(batch[: len(example or ())])
    return positional(batch)
