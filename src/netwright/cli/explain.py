"""``netwright explain``: why an 8-bit file is slow, or wrong."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence

from rich.table import Table

from ..core.errors import NetwrightError
from ..core.text import printable
from ..core.units import DAY_S
from ..measure.explain import Explanation, LayerReport, explain
from ..measure.named_network import parse_shape
from ..measure.sampling import SamplingPlan
from .arguments import add_file_inputs, read, verb_parser
from .terminal import Terminal

TEXT = """Explain an 8-bit file beside float32, layer by layer, on a target.

Which layers take the time, which are slower than in float32 and which were left in it, where results are converted,
which layers the error of the outputs comes from, which ranges are too narrow: a table, and what to do about it.
"""


def run(arguments: Sequence[str]) -> None:
    """Run the verb."""
    given = read(_parser(), arguments)
    if not 0 < given["max_seconds"] <= DAY_S:
        raise NetwrightError(f"--max-seconds must be more than 0, and at most {DAY_S:,}")
    found = explain(
        given["file"],
        given["target"],
        given.get("against"),
        given.get("inputs"),
        shapes=dict(parse_shape(text) for text in given.get("shape") or []),
        plan=SamplingPlan(max_seconds=given["max_seconds"]),
        trust=given.get("trust", False),
    )
    for note in found.notes:
        print(printable(f"{given['file']}: {note}"), file=sys.stderr)
    if given.get("json"):
        print(json.dumps(found.to_json()))
    else:
        _show(found)


def _parser() -> argparse.ArgumentParser:
    parser = verb_parser("explain", TEXT)
    parser.add_argument("file", help="an 8-bit file (.onnx; .ovir or .xml on openvino)")
    parser.add_argument(
        "--target",
        default="onnxruntime,precision=int8",
        help="where it is run; see 'netwright targets' (default: %(default)s)",
    )
    parser.add_argument(
        "--against", help="the float32 file that it was quantised from (default: the float32 network in the file)"
    )
    add_file_inputs(parser)
    parser.add_argument(
        "--max-seconds",
        type=float,
        default=1.0,
        help="seconds that each file is profiled, and measured (default: %(default)s)",
    )
    parser.add_argument("--json", action="store_true", help="all of it as a JSON object")
    return parser


COLUMNS: dict[str, Callable[[LayerReport, Explanation], str]] = {
    "float32 ms": lambda layer, found: "-" if layer.float_ms is None else f"{layer.float_ms:.3f}",
    "ms": lambda layer, found: f"{layer.ms:.3f}",
    "conversions": lambda layer, found: f"{layer.conversions_ms:.3f}" if layer.conversions_ms else "",
    "slower": lambda layer, found: f"{layer.whole_ms / layer.float_ms:.2f}x" if layer.float_ms else "-",
    "share": lambda layer, found: f"{layer.whole_ms / found.ms:.0%}",
    "runs in": lambda layer, found: layer.runs_in or "-",
    "SQNR dB": lambda layer, found: _number(layer.errors.sqnr, ".1f"),
    "alone dB": lambda layer, found: _number(layer.errors.alone, ".1f"),
    "of the error": lambda layer, found: _number(layer.errors.share, ".0%"),
    "clipped": lambda layer, found: _number(layer.errors.clipped, ".2%"),
    "saturated": lambda layer, found: _number(layer.errors.saturated, ".2%"),
}
"""What is shown of each layer, by the head of its column."""

WIDTH = 240
"""Letters that a row may have: no cell is cut off, whatever the terminal's width."""


def _show(found: Explanation) -> None:
    out = Terminal(soft_wrap=True, width=WIDTH)
    table = Table(box=None, header_style="bold")
    table.add_column("layer", no_wrap=True)
    table.add_column("kind", no_wrap=True)
    for name in COLUMNS:
        table.add_column(name, justify="right", no_wrap=True)
    for layer in found.layers:
        table.add_row(layer.path, layer.kind, *(cell(layer, found) for cell in COLUMNS.values()))
    table.add_row("others", "", f"{found.float_others_ms:.3f}", f"{found.others_ms:.3f}")
    out.print(table)
    for sentence in found.sentences:
        out.print(f"* {sentence}")


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)
