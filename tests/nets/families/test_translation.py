"""The translation Transformer: HAT's space, and that a sub-network is the network that one would write."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from netwright.core.errors import NetError
from netwright.nets.families.translation import TranslationTransformer, translation
from netwright.nets.importance import sort_channels
from netwright.nets.supernet import SuperNet
from netwright.testing import check_supernet

SMALL: dict[str, Any] = {
    "encoder_widths": (8, 12), "decoder_widths": (10, 16), "ffn": (8, 16), "heads": (2, 3), "head_size": 4,
    "encoder_layers": 3, "decoder_layers": (1, 2, 3), "length": 5,
}  # fmt: skip
SOURCE, TARGET = 20, 24


def made(**changes: Any) -> SuperNet:
    torch.manual_seed(0)
    net = translation(SOURCE, TARGET, **{**SMALL, **changes})
    with torch.no_grad():
        for tensor in net.module.parameters():
            tensor.add_(0.1 * torch.randn_like(tensor))  # no bias and no norm at its default
    net.module.eval()
    return net


@cache
def shared() -> SuperNet:
    """One super-network for the tests that leave it as it is."""
    return made()


def sentences(batch: int = 2, source: int = 7, target: int = 4, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(SOURCE, (batch, source), generator=generator)
    return ids, torch.randint(TARGET, (batch, target), generator=generator)


@settings(max_examples=3)
@given(st.integers(0, 2**32), st.booleans())
def test_keeps_the_contract_of_super_networks(seed: int, padded: bool) -> None:
    net = shared()
    source, target = sentences(seed=seed % 1000)
    inputs = {"source_ids": source, "target_ids": target}
    if padded:
        inputs["source_mask"] = torch.arange(7) < torch.tensor([[7], [4]])
    check_supernet(net, inputs=inputs, candidates=[net.space.sample(np.random.default_rng(seed))])


@pytest.mark.slow
def test_it_is_exported() -> None:
    net = shared()
    check_supernet(net, candidates=[net.smallest, net.largest], formats=("safetensors", "pt2", "onnx"))


def test_its_ends_keep_it() -> None:
    net = shared()
    check_supernet(net, candidates=[net.smallest, net.largest])


def test_counts_come_from_the_table() -> None:
    """Whatever is attended to, and however many layers there are."""
    net = shared()
    assert net.count(net.largest).macs > net.count(net.smallest).macs
    assert net._counter._table is not None
    wide = {**dict(net.largest), "decoder0.attends": 1}
    one = net.count(net.largest).macs - net.count(net.space.candidate(wide)).macs
    assert one == 2 * 5 * (2 * 12 * 12) + 2 * 5 * 10 * 12, "two layers of five: keys and values, and two products"


def test_the_default_space_is_that_of_hat() -> None:
    with torch.device("meta"):
        net = translation()
    options = {choice.name: choice.options for choice in net.space}
    assert options["encoder.width"] == options["decoder.width"] == (512, 640)
    assert options["decoder.depth"] == (1, 2, 3, 4, 5, 6)
    assert options["encoder5.ffn"] == options["decoder5.ffn"] == (1024, 2048, 3072)
    assert options["encoder5.heads"] == options["decoder5.heads"] == options["decoder5.cross_heads"] == (4, 8)
    assert options["decoder5.attends"] == (1, 2, 3)
    assert "encoder6.ffn" not in options
    # two embeddings; FFN and heads of six layers; FFN, twice heads, and attention of one to six layers
    assert net.space.size == 2 * 2 * (3 * 2) ** 6 * sum((3 * 2 * 2 * 3) ** depth for depth in range(1, 7))
    assert net.module.decoder[0].cross.key.weight.shape == (512, 640)  # type: ignore[index, union-attr]


@pytest.mark.parametrize("depth, attends, width, heads", [(1, 1, 0, 2), (2, 2, 1, 3), (3, 3, 0, 3), (3, 1, 1, 2)])
def test_a_sub_network_is_the_network_that_one_would_write(depth: int, attends: int, width: int, heads: int) -> None:
    net = shared()
    wide = {"encoder.width": (8, 12)[width], "decoder.width": (10, 16)[width], "decoder.depth": depth}
    each: dict[str, int] = {}
    for name in (choice.name for choice in net.space if choice.name not in wide):
        each[name] = attends if name.endswith("attends") else 8 if name.endswith("ffn") else heads
    network = net.extract(net.space.candidate({**wide, **each}))
    twin = TranslationTransformer(
        SOURCE, TARGET, wide["encoder.width"], wide["decoder.width"], 3, depth, 8, heads, 4, attends
    ).eval()
    twin.load_state_dict(network.state_dict(), strict=True)
    source, target = sentences()
    mask = torch.arange(7) < torch.tensor([[7], [4]])
    torch.testing.assert_close(network(source, target, mask), twin(source, target, mask))
    assert torch.equal(network.translate(source, 1, 2, 6), twin.translate(source, 1, 2, 6))  # type: ignore[operator]


def test_positions_are_those_of_the_paper() -> None:
    net = TranslationTransformer(3, 3, encoder_width=6)
    found = net.source_positions(torch.zeros(1, 4, 6))[0]
    for at in range(4):
        for pair in range(3):
            angle = at / 10000 ** (2 * pair / 6)
            expected = torch.tensor([np.sin(angle), np.cos(angle)], dtype=torch.float32)
            torch.testing.assert_close(found[at, 2 * pair : 2 * pair + 2], expected)


@pytest.mark.parametrize("attends", [1, 2, 3])
def test_a_decoder_layer_attends_to_the_last_layers_of_the_encoder(attends: int) -> None:
    net = made(decoder_layers=(1,))
    network: Any = net.extract(net.space.candidate({**dict(net.largest), "decoder0.attends": attends}))
    seen: list[Tensor] = []
    for layer in network.encoder:
        layer.register_forward_hook(lambda module, args, out: seen.append(out))
    given: list[Tensor] = []
    network.decoder[0].cross.register_forward_hook(lambda module, args, out: given.append(args[1]))
    network(*sentences())
    assert len(seen) == 3
    assert torch.equal(given[0], torch.cat(seen[3 - attends :], 1))


def test_attention_is_multi_head_attention() -> None:
    """... as PyTorch's own module computes it."""
    torch.manual_seed(0)
    net = TranslationTransformer(3, 3, encoder_width=12, heads=3, head_size=4, ffn=4)
    own: Any = net.encoder[0].attention
    other = torch.nn.MultiheadAttention(12, 3, batch_first=True)
    with torch.no_grad():
        other.in_proj_weight.copy_(torch.cat([own.query.weight, own.key.weight, own.value.weight]))
        other.in_proj_bias.copy_(torch.cat([own.query.bias, own.key.bias, own.value.bias]))
        other.out_proj.load_state_dict(own.out.state_dict())
    own.eval()
    x, mask = torch.randn(2, 5, 12), torch.arange(5) < torch.tensor([[5], [3]])
    torch.testing.assert_close(own(x, x, mask), other(x, x, x, key_padding_mask=~mask)[0])
    later = torch.ones(5, 5, dtype=torch.bool).triu(1)
    torch.testing.assert_close(own(x, x, causal=True), other(x, x, x, attn_mask=later)[0])


