"""How far a file of lower precision is from its network on real data, whatever its answers are worth."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..core.errors import MeasureError, TrainingError
from ..core.metric import Measurement, Metric
from ..nets.inputs import call, evaluating, fresh, tensors_in
from ..tasks import Task
from ..tasks.data import read
from .agreement import differences

MOST_EXAMPLES = 512
"""Examples that are compared; the metrics are of all."""

LOST = 0.1
"""How much of a metric a file may lose, relative to float32: what loses more is another network."""


@torch.no_grad()
def output_distance(own: nn.Module, whole: nn.Module, task: Task, loader: Iterable[Any]) -> dict[str, Measurement]:
    """How far outputs are from those of float32, beside any metric: answers may be right and confidences gone.

    Args:
        own: the file, as a module.
        whole: the network in float32.
        task: what the network is for.
        loader: batches that the task takes, of which the first few hundred examples are compared.

    Returns:
        ``outputs_difference``: the root of the mean square of the difference, relative to that of float32's outputs,
        the largest over the outputs. For a task with classes also ``confidence_change``: the mean change of the
        probability of the answer, in percentage points; and ``same_answers``: for how many the answer is the same.
    """
    worst, count = 0.0, 0
    changes: list[Tensor] = []
    same: list[Tensor] = []
    with evaluating(whole):
        for batch in read(loader, "the data that files are compared on", MeasureError):
            inputs, targets = task.split(batch)
            got, wanted = (call(module, fresh(inputs)) for module in (own, whole))
            mine, theirs = ([t.float().numpy(force=True) for t in tensors_in(each)] for each in (got, wanted))
            worst = max(worst, differences(mine, theirs, "the file"))
            try:
                scores = [task.class_scores(each, targets).softmax(-1) for each in (got, wanted)]
            except TrainingError:  # a task without classes
                scores = []
            if scores:
                (confidence, answer), (before, known) = (each.max(-1) for each in scores)
                changes.append(confidence - before)
                same.append(answer == known)
            count += len(next(tensors_in(inputs)))
            if count >= MOST_EXAMPLES:
                break
    found = {"outputs_difference": Measurement(worst, "", n=count)}
    if changes:
        found["confidence_change"] = Measurement(100 * float(torch.cat(changes).mean()), "%", n=count)
        found["same_answers"] = Measurement(100 * float(torch.cat(same).float().mean()), "%", n=count)
    return found


def lost(metrics: Iterable[Metric], own: Mapping[str, Measurement], whole: Mapping[str, Measurement]) -> str:
    """What a file of lower precision loses beyond :data:`LOST`, in words; empty where it does not."""
    for metric in metrics:
        if metric.name not in own or metric.name not in whole:
            continue
        mine, theirs = own[metric.name].value, whole[metric.name].value
        share = (metric.loss(mine) - metric.loss(theirs)) / max(abs(theirs), 1e-12)
        if share > LOST:
            return (
                f"{metric.name} is {mine:.4g} {metric.unit} for {theirs:.4g} in float32: {share:.0%} of it is lost, "
                f"allowed are {LOST:.0%}; 'netwright explain' on the file says which layers lose it"
            )
    return ""
