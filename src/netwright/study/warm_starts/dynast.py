"""What DyNAS-T writes: a CSV file with a row for each sub-network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from ...core.errors import StoreError, format_error
from ...core.files import parse_json
from ...core.metric import Metric
from ...core.rows import read_rows
from .base import Network, WarmStart
from .records import number_of

FIGURES = {
    "Model Parameters": "params", "Latency (ms)": "latency", "MACs": "macs", "Top-1 Acc (%)": "accuracy",
    "SST-2 Acc": "accuracy", "BLEU Score": "bleu",
}  # fmt: skip
"""Its columns, and our metrics."""


@dataclass(frozen=True)
class DynasT(WarmStart):
    """The results of a search with DyNAS-T. Of its once-for-all networks and its BERT the names are known.

    Args:
        path: of its ``results_path``, a CSV file.
    """

    path: str
    names: ClassVar[Mapping[str, str]] = {
        "ks": "*.kernel", "e": "*.expand", "d": "*.depth", "r": "", "wid": "",
        "num_layers": "depth", "num_attention_heads": "*.heads", "intermediate_size": "*.ffn",
        "vit_intermediate_sizes": "*.ffn",
    }  # fmt: skip

    def read(self, objectives: Sequence[Metric]) -> Iterator[Network]:
        path = Path(self.path)
        if not path.exists():
            raise StoreError(f"warm start: there is no {path}")
        try:
            rows = read_rows(path)
            _, names = next(rows, (0, [""]))
            if names[0] != "Sub-network":
                raise ValueError("the first column of what DyNAS-T writes is Sub-network")
            for number, cells in rows:
                row = dict(zip(names, cells, strict=True))
                found = {
                    ours: number_of(row[theirs], f"line {number}") for theirs, ours in FIGURES.items() if theirs in row
                }
                # What was not measured is 0 there.
                yield Network(_choices(cells[0], number), {name: value for name, value in found.items() if value})
        except (OSError, ValueError) as error:
            raise StoreError(f"warm start: {path.name} cannot be read: {format_error(error)[:300]}") from None


def _choices(text: str, line: int) -> dict[str, Any]:
    """The setting of a sub-network, which is written as Python writes a dict of lists, numbers and plain texts."""
    try:
        found = parse_json(text.replace("'", '"').replace("None", "null"))
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise ValueError(f"line {line}: {text[:50]!r} is no setting of a sub-network, such as {{'d': [2, 3]}}")
    return {name: value for name, value in found.items() if value is not None}
