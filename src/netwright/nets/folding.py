"""Folding: modules that are trained in one form and run in another, of fewer operators.

A module says so by a method ``folded() -> nn.Module``: a module that computes the same in evaluation mode. Branches of
convolutions become one (RepVGG, arXiv 2101.03697), a normalisation goes into its neighbour, activations that were
trained away leave two layers that are one (VanillaNet, arXiv 2305.12972). What is measured and exported is folded;
what is trained, cut and judged in PyTorch is not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ..core.errors import NetError, format_error
from .batch import batch_dims_of
from .cut import STORED
from .extract import copy_of
from .foldable import foldable, is_folded
from .inputs import Inputs, call, describe, evaluating, fresh, tensors_in
from .isolation import isolated
from .noise import apart, other_inputs
from .stand_ins import HOOKS

TOLERANCE = 1e-4
"""How far outputs of a folded module may be from its own, relative to the largest of them."""
ROUNDING = 4
"""In units of what the network's numbers are rounded to, where those are coarser: half precision."""
FOLDED = "folded_modules"
"""The attribute of a folded network that lists the paths of what was folded, in the network that it was folded from."""
KEPT = ("example_inputs", "batch_dims", "candidate")
"""What a network says of itself, which its folded form says too."""


class Merged(nn.Identity):
    """What ``folded()`` gives for a module that it has made part of its neighbours. It is not compared by itself, the
    network is."""


def fold(network: nn.Module, example_inputs: Inputs | None = None) -> nn.Module:
    """The network in the form in which it runs: every module that offers ``folded()`` is what that gives.

    The inner ones are folded first: what a module's ``folded()`` reads of its own modules is folded already. It is
    called without gradients, and layers that it makes are on the module's device and of its precision. A module that
    stands at several places stays one. Of a super-network extract first: a module that is cut folds what is left of
    its tensors.

    Each folded module is compared with its own on what it is given, and the whole network too: on the example, and on
    other values at twice the batch.

    Args:
        network: in any mode; it does not change.
        example_inputs: what it is called with; by default the network's own attribute, which extraction sets.

    Returns:
        A copy in evaluation mode, whose attribute ``folded_modules`` lists the paths of what was folded: all but the
        modules that give themselves, which cannot be folded yet. The network itself, put into evaluation mode, where no
        module offers ``folded()``.

    Raises :class:`NetError` for a module whose ``folded()`` raises, gives no module, or computes something else.
    """
    if not foldable(network):
        return network.eval()
    example = example_inputs if example_inputs is not None else getattr(network, "example_inputs", None)
    if example is None:
        raise NetError("fold() needs example_inputs=: what the network is called with, to compare what it computes")
    made = copy_of(network).eval()
    stands_for: dict[str, tuple[nn.Module, nn.Module]] = {}
    with torch.inference_mode(False):
        root = fold_modules(made, stands_for)
    root.eval()
    if root is not made:
        vars(root).update((name, vars(made)[name]) for name in KEPT if name in vars(made))
    if STORED in vars(root):
        vars(root)[STORED] = {n: held for n, held in vars(root)[STORED].items() if not is_folded(n, stands_for)}
    with evaluating(network):
        _compare(network, root, stands_for, example)
    setattr(root, FOLDED, [path for path in foldable(network) if stands_for[path][0] is not stands_for[path][1]])
    return root


def fold_modules(network: nn.Module, stands_for: dict[str, tuple[nn.Module, nn.Module]]) -> nn.Module:
    """Put the folded form of modules in their place, in the network itself; returns what then is the network.

    Args:
        network: changed in place.
        stands_for: filled with path to the module that was there and its folded form.

    Raises :class:`NetError` for a module whose ``folded()`` raises or gives no module.
    """
    root = network
    for path in reversed(foldable(network)):  # those inside another come after it
        module = network.get_submodule(path)
        other = _folded(path, module)
        stands_for[path] = module, other
        exchange(network, module, other)
        root = other if module is network else root
    return root


def factor_and_shift(norm: Any) -> tuple[Tensor, Tensor]:
    """What batch normalisation is in evaluation mode, each of shape (channels,): its result is factor times input plus
    shift."""
    factor = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    return factor, norm.bias - norm.running_mean * factor


def exchange(network: nn.Module, module: nn.Module, other: nn.Module) -> None:
    """Put a module in the place of another, wherever a network holds that; not within the new one."""
    for parent in list(network.modules()):
        for own, child in parent._modules.items():
            if child is module:
                parent._modules[own] = other


