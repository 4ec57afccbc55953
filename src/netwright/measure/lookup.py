"""A table of latencies or energies: each distinct block measured once, summed with an overhead that is measured too.

For devices that are too slow or too far away to measure every candidate. A network's latency is not quite the sum of
its blocks': each block alone pays for being called and for bringing its inputs into the runtime's own layout, and a
whole network for what lies between its blocks. What that amounts to is fitted on a few networks that are measured
whole (as the overhead term of Cai et al., "ProxylessNAS", 2019, section 3.3, and of nn-Meter, 2021, which leave it to
the person), and what remains is the error that every prediction comes with.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from torch import nn

from ..core.candidate import Candidate
from ..core.errors import MeasureError, NetwrightError, format_error
from ..core.files import read_json, write_json
from ..core.metric import Measurement, Metric
from ..core.shape import Count, Rule, expect, told
from ..core.space import Space
from ..core.temporary import TemporaryFolder
from ..nets.folding import fold
from ..nets.inputs import Inputs
from .base import EvaluationContext, Measurer, Place
from .blocks import NetworkBlock, blocks
from .convert import converted, example, feeds_of
from .latency import OnTarget

CALL = {"ms": 0.005}
"""What a call of a runtime costs, about, by the unit of what is measured: the overhead's prior."""
LEAST = 8
"""Whole networks that the overhead is fitted on at least."""


Value = Annotated[float, Rule("from 0 to 1e12", lambda value: 0 <= value <= 1e12)]
Measured = Annotated[float, Rule("from 1e-9 to 1e12", lambda value: 1e-9 <= value <= 1e12)]
Megabytes = Annotated[float, Rule("from 0 to 1e12 MB", lambda value: 0 <= value <= 1e12)]


@dataclass(frozen=True)
class BlockSums:
    """What the table says of a network.

    Args:
        value: the sum of its blocks' latencies, in ms, or of their energies, in mJ.
        blocks: how many.
        moved: megabytes of their inputs and outputs.
        spread: the spread of the sum: half its 95 % interval, for independent errors of the rows.
    """

    value: Value
    blocks: Count
    moved: Megabytes
    spread: Value


@dataclass(frozen=True)
class Row:
    """A block of the table.

    Args:
        name: of the first that was met.
        inputs: the shapes of what it is called with.
        value: its latency or energy.
        spread: half the 95 % interval of that.
    """

    name: str
    inputs: tuple[tuple[int, ...], ...]
    value: Value
    spread: Value


@dataclass(frozen=True)
class Whole(BlockSums):
    """A network that was measured whole, and what the table says of it.

    Args:
        measured: its latency or energy.
        key: tells networks apart.
    """

    measured: Measured
    key: str


