"""Parts of decoders left out, and texts that are written with a cache of keys and values."""

from __future__ import annotations

from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from zoo.packages import torchvision

import netwright as nw
from netwright.core.errors import NetError
from netwright.formats.bundle import export
from netwright.nets.families.decoder import decoder
from netwright.nets.families.gpt2 import gpt2
from netwright.nets.families.pretrained import Pretrained
from netwright.nets.surgery.block_order import sort_blocks
from netwright.testing import check_supernet

with suppress(ImportError):
    torchvision()  # transformers imports it wherever it is installed
transformers: Any = pytest.importorskip("transformers", reason="transformers is not installed")

SIZES = {"hidden_size": 24, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 32,
         "vocab_size": 40, "max_position_embeddings": 16, "num_key_value_heads": 2, "head_dim": 6}  # fmt: skip
GPT = {"n_embd": 24, "n_layer": 4, "n_head": 4, "n_inner": 32, "vocab_size": 40, "n_positions": 16}
SHARES: dict[str, Any] = {"heads": (1 / 2,), "ffn": (1 / 2,)}
CASES: dict[str, tuple[Any, str, str, dict[str, Any]]] = {
    "llama": (decoder, "LlamaConfig", "LlamaForCausalLM", SIZES),
    "qwen2": (decoder, "Qwen2Config", "Qwen2ForCausalLM", SIZES),
    "gpt2": (gpt2, "GPT2Config", "GPT2LMHeadModel", GPT),
}


def model_of(case: str, **changes: Any) -> Any:
    _, config, model, sizes = CASES[case]
    torch.manual_seed(0)
    return getattr(transformers, model)(
        getattr(transformers, config)(**(sizes | changes), initializer_range=0.2)
    ).eval()


@cache
def shared(case: str, per_layer: bool = True) -> Pretrained:
    return CASES[case][0](model_of(case), depths=(2, 3, 4), parts=True, per_layer=per_layer, length=8, **SHARES)


def assert_writes_as_without_a_cache(network: Any) -> torch.Tensor:
    ids = torch.tensor([[3, 1, 4]])
    text = network.generate(ids, max_new_tokens=6, do_sample=False, pad_token_id=0)
    slow = ids
    for _ in range(text.shape[1] - 3):
        slow = torch.cat([slow, network(slow, use_cache=False).logits[:, -1:].argmax(2)], 1)
    assert torch.equal(text, slow)
    return text


@pytest.mark.parametrize("case", CASES)
def test_each_part_is_left_out_for_itself(case: str) -> None:
    net = shared(case)
    assert net.space["layer0.attention"].options == (0, 1)
    for name in ("layer0.attention", "layer2.mlp"):
        less = net.space.candidate({**dict(net.largest), name: 0})
        assert net.count(less).params < net.count(net.largest).params
        check_supernet(net, candidates=[less])
    with pytest.raises(KeyError):
        _ = net.space.candidate({**dict(net.largest), "layer0.attention": 0})["layer0.heads"]


def test_single_heads_and_parts_left_out_are_counted_from_a_table() -> None:
    model = model_of("llama", num_hidden_layers=3, num_key_value_heads=4)
    net = decoder(model, parts=True, heads=(1 / 4, 1 / 2), ffn=(1 / 2,), length=8)
    rng = np.random.default_rng(0)
    candidates = [net.smallest, *(net.space.sample(rng) for _ in range(12))]
    assert net.space["layer0.heads"].options == (1, 2, 4) and net.counts_fast
    found = net.counts(candidates)
    assert [found[i] for i in range(len(candidates))] == [net._counter._trace(c) for c in candidates]


@settings(max_examples=6)
@given(st.sampled_from(tuple(CASES)), st.booleans(), st.integers(0, 2**32))
def test_texts_are_the_same_with_a_cache_active_and_extracted(case: str, per_layer: bool, seed: int) -> None:
    net = shared(case, per_layer)
    candidate = net.space.sample(np.random.default_rng(seed))
    text = assert_writes_as_without_a_cache(net.extract(candidate))
    with net.active(candidate) as module:
        assert torch.equal(assert_writes_as_without_a_cache(module), text)


def test_the_first_attention_may_go() -> None:
    """Whose entry in the cache says how long the text is."""
    net = shared("llama")
    assert_writes_as_without_a_cache(net.extract(net.space.candidate({**dict(net.largest), "layer0.attention": 0})))


@pytest.mark.parametrize("case", CASES)
def test_what_lost_parts_can_be_cut_again(case: str) -> None:
    """Depth first, then width."""
    net = shared(case)
    shallow: Any = net.extract(net.space.candidate({**dict(net.largest), "layer0.attention": 0, "layer2.mlp": 0}))
    for per_layer in (True, False):
        again = CASES[case][0](shallow, parts=True, per_layer=per_layer, length=8, **SHARES)
        assert not {"layer0.heads", "layer0.attention", "layer2.ffn", "layer2.mlp"} & {c.name for c in again.space}
        check_supernet(again, candidates=[again.smallest])
        assert_writes_as_without_a_cache(again.extract(again.smallest))
    assert again.space["attentions"].options == (1, 2, 3)


def test_blocks_in_another_order_are_taken_out_of_the_middle() -> None:
    net = decoder(model_of("llama"), depths=(2, 3, 4), heads=(), ffn=(), hidden=(), length=8)
    batches = [{"input_ids": torch.randint(40, (4, 8), generator=torch.Generator().manual_seed(0)), "use_cache": False}]
    found = sort_blocks(net, batches, "influence")
    assert isinstance(found, Pretrained)
    order = found.axes[0].order  # type: ignore[attr-defined]
    for depth in (2, 3):
        network: Any = found.extract({"depth": depth})
        kept = sorted(int(path.rpartition(".")[2]) for path in order[:depth])
        assert network.config.num_hidden_layers == len(network.model.layers) == depth
        for new, old in enumerate(kept):
            assert torch.equal(
                network.model.layers[new].mlp.up_proj.weight, net.module.model.layers[old].mlp.up_proj.weight
            )  # type: ignore
        text = assert_writes_as_without_a_cache(network)
        with found.active({"depth": depth}) as module:
            assert torch.equal(assert_writes_as_without_a_cache(module), text)


def test_layers_with_attentions_of_several_kinds_lose_none_but_the_last() -> None:
    model = model_of("qwen2", use_sliding_window=True, sliding_window=4, max_window_layers=2)
    assert len(set(model.config.layer_types)) == 2
    with pytest.raises(NetError, match="several kinds of attention"):
        decoder(model, parts=True, length=8)
    assert nw.families.decoder(model, length=8).space["depth"].options == (2, 3, 4)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_layers_that_differ_are_exported(case: str, tmp_path: Path) -> None:
    net = shared(case)
    narrow = {"layer0.attention": 0, "layer1.ffn": net.space["layer1.ffn"].options[0], "layer2.mlp": 0, "depth": 3}
    bundle = export(net.extract({**net.largest, **narrow}), tmp_path, ["onnx", "pt2", "transformers"])
    assert max(bundle.differences.values()) < 1e-5
