"""Running a network whose weights have no data."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from .inputs import is_dense, shape_of, tensors_in

FORMS = 50_000
"""Forms that are kept at most: a search traces thousands of candidates, each of sizes of its own."""


class NeedsData(RuntimeError):
    """Something that has data is to be changed by something that has none."""


class Dataless(TorchDispatchMode):
    """Operators on meta tensors stay without data; what does not depend on a meta tensor is computed.

    Weights are meta tensors, and so is all that follows from them. Positions, masks and whatever else follows from
    the inputs alone has its values, so that a network that looks at them goes its usual way.

    Args:
        computes: whether what is made beside a tensor without data (positions, masks) has data.
        makes: whether what is made of numbers alone (a state of zeros) has data.
    """

    def __init__(self, computes: bool = True, makes: bool = True) -> None:
        super().__init__()
        self._computes, self._makes = computes, makes
        self._forms: dict[Any, Any] = {}  # what results look like, for operators that were asked before

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return self.compute(func, args, kwargs or {})

    def compute(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The operator's result."""
        without = {t.is_meta for t in tensors_in((args, kwargs))}
        if True not in without:
            device = kwargs.get("device")
            if self._computes and device is not None and torch.device(device).type == "meta":
                kwargs = {**kwargs, "device": torch.device("cpu")}
            if not self._makes and not without and any(a.name == "device" for a in func._schema.arguments):
                kwargs = {**kwargs, "device": torch.device("meta")}
            return func(*args, **kwargs)
        if False in without:
            if func._schema.is_mutable and isinstance(args[0], Tensor) and not args[0].is_meta:
                raise NeedsData(f"{func} changes a tensor that has data by one that has none")
            args, kwargs = _without_data(args), _without_data(kwargs)
        if any(result.alias_info is not None for result in func._schema.returns):
            return func(*args, **kwargs)
        # PyTorch takes its time to find out shapes, and networks ask for the same ones again and again.
        try:
            key = func, _key(args), _key(kwargs)
            form = self._forms.get(key)
        except TypeError:  # an argument that cannot be hashed
            return func(*args, **kwargs)
        if form is not None:
            return _made(form)
        result = func(*args, **kwargs)
        held = {t.untyped_storage()._cdata for t in tensors_in((args, kwargs))}
        if not any(t.untyped_storage()._cdata in held for t in tensors_in(result)):  # _unsafe_view is a view
            if len(self._forms) >= FORMS:
                self._forms.clear()
            self._forms[key] = _form(result)
        return result


def without_data(tensor: Tensor) -> Tensor:
    """A tensor of the same form without data; a dense one for a sparse one, of which operators know no forms."""
    if is_dense(tensor):
        return torch.empty_like(tensor, device="meta")
    return torch.empty(shape_of(tensor), dtype=tensor.dtype, device="meta")


def _without_data(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value if value.is_meta else without_data(value)
    if isinstance(value, dict):
        return {key: _without_data(part) for key, part in value.items()}
    return type(value)(_without_data(part) for part in value) if isinstance(value, tuple | list) else value


def _key(value: Any) -> Any:
    if isinstance(value, Tensor):
        return tuple(value.shape), value.stride(), value.dtype
    if isinstance(value, dict):
        return tuple((key, _key(part)) for key, part in value.items())
    if isinstance(value, tuple | list):
        return tuple(_key(part) for part in value)
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
