"""What :func:`netwright.load` says of folders and super-networks that do not belong together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import netwright as nw
from netwright.core.errors import BundleError


def net() -> nw.SuperNet:
    return nw.wrap(nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 4)), torch.zeros(2, 8))


@pytest.mark.parametrize(
    ("manifest", "told"),
    [
        ('{"candidate": {"0.width": 99}}', "is of another super-network: '0.width' cannot be 99"),
        ('{"candidate": {"1.width": 8}}', "is of another super-network"),
        ('{"candidate": 3}', "names no candidate"),
        ("[]", "names no candidate"),
        ("{", "is not a bundle"),
    ],
)
def test_manifests(tmp_path: Path, manifest: str, told: str) -> None:
    (tmp_path / "manifest.json").write_text(manifest)
    with pytest.raises(BundleError, match=told):
        nw.load(tmp_path, net())


@pytest.mark.parametrize("other", [None, nn.Linear(2, 2)])
def test_what_is_no_supernetwork(tmp_path: Path, other: Any) -> None:
    with pytest.raises(BundleError, match="load needs the super-network"):
        nw.load(tmp_path, other)
