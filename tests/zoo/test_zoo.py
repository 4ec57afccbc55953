"""Models that nobody prepared: wrapped, cut, trained for a step, extracted, reloaded, exported."""

from __future__ import annotations

from collections.abc import Callable
from fnmatch import fnmatchcase

import numpy as np
import pytest
import torch
from torch import nn

from netwright.core.errors import NetError
from netwright.nets.inputs import call, tensors_in
from netwright.nets.supernet import SuperNet
from netwright.nets.wrap import wrap
from netwright.testing import check_supernet

from .case import Case, lively
from .models import PACKAGES, PLAIN

every_plain = pytest.mark.parametrize("case", PLAIN.values(), ids=PLAIN)
every_package = pytest.mark.parametrize("case", PACKAGES.values(), ids=PACKAGES)


@every_plain
def test_plain(case: Case) -> None:
    check(case)


@pytest.mark.zoo
@every_package
def test_package(case: Case) -> None:
    check(case)


@pytest.mark.slow
@every_plain
def test_plain_onnx(case: Case) -> None:
    check_onnx(case)


@pytest.mark.slow
@pytest.mark.zoo
@every_package
def test_package_onnx(case: Case) -> None:
    check_onnx(case)


def check(case: Case) -> None:
    """What is promised of every network, and that what matters in this one is elastic."""
    module, inputs = built(case)
    with torch.no_grad():
        outputs = [t for t in tensors_in(call(module, inputs)) if t.is_floating_point()]
    assert outputs, "no output to compare"
    for out in outputs:
        assert bool(torch.isfinite(out).all()), "an output is not finite"
        assert out.numel() == 1 or out.float().std() > 1e-4 * out.float().abs().max(), "an output is all the same"
    net = wrap(module, inputs, **case.options)
    check_found(net, case)
    check_supernet(net, candidates=1, tolerance=case.tolerance, trains=case.trains)
    if case.trains:
        check_training(net)


def check_training(net: SuperNet) -> None:
    """A step of several sub-networks in training mode, with dropout and statistics of the batch, moves weights."""
    module = net.module.train()
    before = {name: p.detach().clone() for name, p in module.named_parameters()}
    optimizer = torch.optim.SGD(module.parameters(), 0.1)
    rng = np.random.default_rng(0)
    for candidate in (net.smallest, *(net.space.sample(rng) for _ in range(2))):
        with net.active(candidate) as active:
            outputs = tensors_in(call(active, net.example_inputs))
            torch.stack([t.float().square().mean() for t in outputs if t.is_floating_point()]).sum().backward()
    optimizer.step()
    module.eval()
    assert any(not torch.equal(p, before[name]) for name, p in module.named_parameters()), "no weight has moved"


def check_onnx(case: Case) -> None:
    """The smallest sub-network as an ONNX file, read back."""
    if case.onnx:
        pytest.skip(case.onnx)
    module, inputs = built(case)
    net = wrap(module, inputs, **case.options)
    check_supernet(net, candidates=[net.smallest], tolerance=case.tolerance, trains=False, formats=("onnx",))


def built(case: Case) -> tuple[nn.Module, object]:
    """The module and its inputs; skips the test where its package is missing."""
    try:
        return case.build()
    except ImportError as error:
        pytest.skip(f"{case.name}: {error}")


def check_found(net: SuperNet, case: Case) -> None:
    """The axes are those that the case asks for, and the report gives a reason for what has none."""
    rigid = net.report.rigid
    missing = case.missing(net)
    assert not missing, f"not elastic: {missing}; rigid: {dict(list(rigid.items())[:8])}"
    silent = [path for path, reason in rigid.items() if not reason or reason == "no axis was given for it"]
    assert not silent, f"rigid without a reason: {silent}"
    for pattern, reason in case.rigid.items():
        told = {path: why for path, why in rigid.items() if fnmatchcase(path, pattern)}
        assert told, f"{pattern} was to be rigid"
        assert all(fnmatchcase(why, reason) for why in told.values()), f"rigid, but not because of {reason}: {told}"


# -- networks that look at what they compute -------------------------------------------------------------------


