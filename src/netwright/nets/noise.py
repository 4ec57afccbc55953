"""Noise for verification: copies of the network with other numbers in them, and what they compute of other inputs."""

from __future__ import annotations

import copy
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd
from torch.utils._python_dispatch import TorchDispatchMode

from ..core.errors import format_error
from .axes import Width
from .cut import Cut, ModuleIndex
from .extract import extract
from .fake_tensors import sizes_follow
from .inputs import Inputs, call, each_tensor, entries, fresh, is_constant, tensors_in, with_entries
from .isolation import State, seed_all
from .layers import follows as known
from .lengths import Lengths, resized
from .permutation import permute

SIZES = (1.0, 0.05)
"""Of noise on inputs, the first that the network accepts."""

DTYPES = (torch.float64, torch.float32)


def untied(
    index: ModuleIndex, widths: Sequence[Width], example_inputs: Inputs, supposes: bool = False
) -> dict[str, float]:
    """The widths whose channels cannot change places without a change of the output, relative to its size.

    All tensors have noise added. A network that does not run with it, or whose output is not finite then, tells
    nothing. For ``supposes`` see :class:`Subgraph`.
    """
    try:
        subgraph = next(subgraphs(index, example_inputs, [Cut()], supposes=supposes))
    except DoesNotRun:
        return {}
    return {width.name: change for width, change in subgraph.untied(widths)}


def subgraphs(
    index: ModuleIndex,
    example_inputs: Inputs,
    cuts: Sequence[Cut],
    modes: tuple[bool, ...] = (False,),
    blocks: Iterable[str] = (),
    large: bool = False,
    supposes: bool = False,
) -> Iterator[Subgraph]:
    """The network, or parts of it in turn, with noise for weights and inputs, in the best precision that it takes.

    Buffers that are not statistics take no noise where the network does not run with it.

    Args:
        index: the module index of the network.
        example_inputs: the example inputs that it is called with.
        cuts: what is left out of it, each time.
        modes: see :class:`Subgraph`.
        blocks: see :class:`Noise`.
        large: whether double precision is not to be tried.
        supposes: see :class:`Subgraph`.

    Raises :class:`DoesNotRun` where the network runs with no kind of noise.
    """
    blocks = tuple(blocks)
    noises = [Noise(index, dtype, blocks, buffers) for buffers in (True, False) for dtype in DTYPES[large:]]
    for cut in cuts:
        failed: list[DoesNotRun] = []
        for noise in noises:
            try:
                network = extract(index, cut, noise)
                subgraph = Subgraph(network, noise.inputs(example_inputs), noise.tolerance, modes, supposes)
            except DoesNotRun as error:
                failed.append(error)
            else:
                noises = [noise]
                yield subgraph
                break
        else:
            raise failed[0]


def other_inputs(network: nn.Module, inputs: Inputs, seed: int = 1, state: State | None = None) -> Inputs:
    """Inputs of the same structure and sizes with other values, which the network accepts.

    Floating-point tensors get noise added, others their own values in another order. Where the network raises then,
    or no longer gives finite numbers (it looks rows up, takes a logarithm, asserts a range), each tensor in turn gets
    the first that is accepted of noise, its own values in another order, and its own values.

    Args:
        network: the network that is asked, in the mode that it is in; neither it nor the inputs change.
        inputs: the inputs that it accepts.
        seed: the seed of the noise.
        state: the state of the network, where it is known.
    """
    state = state or State(network)
    given = list(tensors_in(inputs))
    noisy = [list(tensors_in(with_noise(inputs, size, seed))) for size in SIZES]

    def filled(tensors: Sequence[Tensor]) -> Inputs:
        following = iter(tensors)
        return each_tensor(inputs, lambda _: next(following))

    for changed in noisy:
        if _accepts(network, filled(changed), state):
            return filled(changed)
    finite = _accepts(network, inputs, state)
    now = list(given)
    for at, tensor in enumerate(given):
        for other in (*(changed[at] for changed in noisy), *_reorderings(tensor)):
            if _accepts(network, filled([*now[:at], other, *now[at + 1 :]]), state, finite):
                now[at] = other
                break
    return filled(now)


