"""How far a file of lower precision is from its network: outputs, confidences, answers, and a bound on the metric."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from netwright.core.metric import Measurement, Metric
from netwright.measure.output_distance import LOST, lost, output_distance
from netwright.tasks import Classification, Regression


class Times(nn.Module):
    """The outputs of a network, times a number."""

    def __init__(self, network: nn.Module, factor: float) -> None:
        super().__init__()
        self.network, self.factor = network, factor

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = self.network(x) * self.factor
        return outputs


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Linear(4, 3)


def batches(count: int = 3) -> list[tuple[Tensor, Tensor]]:
    return [(torch.randn(8, 4), torch.randint(0, 3, (8,))) for _ in range(count)]


def test_the_answers_stay_and_the_confidence_collapses(network: nn.Module) -> None:
    data = batches()
    found = output_distance(Times(network, 0.2), network, Classification(), data)
    assert found["same_answers"].value == 100 and found["outputs_difference"].value == pytest.approx(0.8)
    with torch.no_grad():
        scores = torch.cat([network(x) for x, _ in data])
    wanted = (0.2 * scores).softmax(1).amax(1) - scores.softmax(1).amax(1)
    assert found["confidence_change"].value == pytest.approx(100 * float(wanted.mean()), rel=1e-4)
    assert found["confidence_change"].value < 0 and found["confidence_change"].n == 24


def test_other_answers_are_counted(network: nn.Module) -> None:
    found = output_distance(Times(network, -1.0), network, Classification(), batches())
    assert found["same_answers"].value == 0 and found["outputs_difference"].value == pytest.approx(2)


def test_a_task_without_classes_has_the_difference_alone(network: nn.Module) -> None:
    data = [(x, torch.randn(8, 3)) for x, _ in batches()]
    found = output_distance(Times(network, 0.9), network, Regression(), data)
    assert list(found) == ["outputs_difference"] and found["outputs_difference"].value == pytest.approx(0.1, rel=1e-4)


def test_no_more_examples_than_are_needed_are_compared(network: nn.Module) -> None:
    found = output_distance(network, network, Classification(), batches(100))
    assert found["outputs_difference"].n == 512 and found["outputs_difference"].value == 0


@pytest.mark.parametrize(
    ("direction", "own", "whole", "fails"),
    [
        ("max", 80.0, 93.0, True), ("max", 92.0, 93.0, False), ("max", 95.0, 93.0, False),
        ("min", 1.2, 1.0, True), ("min", 1.05, 1.0, False), ("min", 0.5, 1.0, False),
    ],
)  # fmt: skip
def test_what_loses_more_than_a_tenth_of_a_metric_fails(direction: str, own: float, whole: float, fails: bool) -> None:
    metric = Metric("score", "%", direction)  # type: ignore[arg-type]
    said = lost([metric], {"score": Measurement(own, "%")}, {"score": Measurement(whole, "%")})
    assert bool(said) == fails
    if fails:
        assert f"allowed are {LOST:.0%}" in said and "netwright explain" in said
    assert not lost([metric], {}, {"score": Measurement(whole, "%")})