class Branches(nn.Module):
    """Takes one of two ways, by the value of its input or of its own activations."""

    def __init__(self, own: bool) -> None:
        super().__init__()
        self.enter, self.own = nn.Linear(4, 32), own
        self.left, self.right, self.out = nn.Linear(32, 24), nn.Linear(32, 24), nn.Linear(24, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.enter(x)
        goes_left = (h if self.own else x).mean() > 0
        return self.out(torch.relu(self.left(h) if goes_left else self.right(h)))


@pytest.mark.parametrize("own", [False, True], ids=["input", "activation"])
@pytest.mark.parametrize("sign", [1, -1])
def test_the_way_not_taken_is_never_cut_in_silence(own: bool, sign: int) -> None:
    torch.manual_seed(0)
    module = lively(Branches(own)).eval()
    with torch.no_grad():
        module.enter.weight.abs_()
    inputs = sign * (torch.rand(3, 4) + 0.5)
    try:
        net = wrap(module, inputs)
    except NetError as error:
        assert "example" in str(error)  # says what to do
        return
    untaken = "right" if sign > 0 else "left"
    told = net.report.rigid.get(untaken, "")
    assert told, f"{untaken} did not run on the example inputs, and the report does not say so"
    assert own or "did not run" in told, told  # which way activations lead is not known while nothing is computed
    rng = np.random.default_rng(0)
    for candidate in (net.largest, net.smallest, net.space.sample(rng)):
        network = net.extract(candidate)
        with torch.no_grad(), net.active(candidate) as active:
            assert torch.allclose(active(inputs), network(inputs), atol=1e-6)
            if candidate == net.largest:
                assert torch.equal(active(-inputs), network(-inputs))
            else:  # what was not traced raises, or is whole
                with pytest.raises(RuntimeError, match="shape"):
                    network(-inputs)


class Steps(nn.Module):
    """Repeats a layer until its activations are small."""

    def __init__(self) -> None:
        super().__init__()
        self.enter, self.up, self.down = nn.Linear(4, 16), nn.Linear(16, 32), nn.Linear(32, 16)
        self.out = nn.Linear(16, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.enter(x)
        for _ in range(5):
            x = 0.5 * x + 0.1 * self.down(torch.relu(self.up(x)))
            if x.abs().max() < 0.3:
                break
        return self.out(x)


def test_a_loop_that_ends_by_a_value() -> None:
    torch.manual_seed(0)
    net = wrap(lively(Steps()).eval(), torch.randn(3, 4))
    check_supernet(net, candidates=[net.largest, net.smallest])


class Chosen(nn.Module):
    """Gives the numbers of the best classes, in one of several ways."""

    def __init__(self, choose: Callable[[torch.Tensor], object]) -> None:
        super().__init__()
        self.first, self.classes, self.choose = nn.Linear(4, 32), nn.Linear(32, 16), choose

    def forward(self, x: torch.Tensor) -> object:
        return self.choose(self.classes(torch.relu(self.first(x))))


@pytest.mark.parametrize(
    "choose",
    [
        lambda x: x.argmax(-1),
        lambda x: (x.amax(-1), x.argmax(-1)),
        lambda x: x.max(-1),
        lambda x: x.topk(3, -1),
        lambda x: x.sort(-1),
        lambda x: (x.softmax(-1).max(-1).values, x.argmin(-1)),
    ],
)
def test_classes_are_never_cut(choose: Callable[[torch.Tensor], object]) -> None:
    torch.manual_seed(0)
    try:
        net = wrap(Chosen(choose).eval(), torch.randn(3, 4))
    except NetError as error:
        assert "output" in str(error)
        return
    for axis in net.axes:
        assert not any(tensor.startswith("classes") and dim == 0 for tensor, dim, *_ in axis.regions(net.index))


class Auxiliary(nn.Module):
    """Has a second head that runs in training only."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 32), nn.Linear(32, 32)
        self.head, self.side = nn.Linear(32, 3), nn.Linear(32, 3)
        self.drop = nn.Dropout(0.2)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        x = self.drop(torch.relu(self.first(x)))
        y = self.head(torch.relu(self.second(x)))
        return (y, self.side(x)) if self.training else (y,)


def test_a_head_that_runs_in_training_only() -> None:
    torch.manual_seed(0)
    net = wrap(Auxiliary().eval(), torch.randn(3, 4))
    tensors = {tensor for axis in net.axes for tensor, *_ in axis.regions(net.index)}
    assert tensors >= {"first.weight", "second.weight", "side.weight"}
    check_supernet(net, candidates=1)
    check_training(net)
