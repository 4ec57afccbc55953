"""A network that is named to be measured: a file of any runtime, or ``module:function`` that gives a network."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from ..core.errors import MeasureError
from ..core.metric import Measurement
from ..core.temporary import TemporaryFolder
from ..core.text import is_unicode
from .convert import converted, example, feeds_of, outputs_of
from .feeds import write_feeds
from .latency import OnTarget
from .runtimes import RUNTIMES, runtime_class
from .runtimes.base import Feeds
from .targets import Target

MOST_BYTES = 4 << 30
"""Of an input that is made up."""
MOST_DIMS = 32


@dataclass(frozen=True)
class NamedNetwork:
    """A network ready for a target.

    Args:
        path: the path of the target's file.
        feeds: its inputs.
        expected: what PyTorch computes of them, where that is known.
        notes: what the user should know of the inputs, in words.
        noise: whether the inputs were made up, so that they may be what the network cannot take.
        trust: whether it is opened even if it is a program.
    """

    path: Path
    feeds: Feeds
    expected: list[np.ndarray] | None = None
    notes: tuple[str, ...] = ()
    noise: bool = False
    trust: bool = False


def readers_of(path: Path) -> list[str]:
    """The runtimes that read a file, by name; the first is the one where none is named."""
    return [name for name in RUNTIMES.names() if path.suffix in runtime_class(name).reads]


def from_file(
    path: Path, target: Target, feeds: Feeds | None, shapes: Mapping[str, Sequence[int]], *, trust: bool = False
) -> NamedNetwork:
    """A file as it is.

    Args:
        path: the path of the file.
        target: the target that reads such files.
        feeds: its inputs, which are run as they are; None: noise in the shapes that the file names.
        shapes: the shapes of the inputs that the file leaves open, whole or without the batch, by their names.
        trust: open it even if it is a program; see :meth:`Runtime.guard`.

    Raises :class:`MeasureError` where the file or its inputs cannot be used.
    """
    if not path.is_file():
        raise MeasureError(f"there is no file {path}; a network of your own code is named as module:function")
    if not is_unicode(str(path.resolve())):
        raise MeasureError(f"the path {path} is not UTF-8, and runtimes read no files there; move the file")
    if path.suffix not in target.runtime.reads:
        readers = readers_of(path)
        those = f"it is read by {' and '.join(readers)}" if readers else "no runtime here reads it"
        raise MeasureError(f"{target.runtime.name} reads {' and '.join(target.runtime.reads)}, not {path}; {those}")
    if feeds is None:
        return _with_noise(_signature(path, target, trust), path, target, shapes, trust)
    try:
        signature = _signature(path, target, trust)
    except MeasureError:  # a file that does not say what it takes
        return NamedNetwork(path, feeds, trust=trust)
    signature.check(feeds, target.runtime.batch)
    return NamedNetwork(path, feeds, trust=trust)


def from_network(network: Any, inputs: Any, target: Target, folder: Path) -> NamedNetwork:
    """A ``torch.nn.Module``, converted for the target into a folder, with what PyTorch computes."""
    network = network.eval()
    inputs = example(inputs, target.runtime.batch, network)
    path = folder / f"network{target.runtime.suffix}"
    converted(target.suited[0], network, inputs, path)
    return NamedNetwork(path, feeds_of(inputs), outputs_of(network, inputs), trust=True)


def parse_shape(text: str) -> tuple[str, tuple[int, ...]]:
    """``input=3x224x224`` or ``3x224x224``, whose name is empty."""
    name, _, sizes = text.rpartition("=")
    try:
        shape = tuple(int(size) for size in sizes.lower().replace(",", "x").split("x"))
    except ValueError:
        shape = ()
    if not shape or min(shape) < 1:
        raise MeasureError(
            f"a shape is written as 3x224x224 or input=3x224x224, with or without the batch, not {text!r}"
        )
    return name, shape


@dataclass(frozen=True)
class _Signature:
    """What a file says of its inputs.

    Args:
        inputs: name to shape, in which open dimensions are 1, and NumPy type.
        free: name to the open dimensions and their names.
    """

    inputs: Mapping[str, tuple[Sequence[int], str]]
    free: Mapping[str, Mapping[int, str]]

    @property
    def fixed(self) -> bool:
        """Whether every size is that of the file."""
        return not any(self.free.values())

    @property
    def batch(self) -> dict[str, int]:
        """The open dimension of each input that is the batch.

        That is the name that most inputs have, of equally frequent ones the one that comes first in a shape. Where
        the file gives dimensions no names: the first open one of each input.
        """
        places = [(name, d) for dims in self.free.values() for d, name in dims.items()]
        inputs = Counter(name for dims in self.free.values() for name in set(dims.values()))
        batch = min(places, key=lambda place: (-inputs[place[0]], place[1]), default=("", 0))[0]
        return {
            name: next(d for d, n in dims.items() if n == batch)
            for name, dims in self.free.items()
            if batch in dims.values()
        }

    def check(self, feeds: Feeds, batch: int) -> None:
        """Raise :class:`MeasureError` where inputs have another batch than the target."""
        values = feeds if set(self.inputs) <= set(feeds) else dict(zip(self.inputs, feeds.values(), strict=False))
        for name, dim in self.batch.items():
            value = values.get(name)
            if value is not None and dim < value.ndim and value.shape[dim] != batch:
                raise MeasureError(
                    f"the inputs have a batch of {value.shape[dim]}, the target one of {batch}; give the target "
                    "batch=..., or other inputs"
                )

    def sized(self, batch: int, shapes: Mapping[str, Sequence[int]]) -> tuple[dict[str, tuple[int, ...]], list[str]]:
        """The shape of every input at a batch size, and notes: what was assumed.

        Raises :class:`MeasureError` where the file has another batch.
        """
        found, notes, dims = {}, [], self.batch
        if any(dims.values()):
            those = ", ".join(f"dimension {d} of {name}" for name, d in dims.items())
            notes.append(f"the batch is {those}: the dimension that the file leaves open")
        for name, (shape, _) in self.inputs.items():
            given = shapes.get(name) or (shapes.get("") if len(self.inputs) == 1 else None)
            size = list(shape)
            if name in dims:
                size[dims[name]] = batch
            if given is not None and len(given) == len(size):
                size = list(given)
            elif given is not None:
                at = dims.get(name, 0)
                size = [*given[:at], size[at] if size else batch, *given[at:]]
            else:
                for dim, label in self.free.get(name, {}).items():
                    if dim != dims.get(name):
                        called = f" ({label})" if label else ""
                        notes.append(
                            f"the file leaves dimension {dim}{called} of {name} open, which is taken to be 1; --shape "
                            f"{name}=... says another size"
                        )
            found[name] = tuple(size)
        if self.fixed and not shapes:
            notes += self._fixed(batch)
        return found, notes

    def _fixed(self, batch: int) -> list[str]:
        """What to know of a file that runs at one size only, and perhaps at another batch than the target's."""
        first = {shape[0] for shape, _ in self.inputs.values() if len(shape)}
        those = ", ".join(f"{name} {_by(shape)}" for name, (shape, _) in self.inputs.items())
        if batch > 1 and first != {batch}:
            raise MeasureError(
                f"the target has batch={batch}, but all sizes are fixed in the file ({those}); measure it with "
                "batch=1, which runs it as it is"
                + "".join(f", or with batch={n}" for n in first if len(first) == 1 and n > 1)
            )
        if batch == 1 and len(first) == 1 and first != {1}:
            return [
                f"all sizes are fixed in the file ({those}): it is run as it is, and one run counts as one input; "
                f"where the first dimension is the batch, a target with batch={first.pop()} counts them"
            ]
        return []


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Errors of measuring say which file they are of."""
    try:
        yield
    except MeasureError as error:
        if type(error) is not MeasureError or path.name in str(error):
            raise
        raise MeasureError(f"{path}: {error}") from error


@contextmanager
def feeding(named: NamedNetwork) -> Iterator[None]:
    """Errors of measuring say which file they are of, and of inputs that were made up what they are."""
    try:
        with naming(named.path):
            yield
    except MeasureError as error:
        if not named.noise:
            raise
        shapes = ", ".join(f"{name} {list(value.shape)} {value.dtype}" for name, value in named.feeds.items())
        raise MeasureError(
            f"{error}; it was fed with noise: if it cannot take that, give its inputs with --inputs, an .npz file of "
            f"the arrays {shapes}"
        ) from error


def measured(measurer: OnTarget, named: NamedNetwork) -> dict[str, Measurement]:
    """The figures of a network as it is named; see :meth:`OnTarget.run`."""
    with feeding(named):
        return measurer.run(named.path, named.feeds, named.expected, trust=named.trust)


def _signature(path: Path, target: Target, trust: bool) -> _Signature:
    job = {"job": "inputs", "seconds": target.runtime.slowest_s, "files": [str(path.resolve())], "trust": trust}
    with naming(path):
        answer = target.ask(job)
    free = {name: {int(dim): str(label) for dim, label in dims} for name, dims in answer["free"].items()}
    return _Signature(answer["inputs"], free)


def _with_noise(
    signature: _Signature, path: Path, target: Target, shapes: Mapping[str, Sequence[int]], trust: bool
) -> NamedNetwork:
    """A file with noise for inputs, and where it wants whole numbers, ones or zeros, whichever it takes."""
    unknown = [name for name in shapes if name and name not in signature.inputs]
    if unknown:
        raise MeasureError(f"{path} has no input {unknown[0]!r}, it has {', '.join(signature.inputs)}")
    rng = np.random.default_rng(0)
    sizes, notes = signature.sized(target.runtime.batch, shapes)
    kinds = {name: np.dtype(kind) for name, (_, kind) in signature.inputs.items()}
    for name, size in sizes.items():
        if len(size) > MOST_DIMS or prod(size) * kinds[name].itemsize > MOST_BYTES:
            raise MeasureError(
                f"{path} takes {name} of {_by(size)[:200]}: more than {MOST_BYTES >> 30} GiB or {MOST_DIMS} "
                "dimensions; give a smaller --shape, or the arrays themselves with --inputs"
            )
    whole = [name for name, kind in kinds.items() if not np.issubdtype(kind, np.floating)]
    feeds = {name: rng.standard_normal(size).astype(kinds[name]) for name, size in sizes.items()}
    reasons = []
    for zeros in ([], whole, *([name] for name in whole if len(whole) > 1)) if whole else ():
        feeds |= {name: np.full(sizes[name], int(name not in zeros), kinds[name]) for name in whole}
        try:
            _try(path, target, feeds, trust)
        except MeasureError as error:
            reasons.append(str(error))
            continue
        values = ", ".join(f"{name}: {'zeros' if name in zeros else 'ones'}" for name in whole)
        notes.append(f"whole numbers are fed as {values}; --inputs gives others")
        return NamedNetwork(path, feeds, notes=tuple(notes), noise=True, trust=trust)
    if whole:
        those = ", ".join(f"{name} ({_by(sizes[name]) or 'a number'}, {kinds[name]})" for name in sizes)
        raise MeasureError(
            f"{path} runs neither with ones nor with zeros for {', '.join(whole)}: {reasons[1]}; give its inputs with "
            f"--inputs, an .npz file of the arrays {those}"
        )
    return NamedNetwork(path, feeds, notes=tuple(notes), noise=True, trust=trust)


def _try(path: Path, target: Target, feeds: Feeds, trust: bool) -> None:
    """Run a file once. Raises :class:`MeasureError` where it does not."""
    with TemporaryFolder() as folder:
        job = {"job": "runs", "seconds": target.runtime.slowest_s, "files": [str(path.resolve())], "trust": trust}
        target.ask({**job, "feeds": write_feeds(folder / "feeds.npz", feeds)})


def _by(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))
