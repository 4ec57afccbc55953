"""What a network learns from and is judged on: splits in memory, loaders, batches of both."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..core.errors import CallError, NetwrightError, TrainingError, format_error
from ..nets.inputs import Inputs, describe, each_tensor, tensors_in
from ..nets.isolation import seeded

JUDGED = 128
"""Examples of a batch where networks only run, at most: more of them do not stay in a processor's caches, and take
memory."""
JUDGED_BYTES = 3 << 20
"""Of the inputs of such a batch on a CPU. MobileNetV2 takes 16 ms for an image of 224 by 224 in batches of 4 and 36 ms
in batches of 128; of 64 by 64, 1.3 ms in batches of 32 to 64, 1.9 ms of 128 and 6 ms of 1."""

PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class Split:
    """Inputs and targets of one part of the data, in memory.

    Args:
        inputs: a tensor of shape (n, ...), or a structure of such tensors as the network takes them: a tuple of
            positional ones, a dict of those by name.
        targets: likewise; what they are, the task says.
    """

    inputs: Inputs
    targets: Any

    def __post_init__(self) -> None:
        for what, values in (("inputs", self.inputs), ("targets", self.targets)):
            _require_tensors(what, values)
        lengths = [{len(t) for t in tensors_in(values)} for values in (self.inputs, self.targets)]
        if len(lengths[0] | lengths[1]) != 1 or not len(self):
            inputs, targets = (" or ".join(map(str, sorted(each))) for each in lengths)
            raise NetwrightError(f"a split of the data has {inputs} inputs and {targets} labels or other targets")

    def __len__(self) -> int:
        return len(next(tensors_in(self.targets)))

    def take(self, index: Tensor) -> Split:
        """The examples of these indices, copied."""
        inputs, targets = (each_tensor(values, lambda t: t[index]) for values in (self.inputs, self.targets))
        return replace(self, inputs=inputs, targets=targets)

    def batches(self, order: Tensor, size: int) -> Sequence[Tensor]:
        """An order of examples in batches of such a size, the last of the rest."""
        return order.split(size)

    def drawn(self, count: int, seed: int) -> Split:
        """At most ``count`` examples at random, in random order: the same for the same seed."""
        return self.take(torch.randperm(len(self), generator=torch.Generator().manual_seed(seed))[:count])


GROUPED = 50
"""Batches whose examples are put in the order of their lengths together: of SST-2's sentences in batches of 32, 3 %
is filled instead of half, and every pass still has other batches."""


@dataclass(frozen=True)
class PaddedSplit(Split):
    """A split of sequences of several lengths, filled at their ends: what is taken of it is as long as its longest.

    Args:
        inputs: a dict of tensors (n, length).
        targets: of examples, or of each position.
        mask: the name of the input that is 1 where there is something and 0 where it was filled.
        by_position: whether targets are one for each position, (n, length).
    """

    mask: str = "attention_mask"
    by_position: bool = False

    def take(self, index: Tensor) -> PaddedSplit:
        """The examples of these indices, copied."""
        some = replace(self, inputs={k: t[index] for k, t in self.inputs.items()}, targets=self.targets[index])
        longest = max(1, int(some.inputs[self.mask].sum(1).max()))
        inputs = {name: tensor[:, :longest] for name, tensor in some.inputs.items()}
        return replace(some, inputs=inputs, targets=some.targets[:, :longest] if self.by_position else some.targets)

    def batches(self, order: Tensor, size: int) -> Sequence[Tensor]:
        """An order of examples in batches of such a size, of about one length each: little is filled. Of every few
        batches in a row, examples are put in the order of their lengths, and all batches then in a random one."""
        lengths = self.inputs[self.mask].sum(1)
        sorted_ = [some[lengths[some].argsort(stable=True)] for some in order.split(size * GROUPED)]
        found = [batch for some in sorted_ for batch in some.split(size)]
        return [found[i] for i in torch.randperm(len(found)).tolist()]

    def longest(self, count: int) -> PaddedSplit:
        """The longest examples, so many of them."""
        return self.take(self.inputs[self.mask].sum(1).argsort(descending=True, stable=True)[:count])


def _require_tensors(what: str, values: Any) -> None:
    """Raise :class:`NetwrightError` for a leaf that is no tensor with a first dimension."""
    parts: Iterable[Any] = ()
    if isinstance(values, Mapping):
        parts = values.values()
    elif isinstance(values, tuple | list):
        parts = values
    elif is_dataclass(values) and not isinstance(values, type):
        parts = [getattr(values, f.name) for f in fields(values)]
    for part in parts:
        _require_tensors(what, part)
    if not parts and not (isinstance(values, Tensor) and values.dim()):
        kind = "tensor without dimensions" if isinstance(values, Tensor) else type(values).__name__
        raise NetwrightError(
            f"the {what} of a split must be torch tensors with a first dimension of examples, not a {kind}; "
            "torch.from_numpy() makes one of an array"
        )


Part = Any
"""A :class:`Split` in memory, or an iterable of batches that starts anew at each iteration, such as a DataLoader."""


@dataclass(frozen=True)
class Data:
    """What a network learns from, is chosen by, and is finally judged on.

    Each part is a :class:`Split`, or any iterable of batches that can be gone through again: a torch DataLoader (with
    workers too), an iterable dataset of unknown length, a list.

    Args:
        train: for training, fine-tuning and normalisation statistics.
        validation: for the search; the network never trains on it.
        test: for the final figures alone.
        augment: a random change of a batch of training inputs, where these are a split; draws from torch's global
            generator.
        name: what a person calls them, for messages.
        fingerprint: a text that changes with what is in them, so that a study does not mix two; empty where the name
            says it all.
        classes: the names of the classes in the order of their indices, where they are known.
        notes: what a person should know of how they were read, in sentence parts.
    """

    train: Part
    validation: Part
    test: Part
    augment: Callable[[Any], Any] | None = None
    name: str = ""
    fingerprint: str = ""
    classes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in PARTS:
            part = getattr(self, name)
            if isinstance(part, Iterator):
                raise NetwrightError(
                    f"the {name} data are a {type(part).__name__}, which gives its batches only once; give a list, a "
                    "DataLoader, or an object whose __iter__ starts anew"
                )
            if isinstance(part, Tensor | tuple | Mapping | str) or not isinstance(part, Split | Iterable):
                raise NetwrightError(
                    f"the {name} data must be a netwright.Split(inputs, targets) or an iterable of batches such as a "
                    f"DataLoader, not a {type(part).__name__}"
                )
        _require_augment(self.augment)
        if self.augment is not None and not isinstance(self.train, Split):
            raise NetwrightError(
                "augment= changes batches of a netwright.Split; a loader of one's own changes its batches itself"
            )


def _require_augment(augment: Any) -> None:
    if augment is not None and not callable(augment):
        raise CallError(f"augment is a function of a batch of inputs, or None, not {augment!r}")


class TensorLoader:
    """An iterable of (inputs, targets) batches of a split; iterating again starts anew.

    Args:
        split: the data.
        size: of a batch; the last may be smaller, except when shuffling, where it is dropped if others exist.
        shuffle: a new order each time, drawn from torch's global generator.
        augment: see :class:`Data`.
    """

    def __init__(
        self, split: Split, size: int, *, shuffle: bool = False, augment: Callable[[Any], Any] | None = None
    ) -> None:
        if not isinstance(split, Split):
            raise CallError(f"TensorLoader() takes a netwright.Split(inputs, targets), not {describe(split)}")
        if not isinstance(size, int) or size < 1:
            raise CallError(f"the size of a batch is a whole number, 1 or more, not {size!r}")
        _require_augment(augment)
        self.split, self.size, self.shuffle, self.augment = split, size, shuffle, augment

    def __len__(self) -> int:
        whole = len(self.split) // self.size
        return max(whole, 1) if self.shuffle else -(-len(self.split) // self.size)

    def __iter__(self) -> Iterator[tuple[Inputs, Any]]:
        return self.starting_at(0)

    def starting_at(self, first: int) -> Iterator[tuple[Inputs, Any]]:
        """The batches from number ``first`` on, in the order that is drawn now."""
        return map(self.batch, self.indices(first))

    def indices(self, first: int) -> Iterator[Tensor]:
        """Which examples are in the batches from number ``first`` on, in the order that is drawn now."""
        if not self.shuffle:
            batches = torch.arange(len(self.split)).split(self.size)
        else:
            order = torch.randperm(len(self.split))[: len(self) * self.size]
            batches = self.split.batches(order, self.size)
        return iter(batches[first:])

    def batch(self, index: Tensor) -> tuple[Inputs, Any]:
        """The examples of these indices, changed as ``augment`` says."""
        some = self.split.take(index)
        return self.augment(some.inputs) if self.augment else some.inputs, some.targets


def loader_of(part: Part, size: int, *, shuffle: bool = False, augment: Callable[[Any], Any] | None = None) -> Any:
    """Batches of a part of the data: of a split those of a :class:`TensorLoader`, which has the arguments; any other
    gives its own."""
    return TensorLoader(part, size, shuffle=shuffle, augment=augment) if isinstance(part, Split) else part


def read(batches: Iterable[Any], what: str, error: type[NetwrightError] = TrainingError) -> Iterator[Any]:
    """The batches; what a loader raises, in a worker too, becomes an error of this type that says so in one line."""
    try:
        remaining = iter(batches)
        while True:
            try:
                batch = next(remaining)
            except StopIteration:
                return
            yield batch
    except NetwrightError:
        raise
    except Exception as raised:
        raise error(f"{what} could not be read: {_cause(raised)}") from raised


def _cause(error: Exception) -> str:
    """An error in one line; of one that a DataLoader's worker raised, the last line of its traceback."""
    text = str(error).strip()
    if "in DataLoader worker process" not in text:
        return format_error(error)
    return f"{text.splitlines()[-1]} (in a worker of the DataLoader; num_workers=0 shows where)"


