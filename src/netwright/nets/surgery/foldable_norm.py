"""Layer normalisation that training turns into batch normalisation, which can be folded away.

SLAB (Guo et al. 2024, arXiv 2405.11582, section 3.1, "progressive re-parameterized batch normalization"): a layer's
output is at first that of layer normalisation, in the end that of batch normalisation with the input beside it, and in
between a mixture that goes over in a straight line. What is left is a factor and a shift for each channel, which go
into the linear layers behind it where nothing else reads it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Literal

import torch
from torch import Tensor, nn

from ...core.errors import NetError, did_you_mean, format_error
from ..annealing import Annealed
from ..cut import ModuleIndex
from ..folding import Merged, exchange, factor_and_shift
from ..inputs import Inputs, evaluating
from ..isolation import outputs_of
from ..noise import apart
from ..trace import Trace, Tracer
from .unified_norm import UnifiedNorm

Kind = Literal["batch", "unified"]
KINDS: dict[str, type[nn.BatchNorm1d]] = {"batch": nn.BatchNorm1d, "unified": UnifiedNorm}
"""What layer normalisation becomes, by name."""

SAME = 1e-5
"""How far outputs may be from those before, relative to the largest of them."""


class FoldableNorm(Annealed):
    """Layer normalisation at first, batch normalisation of the last dimension and a share of the input in the end, or
    unified normalisation in the place of that.

    Statistics are those of all positions; those of padding count too.

    Args:
        norm: what it begins with.
        readers: the linear layers that read the result, where nothing else does: they take it in when it is folded.
        until: see :class:`~netwright.nets.annealing.Annealed`.
        kind: what it ends with: of :data:`KINDS`.
    """

    readers: tuple[nn.Linear, ...]

    def __init__(
        self, norm: nn.LayerNorm, readers: Iterable[nn.Linear] = (), until: float = 0.8, kind: Kind = "batch"
    ) -> None:
        super().__init__(until)
        self.before = norm
        self.after: nn.BatchNorm1d = KINDS[kind](norm.normalized_shape[0], norm.eps)
        self.beside = nn.Parameter(torch.zeros(1))
        self.readers = tuple(readers)  # in a tuple they are not modules of its own
        for own, given in ((self.after.weight, norm.weight), (self.after.bias, norm.bias)):
            if given is not None:
                own.data.copy_(given.data)
        self.to(next(norm.parameters(), self.beside))

    def forward(self, x: Tensor) -> Tensor:
        after = self.after(x.flatten(0, -2)).reshape(x.shape) + self.beside * x
        share = self.share.to(x.dtype)
        return (1 - share) * self.before(x) + share * after

    def folded(self) -> nn.Module:
        """Nothing, where linear layers take it in; a factor and a shift elsewhere; itself before it is trained."""
        if not self.complete:
            return self
        own, shift = factor_and_shift(self.after)
        factor = own + self.beside
        if not self.readers:
            return Affine(factor, shift)
        for reader in self.readers:
            added = reader.weight @ shift
            reader.bias = nn.Parameter(added if reader.bias is None else reader.bias + added)
            reader.weight = nn.Parameter(reader.weight * factor)
        return Merged()


class Affine(nn.Module):
    """A factor and a shift for each index of the last dimension.

    Args:
        factor, shift: of shape (channels,).
    """

    def __init__(self, factor: Tensor, shift: Tensor) -> None:
        super().__init__()
        self.factor, self.shift = nn.Parameter(factor), nn.Parameter(shift)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor + self.shift


def to_foldable_norm(
    network: nn.Module,
    example_inputs: Inputs,
    only: str | Sequence[str] = "*",
    until: float = 0.8,
    kind: Kind = "batch",
) -> list[str]:
    """Make layer normalisations of a network foldable, in place; it computes what it computed until it is trained.

    Train it then (:func:`netwright.train`, :func:`netwright.finetune`), as long as it would take to train it anew or
    about so: after the share ``until`` of the steps it has no layer normalisation left, which :func:`netwright.fold`,
    measuring and export make use of. Its statistics are those of training batches, or recomputed
    (:func:`netwright.recalibrate`).

    Args:
        network: such as a Transformer; left in the mode that it is in.
        example_inputs: what it is called with.
        only: the paths of the normalisations that may change, as patterns.
        until: the share of the training after which they are gone.
        kind: what they become: ``batch`` normalisation (SLAB), or ``unified``, which smooths its statistics over
            batches (UN: :class:`~netwright.nets.surgery.unified_norm.UnifiedNorm`).

    Returns:
        The paths of those that were changed: layer normalisations of one dimension that run once.

    Raises :class:`NetError` where there are none, and for a network that reads them itself.
    """
    index, patterns = ModuleIndex(network), [only] if isinstance(only, str) else list(only)
    paths = [path for path, module in network.named_modules() if _fits(module)]
    chosen = [path for path in paths if any(fnmatchcase(path, pattern) for pattern in patterns)]
    trace = Tracer(index, example_inputs).whole
    chosen = [path for path in chosen if trace.runs(path)]
    if not chosen or "" in chosen:
        near = did_you_mean(patterns[0], paths) if paths and patterns else "it has none"
        raise NetError(f"no layer normalisation that runs once, over one dimension, is like {patterns!r}: {near}")
    with evaluating(network):
        wanted = outputs_of(network, example_inputs)
        made = {
            path: FoldableNorm(index.modules[path], _readers(trace, index, path), until, kind)  # type: ignore[arg-type]
            for path in chosen
        }
        for norm in made.values():
            exchange(network, norm.before, norm.eval())
        try:
            change = apart(wanted, outputs_of(network, example_inputs))
            reason = f"it computes something else ({change:.2g} of the largest output)" if change > SAME else ""
        except Exception as error:  # a person's own code
            reason = format_error(error)
        if reason:
            for norm in made.values():
                exchange(network, norm, norm.before)
            raise NetError(
                f"the network does not do with other normalisations, it reads theirs itself: {reason}; name those that "
                "it does not with only= (torch's own encoder layers: torch.backends.mha.set_fastpath_enabled(False))"
            )
    for norm in made.values():
        norm.train(norm.before.training)
    return chosen


def _fits(module: nn.Module) -> bool:
    return type(module) is nn.LayerNorm and len(module.normalized_shape) == 1


def _readers(trace: Trace, index: ModuleIndex, path: str) -> list[nn.Linear]:
    """The linear layers that read what a module gives; none where anything else does, or a weight is another's too."""
    given = trace.around[path][1]
    storage = trace.buffers[given]
    if storage in trace.outputs:
        return []
    readers: dict[str, nn.Linear] = {}
    for op in trace.ops:
        own = op.module
        if own == path or own.startswith(f"{path}.") or storage not in {trace.buffers[at] for at in op.reads}:
            continue
        reader = index.modules[own]
        sole = type(reader) is nn.Linear and index.owners.get(f"{own}.weight") == [own]
        if not sole or trace.around.get(own, (None,))[0] != given:
            return []
        readers[own] = reader  # type: ignore[assignment]
    return list(readers.values())
