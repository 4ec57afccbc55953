"""How a network is called, and the tensors in what it takes and gives, whatever their structure.

Tensors may lie in tuples, lists, mappings, named tuples (packed sequences among them), dataclasses, the outputs of
``transformers``, and in attributes of any other object (caches, graphs). None, numbers and texts stay as they are.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence
from torch.utils._python_dispatch import _disable_current_modes

from ..core.errors import NetError, format_error

Inputs = Any
"""A tuple of positional arguments, a mapping of keyword arguments, or one argument of any other kind.

A packed sequence, though a tuple, is one argument.
"""

TARGETS = ("labels", "targets", "label", "target")
"""Names of a batch's entry that is no input: the first that there is."""

ATOMS = frozenset(
    {type(None), bool, int, float, complex, str, bytes}
    | {torch.dtype, torch.device, torch.layout, torch.memory_format, torch.Size}
)
"""Types of values that hold no tensor, for speed."""

SEQUENCES, MAPPINGS = (tuple, list), (dict, Mapping)

CLOSED = (nn.Module, type, FunctionType, MethodType, BuiltinFunctionType, ModuleType, torch.SymInt, torch.SymFloat)
"""Types of objects whose attributes are not looked into."""


def arguments(inputs: Inputs) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The positional and the keyword arguments of the call."""
    if isinstance(inputs, Mapping):
        return (), dict(inputs)
    several = isinstance(inputs, tuple) and not isinstance(inputs, PackedSequence)
    return (tuple(inputs) if several else (inputs,)), {}


def call(network: nn.Module | Callable[..., Any], inputs: Inputs) -> Any:
    """The network's output for its inputs."""
    args, kwargs = arguments(inputs)
    return network(*args, **kwargs)


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """The network in evaluation mode while the block lasts; afterwards each module in the mode that it was in."""
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


@contextmanager
def requiring_grad(tensors: Iterable[Tensor], required: bool = True) -> Iterator[None]:
    """Leaf tensors require gradients, or do not, while the block lasts; afterwards each as before."""
    before = {tensor: tensor.requires_grad for tensor in tensors}
    try:
        for tensor in before:
            tensor.requires_grad_(required)
        yield
    finally:
        for tensor, own in before.items():
            tensor.requires_grad_(own)


def split_batch(batch: Any) -> tuple[Inputs, Any]:
    """Inputs and targets of a batch, by its structure.

    * A pair; of a longer tuple or list the last entry is the targets, the others are positional inputs. Inputs that
      torch's default collate gathered, a list within a list, are positional too. Of a named tuple the targets are the
      field of one of the names below, if there is one.
    * A mapping or a dataclass with an entry ``labels``, ``targets``, ``label`` or ``target``: the others are keyword
      inputs, as the collators of ``transformers`` make them; an entry ``inputs`` alone is the inputs themselves.

    Raises :class:`NetError` for batches of another shape.
    """
    named = _named_entries(batch)
    target = next((name for name in TARGETS if name in named), None)
    if target is not None and len(named) > 1:
        others = {name: value for name, value in named.items() if name != target}
        return others["inputs"] if others.keys() == {"inputs"} else others, named[target]
    if isinstance(batch, tuple | list) and not isinstance(batch, PackedSequence) and len(batch) > 1:
        at = next((i for name in TARGETS for i, own in enumerate(getattr(batch, "_fields", ())) if own == name), -1)
        if at not in (-1, len(batch) - 1):  # a named tuple that begins with its targets
            rest = tuple(part for i, part in enumerate(batch) if i != at)
            return rest if len(rest) > 1 else rest[0], batch[at]
        return positional(batch) if len(batch) == 2 else tuple(batch[:-1]), batch[-1]
    raise NetError(
        "a batch must be a pair (inputs, labels), or a dict or dataclass with 'labels' or 'targets' beside the inputs, "
        f"not {describe(batch)}; several inputs go in a tuple or a dict: ((a, b), labels)"
    )


