"""The simplest way in: search a space with a function."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from .core.arguments import as_number, shown
from .core.candidate import Candidate, Option
from .core.errors import CallError, MeasureError, NetwrightError, format_error
from .core.limits import Limit, metric_named
from .core.metric import Direction, Measurement, Metric
from .core.record import Record
from .core.space import Choice, Space
from .measure.base import EvaluationContext, Measurer, Searchable
from .strategies.base import Strategy
from .strategies.guided import Guided
from .study.asked import listed
from .study.executors import executor_of
from .study.executors.base import Executor
from .study.stores.base import Store
from .study.stores.memory import MemoryStore
from .study.study import Study

Values = Mapping[str, float]


def search(
    space: Space | Searchable | Mapping[str, Iterable[Option]] | Sequence[Choice],
    evaluate: Callable[[Candidate], Values],
    objectives: Mapping[str, Direction] | Sequence[Metric],
    *,
    exact: Callable[[Candidate], Values] | None = None,
    limits: str | Iterable[str | Limit] = (),
    strategy: Strategy | str | None = None,
    evaluations: int = 100,
    seed: int = 0,
    store: Store | str | Path | None = None,
    warm_start: Iterable[Record] = (),
    hints: Mapping[str, Callable[[Candidate], float]] | None = None,
    retry: str = "",
    timeout: float | None = None,
    memory: str = "",
    executor: Executor | str = "local",
) -> list[Record]:
    """Search a space with a function that measures a candidate.

    Args:
        space: of the candidates, or what makes one: choices, or a dict of names to options; or what has one, such as a
            :class:`netwright.SuperNet`.
        evaluate: measures a candidate; returns a number for every objective that ``exact`` does not give, and any
            others to be stored. What it raises makes the candidate ``failed``, and the search goes on.
        objectives: name to ``"max"`` or ``"min"``, in order; or metrics, which say it too.
        exact: cheap metrics of a candidate; computed for every proposal and never predicted.
        limits: such as ``"macs <= 300e6"``, on any metric.
        strategy: who is measured next, also by its name in recipes; :class:`Guided` by default.
        evaluations: how many candidates are measured.
        seed: of everything random.
        store: a file (SQLite), or a text such as ``sqlite,path=s.db``, that keeps the records and that the same search
            continues from; none by default.
        warm_start: records of another search of the same space, such as one for another device: the strategy starts
            from what they say of the same metrics.
        hints: functions of a candidate by name, cheaper than ``evaluate`` and dearer than ``exact``, such as a
            zero-cost proxy: asked for a shortlist, as features of what is predicted. See :class:`Study`.
        retry: ``"failed"`` measures again what failed before in this store; without it that is done only where all
            failed, or ``evaluate`` or the metrics that are asked for have changed since.
        timeout: seconds that ``evaluate`` may take for a candidate. With this or ``memory`` it is called in a process
            of its own: a candidate that crashes, hangs or needs too much is ``failed``, and the search goes on.
        memory: how much memory ``evaluate`` may need for a candidate, such as ``"2 GB"``.
        executor: where candidates are evaluated: ``"local,workers=4"`` has as many evaluated at once, in processes of
            their own; see :meth:`Study.run`.

    Returns:
        The records in the order of measuring; :func:`netwright.front` finds the best of them.
    """
    space = _space_of(space)
    for what, function in (("evaluate", evaluate), ("exact", exact)):
        if not callable(function) and (function is not None or what == "evaluate"):
            raise CallError(f"search: {what} is a function of a candidate, not {function!r}")
    wanted = _wanted(objectives)
    limits = listed(limits)
    better = {metric.name: metric.direction for metric in wanted}
    computed = [Metric(n, "", better.get(n, "min"), exact=True) for n in (_tried(exact, space) if exact else ())]
    given = {m.name for m in computed}
    named = [name for limit in limits if (name := _limited(limit)) is not None and name not in better]
    measured = [*(m for m in wanted if m.name not in given), *(Metric(n) for n in named if n not in given)]
    study = Study(
        MemoryStore() if store is None else store,
        _Searched(space),
        objectives=[next((m for m in computed if m.name == w.name), w) for w in wanted],
        record=[
            *([_Function(computed, exact)] if exact else []),
            _Function(measured, evaluate),
        ],
        limits=limits,
        seed=seed,
        warm_start=warm_start,
        hints=hints,
    )
    made = executor_of(executor, timeout, memory)
    return study.run(Guided() if strategy is None else strategy, evaluations, retry=retry, executor=made)


def _wanted(objectives: Any) -> list[Metric]:
    if isinstance(objectives, Mapping):
        objectives = [Metric(name, direction=direction) for name, direction in objectives.items()]
    if not isinstance(objectives, list | tuple) or not all(isinstance(each, Metric) for each in objectives):
        raise CallError(
            'search takes its objectives with what is better of each, such as {"top1": "max"}, not '
            f"{shown(objectives)}"
        )
    if not objectives:
        raise NetwrightError('search needs an objective, for example objectives={"top1": "max"}')
    return list(objectives)


def _tried(exact: Callable[[Candidate], Values], space: Space) -> Values:
    """The exact metrics of one candidate, which tells their names."""
    try:
        values = exact(space.smallest)
    except Exception as error:  # a person's own function
        raise CallError(f"search: exact raised {format_error(error)} for {dict(space.smallest)}") from error
    if not isinstance(values, Mapping):
        raise CallError(f"search: exact must return a mapping such as {{'macs': 300e6}}, not {shown(values)}")
    for name, value in values.items():
        _number(name, value)
    return values


def _limited(limit: str | Limit) -> str | None:
    return limit.metric if isinstance(limit, Limit) else metric_named(limit)


def _space_of(what: Any) -> Space:
    if isinstance(what, Mapping) or (isinstance(what, list | tuple) and all(isinstance(c, Choice) for c in what)):
        what = Space(what)
    found = what if isinstance(what, Space) else getattr(what, "space", None)
    if not isinstance(found, Space):
        raise CallError(
            f"search takes a nw.Space or what has one, not {shown(what)}; of a torch module nw.wrap(module, "
            "example_inputs) makes a super-network"
        )
    return found


class _Searched:
    """A space without networks."""

    def __init__(self, space: Space) -> None:
        self.space = space

    def extract(self, candidate: Candidate) -> Any:
        raise NetwrightError("this search has a function, not a network; nothing can be extracted")


class _Function(Measurer):
    """Metrics that a function finds."""

    depends_on_weights = True

    def __init__(self, metrics: list[Metric], function: Callable[[Candidate], Values]) -> None:
        self.metrics, self._function = tuple(metrics), function

    @property
    def code(self) -> Any:
        return self._function

    def measure(self, context: EvaluationContext) -> Mapping[str, Measurement]:
        values = self._function(context.candidate)
        if not isinstance(values, Mapping):
            raise MeasureError(f"the function must return a mapping such as {{'top1': 75.2}}, not {shown(values)}")
        exact = {metric.name for metric in self.metrics if metric.exact}
        return {
            name: Measurement(_number(name, value), kind="exact" if name in exact else "measured")
            for name, value in values.items()
        }


def _number(name: Any, value: Any) -> float:
    if not isinstance(name, str):
        raise MeasureError(f"a metric's name is a text, not {shown(name)}")
    try:
        return as_number(value)
    except ValueError as error:
        raise MeasureError(f"{name!r} {error}") from None
