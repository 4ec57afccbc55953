"""Operators that have no rule: what they pass on is found out by running them."""

from collections.abc import Callable
from fnmatch import fnmatch

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from netwright.nets.propagation import PROPAGATORS
from netwright.nets.propagation.probe import Call, probe
from netwright.nets.supernet import SuperNet
from netwright.nets.wrap import wrap
from netwright.testing import check_supernet


@torch.library.custom_op("netwright_tests::sine", mutates_args=())
def sine(x: Tensor) -> Tensor:
    return x.sin() * 2


@torch.library.custom_op("netwright_tests::norm", mutates_args=())
def norm(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    x = x / x.square().mean(1, keepdim=True).sqrt()
    return x * weight[:, None, None] + bias[:, None, None]


@torch.library.custom_op("netwright_tests::product", mutates_args=())
def product(x: Tensor, weight: Tensor) -> Tensor:
    return torch.einsum("nchw,oc->nohw", x, weight)


@torch.library.custom_op("netwright_tests::triple", mutates_args=("x",))
def triple(x: Tensor) -> None:
    x.mul_(3.0)


@torch.library.custom_op("netwright_tests::side_by_side", mutates_args=())
def side_by_side(x: Tensor, y: Tensor) -> Tensor:
    return torch.cat([x, y], 1)


@torch.library.custom_op("netwright_tests::grouped", mutates_args=())
def grouped(x: Tensor, groups: int) -> Tensor:
    return F.group_norm(x, groups)


@torch.library.custom_op("netwright_tests::to_depth", mutates_args=())
def to_depth(x: Tensor) -> Tensor:
    n, c, h, w = x.shape
    x = x.view(n, c, h // 2, 2, w // 2, 2).permute(0, 3, 5, 1, 2, 4)
    return x.reshape(n, 4 * c, h // 2, w // 2).contiguous()


@torch.library.custom_op("netwright_tests::ramp", mutates_args=())
def ramp(x: Tensor) -> Tensor:
    return x * torch.arange(1, x.shape[1] + 1)[:, None, None]


@torch.library.custom_op("netwright_tests::noisy", mutates_args=())
def noisy(x: Tensor) -> Tensor:
    return x + torch.randn_like(x)


@torch.library.custom_op("netwright_tests::above", mutates_args=())
def above(x: Tensor) -> Tensor:
    return x[:, :, x.mean((0, 1, 3)) > 0].contiguous()


@torch.library.custom_op("netwright_tests::picky", mutates_args=())
def picky(x: Tensor) -> Tensor:
    if x.shape[1] not in (3, 32) or float(x.abs().max()) == 0 or not torch.equal(x, x.round()):
        raise ValueError("whole numbers only")
    return x.clone()


class Net(nn.Module):
    """An operator between two convolutions, over as many channels as it gives, at any number of positions."""

    def __init__(self, operator: Callable[..., Tensor], *weights: Tensor) -> None:
        super().__init__()
        self.first, self.operator = nn.Conv2d(3, 32, 3, padding=1), operator
        self.weights = nn.ParameterList(weights)
        self.last = nn.Conv2d(operator(torch.randn(2, 32, 8, 8), *weights).shape[1], 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.operator(self.first(x), *self.weights)
        return self.last(x.reshape(*x.shape[:2], -1, 1)).mean((2, 3))


def wrapped(operator: Callable[..., Tensor], *weights: Tensor) -> SuperNet:
    torch.manual_seed(0)
    with torch.no_grad():
        return wrap(Net(operator, *weights).eval(), torch.randn(2, 3, 8, 8))


def cut(net: SuperNet) -> set[tuple[str, int]]:
    return {(tensor, dim) for axis in net.axes for tensor, dim, *_ in axis.regions(net.index)}


PASS: dict[str, Callable[[Tensor], Tensor]] = {
    "turned": lambda x: x.rot90(1, (2, 3)),
    "adaptive largest": lambda x: F.adaptive_max_pool2d(x, 3),
    "unpooled": lambda x: F.max_unpool2d(*F.max_pool2d(x, 2, return_indices=True), 2),
    "space to depth": lambda x: F.pixel_unshuffle(x, 4),
    "columns and back": lambda x: F.fold(F.unfold(x, 3, padding=1) * 2, x.shape[2:], 3, padding=1),
    "channels last columns": lambda x: F.unfold(x, 2, stride=2).transpose(1, 2).tanh().transpose(1, 2),
    "trilinear": lambda x: F.interpolate(x[:, :, None], scale_factor=2.0, mode="trilinear").flatten(2, 3),
    "bicubic, smoothed": lambda x: F.interpolate(x, size=5, mode="bicubic", antialias=True),
    "sampled where it says": lambda x: F.grid_sample(
        x, x.mean(1)[..., None].expand(-1, -1, -1, 2).tanh(), align_corners=False
    ),
    "replicated": lambda x: F.pad(x[:, :, None], (1,) * 6, mode="replicate").flatten(2, 3),
    "shuffled": lambda x: F.channel_shuffle(x, 2),
    "median": lambda x: x.flatten(2).median(-1)[0],
    "third smallest": lambda x: x.flatten(2).kthvalue(3, -1)[0],
    "largest so far": lambda x: x.cummax(-1)[0],
    "gathered by rank": lambda x: torch.take_along_dim(x, x.argsort(-1), -1),
    "best by another": lambda x: x.gather(-1, x.tanh().topk(3, -1)[1]),
    "bent": lambda x: torch.special.i0e(x) + x.sinh() / x.cosh(),
    "defined between 0 and 1": lambda x: x.sigmoid().erfinv().logit(0.1),
    "of two": lambda x: torch.logaddexp(x, torch.copysign(x.tanh(), x - 1)),
    "steps": lambda x: torch.bucketize(x, torch.linspace(-1, 1, 9)).float(),
    "bounded lengths": lambda x: x.renorm(2, 1, 1.0),
    "scattered": lambda x: torch.zeros_like(x).scatter_reduce(-1, x.argsort(-1), x.relu(), "amax"),
    "diagonal": lambda x: torch.diag_embed(x.diagonal(0, 2, 3)),
    "windows": lambda x: x.unfold(2, 3, 2).unfold(3, 3, 2).amax((-1, -2)).contiguous(),
    "inverse": lambda x: torch.linalg.inv(x + 3 * torch.eye(8)),
    "distances": lambda x: (
        x + torch.cdist(x.flatten(2).transpose(1, 2), x.flatten(2).transpose(1, 2)).mean((1, 2))[:, None, None, None]
    ),
    "put where a mask says": lambda x: (
        (y := x.flatten(2).transpose(1, 2))
        .masked_scatter((torch.arange(64) % 3 > 0)[:, None].expand_as(y), y.tanh()[:, :42])
        .transpose(1, 2)
    ),
    "another library": lambda x: sine(x),
    "another library, in place": lambda x: (triple(y := x.clone()), y)[1],
}


@pytest.mark.parametrize("name", PASS)
def test_channels_pass(name: str) -> None:
    net = wrapped(PASS[name])
    assert cut(net) >= {("first.weight", 0), ("first.bias", 0), ("last.weight", 1)}, net.report
    check_supernet(net, candidates=[net.smallest], trains=False, formats=())


@pytest.mark.parametrize(
    ("operator", "weights", "dims"),
    [
        (lambda *given: norm(*given), [(32,), (32,)], {("weights.0", 0), ("weights.1", 0)}),
        (lambda *given: product(*given), [(24, 32)], {("weights.0", 0), ("weights.0", 1)}),
        (lambda x, w: side_by_side(x, sine(x) * w[:, None, None]), [(32,)], {("weights.0", 0)}),
        (lambda x, w: to_depth(x * w[:, None, None]), [(32,)], {("weights.0", 0)}),
        (lambda x, w: torch.addcdiv(x, x.tanh(), w.exp()[:, None, None].lgamma().abs() + 1), [(32,)], set()),
    ],
    ids=["norm", "product", "side by side", "to depth", "of a weight"],
)
def test_weights_that_meet_the_channels_shrink_with_them(
    operator: Callable[..., Tensor], weights: list[tuple[int, ...]], dims: set[tuple[str, int]]
) -> None:
    torch.manual_seed(0)
    net = wrapped(operator, *(torch.rand(shape) + 0.5 for shape in weights))
    assert cut(net) >= {("first.weight", 0), ("last.weight", 1), *dims}, net.report
    check_supernet(net, candidates=1, trains=False, formats=())


@pytest.mark.parametrize(
    ("operator", "reason"),
    [
        (lambda x: x.cumprod(1), "*operator cumprod, which mixes them"),
        (lambda x: x.sort(1)[0], "*operator sort, which fixes their number"),
        (lambda x: ramp(x), "*operator netwright_tests.ramp, which treats each by its place"),
        (lambda x: noisy(x), "*operator netwright_tests.noisy, which draws random numbers"),
        (lambda x: above(x), "*operator netwright_tests.above, whose results are as many as the values say"),
        (
            lambda x: picky(x.round()),
            "*operator netwright_tests.picky, which cannot be tried on noise (*whole numbers*)",
        ),
        (lambda x: grouped(x, 4), "*operator netwright_tests.grouped, which *"),
        (lambda x: x.flip(1), "*are not contiguous in the same order in all of their tensors"),
        (lambda x: torch.fft.fft(x, dim=1).real, "*operator _fft_r2c, which mixes them"),
        (lambda x: x[:, torch.arange(32)], "*operator index, which treats each by its place"),
    ],
)
def test_what_holds_channels_is_said_as_it_is(operator: Callable[[Tensor], Tensor], reason: str) -> None:
    net = wrapped(operator)
    assert not net.axes
    assert fnmatch(net.report.rigid["first"], f"{reason} (its outputs, 32)*"), net.report.rigid["first"]


def test_channels_of_an_input_are_not_blamed_on_an_operator() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.BatchNorm2d(24), nn.Conv2d(24, 16, 1), nn.ReLU(), nn.Conv2d(16, 3, 1)).eval()
    assert wrap(module, torch.randn(2, 24, 4, 4)).report.rigid["0"] == "its channels are an input of the network"


@pytest.mark.parametrize(
    "operator",
    [
        lambda x: x.flip(-1),
        lambda x: F.pixel_unshuffle(x, 4),
        lambda x: F.interpolate(x, size=(24, 20), mode="bicubic", antialias=True),
        lambda x: x.sort(2)[0].atan(),
    ],
)
def test_large_tensors_are_shortened(operator: Callable[[Tensor], Tensor]) -> None:
    torch.manual_seed(0)
    net = wrap(Net(operator).eval(), torch.randn(2, 3, 64, 48))
    assert cut(net) >= {("first.weight", 0), ("last.weight", 1)}, net.report


def test_what_is_too_large_is_not_tried() -> None:
    shape, kind = (1 << 13, 1 << 13), torch.float32
    found = probe(Call(torch.sin, (), {}, (shape,), (kind,), {}, (shape,), (True,)), [(0, 1)])
    assert found.why == {(0, 1): "which is too large to be tried"}
    assert not found.arguments


class Shuffled(nn.Module):
    def __init__(self, groups: int) -> None:
        super().__init__()
        self.first, self.last, self.groups = nn.Conv2d(3, 48, 1), nn.Conv2d(48, 4, 1), groups

    def forward(self, x: Tensor) -> Tensor:
        return self.last(F.channel_shuffle(self.first(x).relu(), self.groups))


@pytest.mark.parametrize("groups", [2, 3, 4, 6])
def test_a_shuffle_keeps_the_first_of_each_group(groups: int) -> None:
    """The sub-network computes what the whole one does with the other channels silent."""
    torch.manual_seed(0)
    net = wrap(Shuffled(groups).eval(), x := torch.randn(2, 3, 4, 4))
    (axis,) = net.axes
    network = net.extract(net.smallest)
    silent = net.extract(net.largest)
    kept = {int(i) for weight in network.first.weight for i in (silent.first.weight == weight).all((1, 2, 3)).nonzero()}
    assert len(kept) == len(network.first.weight) == axis.options[0] * groups
    with torch.no_grad():
        for i in set(range(48)) - kept:
            silent.first.weight[i], silent.first.bias[i] = 0, 0
        assert torch.allclose(network(x), silent(x), atol=1e-5)


def test_a_rule_says_what_trying_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the rules of what it uses, a network's axes are found all the same."""
    own = """convolution native_batch_norm _native_batch_norm_legit_no_training max_pool2d_with_indices relu silu
    sigmoid mul add cat mean addmm t upsample_nearest2d""".split()  # noqa: SIM905

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.apart = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 16, 3, padding=1, groups=16)
            self.norm, self.side = nn.BatchNorm2d(16), nn.Conv2d(16, 24, 1)
            self.join, self.out = nn.Conv2d(40, 16, 1), nn.Linear(16, 3)

        def forward(self, x: Tensor) -> Tensor:
            x = F.silu(self.norm(self.apart(self.first(x))))
            y = F.interpolate(torch.relu(self.side(F.max_pool2d(x, 2))), scale_factor=2)
            x = x + self.join(torch.cat([x, y], 1))
            return self.out((x * x.sigmoid()).mean((2, 3)))

    torch.manual_seed(0)
    module, inputs = Block().eval(), torch.randn(2, 3, 4, 4)
    by_rule = wrap(module, inputs)
    for name in own:
        monkeypatch.delitem(PROPAGATORS, name, raising=False)
    tried = wrap(module, inputs)
    assert {(a.name, a.options) for a in tried.axes} == {(a.name, a.options) for a in by_rule.axes}
    assert cut(tried) == cut(by_rule)