def has_targets(batch: Any) -> bool:
    """Whether an entry of a mapping, a dataclass or a named tuple is named as targets are."""
    return any(name in _named_entries(batch) or name in getattr(batch, "_fields", ()) for name in TARGETS)


def positional(batch: Any) -> Inputs:
    """The first entry of a batch; torch's default collate makes a list of several positional inputs."""
    return tuple(batch[0]) if type(batch) is list and type(batch[0]) is list else batch[0]


def _named_entries(batch: Any) -> Mapping[str, Any]:
    if isinstance(batch, Mapping):
        return batch
    return {f.name: getattr(batch, f.name) for f in fields(batch)} if _is_record(batch) else {}


def describe(value: Any) -> str:
    """The kind of a value in words, for messages."""
    kind = type(value).__name__
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)} and {value.dtype}"
    if isinstance(value, Mapping):
        return f"a {kind} with the keys {', '.join(map(repr, value)) or 'none'}"
    return f"a {kind} of {len(value)}" if isinstance(value, tuple | list) else f"a {kind}"


def tensors_in(value: Any) -> Iterator[Tensor]:
    """Every tensor in inputs or outputs, in order; one that lies in several places, as often.

    An object of another kind than containers and dataclasses tells each of its tensors once.
    """
    found: list[Tensor] = []
    _gather(value, found)
    return iter(found)


def _gather(value: Any, found: list[Tensor]) -> None:
    """Add what :func:`tensors_in` tells; it is asked for every operator's arguments, and has to be quick."""
    if isinstance(value, Tensor):
        found.append(value)
    elif type(value) in ATOMS:
        return
    elif isinstance(value, SEQUENCES):
        for part in value:
            _gather(part, found)
    elif isinstance(value, MAPPINGS):
        for part in value.values():
            _gather(part, found)
    elif _is_record(value):
        for field in fields(value):
            _gather(getattr(value, field.name, None), found)
    else:
        found += _held(value, set())


def each_tensor(value: Any, change: Callable[[Tensor], Any]) -> Any:
    """The same structure with every tensor in it replaced, in the order of :func:`tensors_in`.

    Raises :class:`NetError` for objects with tensors that cannot be copied.
    """
    if isinstance(value, Tensor):
        return change(value)
    if type(value) in ATOMS:
        return value
    if isinstance(value, tuple | list):
        parts = [each_tensor(part, change) for part in value]
        # A named tuple's own constructor may check what it is given, as that of packed sequences does.
        kind: Any = type(value)
        return tuple.__new__(kind, parts) if hasattr(value, "_fields") else kind(parts)
    if isinstance(value, Mapping):
        mapping: MutableMapping[Any, Any] = {}
        if type(value) is not dict and isinstance(value, MutableMapping):
            mapping = copy.copy(value)
        for key, part in value.items():
            mapping[key] = each_tensor(part, change)
        return mapping
    if _is_record(value):
        record = copy.copy(value)
        for field in fields(value):
            if hasattr(value, field.name):
                object.__setattr__(record, field.name, each_tensor(getattr(value, field.name), change))
        return record
    held = {id(tensor): change(tensor) for tensor in _held(value, set())}
    return _copied(value, held) if held else value


def fresh(value: Any) -> Any:
    """A copy of inputs or outputs that shares nothing with them: what is written into it stays in it.

    Raises :class:`NetError` for what cannot be copied.
    """
    with torch.inference_mode(False):
        return _copied(value, {id(t): _own(t) for t in tensors_in(value)})


def is_dense(tensor: Tensor) -> bool:
    """Whether a tensor is neither sparse nor nested."""
    return tensor.layout is torch.strided and not tensor.is_nested


def is_constant(values: Tensor) -> bool:
    """Whether several numbers are all alike."""
    return values.numel() > 1 and bool((values == values.flatten()[0]).all())


