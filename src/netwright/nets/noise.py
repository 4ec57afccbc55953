"""Noise for proofs: copies of the network with other numbers in them, and what they compute of other inputs."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from ..core.errors import one_line
from .axes import Width
from .cut import Anatomy, Cut
from .extract import extract
from .importance import permute
from .inputs import Inputs, call, each_tensor, entries, fresh, tensors_in, with_entries


def untied(anatomy: Anatomy, widths: Sequence[Width], example_inputs: Inputs) -> dict[str, float]:
    """The widths whose channels cannot change places without a change of the output, relative to its size.

    All tensors have noise added. A network that does not run with it, or whose output is not finite then, tells
    nothing.
    """
    for dtype in (torch.float64, torch.float32):
        noise = Noise(dtype, ())
        excerpt = Excerpt(extract(anatomy, Cut(), noise), noise.inputs(example_inputs), noise.tolerance, (False,))
        try:
            reference = excerpt.run()
        except Exception:  # the model's own code may look at values, or know one precision
            continue
        if all(bool(torch.isfinite(t).all()) for t in reference if t.is_floating_point()):
            return {width.name: change for width, change in excerpt.untied(widths, reference)}
    return {}


def other_inputs(network: nn.Module, inputs: Inputs, seed: int = 1) -> Inputs:
    """Inputs of the same structure and sizes with other values, which the network accepts.

    Floating-point tensors get noise added. Where the network raises then, or no longer gives finite numbers (it looks
    rows up, takes a logarithm, asserts a range), each tensor in turn gets noise, or, where that is not accepted, its
    own values in another order, or stays as it is. Tensors of other types never get noise.

    Args:
        network: which is asked, in the mode that it is in; it runs on copies of the inputs.
        inputs: which it accepts.
        seed: of the noise.
    """
    given = list(tensors_in(inputs))
    generator = torch.Generator().manual_seed(seed)
    changed = [_with_noise(t, generator) if t.is_floating_point() else _reversed(t) for t in given]

    def filled(tensors: Sequence[Tensor]) -> Inputs:
        following = iter(tensors)
        return each_tensor(inputs, lambda _: next(following))

    if _accepts(network, filled(changed)):
        return filled(changed)
    now = list(given)
    for at, tensor in enumerate(given):
        for other in (changed[at], *_reorderings(tensor)):
            if _accepts(network, filled([*now[:at], other, *now[at + 1 :]])):
                now[at] = other
                break
    return filled(now)


def _accepts(network: nn.Module, inputs: Inputs) -> bool:
    """Whether the network runs, and gives finite numbers."""
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        try:
            outputs = list(tensors_in(call(network, fresh(inputs))))
        except Exception:  # the model's own code meets numbers that it did not expect
            return False
    return all(bool(torch.isfinite(entries(t)).all()) for t in outputs)


def _with_noise(tensor: Tensor, generator: torch.Generator) -> Tensor:
    own = entries(tensor)
    scale = float(own.float().std()) if own.numel() > 1 else 0.0
    noise = torch.randn(own.shape, generator=generator) * max(1.0, scale)
    return with_entries(tensor, own + noise.to(own))


def _reversed(tensor: Tensor) -> Tensor:
    own = entries(tensor)
    return with_entries(tensor, own.flip(tuple(range(own.dim()))))


def _reorderings(tensor: Tensor) -> Iterator[Tensor]:
    """The tensor's own values in other orders, most of them moved first."""
    own = entries(tensor)
    dims = [dim for dim, size in enumerate(own.shape) if size > 1]
    for order in (dims, *([dim] for dim in dims if len(dims) > 1)):
        yield with_entries(tensor, own.flip(order))


def repeats(anatomy: Anatomy, example_inputs: Inputs) -> bool:
    """Whether the network in training mode gives the same outputs twice, with PyTorch's generator set back."""
    noise = Noise(torch.float32, ())
    excerpt = Excerpt(extract(anatomy, Cut(), noise), noise.inputs(example_inputs), 0.0, (True,))
    try:
        return _change(excerpt.run(), excerpt.run()) == 0
    except DoesNotRun:
        return False


class DoesNotRun(Exception):
    """The network raises; the message is what it raises."""