def with_noise(inputs: Inputs, size: float = 1.0, seed: int = 1) -> Inputs:
    """The inputs with noise added to floating-point tensors; others have their own values in another order.

    Args:
        inputs: the inputs, of any structure.
        size: the size of the noise, relative to the standard deviation of a tensor (1 at least). Where it is less than
            that, whole numbers take none, since they may be categories.
        seed: the seed of the noise.
    """
    generator = torch.Generator().manual_seed(seed)

    def change(tensor: Tensor) -> Tensor:
        own = entries(tensor)
        gently = size < 1 and not is_constant(own)
        whole = own == own.round() if tensor.is_floating_point() else None
        if whole is None or (gently and bool(whole.all())):
            return with_entries(tensor, own.flip(tuple(range(own.dim()))))
        spread = float(own.float().std()) if own.numel() > 1 else 0.0
        noise = torch.randn(own.shape, generator=generator) * size * max(1.0, spread)
        if gently:
            noise = noise.masked_fill(whole.cpu(), 0.0)
        return with_entries(tensor, own + noise.to(own))

    return each_tensor(inputs, change)


def _accepts(network: nn.Module, inputs: Inputs, state: State, finite: bool = True) -> bool:
    """Whether the network runs, and gives finite numbers (or, if they need not be, numbers)."""
    with state.kept(), torch.no_grad():
        try:
            outputs = [entries(t) for t in tensors_in(call(network, fresh(inputs)))]
            return all(bool((t.isfinite() if finite else ~t.isnan()).all()) for t in outputs)
        except Exception:  # the model's own code meets numbers that it did not expect
            return False


def follows(network: nn.Module, inputs: Inputs) -> bool:
    """Whether the network gives something else for other inputs, where there are any that it accepts."""
    state = State(network)
    others = other_inputs(network, inputs, state=state)
    found: list[list[Tensor]] = []
    for each in (inputs, others):
        with state.kept(), torch.no_grad():
            seed_all(0)
            found.append([t.clone() for t in tensors_in(call(network, fresh(each)))])
    return apart(*found) > 0 or apart(list(tensors_in(inputs)), list(tensors_in(others))) == 0


def _reorderings(tensor: Tensor) -> Iterator[Tensor]:
    """The tensor's own values in other orders, most of them moved first."""
    own = entries(tensor)
    dims = [dim for dim, size in enumerate(own.shape) if size > 1]
    for order in (dims, *([dim] for dim in dims if len(dims) > 1)):
        yield with_entries(tensor, own.flip(order))


def repeats(index: ModuleIndex, example_inputs: Inputs) -> bool:
    """Whether the network in training mode gives the same outputs twice, with all generators set back."""
    try:
        subgraph = next(subgraphs(index, example_inputs, [Cut()], (True,), large=True))
    except DoesNotRun:
        return False
    return apart(subgraph.reference, subgraph.run()) == 0


