"""Statistics of a sub-network: those of its own calibration batches, and nothing else changed."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from netwright.core.errors import MeasureError, NetwrightError
from netwright.nets.inputs import call
from netwright.nets.recalibrate import better_statistics, needs_recalibration, recalibrate


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 3, 3)
        self.norm = nn.BatchNorm2d(3, momentum=0.2)
        self.drop = nn.Dropout(0.9)
        self.flat = nn.BatchNorm1d(3, momentum=None)
        self.untracked = nn.BatchNorm1d(3, track_running_stats=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.flat(self.drop(self.norm(self.conv(x))).mean((2, 3)))


def seen(network: Any, batches: list[Tensor]) -> list[Tensor]:
    """What reaches the first normalisation."""
    with torch.no_grad():
        return [network.conv(b) for b in batches]


def test_one_batch_gives_its_own_statistics() -> None:
    network, batch = Net().train(), torch.randn(16, 1, 5, 5)
    assert recalibrate(network, [batch]) is network
    (x,) = seen(network, [batch])
    torch.testing.assert_close(network.norm.running_mean, x.mean((0, 2, 3)))
    torch.testing.assert_close(network.norm.running_var, x.var((0, 2, 3), unbiased=True))
    with torch.no_grad():  # the second normalisation sees the first one's batch statistics, and no dropout
        normed = (x - x.mean((0, 2, 3), keepdim=True)) / (x.var((0, 2, 3), unbiased=False, keepdim=True) + 1e-5).sqrt()
    torch.testing.assert_close(network.flat.running_mean, normed.mean((2, 3)).mean(0), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(network.flat.running_var, normed.mean((2, 3)).var(0), atol=1e-5, rtol=1e-4)


def test_several_batches_give_the_plain_average_whatever_was_there_before() -> None:
    network, batches = Net(), [torch.randn(8, 1, 5, 5) + i for i in range(5)]
    with torch.no_grad():
        network.norm.running_mean.fill_(77)
        network.norm.running_var.fill_(1e-9)
        network.norm.num_batches_tracked.fill_(1000)
    recalibrate(network, ((b, "label") for b in batches))
    found = seen(network, batches)
    torch.testing.assert_close(network.norm.running_mean, sum(x.mean((0, 2, 3)) for x in found) / 5)
    torch.testing.assert_close(network.norm.running_var, sum(x.var((0, 2, 3)) for x in found) / 5)
    first = {k: v.clone() for k, v in network.state_dict().items()}
    recalibrate(network, batches)
    assert all(torch.equal(v, first[k]) for k, v in network.state_dict().items()), "twice is once"


@pytest.mark.parametrize("fails", [False, True])
def test_momentum_and_mode_are_restored(fails: bool) -> None:
    network = Net().train()
    weights = {k: v.clone() for k, v in network.named_parameters()}
    batches = [torch.randn(4, 1, 5, 5), torch.randn(4, 9, 5, 5)][: 2 if fails else 1]
    if fails:
        with pytest.raises(RuntimeError):
            recalibrate(network, batches)
    else:
        recalibrate(network, batches)
    assert (network.norm.momentum, network.flat.momentum) == (0.2, None)
    assert not any(m.training for m in network.modules())
    assert network.untracked.running_mean is None
    assert all(torch.equal(v, weights[k]) and v.grad is None for k, v in network.named_parameters())


def test_no_batches_do_not_erase_the_statistics_in_silence() -> None:
    network = Net()
    with torch.no_grad():
        network.norm.running_mean.fill_(3.0)
    try:
        recalibrate(network, iter([]))
    except NetwrightError:
        return
    assert network.norm.running_mean.tolist() == [3.0] * 3


def test_networks_without_statistics_are_left_alone() -> None:
    network = nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2), nn.BatchNorm1d(2, track_running_stats=False)).train()
    assert not needs_recalibration(network)

    def never() -> Any:
        yield pytest.fail("no batch is needed")

    assert not recalibrate(network, never()).training
    assert needs_recalibration(Net())


@pytest.mark.parametrize("name", ["inverted_residual", "concat"])
def test_a_recalibrated_candidate_normalises_its_own_activations(make: Callable[[str], Any], name: str) -> None:
    case = make(name)
    candidate = case.net.smallest
    network = case.net.extract(candidate)
    whole = {k: v.clone() for k, v in case.net.module.state_dict().items()}
    recalibrate(network, [case.inputs])
    with torch.no_grad():
        calibrated = call(network, case.inputs)
        for norm in (m for m in network.modules() if isinstance(m, nn.BatchNorm2d)):
            norm.train()
        trained = call(network, case.inputs)
    assert all(torch.equal(v, whole[k]) for k, v in case.net.module.state_dict().items())
    pairs = [(calibrated, trained)] if isinstance(calibrated, Tensor) else [(calibrated["map"], trained["map"])]
    for a, b in pairs:  # up to the bias of the variance: n / (n - 1), a few percent on these few values
        assert float((a - b).abs().max()) < 0.1 * float(b.abs().max())


def test_statistics_of_an_active_candidate_reach_the_whole(make: Callable[[str], Any]) -> None:
    case = make("concat")
    extracted: Any = recalibrate(case.net.extract(case.net.smallest), [case.inputs])
    before = case.net.module.norm.running_mean.clone()
    with case.net.active(case.net.smallest) as module:
        recalibrate(module, [case.inputs])
    kept = [0, 4, 5, 6, 7, 8]
    gone = [i for i in range(13) if i not in kept]
    torch.testing.assert_close(case.net.module.norm.running_mean[kept], extracted.norm.running_mean)
    assert torch.equal(case.net.module.norm.running_mean[gone], before[gone])


# -- batches of any kind -----------------------------------------------------------------------------------------


class TimeFirst(nn.Module):
    """Takes (time, batch, features)."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(3)

    def forward(self, x: Tensor, scale: Tensor | None = None) -> Tensor:
        return self.norm((x if scale is None else x * scale).permute(1, 2, 0))


