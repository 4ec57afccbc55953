"""Latency at lengths of texts that a person names: their mean, at the shares that they have."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

import netwright as nw
from netwright.core.errors import CallError, MeasureError
from netwright.core.metric import Measurement
from netwright.measure.latency import Latency
from netwright.measure.lengths import at_length, describe, grouped, mean_of, mix_of, parse_mix
from netwright.measure.sampling import SamplingPlan

QUICK = SamplingPlan(max_seconds=0.02)


class Reader(nn.Module):
    """Reads token ids, of any length."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.out = nn.Embedding(50, 8), nn.Linear(8, 2)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return self.out((self.words(input_ids) * attention_mask[..., None]).mean(1))


def texts(length: int = 6, batch: int = 1) -> dict[str, Tensor]:
    ids = torch.arange(batch * length).view(batch, length)
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


@pytest.mark.parametrize(
    ("text", "mix"),
    [("24", ((24, 1.0),)), ("32:1,8:3", ((8, 0.75), (32, 0.25))), ("8,16", ((8, 0.5), (16, 0.5))),
     ("8:1,8:1,4:2", ((4, 0.5), (8, 0.5)))],
)  # fmt: skip
def test_lengths_are_told_with_weights(text: str, mix: Any) -> None:
    assert parse_mix(text) == mix


@pytest.mark.parametrize("text", ["", "0", "-3", "8:0", "8:-1", "8:inf", "8:nan", "dev", "8;9", "1.5", "10000000"])
def test_what_are_no_lengths_is_said(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse_mix(text)
    with pytest.raises(CallError, match="a length is a number of tokens from 1"):
        Latency("onnxruntime", lengths={0: 1.0})


@given(st.lists(st.integers(1, 500), min_size=1, max_size=60), st.integers(1, 7))
def test_a_file_stands_for_its_lengths(lengths: list[int], groups: int) -> None:
    mix = grouped(lengths, groups)
    assert len(mix) <= groups and sum(share for _, share in mix) == pytest.approx(1)
    assert sum(n * share for n, share in mix) == pytest.approx(float(np.mean(lengths)), abs=0.5 + 1e-9)
    assert min(lengths) <= mix[0][0] and mix[-1][0] <= max(lengths)


def test_words() -> None:
    assert describe(parse_mix("24")) == "24 tokens"
    assert describe(parse_mix("8:4,24:1,99:5")) == "8 (40 %), 24 (10 %) and 99 (50 %) tokens"


def test_texts_become_longer_and_shorter() -> None:
    for tokens in (1, 4, 6, 15):
        found = at_length({**texts(), "label": torch.zeros(1, 3)}, tokens)
        assert [tuple(t.shape) for t in found.values()] == [(1, tokens), (1, tokens), (1, 3)]
        assert int(found["attention_mask"].sum()) == tokens
    with pytest.raises(MeasureError, match="the network's first input is no tensor of token ids"):
        at_length(torch.zeros(1, 6), 4)


@given(st.lists(st.tuples(st.integers(1, 99), st.floats(0.1, 9), st.floats(0.1, 50)), min_size=1, max_size=5))
def test_a_mean_is_that_of_texts(drawn: list[tuple[int, float, float]]) -> None:
    """The rate of a mix is that of its mean time, and both are as sure."""
    times = {n: time for n, _, time in drawn}
    mix = mix_of({n: weight for n, weight, _ in drawn})
    found = [
        {"latency": Measurement(t := times[n], "ms", ci95=t / 50, n=3), "throughput": Measurement(
            1e3 / t, "/s", ci95=1e3 / t / 50, n=3), "memory": Measurement(t, "B")}
        for n, _ in mix
    ]  # fmt: skip
    mean = mean_of(found, mix)
    wanted = sum(share * times[n] for n, share in mix)
    assert mean["latency"].value == pytest.approx(wanted) and mean["throughput"].value == pytest.approx(1e3 / wanted)
    assert mean["memory"].value == max(times[n] for n, _ in mix)
    sure = [mean[name].ci95 / mean[name].value for name in ("latency", "throughput")]
    assert sure[0] == pytest.approx(sure[1]) and sure[0] <= 1 / 50 + 1e-9
    assert mean["latency"].n == 3 * len(mix)
    assert mean["latency"].details["lengths"] == {str(n): times[n] for n, _ in mix}


def test_what_was_corrected_or_warned_of_is_told() -> None:
    corrected = Measurement(2.0, "ms", kind="corrected", uncorrected=3.0, details={"warning": "noise"})
    found = mean_of([{"latency": corrected}, {"latency": Measurement(4.0, "ms")}], parse_mix("8,16"))["latency"]
    assert (found.value, found.kind, found.uncorrected, found.details["warning"]) == (3.0, "corrected", 3.5, "noise")


def test_a_file_is_measured_at_each_length(tmp_path: Path) -> None:
    network = Reader().eval()
    latency = nw.Latency("onnxruntime", QUICK, lengths={4: 3, 64: 1})
    latency.write(network, texts(), tmp_path / "a.onnx")
    found = latency.of(tmp_path / "a.onnx", texts(), network)
    each = found["latency"].details
    assert each["shares"] == {"4": 0.75, "64": 0.25} and found["file_bytes"].kind == "exact"
    assert found["latency"].value == pytest.approx(0.75 * each["lengths"]["4"] + 0.25 * each["lengths"]["64"])
    other = Reader().eval()  # what it computes is compared at those lengths
    with pytest.raises(MeasureError, match="computes something else"):
        latency.of(tmp_path / "a.onnx", texts(), other)


@pytest.mark.parametrize(("lengths", "wanted"), [(None, [6]), ({4: 1, 9: 1}, [4, 9])])
def test_in_8_bits_too_texts_are_as_long_as_they_are_said_to_be(
    lengths: Mapping[int, float] | None, wanted: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long those are that ranges are taken from."""
    network, seen = Reader().eval(), list[int]()
    latency = Latency("onnxruntime,precision=int8", QUICK, lengths)

    def run(path: Path, feeds: Mapping[str, np.ndarray], *_: Any, **__: Any) -> dict[str, Measurement]:
        seen.append(feeds["input_ids"].shape[1])
        return {"latency": Measurement(1.0, "ms")}

    def outputs(path: Path, inputs: Any, **_: Any) -> list[np.ndarray]:
        return [np.stack([network(**one).detach().numpy() for one in inputs])]

    monkeypatch.setattr(latency, "run", run)
    monkeypatch.setattr(latency, "outputs", outputs)
    found = latency.of(tmp_path / "none", texts(), network, [texts(13, 2)])
    assert seen == wanted and found["latency"].details["compared_on"] == "2 real inputs"


def test_a_table_is_of_one_length() -> None:
    with pytest.raises(MeasureError, match=r"a table of blocks is of one length of texts: leave lengths out"):
        nw.LookupTable(Latency("onnxruntime", lengths={8: 1}))
