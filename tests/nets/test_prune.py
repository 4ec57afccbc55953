"""The cut that keeps most within limits: of any price, of joint axes, in rounds; what is said where there is none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small import criterion
from torch import Tensor, nn

import netwright as nw
from netwright.core.errors import LimitError, NetError
from netwright.nets.families.inverted_residual import inverted_residual
from netwright.nets.importance import Importance, Taylor, Trajectory, importance_of


def chain(*sizes: int) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(*(part for into, out in pairwise(sizes) for part in (nn.Linear(into, out), nn.ReLU())))


def tied(options: Sequence[int] = (2, 4, 8)) -> nw.SuperNet:
    """Two widths with one choice, and one of its own."""
    net = chain(4, 8, 8, 8, 4)
    widths = [nw.Width.tie(net, f"w{i}", options, out_of=[f"{i}"], into=[f"{i + 2}"]) for i in (0, 2, 4)]
    joint = nw.TiedAxes("joint", tuple(options), tuple((w, tuple(options)) for w in widths[:2]))
    return nw.SuperNet(net, [joint, widths[2]], torch.randn(3, 4))


class Residual(nn.Module):
    """Three blocks, each with a width of its own; the second adds next to nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(1e-3 if i == 2 else 1.0) for i in range(3))

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return x


class Block(nn.Module):
    def __init__(self, scale: float) -> None:
        super().__init__()
        self.wide, self.back, self.scale = nn.Linear(4, 16), nn.Linear(16, 4), scale

    def forward(self, x: Tensor) -> Tensor:
        return x + self.scale * self.back(self.wide(x).relu())


def residual() -> nw.SuperNet:
    torch.manual_seed(0)
    net = Residual()
    paths = [f"blocks.{i}" for i in range(3)]
    axes: list[nw.Axis] = [nw.Depth("depth", tuple(paths), (1, 2, 3))]
    axes += [nw.Width.tie(net, p, (4, 8, 16), out_of=[f"{p}.wide"], into=[f"{p}.back"]) for p in paths]
    return nw.SuperNet(net, axes, torch.randn(2, 4))


class Priced(nw.Measurer):
    """A price of each candidate by its key: neither smooth nor monotone."""

    metrics = (nw.Metric("price", "ms"),)

    def measure(self, context: Any) -> Mapping[str, nw.Measurement]:
        candidate = context.candidate
        seed = sum(map(ord, candidate.key))
        size = sum(int(v) for v in candidate.values())
        return {"price": nw.Measurement(size + np.random.default_rng(seed).uniform(0, 6), "ms")}


def higher(net: nw.SuperNet, candidate: nw.Candidate) -> list[nw.Candidate]:
    """The candidate with one of its options a step higher."""
    found = []
    for name, option in candidate.items():
        options = net.space[name].options
        if option != options[-1]:
            state = {**net.largest, **candidate, name: options[options.index(option) + 1]}
            found.append(net.space.candidate(state))
    return found


NETS = {"tied": tied(), "residual": residual(), "images": inverted_residual(depths=((0, 1), (1, 2), (1, 2)), image=8)}
METRICS = ("macs", "bit_ops", "params", "weight_bytes", "peak_activation_bytes", "moved_bytes")


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(sorted(NETS)), st.sampled_from(METRICS), st.floats(0, 1), st.integers(0, 1 << 16))
def test_the_answer_keeps_the_limit_and_nothing_more_fits(name: str, metric: str, share: float, seed: int) -> None:
    """Whatever is worth what: between the lowest and the whole every limit is met, and no single step up meets it."""
    net, rng = NETS[name], np.random.default_rng(seed)
    kept = {axis.name: torch.from_numpy(np.sort(rng.random(len(axis.options)))) for axis in net.axes}
    low, high = (getattr(net.count(c), metric) for c in (net.smallest, net.largest))
    bound = int(low + share * (high - low))
    found = nw.prune_to_budget(net, Importance(kept), f"{metric} <= {bound}")
    assert getattr(net.count(found), metric) <= bound
    for other in higher(net, found):
        assert getattr(net.count(other), metric) > bound
    if bound >= high:
        assert found == net.largest


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(["tied", "residual"]), st.floats(0, 1), st.integers(0, 1 << 16))
def test_of_any_price_too(name: str, share: float, seed: int) -> None:
    net, rng, price = NETS[name], np.random.default_rng(seed), Priced()
    kept = {axis.name: torch.from_numpy(np.sort(rng.random(len(axis.options)))) for axis in net.axes}
    values = price.values(net, [net.smallest, net.largest])
    low, high = (each["price"] for each in values)
    bound = low + share * (high - low)
    found = nw.prune_to_budget(net, Importance(kept), f"price <= {bound + 1e-6!r} ms", price)
    steps = [v["price"] for v in price.values(net, [found, *higher(net, found)])]
    assert steps[0] <= bound + 1e-6 and all(v > bound + 1e-6 for v in steps[1:])


