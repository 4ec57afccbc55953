"""Weights that come trained keep what they know, and fine-tuning keeps the best epoch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from small_nets import blobs, loader, same, small, state, tiny
from torch import Tensor

import netwright as nw
from netwright.core.errors import CallError
from netwright.training.average import WeightAverage
from netwright.training.watching import Keeping

SGD = "sgd,lr=0.5"


def distance(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    return float(sum((one[name] - other[name]).double().square().sum() for name in one)) ** 0.5


@pytest.mark.parametrize("most", [0.8, 0.3, 0.0])
def test_weights_are_drawn_back_as_far_as_it_takes(most: float) -> None:
    """By a quarter of what training has changed at a time."""
    net = tiny()
    given = state(net.module)
    asked: list[dict[str, Tensor]] = []

    def holds() -> bool:
        asked.append(state(net.module))
        return len(asked) > 1 and distance(asked[-1], given) <= most * distance(asked[0], given) + 1e-6

    nw.train(net, loader(), epochs=1, optimizer=SGD, holds=holds)
    kept, share = state(net.module), {0.8: 0.75, 0.3: 0.25, 0.0: 0.0}[most]
    assert distance(asked[0], given) > 0.1
    for name, tensor in kept.items():
        torch.testing.assert_close(tensor, torch.lerp(given[name], asked[0][name], share))


def test_weights_that_hold_are_left_alone() -> None:
    first, second = tiny(), tiny()
    nw.train(first, loader(), epochs=2, optimizer=SGD, holds=lambda: True)
    nw.train(second, loader(), epochs=2, optimizer=SGD)
    assert same(state(first.module), state(second.module))


def test_statistics_and_the_average_of_the_weights_are_drawn_back_too() -> None:
    net = small()
    given = state(net.module)
    nw.train(net, loader(), epochs=1, optimizer=SGD, ema=0.9, holds=lambda: False)
    kept = state(net.module)
    floats = [name for name, tensor in kept.items() if tensor.is_floating_point()]
    assert any("running_var" in name for name in floats)
    assert all(torch.equal(kept[name], given[name]) for name in floats)
    average = WeightAverage(net.module, 0.5)
    average.tensors["stem.weight"] += 1
    keeping = Keeping(net.module, lambda: False)
    keeping.look(average)
    assert torch.equal(average.tensors["stem.weight"], given["stem.weight"])


def test_killed_it_ends_with_the_same_bits(tmp_path: Path) -> None:
    """What is drawn back at the end of an epoch is saved as it is then."""

    def run(path: Path, last: int = 0) -> dict[str, Tensor]:
        net = tiny()
        given = state(net.module)

        def callback(progress: Any) -> None:
            if progress.step == last:
                raise KeyboardInterrupt

        nw.train(
            net, loader(), epochs=3, optimizer=SGD, checkpoint=path, checkpoint_steps=1, callback=callback,
            holds=lambda: distance(state(net.module), given) < 0.4,
        )  # fmt: skip
        return state(net.module)

    whole = run(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "killed", 9)
    assert same(run(tmp_path / "killed"), whole)


def tuned(losses: list[float], patience: int, path: Path | None = None, last: int = 0) -> tuple[Any, list[Any]]:
    """A network after fine-tuning, and what it was after each epoch."""
    network, seen = tiny().module, list[dict[str, Tensor]]()

    def loss() -> float:
        seen.append(state(network))
        return losses[len(seen) - 1]

    def callback(progress: Any) -> None:
        if progress.step == last:
            raise KeyboardInterrupt

    nw.finetune(
        network, loader(), epochs=5, optimizer=SGD, loss=loss, patience=patience, checkpoint=path, callback=callback
    )
    return network, seen


def test_the_best_epoch_is_kept_and_no_better_one_waited_for() -> None:
    network, seen = tuned([3.0, 1.0, 2.0, 1.0, 0.0], 2)
    assert len(seen) == 4 and same(state(network), seen[1])
    assert not network.training
    network, seen = tuned([3.0, 1.0, 2.0, 0.5, 0.7], 2)
    assert len(seen) == 5 and same(state(network), seen[3])
    network, seen = tuned([float("nan"), 2.0, 3.0, 4.0, 5.0], 4)
    assert same(state(network), seen[1])


def test_a_killed_one_goes_on_and_ends_as_it_would_have(tmp_path: Path) -> None:
    steps = -(-len(blobs()) // 8)
    whole, _ = tuned([3.0, 1.0, 2.0, 4.0], 2)
    with pytest.raises(KeyboardInterrupt):
        tuned([3.0, 1.0], 2, tmp_path / "c", 2 * steps + 1)
    again, seen = tuned([2.0, 4.0], 2, tmp_path / "c")
    assert len(seen) == 2 and same(state(again), state(whole))
    once_more, seen = tuned([], 2, tmp_path / "c")
    assert not seen and same(state(once_more), state(whole)), "it was over"


def test_patience_needs_a_loss() -> None:
    with pytest.raises(CallError, match="patience is a number of epochs, 0 or more, and takes a loss="):
        nw.finetune(tiny().module, loader(), epochs=1, patience=1)
