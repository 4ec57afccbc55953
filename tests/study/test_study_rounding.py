"""Candidates whose weights of few bits are rounded by what layers give."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import netwright as nw
from netwright.core.errors import NetwrightError, StoreError
from netwright.core.metric import Measurement, Metric
from netwright.measure.base import EvaluationContext, Measurer

BITS = "uniform,weights=2,activations=8"


def inputs() -> Tensor:
    torch.manual_seed(1)
    few, mix = torch.randn(64, 3, 6, 6), torch.randn(4, 3)
    return torch.einsum("cf,nfhw->nchw", mix, few) + 0.1 * torch.randn(64, 4, 6, 6)


def net() -> nw.SuperNet:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(4, 12, 3), nn.BatchNorm2d(12), nn.ReLU(), nn.Conv2d(12, 8, 3), nn.BatchNorm2d(8), nn.Flatten(),
        nn.Linear(32, 5),
    )  # fmt: skip
    made = nw.wrap(nw.recalibrate(model, [inputs()]), inputs()[:1])
    return made.with_axes([*made.axes, *nw.Bits.of(made, [BITS, "float32"], keep=())])


class Error(Measurer):
    """How far the outputs are from those of the same network in float32."""

    metrics = (Metric("error"),)
    depends_on_weights = True

    def measure(self, context: EvaluationContext) -> dict[str, Measurement]:
        assert isinstance(context.net, nw.SuperNet)
        names = {axis.name for axis in context.net.axes if isinstance(axis, nw.Bits)}
        whole: Any = {**context.candidate, **dict.fromkeys(names, "float32")}
        whole = nw.recalibrate(context.net.extract(whole), [inputs()])
        with torch.no_grad():
            found = (context.module(inputs()) - whole(inputs())).square().mean()
        return {"error": Measurement(float(found))}


def study(store: Any, rounding: Any) -> nw.Study:
    batches = [(part, None) for part in inputs().split(32)]
    return nw.Study(
        store, net(), objectives=[Error(), nw.Count("weight_bytes")], calibration=batches, rounding=rounding
    )


@pytest.mark.parametrize("executor", ["local", "local,timeout=60"])
def test_networks_are_judged_as_they_are_rounded(tmp_path: Path, executor: str) -> None:
    made = study(tmp_path / "gptq.db", "gptq")
    low = made.net.space.smallest
    found = {}
    for rounding in ("nearest", "gptq"):
        made = study(tmp_path / f"{rounding}.db", rounding)
        made.run(nw.Random(), 6, executor=executor)
        found[rounding] = {r.candidate: r.values["error"] for r in made.records}
        assert {r.status for r in made.records} == {"ok"}
    assert found["gptq"].keys() == found["nearest"].keys(), "the strategy proposes the same"
    several = [c for c in found["gptq"] if BITS in c.values()]
    assert sum(found["gptq"][c] for c in several) < 0.8 * sum(found["nearest"][c] for c in several)
    again = EvaluationContext(net(), low, list(inputs().split(32)), rounding="gptq").module
    once = EvaluationContext(net(), low, list(inputs().split(32)), rounding="gptq").module
    assert all(torch.equal(a, b) for a, b in zip(again.parameters(), once.parameters(), strict=True))


def test_a_float32_network_is_as_it_was() -> None:
    made = net()
    one, other = (EvaluationContext(made, made.largest, [inputs()], rounding=r).module for r in ("gptq", "nearest"))  # type: ignore[arg-type]
    for mine, theirs in zip(one.state_dict().values(), other.state_dict().values(), strict=True):
        assert torch.equal(mine, theirs)


def test_normalisation_is_that_of_the_rounded_network() -> None:
    made = net()
    module = EvaluationContext(made, made.smallest, [inputs()], rounding="gptq").module
    twin = nw.recalibrate(made.extract(made.smallest), [inputs()])
    twin.load_state_dict(dict(module.named_parameters()), strict=False)
    nw.recalibrate(twin, [inputs()])
    for mine, theirs in zip(module.state_dict().values(), twin.state_dict().values(), strict=True):
        torch.testing.assert_close(mine, theirs)


def test_a_study_goes_on_with_its_own_rounding(tmp_path: Path) -> None:
    study(tmp_path / "study.db", "gptq").run(nw.Random(), 2)
    study(tmp_path / "study.db", "gptq").run(nw.Random(), 3)
    with pytest.raises(StoreError, match="its rounding is gptq, here it is not set"):
        study(tmp_path / "study.db", "nearest")


def test_what_cannot_be_rounded_so_is_said(tmp_path: Path) -> None:
    plain = nw.SuperNet(nn.Sequential(nn.Linear(4, 2)), [], torch.zeros(1, 4))
    with pytest.raises(NetwrightError, match="has no axis of bits; add them"):
        nw.Study(tmp_path / "a.db", plain, objectives=[nw.Count("macs")], calibration=[1], rounding="gptq")
    with pytest.raises(NetwrightError, match="no calibration batches: give calibration="):
        nw.Study(tmp_path / "a.db", net(), objectives=[nw.Count("macs")], rounding="gptq")
    with pytest.raises(NetwrightError, match="no rounding 'gtpq'; did you mean 'gptq'"):
        nw.Study(tmp_path / "a.db", net(), objectives=[nw.Count("macs")], calibration=[1], rounding="gtpq")  # type: ignore[arg-type]
