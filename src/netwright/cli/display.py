"""What the terminal shows while a job runs, and at its end."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from ..core.front import Front
from ..core.metric import Measurement, Metric
from ..core.record import Record
from ..core.text import printable
from ..core.units import format_value
from ..report.table import front_table
from .terminal import Terminal

if TYPE_CHECKING:
    from ..pipeline.fit import Fitted
    from ..study.run import Step
    from ..study.study import Study
    from ..training.run import Progress as Training


COMPARED = ("macs", "params")
"""Shown beside the objectives."""

LINE_S = 5.0
"""Seconds between the lines of a log that say what is done and what is left."""


class Display:
    """Progress on standard error, results on standard output.

    Without a terminal there are no bars, but a line for each stage, and every few seconds one that says what is done
    and how long the rest may take.

    Args:
        clock: seconds that only grow.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._out = Terminal()
        self._bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[figures]}", markup=False),
            TimeRemainingColumn(compact=True),
            console=Terminal(stderr=True),
        )
        self._task: TaskID | None = None
        self._last = ""
        self._begun = self._told = 0.0  # when this stage began, and when its last line was printed
        self._first = 0  # what was done when it began: a resumed stage does not begin at nothing

    def __enter__(self) -> Display:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._settle()

    # -- Callback -------------------------------------------------------------------------------------------------

    def stage(self, text: str) -> None:
        """A stage begins."""
        self._settle()
        if not self._bars.console.is_terminal or text not in ("training", "searching"):
            self._bars.console.print(text, soft_wrap=True)

    def trained(self, progress: Training) -> None:
        """A training step was made."""
        told = "".join(f", {name} {_figure(value)}" for name, value in progress.figures.items())
        figures = f"loss {progress.loss:.3f}{told}, {progress.samples_per_s:.0f} samples/s"
        self._advance("training", progress.step, progress.steps, figures)

    def finetuned(self, id_: str, progress: Training) -> None:
        """A step was made in fine-tuning a network."""
        figures = f"loss {progress.loss:.3f}, {progress.samples_per_s:.0f} samples/s"
        self._advance(f"fine-tuning {id_}", progress.step, progress.steps, figures)

    def measured(self, step: Step, study: Study) -> None:
        """A network was measured."""
        record = step.record
        last = " ".join(
            format_value(record.values[m.name], m.unit) for m in study.objectives if m.name in record.values
        )
        figures = f"front {len(study.front())}, last {last if record.status == 'ok' else record.status}"
        self._advance("searching", step.done, step.evaluations, figures)

    # -- results -----------------------------------------------------------------------------------------------

    def say(self, text: str) -> None:
        """One line of result."""
        self._out.print(text, soft_wrap=True)

    def front(self, front: Front, roles: Mapping[str, str], given: Mapping[str, Measurement]) -> None:
        """The given model and the front as a table: objectives, and what people compare networks by."""
        if not front:
            self.say("the front is empty: no measured network keeps the limits")
            return
        units = {name: m.unit for record in front for name, m in record.measurements.items()}
        columns = [m for m in front.objectives if m.name in units]
        named = {m.name for m in columns}
        columns += [Metric(name, unit) for name, unit in units.items() if name in COMPARED and name not in named]
        self._out.print(front_table(front, columns, roles, given))

    def records(self, records: Sequence[Record], objectives: Sequence[Metric]) -> None:
        """All records as a table."""
        table = Table(box=None, header_style="bold")
        for title in ("network", "status", *(m.name for m in objectives), "reason"):
            table.add_column(title, justify="left" if title in ("network", "status", "reason") else "right")
        for record in records:
            cells = [
                format_value(record.values[m.name], m.unit) if m.name in record.values else "-" for m in objectives
            ]
            table.add_row(record.id, record.status, *cells, record.reason)
        self._out.print(table)

    def done(self, fitted: Fitted) -> None:
        """Where everything is."""
        out = fitted.report.parent
        for network in fitted.networks:
            self.say(f"exported: {out / 'networks' / network.id} ({network.role})")
        self.say(f"report:   {fitted.report}")

    # -- parts -------------------------------------------------------------------------------------------------

    def _advance(self, what: str, done: int, total: int, figures: str) -> None:
        now, figures = self._clock(), printable(figures)
        terminal = self._bars.console.is_terminal
        if self._task is None:
            self._task = self._bars.add_task(what, total=total, figures="")
            self._begun, self._told, self._first = now, now, done
            if terminal:
                self._bars.start()
        self._bars.update(self._task, completed=done, figures=figures)
        self._last = f"{what}: {done}/{total}, {figures}"
        if not terminal and now - self._told >= LINE_S and done < total:
            left = (now - self._begun) / max(done - self._first, 1) * (total - done)
            self._bars.console.print(f"{self._last}, about {duration(left)} left", soft_wrap=True)
            self._told = now

    def _settle(self) -> None:
        """End the bar; without a terminal, say how it ended."""
        if self._task is None:
            return
        if self._bars.console.is_terminal:
            self._bars.stop()
            self._bars.remove_task(self._task)
        else:
            self._bars.console.print(self._last, soft_wrap=True)
        self._task = None


def _figure(found: float | Measurement) -> str:
    return format_value(found.value, found.unit) if isinstance(found, Measurement) else f"{found:.4g}"


def duration(seconds: float) -> str:
    """In the unit that a person would use."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