def test_several_limits_at_once() -> None:
    net = tied()
    counts = net.count(net.largest)
    limits = [f"macs <= {counts.macs * 0.7}", f"weight_bytes <= {counts.weight_bytes * 0.6} B"]
    found = net.count(nw.prune_to_budget(net, nw.sort_channels(net), limits))
    assert found.macs <= counts.macs * 0.7 and found.weight_bytes <= counts.weight_bytes * 0.6
    assert dict(nw.prune_to_budget(net, nw.sort_channels(net), "macs <= 1G")) == dict(net.largest)


# -- what is judged ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["l2", "activation", "taylor", "trajectory"])
def test_joint_axes_are_judged_by_their_members(by: str) -> None:
    net = tied()
    importance = nw.sort_channels(net, criterion(by, [torch.randn(9, 4)]))
    assert not importance.unjudged and set(importance.kept) == {"joint", "w4"}
    one, other = importance.channels["joint"]
    for at, option in enumerate((2, 4, 8)):
        torch.testing.assert_close(importance.kept["joint"][at], one[:option].sum() + other[:option].sum())
    least = net.count(net.smallest).macs
    assert dict(nw.prune_to_budget(net, importance, f"macs <= {least}")) == {"joint": 2, "w4": 2}


def test_what_follows_another_width_is_judged_for_each_of_its_options() -> None:
    net = chain(4, 8, 8, 4)
    out, inner = (nw.Width.tie(net, f"w{i}", (4, 8), out_of=[f"{i}"], into=[f"{i + 2}"]) for i in (0, 2))
    relative = nw.RelativeWidth.tabulate("share", (0.5, 1.0), out, inner, lambda share, whole: int(share * whole))
    sup = nw.SuperNet(net, [out, relative], torch.randn(3, 4))
    importance = nw.sort_channels(sup)
    (worth,) = importance.channels["share"]
    expected = [[worth[:2].sum(), worth[:4].sum()], [worth[:4].sum(), worth.sum()]]
    torch.testing.assert_close(importance.kept["share"], torch.tensor(expected, dtype=torch.float64))
    found = nw.prune_to_budget(sup, importance, f"macs <= {sup.count(sup.smallest).macs}")
    assert found == sup.smallest


@pytest.mark.parametrize("kind", [Taylor, Trajectory])
def test_blocks_are_judged_by_what_happens_without_them(kind: Any) -> None:
    net = residual()
    importance = nw.sort_channels(net, kind([torch.randn(16, 4)]))
    first, second, third = importance.kept["depth"].tolist()
    assert first < second < third and third - second < 0.01 * (third - first), "the last block adds next to nothing"
    macs = net.count({"depth": 2, "blocks.0": 16, "blocks.1": 16}).macs
    assert dict(nw.prune_to_budget(net, importance, f"macs <= {macs}"))["depth"] == 2


def test_weights_cannot_judge_blocks_which_is_said() -> None:
    net = residual()
    importance = nw.sort_channels(net, "l2")
    assert importance.unjudged["depth"] == "it drops no channels, and l2 cannot tell what its options do"
    with pytest.raises(
        NetError, match=r"'depth' stays whole \(.*l2 cannot.*\), and would keep it at the lowest: judge"
    ):
        nw.prune_to_budget(net, importance, f"macs <= {net.count(net.smallest).macs}")


def test_importance_without_sorting_is_that_of_what_was_sorted() -> None:
    net = tied()
    importance = nw.sort_channels(net, "l1")
    again = importance_of(net, "l1")
    for name, kept in importance.kept.items():
        torch.testing.assert_close(again.kept[name], kept)


