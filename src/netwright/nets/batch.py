"""Which dimension of every input and output is the batch: found by trying."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, islice, product
from typing import Any

import torch
from torch import Tensor, nn

from ..core.errors import NetError, format_error
from .inputs import Inputs, call, each_tensor, entries, evaluating, fresh, is_constant, is_dense, tensors_in
from .isolation import State
from .rounding import inputs_unrounded

TRIALS = 128
"""Assignments of dimensions that are tried at most."""
ALIKE = {torch.float16: 2e-2, torch.bfloat16: 5e-2}
"""How far outputs may be apart, relative to the largest of them; 1e-3 for other types."""

Given = int | Sequence[int | None] | Mapping[str, int | None]
"""The batch of each input as a person says it: one dimension for all tensors, a list with an entry for each tensor, in
order (``[None]``: none), or a mapping of keyword inputs, in which those that are left out have none."""


@dataclass(frozen=True)
class BatchDims:
    """For every tensor of the inputs and of the outputs, in order: the dimension that is the batch, or None."""

    inputs: tuple[int | None, ...]
    outputs: tuple[int | None, ...]

    def __bool__(self) -> bool:
        """Whether there is a batch at all."""
        return any(dim is not None for dim in self.inputs)

    def __str__(self) -> str:
        """In words: ``batch: dimension 1 of input 0, none of input 1``."""
        if not self:
            return "no dimension of the inputs is a batch"
        return "batch: " + ", ".join(
            f"{'none' if dim is None else f'dimension {dim}'} of input {i}" for i, dim in enumerate(self.inputs)
        )

    def size(self, inputs: Inputs) -> int:
        """The batch size of inputs; 1 where there is no batch."""
        sizes = [t.shape[dim] for t, dim in zip(tensors_in(inputs), self.inputs, strict=True) if dim is not None]
        return sizes[0] if sizes else 1

    def change(self, inputs: Inputs, change: Callable[[Tensor, int], Tensor]) -> Inputs:
        """The inputs with every tensor that has a batch replaced by what ``change(tensor, dimension)`` makes of it."""
        dims = iter(self.inputs)

        def changed(tensor: Tensor) -> Tensor:
            dim = next(dims)
            return tensor if dim is None else change(tensor, dim)

        return each_tensor(inputs, changed)

    def part(self, inputs: Inputs, start: int, stop: int) -> Inputs:
        """The examples from ``start`` to before ``stop``."""
        return self.change(inputs, lambda tensor, dim: tensor.narrow(dim, start, stop - start))

    def join(self, *several: Inputs) -> Inputs:
        """Inputs behind one another as one batch; what has no batch is that of the first."""
        others = [tensors_in(inputs) for inputs in several[1:]]
        dims = iter(self.inputs)

        def joined(tensor: Tensor) -> Tensor:
            rest, dim = [next(tensors) for tensors in others], next(dims)
            return tensor if dim is None else torch.cat([tensor, *rest], dim)

        return each_tensor(several[0], joined)

    def chosen(self, several: Inputs, inputs: Inputs) -> Inputs:
        """The inputs, with what has a batch taken from others."""
        others, dims = tensors_in(several), iter(self.inputs)

        def of_either(tensor: Tensor) -> Tensor:
            other = next(others)
            return tensor if next(dims) is None else other

        return each_tensor(inputs, of_either)

    def repeat(self, inputs: Inputs, size: int) -> Inputs:
        """The first of the examples, repeated to a batch of ``size``.

        Raises :class:`NetError` where there is no batch and ``size`` is more than 1.
        """
        if not self and size > 1:
            raise NetError(
                f"a batch of {size} is asked for, but {self} (found by trying): take a batch of 1, or say which it is "
                "with batch_dims="
            )
        return self.change(
            inputs, lambda t, dim: t.narrow(dim, 0, 1).expand(*(size if d == dim else -1 for d in range(t.dim())))
        )


def batch_dims_of(network: nn.Module, inputs: Inputs) -> BatchDims:
    """The network's own attribute ``batch_dims`` where it fits these inputs, else what is found; kept there then."""
    own = getattr(network, "batch_dims", None)
    if not isinstance(own, BatchDims) or len(own.inputs) != sum(1 for _ in tensors_in(inputs)):
        own = find_batch_dims(network, inputs)
        network.batch_dims = own  # type: ignore[assignment]
    return own


