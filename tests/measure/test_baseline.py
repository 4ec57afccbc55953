"""How fast a machine usually is: kept between processes, followed, and never in the way."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import netwright as nw
from netwright.measure import baseline as module
from netwright.measure.baseline import APART_S, FEWEST, KEPT, BaselineStore
from netwright.measure.reference import Readings
from netwright.measure.runtimes.onnxruntime import OnnxRuntime
from netwright.measure.sampling import SamplingPlan


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, as a list of one number."""
    now = [1e9]
    monkeypatch.setattr(module.time, "time", lambda: now[0])
    return now


def noted(store: BaselineStore, clock: list[float], *values: float) -> None:
    for value in values:
        clock[0] += APART_S
        store.note(Readings(value / 2, value))


def usually(path: Path) -> float | None:
    found = BaselineStore(path=path).get()
    if found is None:
        return None
    assert found.core == pytest.approx(found.memory / 2)
    return found.memory


def test_it_is_the_median_of_what_was_read(tmp_path: Path, clock: list[float]) -> None:
    path = tmp_path / "a" / "machine.json"
    noted(BaselineStore(path=path), clock, *[2.0] * (FEWEST - 2), 1.0)
    assert usually(path) is None, "too few to call anything usual"
    noted(BaselineStore(path=path), clock, 9.0)
    assert usually(path) == pytest.approx(2.0), "another process reads what one has kept"
    assert [p.name for p in path.parent.iterdir()] == ["machine.json"], "nothing is left beside it"


def test_it_is_known_better_with_time(tmp_path: Path, clock: list[float]) -> None:
    store, rng = BaselineStore(path=tmp_path / "m.json"), np.random.default_rng(0)
    noted(store, clock, *np.exp(rng.normal(0, 0.1, 10)))
    few = store.get()
    noted(store, clock, *np.exp(rng.normal(0, 0.1, 300)))
    many = store.get()
    assert few is not None and many is not None and many.error < few.error / 3
    assert abs(np.log(many.memory)) < many.error < 0.02


def test_readings_of_the_same_moments_count_once(tmp_path: Path, clock: list[float]) -> None:
    store = BaselineStore(path=tmp_path / "m.json")
    noted(store, clock, *[1.0] * FEWEST)
    for _ in range(10 * FEWEST):
        clock[0] += APART_S / 100 / FEWEST
        store.note(Readings(2.5, 5.0))
    assert usually(tmp_path / "m.json") == 1.0
    clock[0] = 0.0  # a clock that was set back does not stop it
    noted(store, clock, *[5.0] * (FEWEST + 1))
    assert usually(tmp_path / "m.json") == pytest.approx(5.0)


def test_it_follows_a_machine_that_settles_elsewhere(tmp_path: Path, clock: list[float]) -> None:
    store = BaselineStore(path=tmp_path / "m.json")
    noted(store, clock, *[1.0] * (KEPT // 2), *[3.0] * (KEPT // 2 + 1))
    assert usually(tmp_path / "m.json") == pytest.approx(3.0)
    noted(store, clock, *[1.0] * KEPT)
    found = store.get()
    assert found is not None and found.memory == 1.0 and found.error == 0, "the oldest are forgotten"


@pytest.mark.parametrize(
    "text", ["", "{", "[1, 2]", '[["a", 1, 1]]', '{"a": 1}', "null", "[[1, 1, NaN]]", "[[1, 1, 0.0]]", "[[1, 1]]"]
)
def test_a_broken_file_is_begun_anew(tmp_path: Path, clock: list[float], text: str) -> None:
    path = tmp_path / "m.json"
    path.write_text(text)
    assert usually(path) is None
    noted(BaselineStore(path=path), clock, *[1.0] * FEWEST)
    assert usually(path) == 1.0


def test_what_cannot_be_written_is_not_kept(
    tmp_path: Path, clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    noted(BaselineStore(path=tmp_path / "file" / "m.json"), clock, 1.0)
    assert usually(tmp_path / "file" / "m.json") is None

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("netwright.core.files.os.replace", full)
    noted(BaselineStore(path=tmp_path / "m.json"), clock, 1.0)
    assert [p.name for p in tmp_path.iterdir()] == ["file"], "nothing is left behind"


def test_a_home_is_not_needed(monkeypatch: pytest.MonkeyPatch, clock: list[float]) -> None:
    def nobody() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(module, "cache_folder", nobody)
    store = BaselineStore()
    noted(store, clock, *[1.0] * FEWEST)
    assert store.get() is None


def test_the_measuring_process_reads_and_notes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from netwright.measure.process import stop_all

    monkeypatch.setenv("NETWRIGHT_CACHE", str(tmp_path))
    stop_all()  # a new one is told of the folder
    try:
        # On a busy machine too: any interval is narrow enough, and no core too slow, once there are rounds enough.
        latency = nw.Latency(OnnxRuntime(), SamplingPlan(precision=10, max_seconds=60, min_seconds=0.1, drift=1e9))
        path = tmp_path / "net.onnx"
        inputs = torch.randn(1, 64)
        OnnxRuntime().convert(torch.nn.Linear(64, 64), inputs, path)
        feeds = {"input": inputs.numpy()}
        found = latency.run(path, feeds)["latency"]
        first = found.details
        assert "sensitivity" not in first and found.kind == "measured"
        (kept,) = (tmp_path / "machine").iterdir()
        core, faster = first["reference"]["core"], first["reference"]["memory"] / 20
        kept.write_text(json.dumps([[1 + i, core, faster] for i in range(FEWEST)]))
        second = latency.run(path, feeds)["latency"].details
        assert second["memory_drift"] > 1 and "sensitivity" in second
    finally:
        stop_all()