def test_trajectory_is_what_leaving_a_channel_out_does() -> None:
    """Against one run for each channel, with its weights set to zeros where it is read."""
    net = tied()
    x = torch.randn(5, 4)
    module: Any = net.module
    with torch.no_grad():
        whole = module(x)
        scale = whole.double().std(correction=0)
        alone = []
        for i in range(8):
            kept = module[2].weight[:, i].clone()
            module[2].weight[:, i] = 0
            middle = [module[:3](x), module[:5](x), module[:7](x)]
            out = module(x)
            module[2].weight[:, i] = kept
            plain = [module[:3](x), module[:5](x), module[:7](x)]
            moved = ((out - whole).double() / scale).square().mean()
            for a, b in zip(middle, plain, strict=True):
                one, other = (nn.functional.normalize(t, dim=-1) for t in (a, b))
                moved = moved + (one @ one.T - other @ other.T).double().square().mean()
            alone.append(float(moved))
    widths = [part for axis in net.axes for part in axis.members()]
    scores = Trajectory([x]).scores(net, widths)  # type: ignore[arg-type]
    torch.testing.assert_close(scores[0], torch.tensor(alone, dtype=torch.float64), rtol=1e-4, atol=1e-7)
    few = Trajectory([x], examples=2).scores(net, widths)[0]  # type: ignore[arg-type]
    torch.testing.assert_close(few, Trajectory([x[:2]]).scores(net, widths)[0])  # type: ignore[arg-type]


# -- in rounds --------------------------------------------------------------------------------------------------


def test_rounds_go_on_with_what_does_best_and_its_weights() -> None:
    net = residual()
    seen: list[nw.Candidate] = []

    def tune(tuned: nw.SuperNet, candidate: nw.Candidate) -> float:
        seen.append(candidate)
        with torch.no_grad(), tuned.active(candidate):
            tuned.index.tensor("blocks.0.back.bias")[0] = len(seen)
        return float(candidate["depth"])  # as deep as can be

    macs = net.count(net.largest).macs // 2
    importance = nw.sort_channels(net, Taylor([torch.randn(9, 4)]))
    found = nw.prune_to_budget(net, importance, f"macs <= {macs}", tune=tune, rounds=3)
    assert net.count(found).macs <= macs and found["depth"] == 3 and found in seen
    assert any(c["depth"] < 3 for c in seen), "others were tried"
    assert seen[int(net.index.tensor("blocks.0.back.bias")[0]) - 1] == found
    assert all(net.count(c).macs > macs for c in higher(net, found))


def test_tuning_that_tells_nothing_is_refused() -> None:
    net = tied()
    with pytest.raises(NetError, match="tune= returns how well a candidate does, a finite number, not nan"):
        nw.prune_to_budget(net, nw.sort_channels(net), "macs <= 100", tune=lambda *_: float("nan"))


# -- mistakes ---------------------------------------------------------------------------------------------------


def test_limits_that_nothing_can_be_cut_to() -> None:
    net = tied()
    worth = nw.sort_channels(net)
    with pytest.raises(LimitError, match="names an unknown metric"):
        nw.prune_to_budget(net, worth, "latency <= 1 ms")
    with pytest.raises(LimitError, match="an upper bound above 0, such as 'params <= 100'"):
        nw.prune_to_budget(net, worth, "params >= 100")
    said = (
        r"params <= 20 cannot be kept: the nearest is 34, with joint at 2, w4 at 2; no axis can go lower, and 'joint'"
    )
    with pytest.raises(NetError, match=said):
        nw.prune_to_budget(net, worth, "params <= 20")
    with pytest.raises(NetError, match=r"nearest is 220; 'joint', 'w4' stay whole \(importance does not tell of it\)"):
        nw.prune_to_budget(net, Importance({}), "params <= 40")
    rigid = nw.SuperNet(chain(4, 8), [], torch.randn(2, 4))
    with pytest.raises(NetError, match=r"nearest is 40; no axis changes it: see net\.report"):
        nw.prune_to_budget(rigid, nw.sort_channels(rigid), "params <= 20")