def size_of(batch: Any) -> int:
    """How many examples a batch has: the length of its first tensor that has one."""
    return next((len(t) for t in tensors_in(batch) if t.dim()), 1)


def judged_size(part: Part) -> int:
    """Examples of a batch where networks only run, on a CPU: of large ones fewer."""
    if not isinstance(part, Split):
        return JUDGED  # a loader makes its own batches
    each = sum(t.nbytes // len(t) for t in tensors_in(part.inputs))
    return max(1, min(JUDGED, JUDGED_BYTES // max(1, each)))


def calibration_batches(data: Data, count: int, seed: int) -> list[Any]:
    """Batches for normalisation statistics: training examples as networks are trained on them, drawn once.

    Args:
        data: of which the training part and ``augment`` are used.
        count: of examples, at most; of a loader of one's own the first batches that hold as many.
        seed: of what is drawn, augmentation and a loader's order included.
    """
    if not isinstance(data.train, Split):
        found: list[Any] = []
        with seeded(seed):
            for batch in read(data.train, "the train data"):
                found.append(batch)
                count -= size_of(batch)
                if count <= 0:
                    break
        return found
    split = data.train.drawn(count, seed)
    size = -(-len(split) // -(-len(split) // JUDGED))  # even batches: each counts the same
    with seeded(seed):
        return list(TensorLoader(split, size, augment=data.augment))
