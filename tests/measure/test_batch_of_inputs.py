"""Which dimension is the batch: what is measured is the whole of one example, and not a slice of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import netwright as nw
from netwright.core.errors import MeasureError, NetError
from netwright.measure.base import EvaluationContext
from netwright.measure.convert import example
from netwright.measure.named_network import _Signature


class TimeFirst(nn.Module):
    """(time, batch, features), and a state of (layers, batch, size)."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(4, 8, num_layers=2)

    def forward(self, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        y, (h, _) = self.lstm(x, (h, c))
        return y, h


class Tables(nn.Module):
    """Dense features of (batch, 5) and (tables, batch) rows of tables."""

    def __init__(self) -> None:
        super().__init__()
        self.rows = nn.Embedding(9, 5)

    def forward(self, dense: Tensor, rows: Tensor) -> Tensor:
        return dense + self.rows(rows).sum(0)


class Masked(nn.Module):
    """A float mask that may hold ones and zeros only, and times that must be positive."""

    def forward(self, x: Tensor, mask: Tensor, times: Tensor) -> Tensor:
        if not bool(((mask == 0) | (mask == 1)).all()):
            raise ValueError("a mask is 0 or 1")
        return (x * mask + times.log()).cumsum(1)


class Steps(nn.Module):
    """A mean over time, which is the first dimension."""

    def __init__(self) -> None:
        super().__init__()
        self.attend = nn.MultiheadAttention(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.attend(x, x, x)[0]


class Image(nn.Module):
    """One image, without a batch."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x).amax((1, 2))


@pytest.mark.parametrize(
    "network, inputs, one, three",
    [
        (
            TimeFirst(), (torch.randn(7, 1, 4), torch.zeros(2, 1, 8), torch.zeros(2, 1, 8)),
            [(7, 1, 4), (2, 1, 8), (2, 1, 8)], [(7, 3, 4), (2, 3, 8), (2, 3, 8)],
        ),
        (Tables(), (torch.randn(2, 5), torch.randint(9, (6, 2))), [(1, 5), (6, 1)], [(3, 5), (6, 3)]),
        (Steps(), torch.randn(6, 4, 8), [(6, 1, 8)], [(6, 3, 8)]),
        (nn.Linear(4, 2), torch.randn(5, 4), [(1, 4)], [(3, 4)]),
    ],
    ids=["states", "tables", "attention", "plain"],
)  # fmt: skip
def test_an_example_is_repeated_along_its_batch(network: nn.Module, inputs: Any, one: Any, three: Any) -> None:
    for batch, shapes in ((1, one), (3, three)):
        made = example(inputs, batch, network.eval())
        assert [tuple(t.shape) for t in (made if isinstance(made, tuple) else (made,))] == shapes


def test_without_a_batch_it_is_taken_whole_and_no_other_batch_is_made_up() -> None:
    assert example(torch.zeros(3, 9, 9), 1, Image().eval()).shape == (3, 9, 9)
    with pytest.raises(NetError, match=r"batch of 4 is asked for.*no dimension.*batch_dims="):
        example(torch.zeros(3, 9, 9), 4, Image().eval())


def test_noise_only_for_inputs_that_take_it() -> None:
    given = torch.zeros(1, 4), torch.ones(1, 4), torch.full((1, 4), 2.0)
    x, mask, times = example(given, 2, Masked())
    assert x.std() > 0 and bool((mask == 1).all())
    assert bool((times.log().isfinite()).all())


def test_what_the_super_network_is_told_of_its_batch_holds_for_every_candidate() -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 4))
    width = nw.Width.tie(model, "width", (4, 8), out_of=["0"], into=["2"])
    net = nw.SuperNet(model, [width], torch.randn(6, 5, 4), batch_dims=1)
    context = EvaluationContext(net, net.smallest, ())
    assert context.module is context.module
    context.know_batch()
    assert example(context.example_inputs, 2, context.module).shape == (6, 2, 4)


def test_steps_are_measured_and_not_one_step(tmp_path: Path) -> None:
    runtime, network = nw.targets.Torch(), TimeFirst().eval()
    inputs = torch.randn(40, 1, 4), torch.zeros(2, 1, 8), torch.zeros(2, 1, 8)
    nw.Latency(runtime).write(network, inputs, tmp_path / "n.pt2")
    shapes = [tuple(shape) for shape, _ in runtime.signature(tmp_path / "n.pt2").values()]
    assert shapes == [(40, 1, 4), (2, 1, 8), (2, 1, 8)]


def test_a_program_tells_which_dimensions_it_leaves_open(tmp_path: Path) -> None:
    network, size = TimeFirst().eval(), torch.export.Dim("size", min=1)
    inputs = torch.randn(5, 2, 4), torch.zeros(2, 2, 8), torch.zeros(2, 2, 8)
    program = torch.export.export(network, inputs, dynamic_shapes=[{1: size}] * 3)
    torch.export.save(program, tmp_path / "n.pt2")
    runtime = nw.targets.Torch()
    free = runtime.free(tmp_path / "n.pt2")
    assert [list(dims) for dims in free.values()] == [[1]] * 3 and len(
        {n for d in free.values() for n in d.values()}
    ) == 1
    assert set(_Signature(runtime.signature(tmp_path / "n.pt2"), free).batch.values()) == {1}


# -- files


def signature(free: Any = None, **shapes: Any) -> _Signature:
    """With letters for open dimensions, of which the batch may be any."""
    inputs = {name: ([n if isinstance(n, int) else 1 for n in shape], "float32") for name, shape in shapes.items()}
    letters = {n: {d: s for d, s in enumerate(shape) if isinstance(s, str)} for n, shape in shapes.items()}
    return _Signature(inputs, letters if free is None else free)


@pytest.mark.parametrize(
    "shapes, batch",
    [
        ({"x": ("b", 4)}, {"x": 0}),
        ({"x": ("b", 4), "state": (2, "b", 8), "rate": ()}, {"x": 0, "state": 1}),
        ({"dense": ("n", 13), "rows": (26, "n")}, {"dense": 0, "rows": 1}),
        ({"rows": (26, "n")}, {"rows": 1}),
        ({"ids": ("n", "time"), "mask": ("n", "time")}, {"ids": 0, "mask": 0}),
        ({"x": ("time", "n", 8), "h": (1, "n", 16)}, {"x": 1, "h": 1}),
        ({"x": ("", 4), "state": (2, "", 8)}, {"x": 0, "state": 1}),
        ({"x": (3, 32, 32)}, {}),
    ],
)
def test_the_batch_of_a_file_is_what_its_inputs_share(shapes: Any, batch: Any) -> None:
    assert signature(**shapes).batch == batch


def test_shapes_of_a_file() -> None:
    both = signature(x=("b", "time", 8), h=(1, "b", 16))
    sizes, notes = both.sized(3, {"x": (20, 8)})
    assert sizes == {"x": (3, 20, 8), "h": (1, 3, 16)} and len(notes) == 1 and "dimension 1 of h" in notes[0]
    assert both.sized(3, {"x": (3, 20, 8)})[0] == sizes, "the whole shape is as good"
    sizes, notes = both.sized(1, {})
    assert sizes["x"] == (1, 1, 8) and any("dimension 1 (time) of x open" in n and "--shape x=" in n for n in notes)
    fixed = signature(x=(8, 64), y=(8, 3))
    assert fixed.sized(8, {}) == ({"x": (8, 64), "y": (8, 3)}, [])
    assert "batch=8" in fixed.sized(1, {})[1][0]
    with pytest.raises(MeasureError, match=r"batch=2, but all sizes are fixed in the file \(x 8x64, y 8x3\).*batch=8"):
        fixed.sized(2, {})
    with pytest.raises(MeasureError, match="batch=2, but all sizes are fixed"):
        signature(x=(3, 32, 32), n=()).sized(2, {})
