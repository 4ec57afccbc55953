"""Networks whose inputs, outputs and buffers are of other kinds than dense tensors in tuples and dicts."""

from __future__ import annotations

import warnings
from collections import namedtuple
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pack_sequence, pad_packed_sequence

import netwright as nw
from netwright.nets.inputs import tensors_in

X = torch.randn(2, 8, generator=torch.Generator().manual_seed(0))
Pair = namedtuple("Pair", ["left", "right"])


class Plain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(8, 32), nn.Linear(32, 4)

    def compute(self, x: Tensor) -> Tensor:
        return self.second(F.relu(self.first(x)))


@dataclass
class Batch:
    x: Tensor
    scale: Tensor | None = None
    names: tuple[str, ...] = ("a", "b")


class OfBatch(Plain):
    def forward(self, batch: Batch) -> Batch:
        return Batch(self.compute(batch.x), None, batch.names)


class OfPair(Plain):
    def forward(self, pair: Any, more: Any = None) -> Any:
        out = self.compute(pair.left) * pair.right
        return Pair(out > 0, {"sum": out.sum(), "out": [None, 2, out]})


class Memory:
    """What a network has seen; it is written into."""

    def __init__(self, seen: Tensor | None = None) -> None:
        self.seen, self.steps = seen, 0

    def update(self, x: Tensor) -> Tensor:
        self.seen = x if self.seen is None else torch.cat([self.seen, x])
        self.steps += 1
        return self.seen


class OfMemory(Plain):
    def forward(self, x: Tensor, memory: Memory) -> tuple[Tensor, Memory]:
        return self.compute(x + memory.update(x).mean(0)), memory


