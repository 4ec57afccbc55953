"""``netwright targets``: what networks can be run on here."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from rich.table import Table

from ..core.errors import NetwrightError, format_error
from ..measure.energy import unavailable
from ..measure.machine import machine
from ..measure.runtimes import RUNTIMES, runtime_class
from ..measure.targets import parse_target
from .arguments import read, verb_parser
from .terminal import Terminal

TEXT = """List the runtimes: which work on this machine, in which versions, and what to install for the others.

Each that is installed is started once, so that "works" is what it did and not what it promises.
"""


def run(arguments: Sequence[str]) -> None:
    """Run the verb."""
    parser = verb_parser("targets", TEXT)
    parser.add_argument("--json", action="store_true", help="one JSON object with all that is known")
    given = read(parser, arguments)
    found = {name: _state(name) for name in RUNTIMES.names()}
    here: dict[str, Any] = {"machine": machine(), "energy": unavailable() or "available", "runtimes": found}
    if given.get("json"):
        print(json.dumps(here, indent=2))
        return
    out = Terminal(soft_wrap=True)
    about = here["machine"]
    out.print(f"{about['cpu']}, {about['cores']} cores, {about['system']}; fingerprint {about['fingerprint']}")
    table = Table(box=None, header_style="bold")
    for title in ("target", "works", "reads", "precisions", "settings"):
        table.add_column(title, overflow="fold")
    for name, state in found.items():
        settings = " ".join(f"{k}={v}" for k, v in state["settings"].items() if k not in ("batch", "precision"))
        works = " ".join(state["versions"].values()) if state["works"] else "no"
        table.add_row(name, works, " ".join(state["reads"]), " ".join(state["precisions"]), settings)
    out.print(table)
    for name, state in found.items():
        if not state["works"]:  # in a column it would be cut into pieces that nobody can copy
            out.print(f"{name}: {state['why']}")
    out.print(f"energy: {here['energy']}")


def _state(name: str) -> dict[str, Any]:
    kind = runtime_class(name)
    settings = {key: default for key, (_, default) in RUNTIMES.settings(name).items()}
    state = {"reads": list(kind.reads), "precisions": list(kind.precisions), "settings": settings}
    try:
        described = parse_target(name).described
    except NetwrightError as error:
        return {"works": False, "why": format_error(error), "versions": {}, **state}
    return {"works": True, "why": "", "versions": described["versions"], **state}