class _Even(TorchDispatchMode):
    """Numbers that are drawn are the same at every index: otherwise channels that change places would get others."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        draws = torch.Tag.nondeterministic_seeded in func.tags and isinstance(result, Tensor)
        if draws and result.is_floating_point() and (func._schema.is_mutable or _is_like(func, args)):
            result.fill_(0.5)
        return result


def _is_like(func: Any, args: tuple[Any, ...]) -> bool:
    """Whether an operator takes no more of a tensor than its size."""
    return not args or not isinstance(args[0], Tensor) or func.overloadpacket.__name__.endswith("_like")


class _Supposing(TorchDispatchMode):
    """A network whose masks keep something, if only one element: what a threshold keeps of noise may be nothing, which
    proves nothing of what follows. What the masks were is put aside, to be compared in their place.

    Attributes:
        masks: copies of the truth values on which sizes, and the way through the network's own code, depend.
    """

    def __init__(self) -> None:
        super().__init__()
        self.masks: list[Tensor] = []
        self._empty = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if sizes_follow(func, args):
            args = each_tensor(args, self._kept)
        result = func(*args, **(kwargs or {}))
        # What looks at truth values alone is as it is: of masks that keep something, some element is true.
        if isinstance(result, Tensor) and not func._schema.is_mutable:
            dtypes = {t.dtype for t in tensors_in(args)}
            if any(d.is_floating_point or (result.numel() > 1 and d is not torch.bool) for d in dtypes):
                return self._kept(result)
        return result

    def _kept(self, tensor: Tensor) -> Tensor:
        if tensor.dtype is not torch.bool:
            return tensor
        self.masks.append(tensor.clone())
        if not tensor.numel() or tensor.any():
            return tensor
        self._empty += 1
        kept = torch.zeros(tensor.numel(), dtype=torch.bool)
        kept[self._empty % tensor.numel()] = True  # elsewhere each time, so that nothing is written over
        return kept.reshape(tensor.shape)


class DoesNotRun(Exception):
    """The network does not run on numbers of ours; the message says why."""


class Subgraph:
    """A stand-alone copy of the network, or of a part of it, with noise for weights.

    Args:
        network: the copy; its tensors are permuted and put back.
        inputs: the inputs, in whose place it gets others that it accepts.
        tolerance: the largest change of the output, relative to its size, that is rounding.
        modes: whether it runs in training mode: no, or no and yes.
        supposes: whether the sizes of its tensors depend on their values. Then its masks count as outputs, and those
            that keep nothing keep one element.

    Raises :class:`DoesNotRun` where it raises, or gives something that is not finite, or always gives the same.
    """

    def __init__(
        self, network: nn.Module, inputs: Inputs, tolerance: float, modes: tuple[bool, ...], supposes: bool = False
    ) -> None:
        self.network, self.tolerance, self.modes, self._supposes = network, tolerance, modes, supposes
        self.index = ModuleIndex(network)
        for module in network.modules():
            if isinstance(module, _DropoutNd):  # in training mode it would draw anew for channels that changed places
                module.p = 0.0
        self._state = State(network)
        self.inputs = other_inputs(network.eval(), inputs, state=self._state)
        alike = apart(list(tensors_in(inputs)), list(tensors_in(self.inputs))) == 0
        if alike and any(is_constant(entries(t)) for t in tensors_in(inputs) if t.is_floating_point()):
            self.run(with_noise(inputs))  # raises; the example alone would show nothing
        self.reference = self._finite()
        self.follows = alike or apart(self.reference, self.run(inputs)) > 0
        """Whether it gives something else for other inputs, where there are any that it accepts."""

    def run(self, inputs: Inputs = None) -> list[Tensor]:
        """The outputs. Raises :class:`DoesNotRun` where the network raises."""
        found: list[Tensor] = []
        for mode in self.modes:
            supposing = _Supposing() if self._supposes else None
            even = _Even() if mode else nullcontext()
            with self._state.kept(), torch.no_grad(), even, supposing or nullcontext():
                seed_all(0)
                try:
                    outputs = call(self.network.train(mode), fresh(self.inputs if inputs is None else inputs))
                except Exception as error:  # the model's own code meets numbers that it did not expect
                    raise DoesNotRun(
                        f"the network does not run with noise for weights ({format_error(error)[:160]})"
                    ) from error
                found += [t.clone() for t in tensors_in(outputs)]
                found += supposing.masks if supposing else []
        return found

    def _finite(self) -> list[Tensor]:
        """The outputs. Raises :class:`DoesNotRun` also where they are not finite."""
        outputs = self.run()
        if not all(_is_finite(entries(t)) for t in outputs):
            raise DoesNotRun("its output is not finite with noise for weights")
        return outputs

    def resized(self, lengths: Lengths) -> Subgraph:
        """The same, as it is now, on inputs of other sizes. Raises :class:`DoesNotRun` where it does not take them.

        In evaluation mode alone: statistics of a batch whose maps have shrunk to a value or two magnify rounding a
        billion times.
        """
        other = copy.copy(self)
        other.modes = (False,)
        other.inputs = resized(self.inputs, lengths)
        other.reference = other._finite()
        return other

    def share(self, width: Width) -> Width:
        """The width as far as its tensors are here."""
        return replace(width, slices=tuple(s for s in width.slices if s.tensor in self.index.shapes))

    def untied(self, widths: Sequence[Width]) -> Iterator[tuple[Width, float]]:
        """The widths that cannot be permuted without a change, and the change; the others stay permuted."""
        if not widths:
            return
        orders = [
            torch.randperm(w.channels, generator=torch.Generator().manual_seed(zlib.crc32(w.name.encode())))
            for w in widths
        ]
        for width, order in zip(widths, orders, strict=True):
            permute(self.index, width, order)
        change = apart(self.reference, self.run())
        if change <= self.tolerance:
            return
        for width, order in zip(widths, orders, strict=True):
            permute(self.index, width, torch.argsort(order))
        if len(widths) == 1:
            yield widths[0], change
            return
        yield from self.untied(widths[: len(widths) // 2])
        yield from self.untied(widths[len(widths) // 2 :])


def _is_finite(values: Tensor) -> bool:
    """Whether values tell something; where there are none, they tell nothing, and do no harm."""
    return not values.numel() or (bool(values.isfinite().any()) and not bool(values.isnan().any()))


def apart(before: Sequence[Tensor], now: Sequence[Tensor]) -> float:
    """The largest change of an output, relative to its size; infinity where outputs are not comparable."""
    if len(before) != len(now):
        return float("inf")
    return max((_change(entries(a), entries(b)) for a, b in zip(before, now, strict=True)), default=0.0)


def _change(before: Tensor, now: Tensor) -> float:
    if before.shape != now.shape:
        return float("inf")
    if before.is_complex():
        before, now = torch.view_as_real(before), torch.view_as_real(now)
    if not before.is_floating_point() or not before.numel():
        return 0.0 if torch.equal(before, now) else float("inf")
    change = (before - now).abs().masked_fill(before == now, 0.0).max()  # infinities are no distance apart
    size = before.abs().where(before.isfinite(), 0.0).max().clamp_min(1e-12)
    return float(change / size) if bool(change.isfinite()) else float("inf")


class Noise:
    """Numbers for verification: a new network's zeros and ones would hide a wrong group.

    Args:
        index: the module index of the network.
        dtype: the data type of the floating-point numbers.
        blocks: modules that are copied once; other tensors are made once for all copies.
        buffers: whether buffers other than statistics take noise.
    """

    PERIOD = 1_000_003
    """A prime, so that no two rows of a tensor are alike."""

    HUGE = 1e4
    """Numbers from here on stand for minus infinity in a mask, whose zeros mean something too: it takes no noise."""

    def __init__(
        self, index: ModuleIndex, dtype: torch.dtype, blocks: Iterable[str] = (), buffers: bool = True
    ) -> None:
        self.dtype = dtype
        self.tolerance = 1e-6 if dtype == torch.float64 else 1e-4
        self._blocks = tuple(path + "." for path in blocks)
        self._made: dict[str, Tensor] = {}
        self._plain = {
            name
            for name, owners in index.owners.items()
            if not buffers and name not in index.parameters and not known(index.modules[owners[0]])
        }

    @cached_property
    def _base(self) -> Tensor:
        return torch.rand(self.PERIOD, generator=torch.Generator().manual_seed(0), dtype=self.dtype)

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
            return torch.ones_like(piece, device="cpu") if piece.is_meta else piece.to("cpu", copy=True)
        stored = entries(piece)
        start = zlib.crc32(name.encode()) % self.PERIOD
        count = stored.numel()
        times = (start + count) // self.PERIOD + 1
        base = self._base if times == 1 else self._base.repeat(times)
        noise = base[start : start + count].reshape(stored.shape)
        if piece.is_meta:
            fan = piece[0].numel() if piece.dim() > 1 else 0
            return (noise - 0.5) * (3 / fan**0.5) if fan else noise * 0.2 + 0.9
        value = stored.to("cpu", self.dtype, copy=True)
        if name not in self._plain and not (count and float(value.abs().max()) >= self.HUGE):
            scale = float(value.std()) if count > 1 else 0.0
            value = value * (1 + 0.2 * noise) + 0.1 * max(scale, 0.1) * noise
        return with_entries(piece.cpu(), value)

    def inputs(self, inputs: Inputs) -> Inputs:
        """The network's inputs in the same precision; noise and ones for those that have no data."""
        generator = torch.Generator().manual_seed(1)

        def own(tensor: Tensor) -> Tensor:
            if not tensor.is_floating_point():
                return torch.ones_like(tensor, device="cpu") if tensor.is_meta else tensor.cpu()
            if tensor.is_meta:
                return torch.randn(tensor.shape, generator=generator, dtype=self.dtype)
            return tensor.to("cpu", self.dtype)

        return each_tensor(inputs, own)