class OfPacked(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.head = nn.GRU(8, 32), nn.Linear(32, 4)

    def forward(self, packed: Any) -> Any:
        padded, lengths = pad_packed_sequence(self.rnn(packed)[0])
        return pack_padded_sequence(self.head(padded), lengths)


class OfNested(Plain):
    def forward(self, parts: Tensor) -> Tensor:
        return torch.nested.to_padded_tensor(self.compute(parts), 0.0)


class OfOptional(Plain):
    def forward(self, x: Tensor, mask: Tensor | None, scale: float, how: str = "no") -> Any:
        out = self.compute(x) * scale
        return {"keep": out.amax(1) > 0, "none": mask, "how": how, "out": out}


class OfComplex(Plain):
    def forward(self, x: Tensor) -> Tensor:
        return torch.view_as_complex(self.compute(torch.view_as_real(x).flatten(1)).view(-1, 2, 2))


def nested(layout: torch.layout) -> Tensor:
    return torch.nested.nested_tensor([X, X[:1]], layout=layout)


CASES: dict[str, tuple[type[nn.Module], Callable[[], Any]]] = {
    "dataclass": (OfBatch, lambda: Batch(X)),
    "dataclass in a tuple": (OfBatch, lambda: (Batch(X, torch.ones(2)),)),
    "named tuple": (OfPair, lambda: (Pair(X, torch.ones(2, 1)),)),
    "named tuple and None": (OfPair, lambda: (Pair(X, torch.ones(2, 1)), None)),
    "memory": (OfMemory, lambda: (X, Memory(X + 1))),
    "empty memory": (OfMemory, lambda: {"x": X, "memory": Memory()}),
    "packed": (OfPacked, lambda: pack_sequence([torch.randn(3, 8), X])),
    "None and numbers": (OfOptional, lambda: (X, None, 2.0)),
    "complex": (OfComplex, lambda: torch.view_as_complex(X.view(2, 4, 2))),
    "nested": (OfNested, lambda: nested(torch.strided)),
    "jagged": (OfNested, lambda: nested(torch.jagged)),
}


@pytest.mark.filterwarnings("ignore:.*nested tensors is in prototype stage:UserWarning")
@pytest.mark.parametrize("name", CASES)
def test_structures(name: str) -> None:
    kind, make = CASES[name]
    inputs, same = make(), make()
    network = kind().eval()
    net = nw.wrap(network, inputs)
    assert {"first.width", "rnn.width"} & net.report.elastic.keys()
    nw.testing.check_supernet(net, candidates=0, formats=())
    for now, before in zip(tensors_in(inputs), tensors_in(same), strict=True):
        if not now.is_nested and name != "packed":
            assert torch.equal(now, before)
    if "memory" in name:
        memory = inputs["memory"] if isinstance(inputs, dict) else inputs[1]
        assert memory.steps == 0


class Convolution(nn.Module):
    """Of a graph."""

    def __init__(self, into: int, out: int, multiply: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.linear, self.multiply = nn.Linear(into, out), multiply

    def forward(self, x: Tensor, graph: Tensor) -> Tensor:
        return self.multiply(graph, self.linear(x))


class Graph(nn.Module):
    """The graph is an input, a buffer or an attribute."""

    def __init__(self, multiply: Callable[[Tensor, Tensor], Tensor], graph: Tensor | None, buffer: bool) -> None:
        super().__init__()
        self.first, self.second = Convolution(8, 32, multiply), Convolution(32, 4, multiply)
        self.norm = nn.BatchNorm1d(32)
        if buffer:
            self.register_buffer("graph", graph)
        else:
            self.graph = graph

    def forward(self, x: Tensor, graph: Tensor | None = None) -> Tensor:
        graph = self.graph if graph is None else graph
        return self.second(F.relu(self.norm(self.first(x, graph))), graph)


def normalised() -> Tensor:
    dense = torch.eye(6) + torch.eye(6).roll(1, 0) + (torch.arange(36).reshape(6, 6) % 5 == 0)
    return dense / dense.sum(1, keepdim=True)


with warnings.catch_warnings():  # of layouts that PyTorch calls new
    warnings.simplefilter("ignore")
    LAYOUTS = {
        "coo": normalised().to_sparse(),
        "csr": normalised().to_sparse_csr(),
        "csc": normalised().to_sparse_csc(),
    }
PRODUCTS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "@": lambda a, b: a @ b,
    "mm": torch.sparse.mm,
    "addmm": lambda a, b: torch.sparse.addmm(b, a, b),
}


@pytest.mark.parametrize("where", ["input", "buffer", "attribute"])
@pytest.mark.parametrize(("layout", "product"), [("coo", "mm"), ("csr", "@"), ("coo", "addmm"), ("csc", "@")])
def test_sparse_graphs(layout: str, product: str, where: str) -> None:
    graph = LAYOUTS[layout]
    network = Graph(PRODUCTS[product], graph if where != "input" else None, where == "buffer").eval()
    x = torch.randn(6, 8)
    net = nw.wrap(network, (x, graph) if where == "input" else x)
    assert "first.linear.width" in net.report.elastic
    nw.testing.check_supernet(net, candidates=0, formats=() if where == "input" else ("safetensors",))
    counts = net.count(net.largest)
    assert counts.macs == 6 * (8 * 32 + 32 * 4)
    assert all("sparse" in operator for operator in counts.uncounted)
    assert counts.uncounted


class Makes(Plain):
    """Makes a sparse matrix of edges, and gives one."""

    def forward(self, x: Tensor, edges: Tensor) -> dict[str, Tensor]:
        ones = torch.ones(edges.shape[1], dtype=x.dtype)
        graph = torch.sparse_coo_tensor(edges, ones, (len(x), len(x)), check_invariants=True)
        return {"out": self.second(F.relu(torch.sparse.mm(graph, self.first(x)))), "graph": graph}


def test_sparse_tensors_made_and_given() -> None:
    net = nw.wrap(Makes().eval(), (torch.randn(3, 8), torch.tensor([[0, 1, 2], [1, 2, 0]])))
    assert "first.width" in net.report.elastic
    nw.testing.check_supernet(net, candidates=0, formats=())
