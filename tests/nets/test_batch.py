"""Which dimension of every input and output is the batch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from small import Of
from torch import Tensor, nn

import netwright as nw
from netwright.core.errors import NetError
from netwright.nets.batch import BatchDims, batch_dims_of, find_batch_dims
from netwright.nets.inputs import Inputs, call, tensors_in


def heads(attend: nn.Module, x: Tensor) -> Tensor:
    return attend(x, x, x, need_weights=False)[0]


def stream(read: nn.Module, out: nn.Module, x: Tensor, state: Tensor) -> dict[str, Tensor]:
    y, (h, c) = read(x, (state[:2], state[2:]))
    return {"heard": (y[:, -1] > 0).any(1), "scores": out(y), "state": torch.cat([h, c])}


def passed(into: nn.Module, out: nn.Module, x: Tensor, edges: Tensor) -> Tensor:
    h = into(x).relu()
    return out(torch.zeros_like(h).index_add(0, edges[1], h[edges[0]]))


def of_categories(table: nn.Module, out: nn.Module, x: Tensor) -> Tensor:
    return out(torch.cat([table(x[:, 0].long()), x[:, 1:]], 1))


def masked(words: nn.Module, out: nn.Module, ids: Tensor, mask: Tensor) -> Tensor:
    if not bool(((mask == 0) | (mask == 1)).all()):
        raise ValueError("a mask of zeros and ones")
    return out((words(ids) * mask[..., None]).sum(1))


attention = nn.MultiheadAttention
L = nn.Linear
CASES: dict[str, tuple[nn.Module, Inputs, tuple[int | None, ...], tuple[int | None, ...]]] = {
    "one example": (L(4, 3), torch.zeros(1, 4), (0,), (0,)),
    "several": (L(4, 3), torch.ones(5, 4), (0,), (0,)),
    "time first": (Of(heads, attention(8, 2)), torch.randn(7, 1, 8), (1,), (1,)),
    "time first, several": (Of(heads, attention(8, 2)), torch.randn(7, 3, 8), (1,), (1,)),
    "time first, all alike": (Of(heads, attention(8, 2)), torch.zeros(7, 3, 8), (1,), (1,)),
    "batch first": (Of(heads, attention(8, 2, batch_first=True)), torch.zeros(4, 7, 8), (0,), (0,)),
    "states": (
        Of(stream, nn.LSTM(4, 6, 2, batch_first=True), L(6, 2)),
        (torch.randn(1, 5, 4), torch.zeros(4, 1, 6)),
        (0, 1),
        (0, 0, 1),
    ),
    "tables": (
        Of(lambda table, out, dense, rows: out(torch.cat([dense, table(rows).sum(0)], 1)), nn.Embedding(9, 3), L(5, 1)),
        (torch.randn(2, 2), torch.randint(9, (6, 2))),
        (0, 1),
        (0,),
    ),
    "edges": (Of(passed, L(3, 8), L(8, 2)), (torch.randn(6, 3), torch.randint(6, (2, 11))), (None, None), (None,)),
    "adjacency": (
        Of(lambda into, a, x: (a @ into(x)).relu(), L(3, 8)),
        (torch.rand(6, 6), torch.randn(6, 3)),
        (None, None),
        (None,),
    ),
    "unbatched image": (nn.Conv2d(3, 4, 3, padding=1), torch.randn(3, 8, 8), (None,), (None,)),
    "unbatched, pixel by pixel": (nn.Conv2d(3, 4, 1), torch.randn(3, 8, 8), (None,), (None,)),
    "numbers and None": (
        Of(lambda out, x, mask, scale: out(x) * scale, L(4, 3)),
        (torch.randn(1, 4), None, 2.0),
        (0,),
        (0,),
    ),
    "a temperature": (
        Of(lambda out, x, t: out(x) / t, L(4, 3)),
        (torch.randn(2, 4), torch.tensor([2.0])),
        (0, None),
        (0,),
    ),
    "a loss beside": (Of(lambda out, x: (out(x), out(x).pow(2).mean()), L(4, 3)), torch.randn(4, 4), (0,), (0, None)),
    "of all": (Of(lambda out, x: x - out(x).mean(0), L(4, 4)), torch.randn(4, 4), (None,), (None,)),
    "categories": (
        Of(of_categories, nn.Embedding(5, 4), L(6, 2)),
        torch.tensor([[3.0, 0.1, -7.0]]),
        (0,),
        (0,),
    ),
    "a mask": (
        Of(masked, nn.Embedding(9, 4), L(4, 2)),
        {"ids": torch.randint(9, (1, 6)), "mask": torch.ones(1, 6)},
        (0, 0),
        (0,),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_it_is_found_by_trying(name: str) -> None:
    network, inputs, wanted, outputs = CASES[name]
    found = find_batch_dims(network.train(), inputs)
    assert (found.inputs, found.outputs) == (wanted, outputs)
    assert network.training, "it is left in the mode that it was in"


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if any(d is not None for d in case[2])])
def test_the_network_runs_on_what_is_made(name: str) -> None:
    network, inputs, *dims = CASES[name]
    found = BatchDims(*dims)
    network.eval()
    several = found.repeat(inputs, 3)
    assert found.size(several) == 3
    outputs, alone = (
        list(tensors_in(call(network, several))),
        list(tensors_in(call(network, found.part(several, 1, 2)))),
    )
    for output, one, dim in zip(outputs, alone, found.outputs, strict=True):
        if dim is not None:
            assert output.shape[dim] == 3
            torch.testing.assert_close(output.narrow(dim, 1, 1), one)
    again = found.join(found.part(several, 0, 1), found.part(several, 1, 3))
    assert all(torch.equal(a, b) for a, b in zip(tensors_in(again), tensors_in(several), strict=True))


def test_without_a_batch_there_is_one_example() -> None:
    network, inputs, *_ = CASES["edges"]
    found = find_batch_dims(network, inputs)
    assert not found and str(found) == "no dimension of the inputs is a batch"
    assert next(tensors_in(found.repeat(inputs, 1))) is inputs[0]  # type: ignore[index]
    with pytest.raises(NetError, match=r"a batch of 4 is asked for, but no dimension .* batch_dims="):
        found.repeat(inputs, 4)


def test_it_can_be_given() -> None:
    network, inputs, *_ = CASES["unbatched, pixel by pixel"]
    assert find_batch_dims(network, inputs, 2) == BatchDims((2,), (2,))
    assert find_batch_dims(network, inputs, [-1]) == BatchDims((2,), (2,))
    network, inputs, *_ = CASES["a mask"]
    assert find_batch_dims(network, inputs, {"ids": 0, "mask": 0}) == BatchDims((0, 0), (0,))
    assert find_batch_dims(network, inputs, [None, None]) == BatchDims((None, None), (None,))


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (0, "none together|independently"),
        ([0], "each of the 2 input tensors"),
        ([0, 9], "has no dimension 9"),
        ([0, True], "has no dimension True"),
        ("first", "each of the 2 input tensors"),
        ({"x": 0}, "the inputs are positional"),
        ([0, 1], "different sizes: 6, 11"),
    ],
)
def test_what_does_not_fit_is_said(given: Any, told: str) -> None:
    network, inputs, *_ = CASES["edges"]
    with pytest.raises(NetError, match=told if given != 0 else "different sizes: 2, 6"):
        find_batch_dims(network, inputs, given)


def test_a_batch_that_is_none_is_said() -> None:
    network, inputs, *_ = CASES["time first, several"]
    with pytest.raises(NetError, match="dimension 0 of input 0 was given, but examples there are not computed indep"):
        find_batch_dims(network, inputs, 0)


def test_a_super_network_knows_it_and_tells_its_networks() -> None:
    net = nw.wrap(nn.Sequential(L(4, 32), nn.ReLU(), L(32, 3)), torch.zeros(5, 4))
    assert not hasattr(net.extract(net.smallest), "batch_dims"), "not sought before it is asked for"
    assert net.batch_dims == BatchDims((0,), (0,)) == net.extract(net.smallest).batch_dims
    given = nw.wrap(nn.Sequential(L(4, 32), nn.ReLU(), L(32, 3)), torch.zeros(5, 4), batch_dims=[None])
    assert given.extract(given.smallest).batch_dims == BatchDims((None,), (None,))
    with pytest.raises(NetError, match="batch_dims"):
        nw.wrap(nn.Sequential(L(4, 32), nn.ReLU(), L(32, 3)), torch.zeros(5, 4), batch_dims=1)


def test_it_is_sought_once() -> None:
    calls = []

    def counted(out: nn.Module, x: Tensor) -> Tensor:
        calls.append(1)
        return out(x)

    network = Of(counted, L(4, 3))
    assert batch_dims_of(network, torch.zeros(1, 4)) is batch_dims_of(network, torch.zeros(1, 4))
    assert len(calls) <= 6


def test_names_say_which() -> None:
    assert (
        str(BatchDims((0, None, 1), (0,))) == "batch: dimension 0 of input 0, none of input 1, dimension 1 of input 2"
    )


def test_inputs_by_name_are_taken_in_their_order() -> None:
    network = Of(lambda read, x, h: read(x, h), nn.GRU(4, 6))
    inputs: Mapping[str, Tensor] = {"h": torch.zeros(1, 2, 6), "x": torch.randn(5, 2, 4)}
    assert find_batch_dims(network, inputs) == BatchDims((1, 1), (1, 1))
