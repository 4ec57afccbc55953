"""Running a network whose weights have no data."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from .inputs import SEQUENCES, is_dense, shape_of, tensors_in

FORMS = 50_000
"""Forms that are kept at most: a search traces thousands of candidates, each of sizes of its own."""


INDEXING = (torch.ops.aten.index, torch.ops.aten.index_put, torch.ops.aten.index_put_)
"""Operators that take masks or indices; the sizes of what indices choose do not depend on values."""

TRUE = 64
"""Supposed masks of a run that are all true; in later ones every other element is, so that loops come to an end."""

LOOKS = 5_000
"""Supposed values that a run's own code looks at, or may look at: one that waits for another would never end."""


class NeedsData(RuntimeError):
    """Something that has data is to be changed by something that has none, or what has none is waited for."""


class FakeTensors(TorchDispatchMode):
    """Operators on meta tensors stay without data; what does not depend on a meta tensor is computed.

    Weights are meta tensors, and so is all that follows from them. Positions, masks and whatever else follows from
    the inputs alone has its values, so that a network that looks at them goes its usual way.

    Args:
        computes: whether what is made beside a tensor without data (positions, masks) has data.
        makes: whether what is made of numbers alone (a state of zeros) has data.
        supposes: whether truth values without data are supposed to be true (:data:`TRUE`), and other numbers that the
            network's own code looks at 0: then no size in a trace depends on values.

    Attributes:
        sized: whether sizes depended on what was supposed.
        made: how much was supposed since this was last set to 0.
    """

    def __init__(self, computes: bool = True, makes: bool = True, supposes: bool = False) -> None:
        super().__init__()
        self._computes, self._makes, self.supposes = computes, makes, supposes
        self.sized = False
        self.made = 0
        self._forms: dict[Any, Any] = {}  # what results look like, for operators that were asked before

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return self.compute(func, args, kwargs or {})

    def compute(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The operator's result."""
        result = self._computed(func, args, kwargs)
        if self.supposes:
            if sizes_follow(func, args):
                self.sized = True
            if isinstance(result, Tensor) and result.is_meta and result.dtype is torch.bool:
                self._count()
                place = torch.arange(result.numel()).reshape(result.shape)
                return place % 2 == 0 if self.made > TRUE else place >= 0
        return result

    def _computed(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        without = {t.is_meta for t in tensors_in((args, kwargs))}
        if True not in without:
            device = kwargs.get("device")
            if self._computes and device is not None and torch.device(device).type == "meta":
                kwargs = {**kwargs, "device": torch.device("cpu")}
            if not self._makes and not without and any(a.name == "device" for a in func._schema.arguments):
                kwargs = {**kwargs, "device": torch.device("meta")}
            return func(*args, **kwargs)
        given = args, kwargs
        if False in without:
            if func._schema.is_mutable and isinstance(args[0], Tensor) and not args[0].is_meta:
                raise NeedsData(f"{func} changes a tensor that has data by one that has none")
            args, kwargs = _changed(args, without_data), _changed(kwargs, without_data)
        if _gives_views(func):
            return func(*args, **kwargs)
        if self.supposes and torch.Tag.data_dependent_output in func.tags:
            self._count()
            return 0
        # PyTorch takes its time to find out shapes, and networks ask for the same ones again and again.
        try:
            key = func, _key(args), _key(kwargs)
            form = self._forms.get(key)
        except TypeError:  # an argument that cannot be hashed
            return func(*args, **kwargs)
        if form is not None:
            return _made(form)
        try:
            result = func(*args, **kwargs)
        except Exception:
            if not self.supposes or func._schema.is_mutable:
                raise
            result = func(*_changed(given[0], _supposed), **_changed(given[1], _supposed))
            self.sized = True
            return _changed(result, without_data)
        held = {t.untyped_storage()._cdata for t in tensors_in((args, kwargs))}
        if not any(t.untyped_storage()._cdata in held for t in tensors_in(result)):  # _unsafe_view is a view
            if len(self._forms) >= FORMS:
                self._forms.clear()
            self._forms[key] = _form(result)
        return result

    def _count(self) -> None:
        self.made += 1
        if self.made > LOOKS:
            raise NeedsData("the network waits for a value that depends on its activations")


def sizes_follow(func: Any, args: tuple[Any, ...]) -> bool:
    """Whether the sizes of an operator's results, or where it writes, depend on values."""
    if func.overloadpacket in INDEXING:
        return any(t.dtype is torch.bool for t in tensors_in(args[1]))
    return torch.Tag.dynamic_output_shape in func.tags


def _supposed(tensor: Tensor) -> Tensor:
    """Values for a tensor that has none: no two floating-point numbers alike."""
    if not tensor.is_meta:
        return tensor
    if tensor.is_floating_point():
        return torch.arange(tensor.numel(), dtype=torch.float64).reshape(tensor.shape).to(tensor.dtype)
    return torch.ones(tensor.shape, dtype=tensor.dtype)


@cache
def _gives_views(func: Any) -> bool:
    """Whether an operator's results may share memory with its arguments."""
    return any(result.alias_info is not None for result in func._schema.returns)


def without_data(tensor: Tensor) -> Tensor:
    """A tensor of the same form without data; a dense one for a sparse one, of which operators know no forms."""
    if tensor.is_meta:
        return tensor
    if is_dense(tensor):
        return torch.empty_like(tensor, device="meta")
    return torch.empty(shape_of(tensor), dtype=tensor.dtype, device="meta")


def _changed(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, dict):
        return {key: _changed(part, change) for key, part in value.items()}
    return type(value)(_changed(part, change) for part in value) if isinstance(value, tuple | list) else value


def _key(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.shape, value.stride(), value.dtype
    if isinstance(value, dict):
        return tuple((key, _key(part)) for key, part in value.items())
    if isinstance(value, SEQUENCES):
        return tuple([_key(part) for part in value])
    return type(value), value


def _form(result: Any) -> Any:
    if isinstance(result, Tensor):
        return torch.Tensor, tuple(result.shape), result.stride(), result.dtype
    if isinstance(result, tuple | list):
        return (type(result), *map(_form, result))
    return (None, result)


def _made(form: Any) -> Any:
    kind, *rest = form
    if kind is torch.Tensor:
        shape, stride, dtype = rest
        return torch.empty_strided(shape, stride, dtype=dtype, device="meta")
    return rest[0] if kind is None else kind(map(_made, rest))
