"""Settings of once-for-all, as the ``ofa`` package, DyNAS-T and people's logs have them, and our candidates."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ...core.candidate import Candidate, Option
from ...core.errors import SpaceError, did_you_mean
from ...core.space import Choice
from ..supernet import SuperNet
from .ofa_resnet import EXTRA, STAGES, STEM, stem_widths, widths

Entries = dict[str, dict[Any, Option]]
"""The entries of a list in a setting, in order: name of the choice, and our option for each of their values."""


def from_ofa(net: SuperNet, setting: Mapping[str, Any]) -> Candidate:
    """The candidate of a setting.

    Args:
        net: one of :mod:`netwright.nets.families.ofa`.
        setting: ``{"ks": [...], "e": [...], "d": [...]}`` with an entry for each block or stage; for the ResNet50
            ``d``, ``e`` and ``w``. A number stands for a list of it, None for the largest. What is said of blocks
            that do not run is not looked at. For ProxylessNAS the lists may end before its sixth stage, which is then
            at its largest. The size of images is ``image_size``, a number, or ``r``, a list of one.

    Raises :class:`SpaceError` for a setting of another network.
    """
    lists = _lists(net)
    means = {name: options for entries in lists.values() for name, options in entries.items()}
    means["resolution"] = {side: side for side in _resolutions(net)}
    said: dict[str, Any] = {}
    for key, value in setting.items():
        if key in lists:
            said |= _said(net, key, value, list(lists[key]))
        elif key in ("image_size", "r"):
            said["resolution"] = next(iter(value), None) if isinstance(value, Iterable) else value
        else:
            raise SpaceError(
                f"a setting of this network has no {key!r}; {did_you_mean(key, (*lists, 'image_size', 'r'))}"
            )

    def option(name: str) -> Option:
        if said[name] not in means[name]:
            raise SpaceError(f"the setting says {said[name]!r} for {name}; its options are {list(means[name])}")
        return means[name][said[name]]

    if said.get("resolution") is not None:
        option("resolution")  # also where the network has one size and no such choice
    return net.space.build(lambda c: c.options[-1] if said.get(c.name) is None else option(c.name))


def to_ofa(net: SuperNet, candidate: Candidate) -> dict[str, Any]:
    """The setting of a candidate, as the package's ``set_active_subnet`` takes it.

    Blocks that do not run have 0 for expansion and window. A network of several resolutions has ``image_size``.
    """
    candidate = net.space.candidate(candidate)

    def value(name: str, options: dict[Any, Option]) -> Any:
        if name in _names(net) and name not in candidate:
            return 0
        return next(theirs for theirs, ours in options.items() if ours == candidate.get(name, ours))

    setting: dict[str, Any] = {
        key: [value(name, options) for name, options in entries.items()] for key, entries in _lists(net).items()
    }
    if "resolution" in candidate:
        setting["image_size"] = candidate["resolution"]
    return setting


def is_ofa(net: SuperNet) -> bool:
    """Whether a network is one of :mod:`netwright.nets.families.ofa`, by its choices."""
    names = _names(net)
    resnet = {f"stage{s}.width" for s in range(1, len(STAGES) + 1)} | {"stem.width", "stem.inner"}
    return any(n.endswith(".expand") for n in names) and (
        resnet <= {*names} if "stem.width" in names else any(n.endswith(".kernel") for n in names)
    )


def _said(net: SuperNet, key: str, value: Any, names: list[str]) -> dict[str, Any]:
    """What a setting says under one key, by choice."""
    if not isinstance(value, Iterable):
        return dict.fromkeys(names, value)
    entries = list(value)
    elastic = [name for name in names if f"{name.partition('.')[0]}.depth" in _names(net)]
    if len(entries) not in (len(names), len(elastic)):
        raise SpaceError(f"{key!r} of this network has {len(names)} entries, the setting {len(entries)}")
    return dict(zip(names, entries, strict=False))


def _lists(net: SuperNet) -> dict[str, Entries]:
    """What a setting of the network holds."""
    blocks = [name.removesuffix(".expand") for name in _names(net) if name.endswith(".expand")]
    expands: Entries = {f"{block}.expand": _same(net.space[f"{block}.expand"]) for block in blocks}
    if "stem.width" in _names(net):
        stages = {f"stage{s}": stage for s, stage in enumerate(STAGES, start=1)}
        return {
            # The package's stem has its middle layer at the largest depth alone.
            "d": {
                "stem.depth": {extra: int(extra == EXTRA[-1]) for extra in EXTRA},
                **{f"{stage}.depth": {extra: few + extra for extra in EXTRA} for stage, (_, few) in stages.items()},
            },
            "e": expands,
            "w": {
                "stem.inner": dict(enumerate(stem_widths())),
                "stem.width": dict(enumerate(widths(STEM))),
                **{f"{stage}.width": dict(enumerate(widths(whole))) for stage, (whole, _) in stages.items()},
            },
        }
    depths: Entries = {}
    for stage in dict.fromkeys(block.partition(".")[0] for block in blocks):
        name = f"{stage}.depth"
        depths[name] = _same(net.space[name]) if name in _names(net) else {1: 1}
    kernels: Entries = {f"{block}.kernel": _same(net.space[f"{block}.kernel"]) for block in blocks}
    return {"ks": kernels, "e": expands, "d": depths}


def _same(choice: Choice) -> dict[Any, Option]:
    return {option: option for option in choice.options}


def _names(net: SuperNet) -> list[str]:
    """Of the choices, in the order of the network."""
    return [axis.name for axis in net.axes]


def _resolutions(net: SuperNet) -> tuple[Any, ...]:
    if "resolution" in _names(net):
        return net.space["resolution"].options
    return (net.example_inputs.shape[-1],)
