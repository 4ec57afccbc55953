"""The limits of a job: those that are relative to the given model, by its own figures on the same target."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..core.candidate import digest
from ..core.errors import CheckpointError, LimitError, ShapeError, format_error
from ..core.files import read_json, write_json
from ..core.limits import Limit, is_relative, limited, metric_named, parse_limit
from ..core.metric import Measurement, Metric
from ..core.shape import expect
from ..measure.base import EvaluationContext, Measurer
from ..report.data import format_measurement
from .context import Context
from .judgement import judge_given
from .run_directory import LEFT


def limits_of(context: Context, trained: bool) -> list[Limit]:
    """The limits of a recipe; those are left out that are relative to how well a model does which has learned nothing
    of the task yet.

    Figures of the given model are measured once, and kept in the output directory, so that a job that goes on goes on
    with the same limits. Those of how well it does are of the model as it was given, where it came trained, else (where
    its head is new) of the largest network once it is trained.

    Args:
        context: of the job.
        trained: whether the super-network has been trained.
    """
    found = []
    for text in context.recipe.limits:
        if not is_relative(text):
            found.append(parse_limit(text, context.metrics))
        elif (given := _figure(context, text, trained)) is not None:
            found.append(parse_limit(text, context.metrics, {given[0].name: given[1].value}))
    return found


def are_known(context: Context) -> bool:
    """Whether no limit is relative to how well the model does, which is known after training alone."""
    weighty = {m.name for measurer in context.measurers if measurer.depends_on_weights for m in measurer.metrics}
    return not any(is_relative(text) and metric_named(text) in weighty for text in context.recipe.limits)


def _figure(context: Context, text: str, trained: bool) -> tuple[Metric, Measurement] | None:
    """The metric of a relative limit and the given model's figure; None where it has none yet."""
    name = limited(text, context.metrics)
    metric, measurer = next((m, own) for own in context.measurers for m in own.metrics if m.name == name)
    kept = _read(context)
    if metric.name in kept:
        return metric, kept[metric.name]
    if context.source.no_networks:
        raise LimitError(f"the limit {text!r}: {context.source.no_networks}, none of which is the given model")
    network = _network(context, measurer, trained)
    if network is None:
        return None
    measurer.require()
    found = measurer.measure(network).get(metric.name)
    if found is None:
        raise LimitError(f"the limit {text!r}: {metric.name} of the given model cannot be measured; write the bound")
    if not metric.exact:
        trained_here = measurer.depends_on_weights and network.net is context.source.net
        whose = "the largest network as it is trained" if trained_here else "the given model"
        context.callback.stage(f"{whose} has {metric.name} {format_measurement(found)}, which {text!r} is relative to")
        _write(context, {**kept, metric.name: found})
    return metric, found


def _network(context: Context, measurer: Measurer, trained: bool) -> EvaluationContext | None:
    """The given model as a measurer takes it; None where it has to be trained first."""
    if not measurer.depends_on_weights or context.source.untrained:
        return context.evaluation(context.source.space.largest)
    about = context.run.read_training()
    if about is not None and trained:
        if not about.given:
            return context.evaluation(context.source.space.largest)
        source = context.given_source()
        return EvaluationContext(source.net, source.space.largest, context.calibration, judge=context.quality)
    if about is not None or context.source.new_head or judge_given(context)[1] is False:
        return None
    return context.evaluation(context.source.space.largest)


# -- kept figures ------------------------------------------------------------------------------------------------


def _key(context: Context) -> str:
    """What the figures depend on."""
    parts = context.recipe.parts(*context.recipe.space, "data", "task", "metric", "target", "seed")
    return digest([parts, context.data.fingerprint if context.data is not None else "", *context.latency.lengths])


def _read(context: Context) -> dict[str, Measurement]:
    """The figures in the output directory, where they are of this job."""
    path = context.run.given
    try:
        value: Any = read_json(path)
        found = expect(value, {"key": str, "measurements": Mapping[str, Measurement]})
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, ShapeError) as error:
        raise CheckpointError(
            f"{path} is not what netwright writes ({format_error(error)}); {LEFT} it away to measure anew"
        ) from None
    return dict(found["measurements"]) if found["key"] == _key(context) else {}


def _write(context: Context, found: Mapping[str, Measurement]) -> None:
    if context.run.path.is_dir():  # a plan keeps nothing
        told = {name: m.to_json() for name, m in found.items()}
        write_json(context.run.given, {"key": _key(context), "measurements": told})
