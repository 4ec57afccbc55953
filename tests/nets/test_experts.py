"""Mixtures of experts with fewer experts."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from small import criterion
from torch import Tensor, nn

from netwright.core.errors import NetError
from netwright.nets.axes import Axis, Depth, Experts, Width
from netwright.nets.importance import sort_channels
from netwright.nets.supernet import SuperNet
from netwright.testing import check_axis, check_supernet

X = torch.linspace(-3, 3, 5 * 6).reshape(5, 6).sin()


class Listed(nn.Module):
    """Each expert is a module; each token goes to the two that its router likes most."""

    def __init__(self, experts: int = 6) -> None:
        super().__init__()
        self.num_experts, self.picks = experts, 2
        self.router = nn.Linear(6, experts)
        self.experts = nn.ModuleList(
            nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 6, bias=False)) for _ in range(experts)
        )

    def expert(self, i: int, x: Tensor) -> Tensor:
        return self.experts[i](x)

    def forward(self, x: Tensor) -> Tensor:
        weights, chosen = self.router(x).softmax(-1).topk(self.picks)
        shares = (weights[..., None] * (chosen[..., None] == torch.arange(self.num_experts))).sum(1)
        return x + sum(shares[:, i : i + 1] * self.expert(i, x) for i in range(self.num_experts))


class Fused(Listed):
    """The experts' tensors lie one behind the other."""

    def __init__(self, experts: int = 6) -> None:
        super().__init__(experts)
        self.experts = nn.Module()  # type: ignore[assignment]
        self.experts.up = nn.Parameter(torch.randn(experts, 6, 8))
        self.experts.down = nn.Parameter(torch.randn(experts, 8, 6))

    def expert(self, i: int, x: Tensor) -> Tensor:
        return torch.tanh(x @ self.experts.up[i]) @ self.experts.down[i]  # type: ignore[index, operator]


KINDS = [Listed, Fused]


def experts(module: nn.Module, options: Any = (2, 3, 6), within: str = "") -> Experts:
    return Experts.of(module, "experts", options, router=f"{within}router", experts=f"{within}experts")


@pytest.fixture(params=KINDS)
def module(request: Any) -> Any:
    torch.manual_seed(0)
    return request.param().eval()


def first(module: Any, count: int) -> Any:
    """The mixture of the first experts, written without a super-network."""
    written = type(module)(count).eval()
    state = {}
    for name, tensor in module.state_dict().items():
        part, _, own = name.partition(".")
        if part == "router" or isinstance(module, Fused):
            state[name] = tensor[:count]
        elif int(own.split(".")[0]) < count:
            state[name] = tensor
    written.load_state_dict(state)
    return written


def test_fewer_experts_are_the_mixture_of_the_first(module: Any) -> None:
    net = SuperNet(module, [experts(module)], X)
    for candidate in net.space.enumerate():
        written = first(module, candidate["experts"])  # type: ignore[arg-type]
        network = net.extract(candidate)
        assert torch.allclose(network(X), written(X), atol=1e-6)
        with net.active(candidate) as active:
            assert torch.allclose(active(X), written(X), atol=1e-6)
        assert network.num_experts == candidate["experts"]
        assert {k: v.shape for k, v in network.state_dict().items()} == {
            k: v.shape for k, v in written.state_dict().items()
        }
        alone = SuperNet(written, [], X)
        assert net.count(candidate).params == alone.count(alone.largest).params
    check_axis(module, net.axes[0], X)


@pytest.mark.parametrize("by", ["l1", "l2", "activation", "taylor"])
def test_sorted_experts_compute_the_same(module: Any, by: Any) -> None:
    net, before = SuperNet(module, [experts(module)], X), copy.deepcopy(module)
    batches = [(X, torch.arange(5)), (X.flip(0), torch.arange(5))]
    sort_channels(net, criterion(by, batches))
    for x in (X, X + 0.5, -X):
        assert torch.allclose(module(x), before(x), atol=1e-6)
    assert not torch.equal(module.router.weight, before.router.weight), "another order"


@pytest.mark.parametrize("by", ["l1", "l2"])
def test_the_largest_experts_come_first(module: Any, by: Any) -> None:
    order = [4, 1, 5, 0, 3, 2]
    with torch.no_grad():
        for place, expert in enumerate(order):
            scale = 2.0**-place
            module.router.weight[expert] = 0.1 * scale * torch.arange(1, 7)
            if isinstance(module, Fused):
                own = [tensor[expert] for tensor in module.experts.parameters()]
            else:
                own = list(module.experts[expert].parameters())
            for tensor in own:
                tensor.fill_(scale)
            module.router.bias[expert] = expert
    sort_channels(SuperNet(module, [experts(module)], X), by)
    assert module.router.bias.tolist() == order


def test_fewer_experts_than_a_token_goes_to(module: Any) -> None:
    """The model's own code refuses: no network comes of it."""
    with pytest.raises(NetError, match="raises on its example inputs"):
        SuperNet(module, [experts(module, (1, 6))], X)


def test_widths_within_experts_go_with_them() -> None:
    module = nn.Sequential(Listed(3), Listed(3), nn.Linear(6, 2))
    axes: list[Axis] = [Depth("depth", ("0", "1"), (1, 2))]
    for block in ("0.", "1."):
        axis = experts(module, (2, 3), block)
        axes.append(Experts(f"{block}experts", axis.slices, axis.options, axis.size_attributes, axis.modules))
        for i in range(3):
            path = f"{block}experts.{i}"
            axes.append(Width.tie(module, path, (3, 8), out_of=[f"{path}.0"], into=[f"{path}.2"]))
    net = SuperNet(module, axes, X)
    one = 2**2 + 2**3
    assert net.space.size == one + one**2
    assert set(net.smallest) == {"depth", "0.experts", "0.experts.0", "0.experts.1"}
    check_supernet(net, candidates=6)


def test_mistakes(module: Any) -> None:
    for options, told in (((2, 9), r"must lie between 1 and 6"), ((0, 6), "between 1 and 6"), ((), "'experts'")):
        with pytest.raises(NetError, match=told):
            SuperNet(module, [experts(module, options)], X)
    for change, told in (
        ({"router": "rooter"}, "no module 'rooter'"),
        ({"experts": "export"}, "no module 'export'"),
        ({"experts": "other"}, r"router scores 6 experts, other holds \[4\]"),
        ({"experts": "few"}, r"router scores 6 experts, few holds \[2\]"),
    ):
        module.other, module.few = nn.Linear(6, 4), nn.ModuleList([nn.Identity(), nn.Identity()])
        with pytest.raises(NetError, match=told):
            Experts.of(module, "experts", (2, 6), **{"router": "router", "experts": "experts", **change})
