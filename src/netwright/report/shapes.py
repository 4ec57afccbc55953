"""The shape of a network, drawn from its choices: as HTML, and as a few lines of text."""

from __future__ import annotations

from collections.abc import Iterator

from ..core.candidate import Candidate
from ..core.space import Space
from .data import Block, Cell, blocks
from .html import escape

LEGEND = '<p class="quiet">In a shape, a box is filled as far as its choice stands among its options.</p>'

_LINES = 12


def shape_html(candidate: Candidate, space: Space) -> str:
    """The network as one panel per top-level block: its own choices on top, the blocks below it as columns.

    Each choice is a box with the option taken, filled as far as the option stands among its options; boxes of
    choices that are not active are empty.
    """
    panels = "".join(_panel(block) for block in blocks(candidate, space))
    return f'<div class="shape">{panels}</div>'


def shape_lines(candidate: Candidate, space: Space) -> list[str]:
    """The network as plain text, one line per top-level block and at most twelve, not escaped."""
    lines = []
    for block in blocks(candidate, space):
        own = ", ".join(f"{cell.name} {cell.text}" for cell in block.cells if cell.position is not None)
        below = (" / ".join(c.text for c in b.cells if c.position is not None) for _, b in _below(block))
        lines.append(f"{block.name} " * bool(block.name) + " · ".join(part for part in (own, *below) if part))
    return lines if len(lines) <= _LINES else [*lines[: _LINES - 1], f"and {len(lines) - _LINES + 1} more blocks"]


def _below(block: Block, prefix: str = "") -> Iterator[tuple[str, Block]]:
    """Every block with choices below this one, at any depth, with its name relative to this one."""
    for inner in block.blocks:
        name = f"{prefix}{inner.name}"
        if inner.cells:
            yield name, inner
        yield from _below(inner, f"{name}.")


def _panel(block: Block) -> str:
    own = "".join(f'<span class="own">{escape(cell.name)} {_box(cell, block.name)}</span>' for cell in block.cells)
    name = f"<b>{escape(block.name)}</b>" if block.name else ""
    return f'<div class="panel"><div class="panel-head">{name}{own}</div>{_grid(block)}</div>'


def _grid(block: Block) -> str:
    columns = [(name, {cell.name: cell for cell in inner.cells}) for name, inner in _below(block)]
    if not columns:
        return ""
    head = "".join(
        f'<th scope="col"{"" if any(c.position is not None for c in cells.values()) else _ABSENT}>{escape(name)}</th>'
        for name, cells in columns
    )
    rows = []
    for leaf in dict.fromkeys(leaf for _, cells in columns for leaf in cells):
        boxes = (_box(cells[leaf], f"{block.name}.{name}") if leaf in cells else "" for name, cells in columns)
        rows.append(f'<tr><th scope="row">{escape(leaf)}</th>' + "".join(f"<td>{box}</td>" for box in boxes) + "</tr>")
    return f'<table class="grid"><tr><td></td>{head}</tr>{"".join(rows)}</table>'


_ABSENT = ' class="absent"'


def _box(cell: Cell, prefix: str) -> str:
    options = ", ".join(map(str, cell.options))
    title = escape(f"{prefix}.{cell.name}".lstrip(".") + f": {cell.text or 'not active'}, of {options}")
    if cell.position is None:
        return f'<span class="box absent" title="{title}">&ndash;</span>'
    return f'<span class="box" style="--level:{cell.level:.0%}" title="{title}">{escape(cell.text)}</span>'
