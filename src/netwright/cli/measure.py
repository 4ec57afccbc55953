"""``netwright measure``: any file or model on any target."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.progress import Progress
from rich.table import Table

from ..core.errors import NetwrightError
from ..core.metric import Measurement
from ..core.temporary import TemporaryFolder
from ..core.text import printable
from ..core.units import DAY_S, format_value
from ..measure.comparison import compare
from ..measure.feeds import read_feeds
from ..measure.latency import Energy, Latency
from ..measure.named_network import NamedNetwork, from_file, from_network, measured, parse_shape, readers_of
from ..measure.sampling import SamplingPlan
from ..measure.targets import Target, parse_target
from .arguments import add_file_inputs, read, verb_parser
from .terminal import Terminal

TEXT = """Measure files or models: latency, throughput, memory and size on a target.

Two of them are also run in turn on each target, and compared. With --table, the distinct blocks of a super-network are
measured once each, and its networks' latencies predicted from them.
"""


def run(arguments: Sequence[str]) -> None:
    """Run the verb."""
    given = read(_parser(), arguments)
    plan = SamplingPlan(precision=given["precision"], max_seconds=given["max_seconds"])
    if not (plan.precision > 0 and 0 < plan.max_seconds <= DAY_S):
        raise NetwrightError(f"--precision and --max-seconds must be more than 0, and the latter at most {DAY_S:,}")
    wanted, measurer = given["what"], Energy if given.get("energy") else Latency
    targets = [parse_target(text) for text in given.get("target") or [_default(wanted[0])]]
    if "table" in given:
        if len(wanted) != 1 or ":" not in wanted[0] or len(targets) != 1:
            raise NetwrightError("--table takes one module:function that gives a super-network, and one target")
        _fill(wanted[0], targets[0], plan, Path(given["table"]))
        return
    rows, networks = [], _networks(wanted)
    out = Terminal(soft_wrap=True)
    with TemporaryFolder() as folder:
        for target in targets:
            ready = [_named(what, networks.get(what), target, given, folder / f"{i}") for i, what in enumerate(wanted)]
            for what, named in zip(wanted, ready, strict=True):
                found = measured(measurer(target, plan), named)
                rows.append((what, target, found))
                for note in named.notes:
                    print(printable(f"{what}: {note}"), file=sys.stderr)
                if given.get("json"):
                    print(json.dumps(_as_json(what, target, found)), flush=True)
            if len(wanted) == 2:
                files, feeds = [n.path for n in ready], [n.feeds for n in ready]
                pair = compare(target, files, feeds, plan, trust=all(n.trust for n in ready))
                if given.get("json"):
                    print(json.dumps({"comparison": vars(pair), "of": wanted, "target": target.described}), flush=True)
                else:
                    out.print(f"on {target}: {pair.sentence(*wanted)}")
    if not given.get("json"):
        _show(out, rows)


def _parser() -> argparse.ArgumentParser:
    parser = verb_parser("measure", TEXT)
    parser.add_argument("what", nargs="+", help="a file (.onnx, .pt2, .pte, ...), or module:function giving a network")
    parser.add_argument(
        "--target", action="append", help="such as openvino,threads=2; see 'netwright targets'; may be given again"
    )
    add_file_inputs(parser)
    parser.add_argument(
        "--precision",
        type=float,
        default=0.02,
        help="half the 95 %% interval at which sampling stops, relative (default: %(default)s)",
    )
    parser.add_argument(
        "--max-seconds",
        type=float,
        default=1.0,
        help="seconds of sampling after which it stops all the same (default: %(default)s)",
    )
    parser.add_argument(
        "--energy", action="store_true", help="energy of an inference too, where the machine has a meter"
    )
    parser.add_argument("--table", help="a JSON file: measure the blocks of a super-network (module:function) into it")
    parser.add_argument("--json", action="store_true", help="a JSON object for each network and target, one a line")
    return parser


WHOLE = 20
"""Networks that are measured whole for a table."""


def _fill(reference: str, target: Target, plan: SamplingPlan, path: Path) -> None:
    """Fill a lookup table, and say what it is worth."""
    import numpy as np

    from ..measure.lookup import LookupTable, build
    from ..sources.load import load_model

    def without() -> Any:
        raise NetwrightError(f"{reference} gives an object without example_inputs: what a network is called with")

    source = load_model(reference, without)
    source.require_networks()
    table = LookupTable(Latency(target, plan), path)
    with Progress(console=Terminal(stderr=True), transient=True) as bars:
        task = bars.add_task("blocks", total=None)
        for _ in build(table, source.net, WHOLE, np.random.default_rng(0)):
            bars.update(task, description=f"{len(table.rows)} blocks, {len(table.whole)} whole networks")
    _, error = table.overhead()
    out = Terminal(soft_wrap=True)
    out.print(f"{path}: {len(table.rows)} blocks, {len(table.whole)} whole networks, on {target}")
    out.print(f"a network's latency is predicted within ±{error:.1%} (95 %, each left out in turn)")


def _default(what: str) -> str:
    return next(iter(readers_of(Path(what))), "onnxruntime")


def _networks(wanted: Sequence[str]) -> dict[str, tuple[Any, Any]]:
    """What each ``module:function`` gives, called once however many targets there are: its weights may be random."""
    references = [what for what in wanted if ":" in what and not Path(what).exists()]
    if not references:
        return {}  # files need no torch
    from ..sources.load import load_network

    return {what: load_network(what) for what in references}


def _named(
    what: str, network: tuple[Any, Any] | None, target: Target, given: Mapping[str, Any], folder: Path
) -> NamedNetwork:
    if network is not None:
        folder.mkdir(exist_ok=True)
        return from_network(*network, target, folder)
    feeds = read_feeds(Path(given["inputs"])) if "inputs" in given else None
    shapes = dict(parse_shape(text) for text in given.get("shape") or [])
    return from_file(Path(what), target, feeds, shapes, trust=given.get("trust", False))


def _as_json(what: str, target: Target, found: Mapping[str, Measurement]) -> dict[str, Any]:
    return {"of": what, **{name: m.to_json() for name, m in found.items()}, "target": target.described}


def _show(out: Terminal, rows: Sequence[tuple[str, Target, Mapping[str, Measurement]]]) -> None:
    names = list(dict.fromkeys(name for _, _, found in rows for name in found))
    table = Table(box=None, header_style="bold")
    table.add_column("network")
    table.add_column("target")
    for name in names:
        table.add_column(name, justify="right")
    for what, target, found in rows:
        table.add_row(what, str(target), *(_cell(found.get(name)) for name in names))
    out.print(table)
    for target in dict.fromkeys(target for _, target, _ in rows):
        if why := target.described.get("suited", {}).get("why"):
            out.print(f"{target}: {why}")
    for what, target, found in rows:
        how = found["latency"].details
        beside = f"wall {how['wall']['median']:.4g} ms (p90 {how['wall']['p90']:.4g}, p99 {how['wall']['p99']:.4g})"
        out.print(f"{what} on {target}: {how['clock']} time of {found['latency'].n} samples; {beside}")
        if measured := found["latency"].as_measured:
            slower = f"{abs(how['memory_drift']):.0%} {'slower' if how['memory_drift'] > 0 else 'faster'}"
            out.print(f"  {measured}, the memory being {slower} than usual on this machine")
        if "warning" in how:
            out.print(f"  warning: {how['warning']}")


def _cell(found: Measurement | None) -> str:
    if found is None:
        return "-"
    half = f" ± {found.ci95 / found.value:.1%}" if found.ci95 and found.value else ""
    return format_value(found.value, found.unit) + half
