"""Search with a simulator of one's own. Here: the cycles of a matrix unit that computes layers tile by tile.

What is searched is the hardware and how it is used: the array's sides, its buffer, and the tile of each layer. The
simulator steps through the tiles; area is known beforehand.
"""

from __future__ import annotations

from math import ceil

import netwright as nw

LAYERS = {"conv2": (64, 576, 784), "conv3": (128, 1152, 196), "conv4": (256, 2304, 49), "classifier": (1000, 256, 1)}
"""Name to rows, depth and columns of its matrix product."""
BANDWIDTH = 16  # bytes from memory in a cycle

space = nw.Space(
    [
        nw.Choice("rows", (4, 8, 16, 32)),
        nw.Choice("columns", (4, 8, 16, 32)),
        nw.Choice("buffer", (8, 16, 32, 64, 128)),  # kB
        *(nw.Choice(f"tile.{name}", (1, 2, 4, 8, 16)) for name in LAYERS),
    ]
)


def simulate(candidate: nw.Candidate) -> dict[str, float]:
    """Cycles and microjoules of one inference."""
    rows, columns, buffer = (int(candidate[name]) for name in ("rows", "columns", "buffer"))  # type: ignore[arg-type]
    cycles = moved = macs = 0
    for name, (m, k, n) in LAYERS.items():
        tile = int(candidate[f"tile.{name}"])  # type: ignore[arg-type]
        deep = min(k, tile * 64)
        needs = rows * deep + deep * columns + 4 * rows * columns
        if 2 * needs > buffer * 1024:  # one tile is loaded while another is computed
            raise ValueError(f"a tile of {name} needs {2 * needs} bytes of buffer, it has {buffer * 1024}")
        for left in range(0, m, rows):
            for _ in range(0, n, columns):
                for at in range(0, k, deep):
                    part = min(deep, k - at)
                    load = ceil((rows * part * (at >= 0) + part * columns) / BANDWIDTH)
                    cycles += max(load, part + rows + columns)
                    moved += rows * part + part * columns
            moved += min(rows, m - left) * n
        macs += m * k * n
    return {"cycles": float(cycles), "energy": (moved * 20 + macs * 0.2) / 1e6}


def area(candidate: nw.Candidate) -> dict[str, float]:
    """In thousands of gates: multipliers and buffer."""
    return {"area": int(candidate["rows"]) * int(candidate["columns"]) * 0.6 + int(candidate["buffer"]) * 12}  # type: ignore[arg-type]


records = nw.search(
    space,
    simulate,
    objectives={"cycles": "min", "energy": "min", "area": "min"},
    exact=area,
    limits=["area <= 800"],
    evaluations=40,
)
failed = sum(record.status == "failed" for record in records)
print(f"{len(records)} simulated of {space.size}, {failed} could not run")
for record in nw.front(records):
    cycles, energy, size = (record.values[name] for name in ("cycles", "energy", "area"))
    print(f"{cycles:9.0f} cycles {energy:6.1f} uJ {size:5.0f} k gates  {dict(record.candidate)}")
