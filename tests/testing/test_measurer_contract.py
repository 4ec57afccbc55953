"""The contract of measurers, and the fakes that tests of searches are made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import nn

import netwright as nw
from netwright.core.errors import MeasureError
from netwright.core.metric import Measurement, Metric
from netwright.measure.base import EvaluationContext, Measurer, Race
from netwright.testing import FakeMeasurer, FakeNet, check_measurer, fake_space

ACCURACY, PARAMS = Metric("accuracy", "%", "max"), Metric("params", exact=True)


class Echo:
    """Networks that give back their inputs."""

    space = fake_space(2, 2)

    def extract(self, candidate: nw.Candidate) -> Any:
        return nn.Identity()


def batches(examples: int = 64, size: int = 4) -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(4, (examples,), generator=generator)
    scores = torch.randn(examples, 4, generator=generator)
    return list(zip(scores.split(size), labels.split(size), strict=True))


def test_ours_keep_the_contract() -> None:
    net = nw.families.cifar_resnet(8)
    found = check_measurer(nw.Count("params"), net)
    assert found["params"] == nw.Count("params").measure(EvaluationContext(net, net.largest))["params"]
    check_measurer(nw.EnergyEstimate(), net, [net.smallest])
    assert check_measurer(nw.Accuracy(batches()), Echo())["accuracy"].n == 64


def test_fakes_keep_the_contract() -> None:
    net = FakeNet()
    check_measurer(FakeMeasurer("cost"), net)
    check_measurer(FakeMeasurer(PARAMS), net, [net.space.smallest])
    found = check_measurer(FakeMeasurer(ACCURACY, n=100, ci95=2, margin=5, details={"by": "hand"}), net)
    assert found["accuracy"] == Measurement(15.0, "%", 2, 100, details={"by": "hand"})


WHOLE = {"accuracy": Measurement(3.0, "%", n=10)}
PART = {"accuracy": Measurement(3.0, "%", n=5, kind="partial", best_case=4.0)}
WORSE = {"accuracy": Measurement(3.0, "%", n=5, kind="partial", best_case=2.0)}


def gives(value: Any, **more: Any) -> Callable[[EvaluationContext], Any]:
    return lambda context: {"accuracy": Measurement(value, "%", **more)}


class Wrong(FakeMeasurer):
    """A fake that gives something else."""

    def __init__(self, metric: Metric, gives: Callable[[EvaluationContext], Any], races: bool = False) -> None:
        super().__init__(metric, n=10, margin=float(races))
        self.gives = gives

    def measure(self, context: EvaluationContext) -> Mapping[str, Measurement]:
        self.calls[context.candidate] += 1
        return self.gives(context)  # type: ignore[no-any-return]


def every_time_another() -> Callable[[EvaluationContext], Any]:
    values = iter(range(100))
    return lambda context: {"params": Measurement(next(values), kind="exact")}


@pytest.mark.parametrize(
    "measurer, complaint",
    [
        (Wrong(ACCURACY, lambda c: 3.0), "gives a mapping"),
        (Wrong(ACCURACY, lambda c: {"accuracy": 3.0}), "is a float"),
        (Wrong(ACCURACY, lambda c: {}), "names 'accuracy' and finds"),
        (Wrong(ACCURACY, lambda c: {"accuracy": Measurement(3.0, "ms")}), "in 'ms', its metric in '%'"),
        (Wrong(ACCURACY, gives(3.0, n=0)), "of 0 samples"),
        (Wrong(ACCURACY, gives(3.0, details={"x": (1, 2)})), "does not survive JSON"),
        (Wrong(ACCURACY, gives(3.0, kind="partial", best_case=4.0)), "partial though nothing races"),
        (Wrong(PARAMS, lambda c: {"params": Measurement(3.0)}), "is exact, but not its kind"),
        (Wrong(PARAMS, every_time_another()), "was another value again"),
        (Wrong(ACCURACY, lambda c: PART if c.race else WHOLE, races=True), "stops where it may not"),
        (Wrong(ACCURACY, lambda c: WORSE if c.race and c.race.lost("accuracy", 0) else WHOLE, races=True), "is worse"),
        (FakeMeasurer("cost", provenance={"pair": (1, 2)}), "provenance"),
    ],
)
def test_the_contract_finds_what_is_wrong(measurer: Measurer, complaint: str) -> None:
    with pytest.raises(AssertionError, match=complaint):
        check_measurer(measurer, FakeNet())


def test_a_measurer_without_metrics_is_wrong_and_what_cannot_be_measured_here_says_so() -> None:
    class Nothing(FakeMeasurer):
        def __init__(self) -> None:
            super().__init__("x")
            self.metrics = ()  # type: ignore[assignment]

    class Elsewhere(FakeMeasurer):
        def require(self) -> None:
            raise MeasureError("there is no such device")

    with pytest.raises(AssertionError, match="one or more"):
        check_measurer(Nothing(), FakeNet())
    with pytest.raises(MeasureError, match="no such device"):
        check_measurer(Elsewhere("x"), FakeNet())


def test_a_fake_counts_tells_its_own_time_and_races() -> None:
    space, log = fake_space(3, 4), list[str]()
    slow = FakeMeasurer("latency", seconds=10.0, on_device=True, log=log)
    begin = slow.clock()
    assert slow.measure(EvaluationContext(FakeNet(space), space.largest))["latency"].value == 12
    assert slow.clock() - begin == 10 and slow.calls == {space.largest: 1} and log == ["latency"]
    racer = FakeMeasurer(ACCURACY, n=100, margin=5.0)
    race = Race(0.95, {"accuracy": 100}, lambda name, best: best < 10)
    parts = [
        racer.measure(EvaluationContext(FakeNet(space), c, race=race))["accuracy"]
        for c in (space.smallest, space.largest)
    ]
    assert [(m.kind, m.n, m.best_case) for m in parts] == [("partial", 50, 8.0), ("measured", 100, None)]
    with pytest.raises(AssertionError, match="nobody should need"):
        FakeNet().extract(space.smallest)
    assert FakeNet(space, lambda c: "network").extract(space.smallest) == "network"