def test_nothing_is_seen_of_later_words_and_of_padding() -> None:
    net = shared()
    source, target = sentences()
    with net.active(net.space.sample(np.random.default_rng(3))) as module, torch.no_grad():
        whole = module(source, target)
        torch.testing.assert_close(module(source, target[:, :2]), whole[:, :2])
        padded = torch.cat([source, source.flip(1)], 1)
        mask = torch.arange(14).expand(2, 14) < 7
        torch.testing.assert_close(module(padded, target, mask), whole)


def test_greedy_translations_take_the_likeliest_word_each_time() -> None:
    net = shared()
    source, _ = sentences(4)
    with net.active(net.largest) as module:
        free: Tensor = module.translate(source, 1, -1, 6)  # type: ignore[operator]
        assert free.shape == (4, 6)
        text = torch.full((4, 1), 1)
        for _ in range(6):
            text = torch.cat([text, module(source, text)[:, -1:].argmax(2)], 1)
        assert torch.equal(free, text[:, 1:])
        end = int(free[0, 1])
        found: Tensor = module.translate(source, 1, end, 6)  # type: ignore[operator]
    for row, whole in zip(found.tolist(), free.tolist(), strict=True):
        stop = whole.index(end) if end in whole else len(whole)
        assert row == [*whole[:stop], *[end] * (len(row) - stop)]
    assert found[0, -1] == end


def test_the_output_layer_is_the_embedding_also_when_it_is_cut() -> None:
    net = shared()
    for candidate in (net.smallest, net.largest):
        network: Any = net.extract(candidate)
        assert network.output.weight is network.target.weight
        assert network.output.in_features == network.target.embedding_dim == candidate["decoder.width"]


def test_sorting_by_importance_changes_no_output() -> None:
    """Positions go with their channels."""
    net = made()
    inputs = sentences()
    before = net.module(*inputs)
    sort_channels(net)
    torch.testing.assert_close(net.module(*inputs), before, rtol=1e-4, atol=1e-4)


def test_both_ends_learn() -> None:
    """A few steps on one batch, in turns."""
    net = made(dropout=0.0)
    source, target = sentences(4)
    optimizer = torch.optim.Adam(net.module.parameters(), lr=0.01)
    losses: dict[str, list[float]] = {"smallest": [], "largest": []}
    for _ in range(12):
        for end, seen in losses.items():
            with net.active(getattr(net, end)) as module:
                loss = F.cross_entropy(module(source, target[:, :-1]).flatten(0, 1), target[:, 1:].flatten())
                optimizer.zero_grad()
                loss.backward()
            optimizer.step()
            seen.append(loss.item())
    for end, seen in losses.items():
        assert seen[-1] < 0.5 * seen[0], f"{end}: {seen}"


def test_more_layers_are_not_attended_to_than_there_are() -> None:
    with pytest.raises(NetError, match=r"attends= .* 1 and the 3 layers .* not \[1, 4\]"):
        made(attends=(1, 4))
