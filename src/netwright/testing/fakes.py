"""Fakes for tests of searches: a space, a net without networks, a measurer that needs no device and no time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from ..core.candidate import Candidate
from ..core.metric import Measurement, Metric
from ..core.space import Choice, Space
from ..measure.base import EvaluationContext, Measurer


def fake_space(choices: int = 5, options: int = 3) -> Space:
    """A space of choices ``k0``, ``k1``, ..., each with the options 1 to ``options``."""
    return Space([Choice(f"k{i}", tuple(range(1, options + 1))) for i in range(choices)])


def total(candidate: Candidate) -> float:
    """The sum of a candidate's options that are numbers: what a fake measurer finds where nothing else is said."""
    return float(sum(option for option in candidate.values() if isinstance(option, int | float)))


class FakeNet:
    """What a study searches, of which nobody needs the networks.

    Args:
        space: of the candidates; :func:`fake_space` by default.
        extract: makes the network of a candidate; without it, asking for one raises AssertionError.
    """

    def __init__(self, space: Space | None = None, extract: Callable[[Candidate], Any] | None = None) -> None:
        self.space, self._extract = space or fake_space(), extract

    def extract(self, candidate: Candidate) -> Any:
        if self._extract is None:
            raise AssertionError(f"nobody should need the network of {candidate}")
        return self._extract(candidate)


class FakeMeasurer(Measurer):
    """A metric that is a function of the candidate, found in no time; what it says of time is by a clock of its own.

    Args:
        metric: what it finds, also by its name alone.
        of: the value of a candidate; it may raise. The sum of the options by default.
        ci95: half the 95 % interval of each value.
        n: the samples behind each value.
        details: of each measurement.
        provenance: of each record.
        depends_on_weights: see :class:`netwright.measure.base.Measurer`.
        on_device: see there.
        seconds: that each measurement takes, by the clock.
        margin: how far what is known of half the samples is from the value; 0 for a measurer that does not race.
        log: the metric's name is added to it each time that it is asked.
    """

    def __init__(
        self,
        metric: Metric | str,
        of: Callable[[Candidate], float] = total,
        *,
        ci95: float = 0.0,
        n: int = 1,
        details: Mapping[str, Any] | None = None,
        provenance: Mapping[str, Any] | None = None,
        depends_on_weights: bool = False,
        on_device: bool = False,
        seconds: float = 0.0,
        margin: float = 0.0,
        log: list[str] | None = None,
    ) -> None:
        self.metric = Metric(metric) if isinstance(metric, str) else metric
        self.metrics = (self.metric,)
        self.of, self.ci95, self.n, self.details, self.about = of, ci95, n, details or {}, provenance or {}
        self.depends_on_weights, self.on_device, self.races = depends_on_weights, on_device, margin > 0
        self.seconds, self.margin, self.now = seconds, margin, 0.0
        self.log: list[str] = [] if log is None else log
        self.calls = Counter[Candidate]()
        """How often it was asked of each candidate."""

    def measure(self, context: EvaluationContext) -> Mapping[str, Measurement]:
        self.calls[context.candidate] += 1
        self.log.append(self.metric.name)
        self.now += self.seconds
        value, name = self.of(context.candidate), self.metric.name
        best = value + (self.margin if self.metric.direction == "max" else -self.margin)
        race = context.race if self.races else None
        if race and name in race.totals and race.lost(name, best):
            part = (value, self.metric.unit, self.margin, max(1, self.n // 2))
            details = {**self.details, "of": race.totals[name], "confidence": race.confidence}
            return {name: Measurement(*part, "partial", details, best)}
        kind = "exact" if self.metric.exact else "measured"
        return {name: Measurement(value, self.metric.unit, self.ci95, self.n, kind, self.details)}  # type: ignore[arg-type]

    def clock(self) -> float:
        return self.now

    def provenance(self) -> Mapping[str, Any]:
        return self.about
