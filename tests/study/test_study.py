"""A study of measurers, without networks: what is cut short, measured again, probed."""

from __future__ import annotations

from typing import Any

import pytest

import netwright as nw
from netwright.core.errors import InfeasibleConstraints, StoreError
from netwright.core.metric import Metric
from netwright.study.run import Step
from netwright.study.stores.memory import MemoryStore
from netwright.study.study import Study
from netwright.testing import FakeMeasurer, FakeNet, fake_space

SPACE = fake_space(5, 3)


def fake(name: str, direction: Any = "min", *, exact: bool = False, depends_on_weights: bool = False) -> FakeMeasurer:
    """A metric that is a candidate's sum."""
    told: dict[str, Any] = {} if exact else {"ci95": 0.5, "n": 3, "details": {"wall": 1.0}}
    return FakeMeasurer(
        Metric(name, "ms" if name == "latency" else "", direction, exact),
        depends_on_weights=depends_on_weights,
        provenance={f"by_{name}": True},
        **told,
    )


def study(store: Any, limits: Any = (), **more: Any) -> tuple[Study, FakeMeasurer, FakeMeasurer, FakeMeasurer]:
    quality, latency, macs = fake("quality", "max", depends_on_weights=True), fake("latency"), fake("macs", exact=True)
    made = Study(store, FakeNet(SPACE), objectives=[quality, latency], record=[macs], limits=limits, **more)
    return made, quality, latency, macs


def test_what_breaks_a_limit_costs_no_more() -> None:
    made, quality, latency, _ = study(MemoryStore(), ["latency <= 9 ms"])
    records = made.run(nw.Random(), 20)
    cut = [r for r in records if r.status == "infeasible"]
    assert cut and len(records) == 20
    assert all(r.values.keys() == {"macs", "latency"} for r in cut)
    assert quality.calls.keys() == {r.candidate for r in records if r.status == "ok"}
    assert latency.calls.keys() == {r.candidate for r in records}
    assert all("latency is" in r.reason and "latency <= 9 ms" in r.reason for r in cut)
    assert all(r.provenance["by_latency"] and r.provenance["strategy"] == "random" for r in records)


@pytest.mark.parametrize(
    "strategy", [nw.Random(), nw.Nsga2(4, 6), nw.Guided(4, 6, 12, 2)], ids=lambda s: type(s).__name__
)
def test_loosened_limits_measure_again_what_was_cut_short_and_end(strategy: nw.Strategy) -> None:
    store = MemoryStore()
    first, _, _, _ = study(store, ["latency <= 8 ms"])
    cut = [r.candidate for r in first.run(strategy, 12) if r.status == "infeasible"]
    assert cut
    second, quality, _, _ = study(store, [])
    records = second.run(strategy, 30)
    whole = [r for r in records if r.values.keys() == {"macs", "latency", "quality"}]
    assert len(whole) >= 30 and {r.status for r in whole} == {"ok"}
    assert max(quality.calls.values()) == 1
    assert all(len(r.values) == 3 for r in second.front())
    again, quality, latency, _ = study(store, [])
    assert [r.to_json() for r in again.records] == [r.to_json() for r in second.records]
    again.run(strategy, 30)
    assert not quality.calls and not latency.calls
    tight, quality, latency, _ = study(store, ["latency <= 8 ms"])
    assert {r.status for r in tight.records} == {"ok", "infeasible"}
    tight.run(strategy, len(tight.records))
    assert not quality.calls and not latency.calls


@pytest.mark.parametrize("strategy", [nw.Random(), nw.Nsga2(4, 6)], ids=lambda s: type(s).__name__)
def test_what_lacks_a_metric_that_is_limited_now_is_not_feasible_until_it_is_measured(strategy: nw.Strategy) -> None:
    store = MemoryStore()
    objectives = [fake("quality", "max", depends_on_weights=True)]
    Study(store, FakeNet(SPACE), objectives=objectives).run(strategy, 8)
    later = Study(store, FakeNet(SPACE), objectives=objectives, record=[fake("latency")], limits=["latency <= 11 ms"])
    assert {r.status for r in later.records} == {"infeasible"} and list(later.front()) == []
    assert all("latency" in r.reason for r in later.records)
    records = later.run(strategy, 12)
    assert all(r.values["latency"] <= 11 for r in records if r.status == "ok")
    assert any(r.status == "ok" for r in records) and len(later.front()) >= 1


