"""Networks of libraries that save a config beside the weights, to build them from again (``transformers``)."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from fractions import Fraction
from types import MethodType
from typing import Any

import torch
from torch import nn

from ..core.errors import NetError, format_error
from .isolation import outputs_of
from .stand_ins import Skip

ROUNDS = 8
"""Numbers of a config that are changed at most."""
ALIKE = 1e-4


def guard_saving(network: nn.Module) -> None:
    """Give an extracted network a ``save_pretrained`` that saves what ``from_pretrained`` reads as the same network.

    Does nothing to networks that have none.
    """
    if callable(getattr(type(network), "save_pretrained", None)) and hasattr(network, "config"):
        network.save_pretrained = MethodType(_save_pretrained, network)  # type: ignore[assignment]


def _save_pretrained(network: Any, *args: Any, **kwargs: Any) -> Any:
    """As the class's own, of a network whose config says what it is.

    Blocks that are skipped are left out, and numbers of the config changed, where a network that is built of the
    config and given the weights then computes the same. Raises :class:`NetError` where no numbers do: what would be
    read again were another network.
    """
    saved = as_config_says(network)
    return type(network).save_pretrained(saved, *args, **kwargs)


def as_config_says(network: Any) -> Any:
    """A copy without skipped blocks and with a config that builds it, where numbers of its config have to change.

    Raises :class:`NetError` where no numbers do.
    """
    made = copy.deepcopy(network)
    vars(made).pop("save_pretrained", None)
    kept = without_skipped(made)
    wrong = _mismatches(made, made.config)
    for _ in range(ROUNDS):
        if not wrong:
            break
        found = [(_mismatches(made, config), config) for config in _changed(made.config, kept, wrong)]
        better = min((len(w) for w, _ in found if w is not None), default=len(wrong))
        if better >= len(wrong):
            break
        wrong, made.config = next((w, config) for w, config in found if w is not None and len(w) == better)
    reason = _first(wrong) if wrong else _refused(made.config) or _differs(network, made)
    if reason:
        raise NetError(
            f"save_pretrained would write what from_pretrained reads as another network: {reason}; its config has no "
            "numbers for this cut. Write it with netwright.export(network, folder, ['transformers']) where only its "
            "layers differ; else export it in other formats, or save its state_dict"
        )
    for module in made.modules():
        if getattr(module, "config", None) is network.config:
            module.config = made.config
    return made


Wrong = dict[str, tuple[tuple[int, ...] | None, tuple[int, ...] | None]]
"""Tensor name to its shape in the network and in what its config builds, where they differ."""


def without_skipped(network: nn.Module) -> dict[int, list[int]]:
    """Take skipped blocks out of lists; the length of each list to the indices that are left."""
    found = {}
    for module in list(network.modules()):
        if isinstance(module, nn.ModuleList):
            left = [i for i, block in enumerate(module) if not isinstance(block, Skip | nn.Identity)]
            if left and len(left) < len(module):
                found[len(module)] = left
                module._modules = {str(new): module[i] for new, i in enumerate(left)}
    return found


def built(network: Any, config: Any, device: str) -> nn.Module:
    """What its class builds of a config, in evaluation mode."""
    with torch.device(device), torch.random.fork_rng(devices=()):
        made: nn.Module = type(network)(copy.deepcopy(config))
        return made.eval()


def _mismatches(network: Any, config: Any) -> Wrong | None:
    """Where the config builds something else; None where it builds nothing."""
    try:
        there = {name: tuple(t.shape) for name, t in built(network, config, "meta").state_dict().items()}
    except Exception:  # a config that contradicts itself
        return None
    own = {name: tuple(t.shape) for name, t in network.state_dict().items()}
    return {n: (own.get(n), there.get(n)) for n in own.keys() | there.keys() if own.get(n) != there.get(n)}


def _changed(config: Any, kept: dict[int, list[int]], wrong: Wrong | None) -> Iterator[Any]:
    """The config with one number changed: to the blocks that are left, or as a size of a tensor has changed."""
    shapes = [pair for pair in (wrong or {}).values() if pair[0] and pair[1] and len(pair[0]) == len(pair[1])]
    ratios = {Fraction(a, b) for own, built in shapes for a, b in zip(own or (), built or (), strict=True) if a != b}
    for name, value in config.to_dict().items():
        if type(value) is not int or value < 1:
            continue
        news = {int(value * ratio) for ratio in ratios if (value * ratio).denominator == 1}
        if value in kept:
            news.add(len(kept[value]))
        for new in sorted(news):
            other = copy.deepcopy(config)
            setattr(other, name, new)
            for listed, values in config.to_dict().items():  # one entry for each block
                if isinstance(values, list) and value in kept and len(values) == value and new == len(kept[value]):
                    setattr(other, listed, [values[i] for i in kept[value]])
            yield other


def _first(wrong: Wrong) -> str:
    name = min(wrong)
    own, built = (shape if shape is None else "x".join(map(str, shape)) for shape in wrong[name])
    return f"{name} is {own or 'not there'} here and {built or 'not there'} there"


def _refused(config: Any) -> str:
    """Why the config cannot be read again, in words; empty where it can, and where its class has no way to try."""
    read = getattr(type(config), "from_dict", None)
    if read is None:
        return ""
    try:
        read(config.to_dict())
    except Exception as error:  # a class's own checks
        return f"its config is refused: {format_error(error)[:300]}"
    return ""


def _differs(network: Any, made: Any) -> str:
    """How the network that is built of the config differs from this one, in words; empty where it does not."""
    inputs = getattr(network, "example_inputs", None)
    if inputs is None:
        return ""
    try:
        again = built(made, made.config, "cpu")
        again.load_state_dict(made.state_dict())
        modes = network.training
        wanted = outputs_of(network.eval(), inputs)
        network.train(modes)
        got = outputs_of(again, inputs)
    except Exception as error:
        return f"it cannot be built of its config: {format_error(error)[:300]}"
    if len(got) != len(wanted) or any(
        a.shape != b.shape or not torch.allclose(a.float(), b.float(), ALIKE, ALIKE * float(b.float().abs().max()))
        for a, b in zip(got, wanted, strict=True)
    ):
        return "with the same weights it computes something else"
    return ""
