"""The contract of a task, for people who write their own."""

from __future__ import annotations

from math import isclose
from typing import Any

import torch
from torch import Tensor, nn

from ..core.errors import MeasureError, TrainingError
from ..core.metric import Measurement, Metric
from ..nets.inputs import call, each_tensor, evaluating, fresh, tensors_in
from ..tasks.base import Evaluator, Task
from ..tasks.data import Data, Split, TensorLoader, read
from ..tasks.losses import scalar


def check_task(task: Task, network: nn.Module, data: Data) -> dict[str, Measurement]:
    """Raise AssertionError where a task breaks what netwright relies on.

    Args:
        task: to check.
        network: small, with parameters that the task's loss depends on; left as it is.
        data: of which a few batches are used; two or more of validation data tell most.

    Returns:
        What the network has on the validation data, by metric name.
    """
    metrics = task.metrics
    assert isinstance(metrics, tuple) and metrics and all(isinstance(m, Metric) for m in metrics), "metrics: a tuple"
    assert len({m.name for m in metrics}) == len(metrics), "two metrics have the same name"
    task.check(network, data)
    loader = TensorLoader(data.validation, 4) if isinstance(data.validation, Split) else data.validation
    batches = [task.split(batch) for batch, _ in zip(read(loader, "the validation data"), range(4), strict=False)]
    with torch.no_grad(), evaluating(network):
        judged = [(task.answer(network, fresh(inputs)), targets) for inputs, targets in batches]
    found = _check_evaluator(task, judged)
    for inputs, targets in batches[:1]:
        _check_loss(task, network, inputs, targets)
        _check_distillation(task, network, inputs, targets)
    return found


def _check_loss(task: Task, network: nn.Module, inputs: Any, targets: Any) -> None:
    parameters = [p for p in network.parameters() if p.requires_grad]
    with evaluating(network):
        value = task.loss(call(network, fresh(inputs)), targets)
        assert torch.isfinite(scalar(value)), "the loss is not a finite number"
        again = task.loss(call(network, fresh(inputs)), targets)
        assert isclose(value.item(), again.item(), rel_tol=1e-4, abs_tol=1e-6), "the same outputs have another loss"
        gradients = torch.autograd.grad(scalar(again), parameters, allow_unused=True)
    assert any(g is not None and bool(g.any()) for g in gradients), "the loss does not depend on the parameters"
    assert all(g is None or bool(torch.isfinite(g).all()) for g in gradients), "a gradient is not finite"


def _check_distillation(task: Task, network: nn.Module, inputs: Any, targets: Any) -> None:
    """A student that is near its teacher has less to learn than one that is far, and nothing is learned by the
    teacher."""
    with torch.no_grad(), evaluating(network):
        teacher = call(network, fresh(inputs))
    generator = torch.Generator().manual_seed(0)

    def student(distance: float) -> Any:
        def moved(tensor: Tensor) -> Tensor:
            if not tensor.is_floating_point():
                return tensor
            noise = torch.randn(tensor.shape, generator=generator).to(tensor)
            return (tensor + distance * noise).requires_grad_()

        return each_tensor(teacher, moved)

    try:
        near = scalar(task.distillation_loss(student(0.0), teacher, targets))
    except TrainingError:
        return  # not defined, and says so
    outputs = student(3.0)
    far = scalar(task.distillation_loss(outputs, teacher, targets))
    assert torch.isfinite(near) and torch.isfinite(far), "the distillation loss is not a finite number"
    assert near.item() < far.item(), "a student that gives what its teacher gives has no less to learn than another"
    far.backward()
    moved = [t.grad for t in tensors_in(outputs) if t.requires_grad]
    assert any(g is not None and bool(g.any()) for g in moved), "the distillation loss does not move the student"


def _check_evaluator(task: Task, judged: list[tuple[Any, Any]]) -> dict[str, Measurement]:
    try:
        task.evaluator().result()
        raise AssertionError("an evaluator that has counted nothing gives a result")
    except MeasureError:
        pass
    evaluator, counted = task.evaluator(), 0
    other = task.evaluator()
    for outputs, targets in judged:
        before = [t.clone() for t in tensors_in((outputs, targets))]
        more = evaluator.update(outputs, targets)
        assert isinstance(more, int) and more >= 0, "update() gives how many examples count"
        counted += more
        after = tensors_in((outputs, targets))
        assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True)), "update() changes what it is given"
    assert counted > 0, "nothing of the validation data counts"
    found = evaluator.result()
    for metric in task.metrics:
        assert metric.name in found, f"the result lacks {metric.name}"
        assert found[metric.name].unit == metric.unit, f"{metric.name} is in {found[metric.name].unit!r}"
        assert found[metric.name].n > 0
    assert evaluator.result() == found, "a result changes when it is asked for"
    for outputs, targets in judged:  # as the outputs of an exported file come
        other.update(each_tensor(outputs, lambda t: torch.from_numpy(t.cpu().numpy().copy())), targets)
    assert other.result() == found, "an exported file's outputs are judged otherwise, or evaluators share sums"
    _check_order(task, judged, found)
    _check_best_case(task, evaluator, found, counted)
    return found


def _check_order(task: Task, judged: list[tuple[Any, Any]], found: dict[str, Measurement]) -> None:
    evaluator = task.evaluator()
    for outputs, targets in reversed(judged):
        evaluator.update(outputs, targets)
    for name, value in evaluator.result().items():
        same = isclose(value.value, found[name].value, rel_tol=1e-3, abs_tol=1e-6)
        assert same, f"{name} depends on the order of the batches"


def _check_best_case(task: Task, evaluator: Evaluator, found: dict[str, Measurement], counted: int) -> None:
    by_name = {metric.name: metric for metric in task.metrics}
    for confidence in (0.5, 0.99):
        now, later = (evaluator.best_case(total, confidence) for total in (counted, 4 * counted))
        assert now.keys() == later.keys() and now.keys() <= by_name.keys(), "best_case names other metrics"
        for name, value in now.items():
            loss = by_name[name].loss
            assert loss(value) <= loss(found[name].value) + 1e-6, f"the best case of {name} is worse than what is"
            assert loss(later[name]) <= loss(value) + 1e-6, f"{name} may be better with fewer examples left to see"
    assert evaluator.baseline().keys() <= by_name.keys(), "baseline names other metrics"