def _folded(path: str, module: Any) -> nn.Module:
    what = _named(path, module)
    try:
        with _defaults(module), torch.no_grad():
            other = module.folded()
    except Exception as error:  # a person's own code
        raise NetError(f"{what} cannot be folded: folded() raises {format_error(error)}") from error
    if not isinstance(other, nn.Module):
        raise NetError(f"{what}: folded() returns a torch.nn.Module that computes the same, not {describe(other)}")
    vars(other.eval()).update((name, vars(module)[name]) for name in HOOKS if vars(module)[name])
    return other


@contextmanager
def _defaults(module: nn.Module) -> Iterator[None]:
    """New layers are made where the module is, and of its precision."""
    like = next((p for p in module.parameters() if p.is_floating_point()), torch.empty(0))
    before = torch.get_default_dtype()
    torch.set_default_dtype(like.dtype)
    try:
        with like.device:
            yield
    finally:
        torch.set_default_dtype(before)


def _named(path: str, module: nn.Module) -> str:
    return f"{path or 'the network'} ({type(module).__name__})"


def _compare(
    network: nn.Module, root: nn.Module, stands_for: Mapping[str, tuple[nn.Module, nn.Module]], example: Inputs
) -> None:
    """Raise :class:`NetError` where a folded module, or the network with all of them, computes something else."""
    dims = batch_dims_of(network, example)
    others = other_inputs(network, example)
    for inputs in (example, dims.join(others, other_inputs(network, example, 2)) if dims else others):
        differences: dict[str, str] = {}
        ran: set[str] = set()
        # Whatever is isolated is put back, hooks and what they write into among it: these come after it.
        with isolated(network), isolated(root), _watched(network, stands_for, differences), torch.no_grad():
            wanted = [t.detach().clone() for t in tensors_in(call(network, fresh(inputs)))]
        for path, how in differences.items():  # of several the first that ended: it may be inside of others
            raise NetError(
                f"{_named(path, network.get_submodule(path))} computes something else when it is folded: {how}; mend "
                "its folded(), or leave the method out to have the module measured and exported as it is"
            )
        with isolated(root), _unregistered(stands_for, ran), torch.no_grad():
            got = [t.detach().clone() for t in tensors_in(call(root, fresh(inputs)))]
        for path in ran:
            raise NetError(
                f"{_named(path, stands_for[path][0])} still runs when it is folded: something calls it by another name "
                "than that under which it is registered; call it as self.name, or keep it in an nn.ModuleList"
            )
        if how := _unlike(got, wanted):
            raise NetError(f"the network computes something else with {', '.join(stands_for)} folded: {how}")


@contextmanager
def _watched(
    network: nn.Module, stands_for: Mapping[str, tuple[nn.Module, nn.Module]], differences: dict[str, str]
) -> Iterator[None]:
    """While the network runs, each folded module is given what its own is given, before that can write into it."""
    got: list[list[Tensor] | Exception] = []
    handles = []

    def watch(path: str, module: nn.Module, other: nn.Module) -> None:
        def before(_: nn.Module, args: Any, kwargs: Any) -> None:
            args, kwargs = fresh((args, kwargs))
            try:
                got.append(list(tensors_in(other(*args, **kwargs))))
            except Exception as error:  # a person's own code
                got.append(error)

        def after(_: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            found = got.pop()
            if isinstance(found, Exception):
                differences.setdefault(path, f"it raises {format_error(found)}")
            elif how := _unlike(found, list(tensors_in(output))):
                differences.setdefault(path, how)

        handles.append(module.register_forward_pre_hook(before, with_kwargs=True, prepend=True))
        handles.append(module.register_forward_hook(after, with_kwargs=True))

    for path, (_, other) in stands_for.items():
        if not isinstance(other, Merged):
            watch(path, network.get_submodule(path), other)
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _unregistered(stands_for: Mapping[str, tuple[nn.Module, nn.Module]], ran: set[str]) -> Iterator[None]:
    """Note which modules run that have a folded form in their place."""
    handles = [
        module.register_forward_pre_hook(lambda *_, path=path: ran.add(path))
        for path, (module, other) in stands_for.items()
        if other is not module
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _unlike(got: list[Tensor], wanted: list[Tensor]) -> str:
    """How outputs differ from those that are wanted, in words; empty where they do not."""
    if len(got) != len(wanted):
        return f"it gives {len(got)} tensors, not {len(wanted)}"
    for one, other in zip(got, wanted, strict=True):
        if one.shape != other.shape or one.dtype != other.dtype:
            return f"it gives {describe(one)}, not {describe(other)}"
        allowed = max(TOLERANCE, ROUNDING * torch.finfo(other.dtype).eps) if other.is_floating_point() else 0.0
        change = apart([other], [one])
        if not change <= allowed:
            return f"its outputs differ by {change:.2g} of the largest of them; {allowed:.1g} is allowed"
    return ""
