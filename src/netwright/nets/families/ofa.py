"""What people have of once-for-all (Cai et al. 2020): its published weights and its settings, for our super-networks.

:func:`ofa_mobilenet_v3`, :func:`ofa_proxyless` and :func:`ofa_resnet50` are the networks; all four published files fit.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from torch import Tensor

from ...core.errors import CheckpointError, NetError, format_error
from ..state import load_state, read_tensors, state_of
from ..supernet import SuperNet
from .ofa_mobilenet import ofa_mobilenet_v3, ofa_proxyless
from .ofa_resnet import ofa_resnet50
from .ofa_settings import from_ofa, to_ofa

__all__ = ["from_ofa", "load_ofa", "ofa_mobilenet_v3", "ofa_proxyless", "ofa_resnet50", "to_ofa"]

_PUBLISHED = {
    "stem": "first_conv",
    "stem.first": "input_stem.0",
    "stem.middle": "input_stem.1.conv",
    "stem.last": "input_stem.2",
    "expand": "conv.inverted_bottleneck",
    "filter": "conv.depth_conv",
    "squeeze": "conv.depth_conv.se.fc",
    "project": "conv.point_linear",
    "final": "final_expand_layer",
    "mix": "feature_mix_layer",
    "classifier": "classifier.linear",
}
"""What the package calls our modules, by path in the network or, within a block, in the block."""

_SHOWN = 20
"""Faults of a state that are listed before the rest is only counted."""


def load_ofa(net: SuperNet, state: Mapping[str, Tensor] | str | Path) -> None:
    """Copy weights of the ``ofa`` package into a super-network, in place.

    Args:
        net: a super-network that this module's functions made.
        state: a state dict under the package's present names or those of its published files, or the path of a
            safetensors file of one.

    Raises :class:`CheckpointError` with all that is missing, left over, or of another shape.
    """
    if not isinstance(net, SuperNet):
        raise NetError(f"load_ofa takes a super-network, such as ofa_mobilenet_v3(), not a {type(net).__name__}")
    if not isinstance(state, str | Path | Mapping):
        raise CheckpointError(f"a state is a mapping of names to tensors, or a path, not a {type(state).__name__}")
    source = Path(state) if isinstance(state, str | Path) else Path("the state")
    given = _read(source) if isinstance(state, str | Path) else state
    own = state_of(net.module)
    names = dict(zip(_published(own), own, strict=True))
    found: dict[str, Tensor] = {}
    faults: list[str] = []
    for name, tensor in given.items():
        plain = _plain(name)
        if not isinstance(tensor, Tensor):
            faults.append(f"{name} is a {type(tensor).__name__}, not a tensor")
        elif plain not in names:
            faults.append(f"{name} is left over: the network has no such tensor")
        elif names[plain] in found:
            faults.append(f"{name} is there twice, under two names")
        elif tensor.shape != own[names[plain]].shape:
            faults.append(f"{name} is {tuple(tensor.shape)}, not {tuple(own[names[plain]].shape)}")
        if isinstance(tensor, Tensor) and plain in names:
            found[names[plain]] = tensor
    for plain, name in names.items():
        # Counts of batches are of no use to a trained network.
        if name not in found and not name.endswith("num_batches_tracked"):
            faults.append(f"{plain} {tuple(own[name].shape)} is missing")
    if faults:
        rest = [f"and {len(faults) - _SHOWN} more"] if len(faults) > _SHOWN else []
        told = "\n  ".join([*faults[:_SHOWN], *rest])
        raise CheckpointError(f"{source} does not fit this super-network:\n  {told}")
    load_state(net.module, found, source)


def _read(path: Path) -> Mapping[str, Tensor]:
    try:
        return read_tensors(path)[0]
    except CheckpointError as error:
        raise CheckpointError(
            f"{path} is no safetensors file that can be read ({format_error(error)}). The published files are pickles, "
            "which netwright does not read; where you trust one, write it anew: safetensors.torch.save_file("
            "torch.load(path, weights_only=True)['state_dict'], 'ofa.safetensors')"
        ) from None


def _plain(name: str) -> str:
    """One form of the package's names: wrappers around wrappers repeat a word, and one attribute was renamed."""
    parts = name.replace("mobile_inverted_conv", "conv").split(".")
    return ".".join(part for i, part in enumerate(parts) if i == 0 or part != parts[i - 1])


def _published(names: Iterable[str]) -> list[str]:
    """What the package calls our tensors, in plain form."""
    blocks: dict[str, int] = {}
    found = []
    for name in names:
        block = re.match(r"stage\d+\.block\d+\.", name)
        head = f"blocks.{blocks.setdefault(block[0], len(blocks))}." if block else ""
        tail = name[block.end() :] if block else name
        for ours in sorted(_PUBLISHED, key=len, reverse=True):
            if tail.startswith(ours + "."):
                tail = _PUBLISHED[ours] + tail[len(ours) :]
                break
        found.append(_plain(head + tail.replace(".norm.", ".bn.")))
    return found
