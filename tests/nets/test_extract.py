"""Networks that are hard to copy: they work, or are refused with the reason; never a wrong network."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import netwright as nw

INPUTS = torch.randn(2, 8, generator=torch.Generator().manual_seed(0))


class Plain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(8, 32), nn.Linear(32, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(F.relu(self.first(x)))


class Keeps(Plain):
    """Keeps its activations."""

    def forward(self, x: Tensor) -> Tensor:
        self.last = {"first": F.relu(self.first(x))}
        return self.second(self.last["first"])


class Anew(Plain):
    """Copies itself without the memo."""

    def __deepcopy__(self, memo: dict[int, Any]) -> Anew:
        copy = Anew()
        copy.load_state_dict(self.state_dict())
        return copy


class Locked(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.Lock()


class Closure(Plain):
    """Calls a layer by a function that holds on to this very module."""

    def __init__(self) -> None:
        super().__init__()
        self.middle = nn.Linear(32, 32)
        self.call: Callable[[Tensor], Tensor] = lambda x: self.middle(x)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(F.relu(self.call(self.first(x))))


class Weak(Closure):
    """Calls a layer by a function that knows this very module by a weak reference, which no copy can follow."""

    def __init__(self) -> None:
        super().__init__()
        middle = weakref.ref(self.middle)
        self.call = lambda x: middle()(x)  # type: ignore[misc]


def test_functions_are_copied_with_the_modules_that_they_hold() -> None:
    net = nw.wrap(Closure(), INPUTS)
    assert {"first.width", "middle.width"} <= net.report.elastic.keys()
    nw.testing.check_supernet(net)


def test_activations_that_a_network_keeps_do_not_hinder() -> None:
    network = Keeps()
    network(INPUTS)
    net = nw.wrap(network, INPUTS)
    assert "first.width" in net.report.elastic
    nw.testing.check_supernet(net)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (Anew, "the network makes weight anew when it is copied|first makes weight anew|__deepcopy__"),
        (lambda: nn.Sequential(nn.Linear(8, 8), Anew()), "__deepcopy__"),
        (Locked, "cannot be copied: TypeError: cannot pickle"),
        (Weak, "uses middle.weight|uses middle.bias"),
        (lambda: torch.jit.script(Plain()), "TorchScript"),
        (lambda: nn.Sequential(nn.Linear(8, 8), torch.jit.script(Plain())), "1 is compiled by TorchScript"),
        (lambda: nn.Sequential(nn.LazyLinear(32), nn.ReLU(), nn.Linear(32, 4)), "0 is lazy and weight has no shape"),
        (lambda: None, "torch.nn.Module.*, not (a NoneType|None)"),
        (lambda: Plain, "not the class Plain"),
    ],
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_others_are_refused(make: Callable[[], nn.Module], told: str) -> None:
    with pytest.raises(nw.NetwrightError, match=told):
        nw.wrap(make(), INPUTS)