def find_batch_dims(network: nn.Module, inputs: Inputs, given: Given | None = None) -> BatchDims:
    """Try which dimension of every input is the batch, and find which one of every output follows it.

    A dimension is the batch if examples do not know of one another: f(cat(x1, x2)) == cat(f(x1), f(x2)) in evaluation
    mode, where x1 and x2 are the halves of the example, or, of a batch of one, the example and another like it. The
    first assignment for which that holds is taken: as many inputs as possible, the earliest dimensions first. Some
    hold without being meant (each row of an adjacency matrix may be computed alone), so a batch of two or more must
    take in every input that has a dimension of that size, and one that does not begin the first input must be the only
    one that holds.

    Args:
        network: any module; what its runs change is put back.
        inputs: what it is called with.
        given: the batch of each input, where it is known; then only the outputs' are found.

    Returns:
        No batch where nothing holds.

    Raises :class:`NetError` for a network that does not run, and where ``given`` does not fit it.
    """
    # Rounded inputs turn the last bit of a sum, which depends on the batch, into a step.
    with inputs_unrounded(), _Trials.of(network, inputs) as trials:
        if given is not None:
            return trials.follow(_as_given(given, inputs))
        return trials.find()


def _as_given(given: Given, inputs: Inputs) -> tuple[int | None, ...]:
    """A dimension or None for each tensor of the inputs."""
    tensors = list(tensors_in(inputs))
    wanted: list[int | None]
    if isinstance(given, int) and not isinstance(given, bool):
        wanted = [given if -t.dim() <= given < t.dim() else None for t in tensors]
        if all(dim is None for dim in wanted):
            shapes = ", ".join(str(tuple(t.shape)) for t in tensors)
            raise NetError(f"batch_dims={given!r}: no input has that dimension; their shapes are {shapes}")
    elif isinstance(given, Mapping):
        if not isinstance(inputs, Mapping) or not given.keys() <= inputs.keys():
            names = ", ".join(inputs) if isinstance(inputs, Mapping) else "none: the inputs are positional"
            raise NetError(f"batch_dims={dict(given)!r} names inputs; those with names are {names}")
        wanted = [given.get(name) for name, value in inputs.items() for _ in tensors_in(value)]
    elif isinstance(given, Sequence) and not isinstance(given, str) and len(given) == len(tensors):
        wanted = list(given)
    else:
        raise NetError(
            f"batch_dims is a dimension, a list with a dimension or None for each of the {len(tensors)} input tensors, "
            f"or a mapping of keyword inputs, not {given!r}"
        )
    for tensor, dim in zip(tensors, wanted, strict=True):
        if dim is not None and (type(dim) is not int or not -tensor.dim() <= dim < tensor.dim()):
            raise NetError(f"batch_dims={given!r}: an input of shape {tuple(tensor.shape)} has no dimension {dim!r}")
    found = tuple(None if d is None else d % t.dim() for t, d in zip(tensors, wanted, strict=True))
    sizes = {t.shape[d] for t, d in zip(tensors, found, strict=True) if d is not None}
    if len(sizes) > 1:
        raise NetError(
            f"batch_dims={given!r} names dimensions of different sizes: {', '.join(map(str, sorted(sizes)))}"
        )
    return found