@pytest.mark.parametrize(
    "batch",
    [lambda x: x, lambda x: (x, torch.arange(5)), lambda x: {"x": x}, lambda x: {"x": x, "labels": torch.arange(5)},
     lambda x: ({"x": x}, 1), lambda x: [(x, None), 1]],
)  # fmt: skip
def test_inputs_are_found_in_batches_of_any_kind(batch: Callable[[Tensor], Any]) -> None:
    x = torch.randn(7, 5, 3)
    network: Any = recalibrate(TimeFirst(), [batch(x)])
    torch.testing.assert_close(network.norm.running_mean, x.mean((0, 1)))


def test_several_inputs_without_labels_are_told_by_the_example() -> None:
    network, x, scale = TimeFirst(), torch.randn(7, 5, 3), torch.full((), 2.0)
    network.example_inputs = (x, scale)  # type: ignore[assignment]
    for batch in ((x, scale), (x, scale, torch.arange(5)), ((x, scale), torch.arange(5))):
        recalibrate(network, [batch])
        torch.testing.assert_close(network.norm.running_mean, 2 * x.mean((0, 1)))


@pytest.mark.parametrize("batch", [(), {"y": torch.ones(2)}, ({"x": torch.ones(2, 2, 3), "y": 1}, 1)])
def test_a_batch_that_the_network_does_not_take_is_told_and_changes_nothing(batch: Any) -> None:
    network = TimeFirst()
    network.norm.running_mean.fill_(3.0)
    with pytest.raises(NetwrightError, match="calibration batch"):
        recalibrate(network, [torch.randn(7, 5, 3), batch])
    assert network.norm.running_mean.tolist() == [3.0] * 3


class Drawing:
    """Batches that draw from all three generators each time."""

    def __iter__(self) -> Any:
        for _ in range(2):
            yield torch.randn(4, 1, 5, 5) + random.random() + np.random.rand()


def test_what_batches_draw_is_the_same_for_every_network_and_disturbs_nobody() -> None:
    network = Net()
    twin = copy.deepcopy(network)
    states = torch.random.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    recalibrate(network, Drawing())
    assert torch.equal(torch.random.get_rng_state(), states[0])
    assert np.array_equal(np.random.get_state()[1], states[1]) and random.getstate() == states[2]
    torch.rand(1), random.random(), np.random.rand()
    recalibrate(twin, Drawing())
    assert all(torch.equal(v, twin.state_dict()[k]) for k, v in network.state_dict().items())


def test_norms_that_do_not_run_keep_what_they_have() -> None:
    network = Net()
    network.spare = nn.BatchNorm2d(2)
    network.spare.running_mean.fill_(5.0)
    recalibrate(network, [torch.randn(4, 1, 5, 5)])
    assert network.spare.running_mean.tolist() == [5.0, 5.0]


def test_a_network_that_writes_into_its_inputs_leaves_the_batches_alone() -> None:
    class Scaling(Net):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x.mul_(10))

    batch = torch.randn(4, 1, 5, 5)
    before = batch.clone()
    recalibrate(Scaling(), [batch])
    assert torch.equal(batch, before)


# -- the better of two -------------------------------------------------------------------------------------------


def test_the_better_statistics_are_kept() -> None:
    batch = torch.randn(16, 1, 5, 5)
    own = recalibrate(Net(), [batch + 1])
    given = {k: v.clone() for k, v in own.state_dict().items()}

    def prefers(value: Tensor) -> Callable[[nn.Module], float]:
        return lambda network: float((network.norm.running_mean - value).abs().max())  # type: ignore[union-attr, operator]

    new = recalibrate(copy.deepcopy(own), [batch]).norm.running_mean  # type: ignore[union-attr]
    assert better_statistics(own, [batch], prefers(given["norm.running_mean"])) == "inherited"
    assert all(torch.equal(v, given[k]) for k, v in own.state_dict().items())
    assert better_statistics(own, [batch], lambda network: 1.0) == "inherited", "no worse is good enough"
    assert better_statistics(own, [batch], prefers(new)) == "recomputed"  # type: ignore[arg-type]
    assert torch.equal(own.norm.running_mean, new)  # type: ignore[union-attr, arg-type]


def test_statistics_that_cannot_be_judged_are_worst() -> None:
    network = Net()
    network.norm.running_mean.fill_(float("nan"))

    def loss(network: Any) -> float:
        if network.norm.running_mean.isnan().any():
            raise MeasureError("not finite")
        return 1.0

    assert better_statistics(network, [torch.randn(4, 1, 5, 5)], loss) == "recomputed"
    assert better_statistics(nn.Linear(1, 1), iter([]), loss) == "inherited"
