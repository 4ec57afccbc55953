"""The statistics of candidates: recomputed, except where the largest's own are better; the record says which."""

from __future__ import annotations

import torch

import netwright as nw
from netwright.nets.families.inverted_residual import inverted_residual
from netwright.study.stores.memory import MemoryStore


def study(own: bool) -> nw.Study:
    """Of a network whose own statistics are right, or far off."""
    torch.manual_seed(0)
    net = inverted_residual(1, 3, 4, widths=((2, 4), (3, 6)), depths=((1, 2), (1,)))
    inputs = torch.randn(64, 1, 4, 4) * 3 + 2
    nw.recalibrate(net.module, [inputs if own else inputs / 50 - 9])
    with torch.no_grad():  # what the largest answers with the right statistics
        twin = nw.recalibrate(net.extract(net.largest), [inputs])
        labels = twin(inputs).argmax(1)
    made = nw.Study(
        MemoryStore(),
        net,
        objectives=[nw.Accuracy([(inputs, labels)]), nw.Count("macs")],
        calibration=[inputs[:8] + 1] if own else [inputs],
    )
    made.run(nw.Random(), 8)
    return made


def test_the_record_says_whose_statistics_were_used() -> None:
    for own, wanted in ((True, "inherited"), (False, "recomputed")):
        records = {r.candidate: r for r in study(own).records}
        net = study(own).net
        largest = records.pop(net.space.largest)
        assert largest.provenance["statistics"] == wanted and largest.values["accuracy"] == 100
        assert {r.provenance["statistics"] for r in records.values()} == {"recomputed"}


def test_without_running_statistics_nothing_is_said() -> None:
    net = nw.wrap(
        torch.nn.Sequential(torch.nn.Linear(4, 16), torch.nn.ReLU(), torch.nn.Linear(16, 2)), torch.ones(2, 4)
    )
    made = nw.Study(MemoryStore(), net, objectives=[nw.Accuracy([(torch.ones(2, 4), torch.arange(2))])], calibration=[])
    assert all("statistics" not in r.provenance and r.status == "ok" for r in made.run(nw.Random(), 2))
