"""8-bit products of PyTorch, by torchao."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from ...core.archives import opened_archive
from ...core.errors import BundleError, MeasureError, MissingExtra, format_error
from ...core.files import write_atomically
from ...core.quiet import quiet
from .base import Feeds

FORMS = ("s8s8", "s7s7")
"""Activations and weights of 8 bits with a sign; and with their ranges reduced to 7 bits, so that no pair of products
exceeds 16 bits where a CPU adds them in as many (see :mod:`netwright.core.precision`)."""

MARK = "netwright_form"
"""The entry of an archive that tells its form."""

DEPTH = 64
"""Products in one sum: whole registers, on every CPU."""


def quantise(network: Any, reduced: bool) -> str:
    """Quantise the linear layers in place, with ranges of 7 bits if ``reduced``; says how many.

    Raises :class:`MeasureError` where there are none.
    """
    from torch import nn

    require_torchao()
    with quiet():
        from torchao.quantization import Int8DynamicActivationInt8WeightConfig, quantize_

        linear = [m for m in network.modules() if isinstance(m, nn.Linear)]
        before = [type(m.weight) for m in linear]
        try:
            quantize_(network, Int8DynamicActivationInt8WeightConfig(reduce_range=reduced))
        except Exception as error:
            raise BundleError(f"torchao cannot quantise this network: {format_error(error)[:500]}") from error
    done = sum(type(m.weight) is not kind for m, kind in zip(linear, before, strict=True))
    if not done:
        raise MeasureError("torch: precision=int8 quantises linear layers, of which this network has none that it can")
    rest = sum(isinstance(m, nn.Conv1d | nn.Conv2d | nn.Conv3d) for m in network.modules())
    form = FORMS[reduced]
    kept = f"; {rest} convolutions stay float32" if rest else ""
    return f"{form} by torchao, {done} of {len(linear)} linear layers, weights per channel, activations per input{kept}"


def write_extremes(path: Path) -> tuple[Feeds, np.ndarray]:
    """An archive with one product of the largest whole numbers, of both signs; its inputs, and its exact outputs."""
    import torch
    from torch import Tensor, nn

    from ...formats.pt2 import packed

    rows = np.full((32, DEPTH), 127, np.int8)
    columns = np.full((DEPTH, 32), 127, np.int8)
    columns[:, ::2] = -127

    class Product(nn.Module):
        columns: Tensor

        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("columns", torch.from_numpy(columns))

        def forward(self, x: Tensor) -> Tensor:
            return torch._int_mm(x, self.columns)

    with quiet():
        write_atomically(path, packed(torch.export.export(Product(), (torch.from_numpy(rows),))))
    return {"x": rows}, rows.astype(np.int64) @ columns.astype(np.int64)


def form_of(path: Path) -> str:
    """The form of an archive's products; empty where it does not say."""
    try:
        with opened_archive(path) as archive:
            names = [name for name in archive.namelist() if name.endswith(f"/{MARK}")]
            return archive.read(names[0]).decode() if names else ""
    except (OSError, ValueError):
        return ""


def require_torchao() -> None:
    """Raise :class:`MissingExtra` where it is not installed."""
    if find_spec("torchao") is None:
        raise MissingExtra("torchao", "torchao", "the runtime torch with precision=int8")
