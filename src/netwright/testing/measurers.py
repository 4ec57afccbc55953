"""The contract of a measurer, for people who write their own."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from ..core.candidate import Candidate
from ..core.code import code_digest
from ..core.metric import Measurement, Metric
from ..measure.base import EvaluationContext, Measurer, Race, Searchable


def check_measurer(
    measurer: Measurer,
    net: Searchable,
    candidates: Iterable[Candidate] = (),
    *,
    calibration: Iterable[Any] = (),
) -> dict[str, Measurement]:
    """Raise AssertionError where a measurer breaks what a study relies on.

    ::

        def test_my_measurer():
            check_measurer(MyMeasurer(), nw.families.cifar_resnet(8))

    It names its metrics, finds what it names in their units, says what the figures are, gives JSON, finds what is
    exact again, and stops early only where it is told that the rest does not matter.

    Args:
        measurer: with the settings to check.
        net: whose networks are measured.
        candidates: which; the smallest and the largest by default.
        calibration: see :class:`netwright.measure.base.EvaluationContext`.

    Returns:
        The measurements of the last candidate, by metric name.
    """
    _names_its_metrics(measurer)
    measurer.require()
    calibration = list(calibration)
    found: dict[str, Measurement] = {}
    for candidate in list(candidates) or [net.space.smallest, net.space.largest]:
        context = EvaluationContext(net, candidate, calibration or ())
        found = _measured(measurer, context)
        again = _measured(measurer, EvaluationContext(net, candidate, calibration or ()))
        assert again.keys() == found.keys(), f"it finds {sorted(found)}, and then {sorted(again)}"
        for metric in measurer.metrics:
            if metric.exact:
                assert found[metric.name] == again[metric.name], f"{metric.name} is exact, but was another value again"
        if measurer.races:
            _races(measurer, EvaluationContext(net, candidate, calibration or ()), found)
    about = dict(measurer.provenance())
    assert json.loads(json.dumps(about, allow_nan=False)) == about, "provenance() survives JSON"
    assert dict(measurer.provenance()) == about, "provenance() says the same each time"
    return found


def _names_its_metrics(measurer: Measurer) -> None:
    metrics = measurer.metrics
    assert isinstance(metrics, tuple) and metrics, "metrics is a tuple of one or more"
    assert all(isinstance(metric, Metric) for metric in metrics), f"metrics holds nw.Metric, not {metrics!r}"
    assert len({metric.name for metric in metrics}) == len(metrics), "its metrics have names of their own"
    assert code_digest(measurer.code) == code_digest(measurer.code), "code is what finds the figures"


def _measured(measurer: Measurer, context: EvaluationContext) -> dict[str, Measurement]:
    """What is found of a candidate, checked."""
    values = measurer.measure(context)
    assert isinstance(values, Mapping), f"measure() gives a mapping of metric names to nw.Measurement, not {values!r}"
    for name, found in values.items():
        assert isinstance(found, Measurement), f"{name!r} is a {type(found).__name__}, not a nw.Measurement"
        read = Measurement.from_json(json.loads(json.dumps(found.to_json(), allow_nan=False)))
        assert read == found, f"{name!r} does not survive JSON: {found!r}"
        assert found.n >= 1, f"{name!r} is of {found.n} samples"
    for metric in measurer.metrics:
        assert metric.name in values, f"it names {metric.name!r} and finds {sorted(values)}"
        _is_of(metric, values[metric.name], racing=context.race is not None)
    return dict(values)


def _is_of(metric: Metric, found: Measurement, racing: bool) -> None:
    """What is found is of the metric."""
    name = metric.name
    assert found.unit == metric.unit, f"{name!r} is in {found.unit!r}, its metric in {metric.unit!r}"
    assert racing or found.best_case is None, f"{name!r} is {found.kind} though nothing races"
    if metric.exact:
        assert (found.kind, found.ci95) == ("exact", 0), f"{name!r} is exact, but not its kind: {found!r}"
    if found.best_case is not None:
        better = found.value if metric.direction == "max" else -found.value
        best = found.best_case if metric.direction == "max" else -found.best_case
        assert best >= better, f"{name!r}: the best case {found.best_case} is worse than {found.value}"


def _races(measurer: Measurer, context: EvaluationContext, whole: Mapping[str, Measurement]) -> None:
    """It stops nowhere but where it is told that the rest does not matter, and says on how much it stands then."""
    totals = {metric.name: whole[metric.name].n for metric in measurer.metrics if not metric.exact}
    context.race = Race(0.95, totals, lambda name, best: False)
    kept = _measured(measurer, context)
    assert all(kept[name].is_complete and kept[name].n == totals[name] for name in totals), "it stops where it may not"
    context.race = Race(0.95, totals, lambda name, best: True)
    for name, found in _measured(measurer, context).items():
        if name in totals and not found.is_complete:
            assert found.kind == "partial" and found.n < totals[name], (
                f"{name!r} was stopped after all {found.n} samples"
            )