class _Trials:
    """Runs of a network on parts of its example."""

    def __init__(self, network: nn.Module, inputs: Inputs) -> None:
        self.network, self.state = network, State(network)
        place = next((t.device for t in network.parameters()), None)
        self.given = each_tensor(inputs, lambda t: t if place is None else t.to(place))
        # What is all alike hides who knows of whom.
        found = self._first_taken(_varied(self.given))
        self.inputs: Inputs = found[0] if found else self.given
        self.outputs: list[Tensor] = found[1] if found else self._refused()
        self.tensors = list(tensors_in(self.inputs))

    @classmethod
    @contextmanager
    def of(cls, network: nn.Module, inputs: Inputs) -> Iterator[_Trials]:
        """Trials in evaluation mode; what they change is put back."""
        with evaluating(network), torch.no_grad():
            yield cls(network, inputs)

    def find(self) -> BatchDims:
        """See :func:`find_batch_dims`."""
        unsure = None
        for dims in islice(self._assignments(), TRIALS):
            outputs = self._outputs(dims)
            if outputs is None:
                continue
            if unsure is not None:  # two that hold: neither is known to be meant
                return self._none()
            found = BatchDims(dims, outputs)
            if dims[0] == 0 or found.size(self.inputs) == 1:
                return found
            unsure = found
        return unsure or self._none()

    def follow(self, dims: tuple[int | None, ...]) -> BatchDims:
        """The batch of the outputs for that of the inputs. Raises :class:`NetError` where they do not follow it."""
        if all(dim is None for dim in dims):
            return self._none()
        outputs = self._outputs(dims)
        if outputs is None:
            raise NetError(
                f"batch_dims: {BatchDims(dims, ())} was given, but examples there are not computed independently of "
                "one another: two of them together give another output than each alone"
            )
        return BatchDims(dims, outputs)

    def _refused(self) -> list[Tensor]:
        """The outputs for the example itself. Raises :class:`NetError` where the network raises."""
        try:
            with self.state.kept():
                return _copies(call(self.network, fresh(self.given)))
        except Exception as error:
            raise NetError(f"the network raises on its example inputs: {format_error(error)}") from error

    def _first_taken(self, several: Iterable[Inputs]) -> tuple[Inputs, list[Tensor]] | None:
        """The first inputs that the network takes and makes numbers of, with its outputs."""
        for inputs in several:
            outputs = self._run(lambda inputs=inputs: inputs)  # type: ignore[misc]
            if outputs is not None and not any(_has_nan(t) for t in outputs):
                return inputs, outputs
        return None

    def _none(self) -> BatchDims:
        return BatchDims((None,) * len(self.tensors), (None,) * len(self.outputs))

    def _run(self, inputs: Callable[[], Inputs]) -> list[Tensor] | None:
        """All outputs; None where the network raises, or the inputs cannot be made."""
        try:
            with self.state.kept():
                return _copies(call(self.network, fresh(inputs())))
        except Exception:  # a person's own code
            return None

    @cached_property
    def others(self) -> Inputs:
        """Another example."""
        from .noise import other_inputs  # which knows super-networks, and they know batches

        return other_inputs(self.network, self.inputs)

    def _assignments(self) -> Iterator[tuple[int | None, ...]]:
        """Dimensions of one size, for every tensor or for some; tensors of one shape first alike, then each alone."""
        shapes = [tuple(t.shape) if is_dense(t) else () for t in self.tensors]
        deepest = max(map(len, shapes), default=0)
        sizes = dict.fromkeys(shape[d] for d in range(deepest) for shape in shapes if d < len(shape))
        kinds = list(dict.fromkeys(shapes))
        seen: set[tuple[int | None, ...]] = set()
        for size in (s for s in sizes if s):
            options = {s: [*(d for d, n in enumerate(s) if n == size), None] for s in kinds}
            alike = _ordered([options[s] for s in kinds])
            tied = (tuple(found[kinds.index(s)] for s in shapes) for found in alike)
            for dims in chain(tied, _ordered([options[s] for s in shapes])):
                left_out = any(d is None and size in s for d, s in zip(dims, shapes, strict=True))
                if dims not in seen and not (left_out and size > 1) and any(d is not None for d in dims):
                    seen.add(dims)
                    yield dims

    def _outputs(self, dims: tuple[int | None, ...]) -> tuple[int | None, ...] | None:
        """The batch of each output if these dimensions are the batch of the inputs; None if they are not."""
        batch = BatchDims(dims, ())
        size = batch.size(self.inputs)
        if size > 1:
            together: list[Tensor] | None = self.outputs
            first = self._run(lambda: batch.part(self.inputs, 0, size // 2))
            second = None if first is None else self._run(lambda: batch.part(self.inputs, size // 2, size))
        else:
            another, second = self._first_taken([batch.chosen(self.others, self.inputs)]) or (self.inputs, self.outputs)
            first, together = self.outputs, self._run(lambda: batch.join(self.inputs, another))
        if together is None or first is None or second is None or not len(together) == len(first) == len(second):
            return None
        found = []
        for whole, one, other in zip(together, first, second, strict=True):
            dim = _followed(whole, one, other)
            if dim is False:
                return None
            found.append(dim)
        return tuple(found) if any(dim is not None for dim in found) else None


def _followed(whole: Tensor, first: Tensor, second: Tensor) -> int | bool | None:
    """The dimension along which two outputs make up that of both together; None where it is one for all; else False."""
    if not is_dense(whole):
        return False
    if first.dim() == second.dim() == whole.dim():
        for dim in range(whole.dim()):
            fits = all(
                w == (a + b if d == dim else a) and (d == dim or a == b)
                for d, (w, a, b) in enumerate(zip(whole.shape, first.shape, second.shape, strict=True))
            )
            if fits and _alike(whole, torch.cat([first, second], dim)):
                return dim
    if whole.shape == first.shape == second.shape and (
        whole.numel() == 1 or (_alike(whole, first) and _alike(whole, second))
    ):
        return None  # a single number (a loss) may be of all
    return False


def _copies(outputs: Any) -> list[Tensor]:
    return [t.detach().clone() for t in tensors_in(outputs)]


def _alike(one: Tensor, other: Tensor) -> bool:
    if one.is_meta:
        return True
    if not one.is_floating_point() and not one.is_complex():
        return torch.equal(one, other)
    scale = float(one[one.isfinite()].abs().max()) if bool(one.isfinite().any()) else 0.0
    allowed = ALIKE.get(one.dtype, 1e-3) * scale
    return torch.allclose(one, other, rtol=0, atol=allowed, equal_nan=True)


def _has_nan(tensor: Tensor) -> bool:
    return tensor.is_floating_point() and not tensor.is_meta and bool(entries(tensor).isnan().any())


def _varied(inputs: Inputs) -> Iterator[Inputs]:
    """Inputs whose constant tensors hold different values: all of them, those with a floating point alone, none."""
    generator = torch.Generator().manual_seed(0)

    def constant(tensor: Tensor) -> bool:
        return is_dense(tensor) and not tensor.is_meta and is_constant(tensor)

    def noise(tensor: Tensor) -> Tensor:
        if not tensor.is_floating_point() or not constant(tensor):
            return tensor
        return torch.randn(tensor.shape, generator=generator).to(tensor)

    def counts(tensor: Tensor) -> Tensor:
        if tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool or not constant(tensor):
            return noise(tensor)
        most = max(int(tensor.flatten()[0]), 1)
        return torch.randint(most + 1, tensor.shape, generator=generator).to(tensor)

    for change in (counts, noise, lambda tensor: tensor):
        yield each_tensor(inputs, change)


def _ordered(options: Sequence[Sequence[int | None]]) -> list[tuple[int | None, ...]]:
    """All ways of choosing one of each: those with the fewest None first, then the earliest dimensions.

    Where there are too many to list them, only those that take the same number for all.
    """
    total = 1
    for each in options:
        total *= len(each)
    if total > 8 * TRIALS:
        dims = dict.fromkeys(d for each in options for d in each)
        return [tuple(d if d in each else None for each in options) for d in dims]
    return sorted(product(*options), key=lambda found: [found.count(None), *(99 if d is None else d for d in found)])
