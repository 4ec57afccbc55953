"""Extraction: the slices copied into a plain, stand-alone module of the model's own classes."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..core.errors import NetError, format_error
from .closures import Copier
from .cut import STORED, Cut, ModuleIndex
from .inputs import is_dense
from .menu import Menu
from .paths import join
from .places import replaced
from .stand_ins import HOOKS, Around, Instead, made


def copied(name: str, piece: Tensor) -> Tensor:
    """A slice as a tensor of its own, in torch's default layout (exporters write slower graphs for others)."""
    return piece.detach().clone(memory_format=torch.contiguous_format) if is_dense(piece) else piece.detach().clone()


def copy_of(network: nn.Module) -> nn.Module:
    """A copy of a network that shares nothing with it: hooks and other functions write into what is the copy's own.

    Raises :class:`NetError` for a network that cannot be copied.
    """
    with torch.inference_mode(False):
        return _copied(Copier(network, {}))


def _copied(copier: Copier) -> nn.Module:
    try:
        return copier.copy()
    except Exception as error:
        raise NetError(
            f"the network cannot be copied: {format_error(error)}; keep what cannot be copied (locks, files) out of "
            "the module's attributes"
        ) from error


def _like(whole: Tensor, piece: Tensor) -> Tensor:
    """A piece as what the whole tensor is: a parameter, perhaps of a class of its own, with the same attributes."""
    if not isinstance(whole, nn.Parameter):
        return piece
    if type(whole) is nn.Parameter or not issubclass(type(whole), nn.Parameter):
        parameter = nn.Parameter(piece, whole.requires_grad)
    else:
        parameter = torch.Tensor._make_subclass(type(whole), piece, whole.requires_grad)
    parameter.__dict__.update(copy.deepcopy(vars(whole)))
    return parameter


@torch.inference_mode(False)  # in which copies could not be trained
def extract(index: ModuleIndex, cut: Cut, part: Callable[[str, Tensor], Tensor] = copied) -> nn.Module:
    """A copy of the network that holds only what the cut keeps.

    Skipped modules are ``nn.Identity``, or what :func:`netwright.nets.stand_ins.made` makes. In the place of a menu
    stands the option that is chosen; a menu of which none is chosen runs all of them.
    ``part`` makes the copy of each kept slice, given its tensor's name; every tensor goes through it.

    Raises :class:`NetError` for a network that cannot be copied, or that copies itself in a way of its own.
    """
    # deepcopy looks up what it was already told: the slices stand in for the whole tensors, which are never copied,
    # and tied tensors and shared modules stay tied and shared.
    modules = index.modules
    skipped = {
        path: made(other, modules[path], index.module)
        for path, other in cut.replace.items()
        if isinstance(other, Instead)
    }
    memo: dict[int, Any] = {id(modules[path]): other for path, other in skipped.items()}
    memo.update((id(modules[path]), nn.Identity()) for path in _unchosen(index, cut))
    for name in index.shapes:
        whole = index.tensor(name)
        if name in cut.auxiliary:
            memo[id(whole)] = None
        elif not all(cut.skips(owner) for owner in index.owners[name]):
            piece = part(name, cut.part(name, index.tensor))
            memo[id(whole)] = _like(whole, piece)
    for path in {owner for name in cut.keep for owner in index.owners[name]}:
        for own, source in index.made_of(path).items():
            full = vars(modules[path]).get(own)  # before the network has run, the attribute would be the whole one's
            if isinstance(full, Tensor) and source in cut.keep and source not in cut.transforms:
                memo[id(full)] = copied(own, cut.part(source, {source: full}.__getitem__))
    network = _copied(Copier(index.root, memo))
    for other in skipped.values():
        vars(other).update((name, copy.deepcopy(vars(other)[name], memo)) for name in HOOKS)
    _check_pieces(index, cut, memo, network)
    for name in cut.auxiliary:
        for path in index.owners[name]:
            if not cut.skips(path):
                own = next(own for own, tensor in index.tensors_of[path].items() if tensor == name)
                for table in (network.get_submodule(path)._parameters, network.get_submodule(path)._buffers):
                    table.pop(own, None)
    for path, values in cut.set.items():
        if not cut.skips(path):
            module = network.get_submodule(path)
            module.__dict__.update(replaced(module, copy.deepcopy(dict(values))))
    menus = {id(network.get_submodule(path)): option for path, option in cut.choose.items() if not cut.skips(path)}
    _wrap(cut, network)
    network = _settled(network, menus)
    stored = cut.stored(index)
    if stored or index.stored:
        names = {id(t): name for name, t in (*network.named_buffers(), *network.named_parameters())}
        setattr(network, STORED, {names[id(memo[id(index.tensor(name))])]: held for name, held in stored.items()})
    return network


def _wrap(cut: Cut, network: nn.Module) -> None:
    """Put modules before or after those that run with them; all that stands in the network stays there, too."""
    whole = dict(network.named_modules(remove_duplicate=False))
    for path, other in cut.replace.items():
        if isinstance(other, Around) and not cut.skips(path):
            parent, _, own = path.rpartition(".")
            whole[parent]._modules[own] = made(other, whole[path], whole.__getitem__)


def _unchosen(index: ModuleIndex, cut: Cut) -> Iterator[str]:
    """The options of menus that run nowhere."""
    for menu, chosen in cut.choose.items():
        for option in index.menu(menu).options:
            path = join(menu, option)
            if chosen not in (None, option) and all(map(cut.skips, index.twins(path))):
                yield path


def _settled(network: nn.Module, menus: Mapping[int, str | None]) -> nn.Module:
    """The network with what is chosen in the place of its menus, which are named by their identities."""

    def settled(module: Any) -> Any:
        while isinstance(module, Menu) and menus.get(id(module)) is not None:
            option = module._modules[menus[id(module)]]  # type: ignore[index]
            for hooks in HOOKS:
                getattr(option, hooks).update(vars(module)[hooks])
            module = option
        return module

    for path, module in list(network.named_modules()):
        if isinstance(module, Menu) and menus.get(id(module)) is None:
            module.run_all(path)
        for own, held in module._modules.items():
            module._modules[own] = settled(held)
    return settled(network)


def _check_pieces(index: ModuleIndex, cut: Cut, memo: dict[int, Any], network: nn.Module) -> None:
    """Refuse a network that holds other parameters than those made for it."""
    for path, tensors in index.tensors_of.items():
        if cut.skips(path):
            continue
        held = network.get_submodule(path)._parameters
        for own, name in tensors.items():
            if held.get(own) is not None and held[own] is not memo[id(index.tensor(name))]:
                raise NetError(
                    f"{path or 'the network'} makes {own} anew when it is copied; let its __deepcopy__ copy its "
                    "attributes with copy.deepcopy(value, memo), or give it none"
                )