class LookupTable(Measurer):
    """Latencies of blocks on a target; rows are measured when they are first needed.

    As a measurer it predicts: its figures are ``predicted``, and stand as such. :func:`build` fills it.

    Args:
        measurer: measures, on the target and by the sampling plan of the table: :class:`netwright.Latency`, or another
            such measurer, such as :class:`netwright.Energy`, whose first metric is what the table is of.
        path: a JSON file that the table is read from and kept in; one of another target is refused.
    """

    def __init__(self, measurer: OnTarget, path: Path | None = None) -> None:
        if measurer.lengths:
            raise MeasureError(
                "a table of blocks is of one length of texts: leave lengths out (the length of the example inputs is "
                "taken), or measure every network (latency.table)"
            )
        self.measurer, self.path = measurer, path
        self.metric: Metric = measurer.metrics[0]
        self.metrics = (self.metric,)
        self.rows: dict[str, Row] = {}
        self.whole: list[Whole] = []
        if path is not None and path.exists():
            self._read(path)

    @property
    def place(self) -> Place:
        return self.measurer.place

    def measure(self, context: EvaluationContext) -> Mapping[str, Measurement]:
        return {self.metric.name: self.predict(context.module, context.example_inputs)}

    def require(self) -> None:
        self.overhead()

    def provenance(self) -> Mapping[str, Any]:
        return self.measurer.provenance()

    # -- rows --------------------------------------------------------------------------------------------------

    def sums(self, network: nn.Module, inputs: Inputs) -> BlockSums:
        """Of a network; what the table has no row for is measured.

        Raises :class:`MeasureError` where a block cannot be run by itself on the target.
        """
        parts = self.blocks(network, inputs)
        rows = [self.rows[block.key] for block in parts]
        spread = float(np.sqrt(sum(row.spread**2 for row in rows)))
        return BlockSums(sum(row.value for row in rows), len(rows), sum(b.moved for b in parts) / 1e6, spread)

    def blocks(self, network: nn.Module, inputs: Inputs) -> list[NetworkBlock]:
        """The blocks of a network, in order; those that :attr:`rows` lacks are measured.

        Raises :class:`MeasureError` where one cannot be run by itself on the target.
        """
        parts = self._parts(network, inputs)
        for block in parts:
            if block.key not in self.rows:
                self.rows[block.key] = self._row(block)
                self._keep()
        return parts

    def unmeasured(self, network: nn.Module, inputs: Inputs) -> list[NetworkBlock]:
        """The blocks of a network that :attr:`rows` lacks."""
        return [block for block in self._parts(network, inputs) if block.key not in self.rows]

    def _parts(self, network: nn.Module, inputs: Inputs) -> list[NetworkBlock]:
        given = example(inputs, self.measurer.runtime.batch, network)
        return blocks(fold(network, given), given)

    def _row(self, block: NetworkBlock) -> Row:
        try:
            with TemporaryFolder() as folder:
                path = folder / f"block{self.measurer.runtime.suffix}"
                converted(self.measurer.suited, block.network, block.inputs, path)
                found = self.measurer.run(path, feeds_of(block.inputs), trust=True)[self.metric.name]
        except NetwrightError as error:
            raise MeasureError(f"the block {block.name} cannot be measured by itself: {format_error(error)}") from error
        return Row(block.name, tuple(tuple(t.shape) for t in block.inputs), found.value, found.ci95)

    # -- overhead ----------------------------------------------------------------------------------------------

    def learn(self, network: nn.Module, inputs: Inputs, measured: float, key: str = "") -> None:
        """Remember what a whole network took; ``key`` tells networks apart."""
        self._learn(self.sums(network, inputs), measured, key)

    def _learn(self, sums: BlockSums, measured: float, key: str) -> None:
        self.whole.append(Whole(**vars(sums), measured=measured, key=key))
        self._keep()

    def predict(self, network: nn.Module, inputs: Inputs) -> Measurement:
        """The latency of a network (or its energy) with half its 95 % interval.

        Raises :class:`MeasureError` where fewer than eight whole networks were learned.
        """
        sums = self.sums(network, inputs)
        weights, error = self.overhead()
        value = max(float(_features(sums) @ weights), 1e-6)
        half = float(np.hypot(error * value, sums.spread))
        how = {"predictor": "lookup table", "rows": sums.blocks, "sum": sums.value}
        return Measurement(value, self.metric.unit, half, len(self.whole), "predicted", how)

    def overhead(self) -> tuple[np.ndarray, float]:
        """What is added to the sum, as weights of (1, the sum, the number of blocks, the megabytes), and half the 95 %
        interval of what remains, relative, by leaving each network out in turn."""
        if len(self.whole) < LEAST:
            raise MeasureError(
                f"a lookup table needs {LEAST} networks measured whole to know its overhead, it has {len(self.whole)}"
            )
        y = np.array([each.measured for each in self.whole])
        x = np.stack([_features(each) for each in self.whole])
        left_out = []
        for i in range(len(y)):
            others = np.arange(len(y)) != i
            left_out.append(float(x[i] @ self._fitted(x[others], y[others]) / y[i] - 1))
        return self._fitted(x, y), 1.96 * float(np.sqrt(np.mean(np.square(left_out))))

    def _fitted(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Weights that make relative errors small, drawn to what they would be if blocks only paid for being called."""
        call = CALL.get(self.metric.unit, 0.0)
        prior = np.array([call, 1.0, -call, 0.0])
        scale = y.mean() / np.maximum(x.mean(axis=0), 1e-12)
        doubt = np.array([0.1, 0.3, 0.3, 0.3]) * scale  # each may well move the whole by so much of it
        noise = 0.03
        design = np.vstack([x / y[:, None] / noise, np.diag(1 / doubt)])
        aim = np.concatenate([np.full(len(y), 1 / noise), prior / doubt])
        return np.linalg.lstsq(design, aim, rcond=None)[0]

    # -- keeping -----------------------------------------------------------------------------------------------

    def _keep(self) -> None:
        if self.path is not None:
            rows = {key: asdict(row) for key, row in self.rows.items()}
            whole = [asdict(each) for each in self.whole]
            write_json(
                self.path,
                {"format": 2, "metric": self.metric.name, "target": self.measurer.target, "rows": rows, "whole": whole},
            )

    def _read(self, path: Path) -> None:
        kinds = {
            "format": Literal[2], "metric": str, "target": {"fingerprint": str}, "rows": dict[str, Row],
            "whole": list[Whole],
        }  # fmt: skip
        try:
            kept = expect(read_json(path), kinds)
        except (OSError, ValueError) as error:
            raise MeasureError(f"{path} is not a lookup table: {format_error(error)}") from None
        if kept["metric"] != self.metric.name:
            named = told(kept["metric"])
            raise MeasureError(f"{path} is a table of {named}, not of {self.metric.name}; use another file")
        target, now = kept["target"], self.measurer.target
        if target["fingerprint"] != now["fingerprint"]:
            differs = next((k for k in now if target.get(k) != now[k]), "fingerprint")
            raise MeasureError(
                f"{path} is of another target: its {differs} is {told(target.get(differs))}, here it is "
                f"{now[differs]}; use another file"
            )
        self.rows, self.whole = kept["rows"], kept["whole"]


def _features(sums: BlockSums) -> np.ndarray:
    return np.array([1.0, sums.value, float(sums.blocks), sums.moved])


def build(
    table: LookupTable, net: Any, networks: int, rng: np.random.Generator, still: int = 10, most: int = 400
) -> Iterator[EvaluationContext]:
    """Fill a table from a super-network: rows of candidates, until some in a row bring nothing new, and ``networks`` of
    them measured whole. Gives each candidate that was drawn: some from the smallest to the largest, then random ones.

    Args:
        table: to fill.
        net: the super-network with ``space`` and ``extract``.
        networks: to measure whole.
        rng: draws the candidates.
        still: how many in a row must bring nothing new; 0 leaves further rows to those who ask for them.
        most: candidates to draw at most.
    """
    known, seen = 0, {each.key for each in table.whole}
    for candidate in islice(_drawn(net.space, rng), most):
        context = EvaluationContext(net, candidate, ())
        before = len(table.rows)
        sums = table.sums(context.module, context.example_inputs)
        known = known + 1 if len(table.rows) == before else 0
        key = context.candidate.key
        if len(table.whole) < networks and key not in seen:
            found = table.measurer.measure(context)[table.metric.name]
            table._learn(sums, found.value, key)
            seen.add(key)
        yield context
        if known >= still and len(table.whole) >= min(networks, net.space.size):
            return


def _drawn(space: Space, rng: np.random.Generator) -> Iterator[Candidate]:
    """Candidates from the smallest to the largest, each option as far up as the others; then random ones."""
    levels = (space.build(lambda c, at=i: c.options[at * (len(c.options) - 1) // (LEAST - 1)]) for i in range(LEAST))  # type: ignore[misc]
    yield from dict.fromkeys(levels)
    while True:
        yield space.sample(rng)