def shape_of(tensor: Tensor) -> tuple[int, ...]:
    """A tensor's shape; of a nested one, that of the dense one that its parts would be padded to."""
    if not tensor.is_nested:
        return tuple(tensor.shape)
    with _disable_current_modes():
        if tensor.layout is torch.strided:
            return (tensor.size(0), *(int(n) for n in tensor._nested_tensor_size().amax(0)))
        offsets: Tensor = tensor.offsets()  # type: ignore[attr-defined]
        longest = 1 if offsets.is_meta else int(offsets.diff().max())
        return tuple(n if type(n) is int else longest for n in tensor.shape)


def entries(tensor: Tensor) -> Tensor:
    """What a tensor holds, as a dense tensor: of a sparse or nested one, the entries that it stores."""
    if tensor.layout is torch.sparse_coo:
        return tensor.detach()._values()
    return tensor.detach() if is_dense(tensor) else tensor.detach().values()


def parts_of(tensor: Tensor) -> dict[str, Tensor]:
    """The dense tensors that a sparse tensor is made of, by their names as arguments of :func:`sparse_of`."""
    tensor = tensor.detach()
    if tensor.layout is torch.sparse_coo:
        return {"indices": tensor._indices(), "values": tensor._values()}
    if tensor.layout in (torch.sparse_csr, torch.sparse_bsr):
        indices = tensor.crow_indices(), tensor.col_indices()
    else:
        indices = tensor.ccol_indices(), tensor.row_indices()
    return {"compressed_indices": indices[0], "plain_indices": indices[1], "values": tensor.values()}


def sparse_of(parts: Mapping[str, Any], like: Tensor) -> Tensor:
    """The sparse tensor of the layout and shape of another one that is made of these parts."""
    if like.layout is torch.sparse_coo:
        coalesced = like.is_coalesced()
        return torch.sparse_coo_tensor(**parts, size=like.shape, is_coalesced=coalesced, check_invariants=True)
    return torch.sparse_compressed_tensor(**parts, size=like.shape, layout=like.layout, check_invariants=True)


def put(tensor: Tensor, values: Tensor) -> None:
    """Copy values into a tensor of the same shape; a sparse one stores other entries then."""
    if not is_dense(tensor) and not tensor.is_nested:
        tensor.resize_as_sparse_(values)
    tensor.copy_(values)


def with_entries(tensor: Tensor, values: Tensor) -> Tensor:
    """A copy of a tensor of the same layout that stores other entries."""
    if is_dense(tensor):
        return values
    copy = tensor.detach().to(values.dtype, copy=True)
    entries(copy).copy_(values)
    return copy


def _own(tensor: Tensor) -> Tensor:
    own = tensor.detach().clone()
    return own.requires_grad_() if tensor.requires_grad else own


def _copied(value: Any, memo: dict[int, Any]) -> Any:
    """A deep copy in which the memo's values stand for what has its identities."""
    try:
        return copy.deepcopy(value, memo)
    except Exception as error:
        raise NetError(
            f"a {type(value).__name__} among inputs or outputs cannot be copied: {format_error(error)}; give tensors "
            "in tuples, lists, dicts or dataclasses, or make its class fit for copy.deepcopy"
        ) from error


def _is_record(value: Any) -> bool:
    return is_dataclass(value) and not isinstance(value, type)


def _held(value: Any, seen: set[int]) -> Iterator[Tensor]:
    """The tensors in an object's attributes, each once, however deep they lie."""
    if type(value) in ATOMS or isinstance(value, CLOSED) or id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, Tensor):
        yield value
        return
    if isinstance(value, Mapping):
        parts = list(value.values())
    else:
        parts = list(value) if isinstance(value, tuple | list | set | frozenset) else []
    parts += list(getattr(value, "__dict__", {}).values())
    parts += [getattr(value, name) for name in slots_of(value) if hasattr(value, name)]
    for part in parts:
        yield from _held(part, seen)


def slots_of(value: Any) -> Iterator[str]:
    """The names of an object's attributes that its classes have slots for."""
    for kind in type(value).__mro__:
        slots = kind.__dict__.get("__slots__")
        if slots:
            yield from (name for name in ((slots,) if isinstance(slots, str) else slots) if not name.startswith("__"))