@dataclass
class Excerpt:
    """A stand-alone copy of the network, or of a part of it, with noise for weights.

    Args:
        network: the copy; its tensors are permuted and put back.
        inputs: what it is called with.
        tolerance: the largest change of the output, relative to its size, that is rounding.
        modes: whether it runs in training mode: no, or no and yes.
    """

    network: nn.Module
    inputs: Inputs
    tolerance: float
    modes: tuple[bool, ...]

    def __post_init__(self) -> None:
        self.anatomy = Anatomy(self.network)
        for module in self.network.modules():
            if isinstance(module, _DropoutNd):  # in training mode it would draw anew for channels that changed places
                module.p = 0.0

    def run(self) -> list[Tensor]:
        """The outputs. Raises :class:`DoesNotRun` where the network raises."""
        found: list[Tensor] = []
        buffers = {name: tensor.clone() for name, tensor in self.network.named_buffers()}
        for mode in self.modes:
            with torch.no_grad(), torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                try:
                    found += tensors_in(call(self.network.train(mode), fresh(self.inputs)))
                except Exception as error:  # the model's own code meets numbers that it did not expect
                    raise DoesNotRun(one_line(error)[:160]) from error
                for name, tensor in self.network.named_buffers():  # training moves statistics
                    tensor.copy_(buffers[name])
        return found

    def share(self, width: Width) -> Width:
        """The width as far as its tensors are here."""
        return replace(width, slots=tuple(s for s in width.slots if s.tensor in self.anatomy.shapes))

    def untied(self, widths: Sequence[Width], reference: list[Tensor]) -> Iterator[tuple[Width, float]]:
        """The widths that cannot be permuted without a change, and the change; the others stay permuted."""
        if not widths:
            return
        orders = [
            torch.randperm(w.channels, generator=torch.Generator().manual_seed(zlib.crc32(w.name.encode())))
            for w in widths
        ]
        for width, order in zip(widths, orders, strict=True):
            permute(self.anatomy, width, order)
        change = _change(reference, self.run())
        if change <= self.tolerance:
            return
        for width, order in zip(widths, orders, strict=True):
            permute(self.anatomy, width, torch.argsort(order))
        if len(widths) == 1:
            yield widths[0], change
            return
        yield from self.untied(widths[: len(widths) // 2], reference)
        yield from self.untied(widths[len(widths) // 2 :], reference)


def _change(before: Sequence[Tensor], now: Sequence[Tensor]) -> float:
    """The largest change of an output, relative to its size."""
    worst = 0.0
    for a, b in zip(before, now, strict=True):
        if not a.is_floating_point():
            change = 0.0 if torch.equal(a, b) else float("inf")
        else:
            change = float((a - b).abs().max() / a.abs().max().clamp_min(1e-12)) if a.numel() else 0.0
        worst = max(worst, change if change == change else float("inf"))
    return worst


class Noise:
    """Numbers for a proof: a fresh network's zeros and ones would hide a wrong tie.

    Args:
        dtype: of the floating-point numbers.
        blocks: modules that are copied once; other tensors are made once for all copies.
    """

    PERIOD = 1_000_003
    """A prime, so that no two rows of a tensor are alike."""

    HUGE = 1e4
    """Numbers from here on stand for minus infinity in a mask, whose zeros mean something too: it takes no noise."""

    def __init__(self, dtype: torch.dtype, blocks: Iterable[str]) -> None:
        self.dtype = dtype
        self.tolerance = 1e-6 if dtype == torch.float64 else 1e-4
        self._blocks = tuple(path + "." for path in blocks)
        self._made: dict[str, Tensor] = {}
        self._base = torch.rand(self.PERIOD, generator=torch.Generator().manual_seed(0), dtype=dtype)

    def __call__(self, name: str, piece: Tensor) -> Tensor:
        """A tensor's value: its own with noise added, and noise alone where it has no data."""
        if name in self._made:
            return self._made[name]
        value = self._value(name, piece.detach())
        if not name.startswith(self._blocks):
            self._made[name] = value
        return value

    def _value(self, name: str, piece: Tensor) -> Tensor:
        if not piece.is_floating_point():
            return torch.ones_like(piece, device="cpu") if piece.is_meta else piece.cpu().clone()
        start = zlib.crc32(name.encode()) % self.PERIOD
        count = piece.numel()
        noise = self._base.repeat((start + count) // self.PERIOD + 1)[start : start + count].reshape(piece.shape)
        if piece.is_meta:
            fan = piece[0].numel() if piece.dim() > 1 else 0
            return (noise - 0.5) * (3 / fan**0.5) if fan else noise * 0.2 + 0.9
        value = piece.to("cpu", self.dtype, copy=True)
        if count and float(value.abs().max()) >= self.HUGE:
            return value
        scale = float(value.std()) if count > 1 else 0.0
        return value * (1 + 0.2 * noise) + 0.1 * max(scale, 0.1) * noise

    def inputs(self, inputs: Inputs) -> Inputs:
        """The network's inputs in the same precision, with noise added."""
        generator = torch.Generator().manual_seed(1)

        def noisy(tensor: Tensor) -> Tensor:
            if not tensor.is_floating_point():
                return torch.ones_like(tensor, device="cpu") if tensor.is_meta else tensor.cpu()
            noise = torch.randn(tensor.shape, generator=generator, dtype=self.dtype)
            return noise if tensor.is_meta else tensor.to("cpu", self.dtype) + noise

        return each_tensor(inputs, noisy)
