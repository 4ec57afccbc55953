"""Inputs and outputs of any structure."""

from __future__ import annotations

import threading
from collections import OrderedDict, UserDict, namedtuple
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_sequence

from netwright.core.errors import NetError
from netwright.nets.inputs import call, each_tensor, fresh, tensors_in
from netwright.nets.noise import other_inputs

Pair = namedtuple("Pair", ["left", "right"])
A, B, C = torch.arange(3.0), torch.ones(2, 2), torch.tensor([True, False])


@dataclass(frozen=True)
class Frozen:
    tensor: Tensor
    name: str = "kept"


@dataclass(slots=True)
class Slotted:
    parts: list[Any]


class Layer:
    def __init__(self) -> None:
        self.keys, self.values = A, B


class Cache:
    """As those of language models: layers that hold tensors, and a way back to their cache."""

    def __init__(self) -> None:
        self.layers, self.seen, self.model = [Layer(), Layer()], 3, nn.Linear(2, 2)
        self.layers[0].cache = self  # type: ignore[attr-defined]


STRUCTURES: dict[str, tuple[Any, list[Tensor]]] = {
    "nested": ({"a": [A, (B, None, 2.5)], "b": {"c": C}}, [A, B, C]),
    "named tuple": (Pair(A, [B]), [A, B]),
    "result of max": (torch.max(B, 0), list(torch.max(B, 0))),
    "packed sequence": (pack_sequence([A, A[:2]]), list(pack_sequence([A, A[:2]])[:2])),
    "ordered": (OrderedDict(b=A, a=B), [A, B]),
    "user's mapping": (UserDict(b=A, a=B), [A, B]),
    "frozen dataclass": (Frozen(A), [A]),
    "dataclass with slots": (Slotted([A, 1, Frozen(B)]), [A, B]),
    "object": (Cache(), [A, B]),
    "the same twice": ((A, A), [A, A]),
    "sparse": ([B.to_sparse()], [B.to_sparse()]),
    "nothing": (("text", None, {"n": 1}), []),
}


def same(one: Tensor, other: Tensor) -> bool:
    return torch.equal(one.to_dense(), other.to_dense())


@pytest.mark.parametrize("name", STRUCTURES)
def test_every_tensor_is_found_and_replaced(name: str) -> None:
    value, tensors = STRUCTURES[name]
    found = list(tensors_in(value))
    assert len(found) == len(tensors)
    assert all(map(same, found, tensors))
    seen: list[Tensor] = []

    def change(tensor: Tensor) -> Tensor:
        seen.append(tensor)
        return tensor.to("meta")

    changed = each_tensor(value, change)
    assert type(changed) is type(value)
    assert [id(t) for t in seen] == [id(t) for t in found]
    assert [t.is_meta for t in tensors_in(changed)] == [True] * len(tensors)
    assert not any(t.is_meta for t in tensors_in(value))


@pytest.mark.parametrize("name", STRUCTURES)
def test_a_fresh_copy_shares_nothing(name: str) -> None:
    value, tensors = STRUCTURES[name]
    before = [t.clone() for t in tensors_in(value)]
    copied = fresh(value)
    assert type(copied) is type(value)
    assert all(map(same, tensors_in(copied), tensors))
    for tensor in tensors_in(copied):
        tensor.zero_()
    assert all(map(same, tensors_in(value), before))


def test_other_things_stay() -> None:
    changed = each_tensor((Frozen(A), {"n": 1, "text": "t", "none": None}), lambda t: t + 1)
    assert changed[0].name == "kept"
    assert changed[1] == {"n": 1, "text": "t", "none": None}
    assert torch.equal(changed[0].tensor, A + 1)


def test_what_cannot_be_copied_is_told() -> None:
    layer: Any = Layer()
    layer.lock = threading.Lock()
    with pytest.raises(NetError, match=r"a Layer .* cannot be copied: TypeError: cannot pickle"):
        fresh(layer)


def test_tuples_are_spread_but_for_packed_sequences() -> None:
    class Takes(nn.Module):
        def forward(self, *given: Any, **named: Any) -> tuple[int, list[str]]:
            return len(given), list(named)

    network = Takes()
    assert call(network, (A, B)) == (2, [])
    assert call(network, Pair(A, B)) == (2, [])
    assert call(network, [A, B]) == (1, [])
    assert call(network, pack_sequence([A])) == (1, [])
    assert call(network, {"x": A}) == (0, ["x"])


class Particular(nn.Module):
    """Takes a table whose first column is a category, a mask of zeros and ones, powers, and any numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.kinds = nn.Embedding(5, 4)

    def forward(self, table: Tensor, mask: Tensor, power: Tensor, any_: Tensor) -> Tensor:
        if not ((mask == 0) | (mask == 1)).all():
            raise ValueError("a mask of zeros and ones")
        return (self.kinds(table[:, 0].long()) * mask[:, None] + table[:, 1:] + power.log() + any_).sum()


def test_other_inputs_are_of_the_kind_that_the_network_takes() -> None:
    table = torch.cat([torch.tensor([[0.0], [4.0], [2.0], [0.0], [4.0], [0.0]]), torch.randn(6, 4)], 1)
    mask, power, any_ = torch.tensor([1.0, 1, 0, 0, 0, 0]), torch.rand(6, 4) + 0.001, torch.randn(6, 4)
    network, inputs = Particular(), (table, mask, power, any_)
    others = other_inputs(network, inputs)
    assert torch.isfinite(network(*others))
    assert not any(torch.equal(a, b) for a, b in zip(inputs, others, strict=True))
    assert set(others[0][:, 0].tolist()) == {0.0, 2.0, 4.0}
    assert sorted(others[1].tolist()) == sorted(mask.tolist())
    assert bool((others[2] > 0).all())
    assert set(others[3].flatten().tolist()).isdisjoint(any_.flatten().tolist())


def test_whole_numbers_change_places() -> None:
    network, ids = nn.Embedding(7, 2), torch.tensor([[1, 2, 6]])
    assert other_inputs(network, ids).tolist() == [[6, 2, 1]]
