"""Batches: everything once, in an order of its own each time."""

from __future__ import annotations

import pytest
import torch

import netwright as nw
from netwright.tasks.data import JUDGED, JUDGED_BYTES, calibration_batches, judged_size


def part(n: int) -> nw.Split:
    return nw.Split(torch.arange(n, dtype=torch.float32)[:, None], torch.arange(n))


@pytest.mark.parametrize("n, size, sizes", [(10, 4, [4, 4, 2]), (8, 4, [4, 4]), (3, 8, [3]), (1, 1, [1])])
def test_in_order_everything_is_given_once(n: int, size: int, sizes: list[int]) -> None:
    batches = nw.TensorLoader(part(n), size)
    for _ in range(2):
        given = list(batches)
        assert [len(labels) for _, labels in given] == sizes and len(batches) == len(sizes)
        assert torch.cat([labels for _, labels in given]).tolist() == list(range(n))
        assert all(torch.equal(inputs[:, 0], labels.float()) for inputs, labels in given)


@pytest.mark.parametrize("n, size, sizes", [(10, 4, [4, 4]), (8, 4, [4, 4]), (3, 8, [3]), (1, 1, [1])])
def test_shuffled_whole_batches_are_given_in_a_new_order(n: int, size: int, sizes: list[int]) -> None:
    batches = nw.TensorLoader(part(n), size, shuffle=True)
    assert len(batches) == len(sizes)
    torch.manual_seed(0)
    orders = []
    for _ in range(4):
        given = list(batches)
        assert [len(labels) for _, labels in given] == sizes
        assert all(torch.equal(inputs[:, 0], labels.float()) for inputs, labels in given), "pairs stay pairs"
        order = torch.cat([labels for _, labels in given]).tolist()
        assert len(set(order)) == len(order)
        orders.append(tuple(order))
    assert len(set(orders)) > 1 or n < 3
    torch.manual_seed(0)
    assert tuple(torch.cat([labels for _, labels in batches]).tolist()) == orders[0]


def test_what_is_left_out_differs_each_time() -> None:
    batches = nw.TensorLoader(part(10), 4, shuffle=True)
    torch.manual_seed(1)
    met = {int(i) for _ in range(20) for _, labels in batches for i in labels}
    assert met == set(range(10))


def test_augmenting_changes_copies() -> None:
    data = part(6)
    before = data.inputs.clone()
    batches = nw.TensorLoader(data, 4, augment=lambda x: x.mul_(0).add_(7))
    assert all((inputs == 7).all() for inputs, _ in batches)
    assert torch.equal(data.inputs, before)


def test_a_part_must_be_whole() -> None:
    for inputs, labels in ((3, 2), (0, 0), (0, 1)):
        with pytest.raises(nw.NetwrightError, match="inputs"):
            nw.Split(torch.zeros(inputs, 1), torch.zeros(labels, dtype=torch.int64))


def test_calibration_batches_are_drawn_once_as_networks_are_trained() -> None:
    def moved(x: torch.Tensor) -> torch.Tensor:
        return x + torch.rand(len(x), 1) / 2

    data = nw.Data(part(300), part(2), part(2), augment=moved)
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    first, again = calibration_batches(data, 200, 0), calibration_batches(data, 200, 0)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert [len(labels) for _, labels in first] == [100, 100]
    assert all(torch.equal(a, b) for x, y in zip(first, again, strict=True) for a, b in zip(x, y, strict=True))
    inputs, labels = map(torch.cat, zip(*first, strict=True))
    assert len(set(labels.tolist())) == 200 and 0 < float((inputs[:, 0] - labels).max()) < 0.5
    assert not torch.equal(torch.cat([x for x, _ in calibration_batches(data, 200, 1)]), inputs)
    assert len(calibration_batches(data, 1000, 0)) == 3


def test_large_examples_are_judged_in_small_batches() -> None:
    small, large = (nw.Split(torch.zeros(2, 3, side, side), torch.zeros(2)) for side in (8, 224))
    assert judged_size(small) == JUDGED
    assert judged_size(large) == JUDGED_BYTES // (4 * 3 * 224 * 224) > 1
    assert judged_size(nw.Split(torch.zeros(1, JUDGED_BYTES), torch.zeros(1))) == 1
    assert judged_size([(torch.zeros(1, 3), torch.zeros(1))]) == JUDGED, "a loader makes its own batches"
