"""Decoders are measured as they write: the prompt, each token after it, and their cache."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
import torch
from torch import nn
from zoo.packages import torchvision

import netwright as nw
from netwright.core.errors import CallError, MeasureError
from netwright.measure.base import EvaluationContext
from netwright.measure.decoding import Decoding
from netwright.measure.sampling import SamplingPlan
from netwright.study.stores.memory import MemoryStore
from netwright.testing import check_measurer

with suppress(ImportError):
    torchvision()  # transformers imports it wherever it is installed
transformers: Any = pytest.importorskip("transformers", reason="transformers is not installed")

PLAN = SamplingPlan(max_seconds=0.02, min_seconds=0.0)


def decoder(**changes: Any) -> Any:
    sizes = {"hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2,
             "head_dim": 6, "intermediate_size": 32, "vocab_size": 40, "max_position_embeddings": 16}  # fmt: skip
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**{**sizes, **changes})).eval()
    return nw.families.decoder(model, parts=True, heads=(1 / 2,), ffn=(1 / 2,), length=8)


def test_it_keeps_the_contract_of_measurers() -> None:
    net = decoder()
    found = check_measurer(Decoding(prompt=8, plan=PLAN), net, [net.largest])
    assert found["tokens_per_s"].value == pytest.approx(1e3 / found["token_latency"].value)


@pytest.mark.parametrize(
    ("cut", "attending", "heads"), [({}, 3, 2), ({"layer0.attention": 0}, 2, 2), ({"depth": 2}, 2, 2)]
)
def test_the_cache_is_that_of_the_attentions_that_are_left(cut: dict[str, int], attending: int, heads: int) -> None:
    net = decoder()
    context = EvaluationContext(net, net.space.candidate({**dict(net.largest), **cut}))
    for batch in (1, 3):
        found = Decoding(prompt=10, batch=batch, plan=PLAN).measure(context)
        assert found["cache_bytes"].value == batch * attending * 2 * heads * 6 * 10 * 4
        assert found["cache_bytes"].kind == "exact"


def test_measuring_leaves_threads_and_the_network_as_they_were() -> None:
    net = decoder()
    context = EvaluationContext(net, net.largest)
    ids, before = torch.arange(5)[None], torch.get_num_threads()
    wanted = context.module(ids).logits
    Decoding(prompt=4, threads=before + 1, plan=PLAN).measure(context)
    assert torch.get_num_threads() == before
    assert torch.equal(context.module(ids).logits, wanted)


def test_what_does_not_write_is_told() -> None:
    net = nw.wrap(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)), torch.ones(1, 4))
    with pytest.raises(MeasureError, match=r"^Sequential does not write text: .* such as LlamaForCausalLM$"):
        Decoding().measure(EvaluationContext(net, net.largest))
    long = decoder()
    with pytest.raises(MeasureError, match="the model takes 16 tokens; give a prompt of 15 or fewer"):
        Decoding(prompt=16).measure(EvaluationContext(long, long.largest))
    for wrong in (0, 1.5, True):
        with pytest.raises(CallError, match="prompt is a number of 1 or more"):
            Decoding(prompt=wrong)  # type: ignore[arg-type]


def test_a_search_has_its_metrics_as_objectives_and_limits() -> None:
    net = decoder()
    study = nw.Study(
        MemoryStore(), net, objectives=[nw.Count("params"), Decoding(prompt=8, plan=PLAN)],
        limits=["cache_bytes <= 1 kB"], record=[],
    )  # fmt: skip
    study.run("random", evaluations=8)
    feasible = [record for record in study.records if record.status == "ok"]
    assert feasible and all(record.values["cache_bytes"] <= 1000 for record in feasible)
    assert any(record.values["cache_bytes"] > 1000 for record in study.records)
