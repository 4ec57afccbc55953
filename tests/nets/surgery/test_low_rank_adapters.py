"""Low-rank adapters: parity with the library's own files, and cuts through them."""

from __future__ import annotations

import copy
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_checkpoints as tiny
import torch
from torch import nn

import netwright as nw
from netwright.core.errors import MissingExtra, NetError
from netwright.core.quiet import quiet

tiny.library()
peft = pytest.importorskip("peft", reason="peft is not installed")


def plain() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 32), nn.GELU(), nn.Linear(32, 24), nn.GELU(), nn.Linear(24, 3))


def language_model(kind: str) -> tuple[nn.Module, dict[str, torch.Tensor]]:
    transformers = tiny.library()
    torch.manual_seed(0)
    with quiet():
        if kind == "llama":
            config = transformers.LlamaConfig(
                vocab_size=40, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
                num_key_value_heads=2, max_position_embeddings=32,
            )  # fmt: skip
            model = transformers.LlamaForCausalLM(config)
        else:
            config = transformers.GPT2Config(vocab_size=40, n_embd=32, n_layer=2, n_head=4, n_positions=32)
            model = transformers.GPT2LMHeadModel(config)
    return model.eval(), {"input_ids": torch.randint(0, 40, (2, 9))}


def moved(network: nn.Module) -> nn.Module:
    """With adapters that have learned something."""
    generator = torch.Generator().manual_seed(1)
    for name, parameter in network.named_parameters():
        if "lora_B" in name:
            parameter.data = torch.randn(parameter.shape, generator=generator) / 10
    return network


@torch.no_grad()
def logits(network: nn.Module, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    return network(**inputs).logits


def test_adapters_alone_learn_and_the_network_computes_what_it_did() -> None:
    network, x = plain(), torch.randn(8, 6)
    expected, count = network(x), sum(p.numel() for p in network.parameters())
    assert nw.add_adapters(network, rank=2) == ["0", "2", "4"]
    assert torch.equal(network(x), expected)
    learn = {name: p.numel() for name, p in network.named_parameters() if p.requires_grad}
    assert all("lora_" in name for name in learn) and sum(learn.values()) == 2 * (6 + 32 + 32 + 24 + 24 + 3)
    before = {name: p.clone() for name, p in network.named_parameters()}
    loader = nw.TensorLoader(nw.Split(torch.randn(64, 6), torch.arange(64) % 3), 16)
    nw.finetune(network, loader, task="classification", epochs=1, optimizer="adamw,lr=0.01")
    assert {name for name, p in network.named_parameters() if not torch.equal(p, before[name])} == set(learn)
    tuned = network.eval()(x)
    nw.merge_adapters(network)
    torch.testing.assert_close(network(x), tuned)
    assert list(network.state_dict()) == list(plain().state_dict())
    assert sum(p.numel() for p in network.parameters() if p.requires_grad) == count


def test_the_same_seed_gives_the_same_adapters() -> None:
    first, second, other = plain(), plain(), plain()
    for network, seed in ((first, 3), (second, 3), (other, 4)):
        nw.add_adapters(network, seed=seed)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(first.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_the_library_reads_what_is_written(kind: str, tmp_path: Path) -> None:
    network, inputs = language_model(kind)
    base = copy.deepcopy(network)
    nw.add_adapters(network, rank=4, alpha=6)
    expected = logits(moved(network), inputs)
    nw.save_adapters(network, tmp_path)
    with quiet():
        again = peft.PeftModel.from_pretrained(base, tmp_path)
    assert torch.equal(logits(again, inputs), expected)
    assert not torch.allclose(logits(language_model(kind)[0], inputs), expected)


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_a_cut_of_adapters_is_the_adapters_of_a_cut(kind: str, tmp_path: Path) -> None:
    network, inputs = language_model(kind)
    nw.add_adapters(network, rank=2)
    net = nw.wrap(moved(network), inputs)
    rng = np.random.default_rng(0)
    for candidate in [net.smallest, *(net.space.sample(rng) for _ in range(3))]:
        with net.active(candidate) as active:
            expected = logits(active, inputs)
        small = net.extract(candidate)
        torch.testing.assert_close(logits(small, inputs), expected)
        nw.save_adapters(small, tmp_path / candidate.id)
        merged = copy.deepcopy(small)
        nw.merge_adapters(merged)
        torch.testing.assert_close(logits(merged, inputs), expected)
        bare = copy.deepcopy(merged)  # as it was without its adapters
        whole = {name.replace(".base_layer", ""): value for name, value in small.state_dict().items()}
        bare.load_state_dict({name: value for name, value in whole.items() if "lora_" not in name})
        with quiet():
            again = peft.PeftModel.from_pretrained(bare, tmp_path / candidate.id)
        torch.testing.assert_close(logits(again, inputs), expected)


def test_convolutions_are_named_and_tied_weights_left_out() -> None:
    images = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 2))
    x = torch.randn(2, 3, 8, 8)
    assert nw.add_adapters(images, modules=["0", "3"], rank=1) == ["0", "3"]
    expected = moved(images)(x)
    nw.merge_adapters(images)
    torch.testing.assert_close(images(x), expected)
    network, _ = language_model("gpt2")
    assert "lm_head" not in nw.add_adapters(network) and len(list(network.modules())) > 20


def wrong(network: nn.Module, **settings: Any) -> str:
    with pytest.raises(NetError) as told:
        nw.add_adapters(network, **settings)
    return str(told.value)


def test_mistakes_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "a rank of 1 or more" in wrong(plain(), rank=0)
    assert "did you mean '0'" in wrong(plain(), modules="00") or "named like '00'" in wrong(plain(), modules="00")
    assert "has no linear layer" in wrong(nn.Sequential(nn.Conv2d(3, 8, 3)))
    grouped = nn.Sequential(nn.Linear(3, 3), nn.Conv2d(6, 6, 3, groups=3))
    assert "cannot have adapters" in wrong(grouped, modules="*", rank=2)
    assert [type(layer).__name__ for layer in grouped] == ["Linear", "Conv2d"]
    network = plain()
    with pytest.raises(NetError, match="no adapters that could be written"):
        nw.save_adapters(network, tmp_path)
    nw.add_adapters(network)
    assert "has adapters already" in wrong(network)
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(MissingExtra, match=r"netwright\[lora\]"):
        nw.add_adapters(plain())