def test_the_ends_are_measured_again_when_they_were_cut_short() -> None:
    store = MemoryStore()
    first, _, _, _ = study(store, ["latency <= 8 ms"])
    first.run(nw.Random(), 6)
    assert first.journal.found[SPACE.largest].status == "infeasible"
    second, quality, _, _ = study(store, [])
    second.run(nw.Random(), 8)
    assert SPACE.largest in quality.calls
    assert second.journal.found[SPACE.largest].values["quality"] == 15


def test_records_survive_the_journal_whole(tmp_path: Any) -> None:
    made, *_ = study(tmp_path / "s.db", ["latency <= 12 ms"])
    made.run(nw.Random(), 10)
    again, quality, *_ = study(tmp_path / "s.db", ["latency <= 12 ms"])
    assert again.records == made.records
    assert [r.provenance for r in again.records] == [r.provenance for r in made.records]
    assert again.front().objectives == made.front().objectives
    again.run(nw.Random(), 10)
    assert not quality.calls


def test_watchers_see_every_record_once() -> None:
    steps: list[Step] = []
    made, *_ = study(MemoryStore(), ["latency <= 12 ms"])
    records = made.run(nw.Random(), 10, steps.append)
    assert [s.record for s in steps] == records
    assert [s.done for s in steps] == list(range(1, 11)) and {s.evaluations for s in steps} == {10}


def test_a_watcher_that_raises_loses_nothing() -> None:
    store = MemoryStore()
    made, *_ = study(store)

    def watch(step: Step) -> None:
        if step.done == 3:
            raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        made.run(nw.Random(), 10, watch)
    again, quality, *_ = study(store)
    assert len(again.records) == 3
    fresh, *_ = study(MemoryStore())
    assert [r.candidate for r in again.run(nw.Random(), 10)] == [r.candidate for r in fresh.run(nw.Random(), 10)]
    assert quality.calls.total() == 7


def test_the_key_is_part_of_the_study() -> None:
    store = MemoryStore()
    study(store, key={"weights": "abc", "nested": {"a": (1, 2)}})
    study(store, key={"weights": "abc", "nested": {"a": [1, 2]}})
    for key in ({"weights": "xyz", "nested": {"a": (1, 2)}}, {"weights": "abc"}, None, {"weights": "abc", "more": 1}):
        with pytest.raises(StoreError, match=r"another study: its (weights|nested|more) is"):
            study(store, key=key)


def test_the_probe_says_what_cannot_be_reached_before_training_and_says_it_again() -> None:
    store = MemoryStore()
    for _ in range(2):
        made, quality, latency, _ = study(store, ["latency <= 3 ms"])  # the smallest has 5
        with pytest.raises(InfeasibleConstraints, match="latency 5 ms"):
            made.probe()
        assert not quality.calls
        assert [r.status for r in made.records] == ["infeasible"]
    assert not latency.calls, "known from the first time"
    loose, *_ = study(store, ["latency <= 6 ms"])
    loose.probe()
    loose.run(nw.Random(), 2)
    assert loose.journal.found[SPACE.smallest].judged(loose.limits).status == "ok"


def test_the_probe_is_silent_where_the_smallest_fits_or_nothing_can_be_known() -> None:
    for limits in ([], ["latency <= 5 ms"], ["quality >= 100"], ["latency <= 4.5 ms"]):
        made, quality, latency, _ = study(MemoryStore(), limits)
        made.probe()
        assert not quality.calls
        assert latency.calls.total() == any("latency" in x for x in limits)
        assert len(made.records) == ("latency <= 4.5 ms" in limits)


def test_a_study_needs_objectives() -> None:
    with pytest.raises(nw.NetwrightError, match="objective"):
        Study(MemoryStore(), FakeNet(SPACE), objectives=[])


def test_a_metric_in_the_wrong_unit_is_told() -> None:
    with pytest.raises(nw.NetwrightError, match="unit"):
        study(MemoryStore(), ["latency <= 5 MB"])
