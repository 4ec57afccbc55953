"""Sharings, one a file: how sub-networks share weights beyond one set."""

from __future__ import annotations

from ..weight_sets import Sharing
from .mixture import Mixture, mixture
from .split import Split, split

__all__ = ["Mixture", "Sharing", "Split", "mixture", "split"]
