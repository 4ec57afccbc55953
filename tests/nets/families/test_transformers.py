"""Models of transformers as super-networks: checkpoints load, uniform sub-networks are models of a smaller config."""

from __future__ import annotations

import itertools
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from zoo.packages import torchvision

from netwright.core.candidate import Candidate
from netwright.core.errors import NetError
from netwright.formats.bundle import export, run_onnx
from netwright.formats.onnx import write_onnx
from netwright.nets.families.bert import bert
from netwright.nets.families.decoder import decoder
from netwright.nets.families.gpt2 import gpt2
from netwright.nets.families.pretrained import Pretrained
from netwright.nets.families.vit import vit
from netwright.nets.importance import sort_channels
from netwright.nets.inputs import call, tensors_in
from netwright.testing import check_supernet

with suppress(ImportError):
    torchvision()  # transformers imports it wherever it is installed
transformers: Any = pytest.importorskip("transformers", reason="transformers is not installed")

SIZES = {"hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 32}
IMAGES = {**SIZES, "image_size": 8, "patch_size": 4, "num_labels": 3}
TEXTS = {**SIZES, "vocab_size": 40, "max_position_embeddings": 12}
GROUPS = {**TEXTS, "num_key_value_heads": 2, "head_dim": 6}
DISTILLED = {"dim": 24, "n_layers": 3, "n_heads": 4, "hidden_dim": 32, "vocab_size": 40, "max_position_embeddings": 12}
GPT = {"n_embd": 24, "n_layer": 3, "n_head": 4, "n_inner": 32, "vocab_size": 40, "n_positions": 12}
FFN = {"DistilBertConfig": "hidden_dim", "GPT2Config": "n_inner"}
SHARES: dict[str, Any] = {"heads": (1 / 2,), "ffn": (1 / 2,)}

CASES: dict[str, tuple[Any, str, str, dict[str, Any]]] = {
    "vit": (vit, "ViTConfig", "ViTModel", IMAGES),
    "vit classifier": (vit, "ViTConfig", "ViTForImageClassification", IMAGES),
    "bert": (bert, "BertConfig", "BertModel", TEXTS),
    "bert classifier": (bert, "BertConfig", "BertForSequenceClassification", TEXTS),
    "bert, tied": (bert, "BertConfig", "BertForMaskedLM", TEXTS),
    "roberta classifier": (bert, "RobertaConfig", "RobertaForSequenceClassification", {**TEXTS, "pad_token_id": 1}),
    "xlm-roberta": (bert, "XLMRobertaConfig", "XLMRobertaModel", {**TEXTS, "pad_token_id": 1}),
    "electra classifier": (bert, "ElectraConfig", "ElectraForSequenceClassification", {**TEXTS, "embedding_size": 8}),
    "distilbert classifier": (bert, "DistilBertConfig", "DistilBertForSequenceClassification", DISTILLED),
    "gpt2": (gpt2, "GPT2Config", "GPT2LMHeadModel", GPT),
    "gpt2, untied": (gpt2, "GPT2Config", "GPT2LMHeadModel", {**GPT, "tie_word_embeddings": False}),
    "llama": (decoder, "LlamaConfig", "LlamaForCausalLM", GROUPS),
    "llama, tied": (decoder, "LlamaConfig", "LlamaForCausalLM", {**GROUPS, "tie_word_embeddings": True}),
    "llama, biased": (decoder, "LlamaConfig", "LlamaModel", {**GROUPS, "attention_bias": True, "mlp_bias": True}),
    "llama classifier": (decoder, "LlamaConfig", "LlamaForSequenceClassification", {**GROUPS, "pad_token_id": 39}),
    "qwen2": (decoder, "Qwen2Config", "Qwen2ForCausalLM", GROUPS),
    "qwen3, tied": (decoder, "Qwen3Config", "Qwen3ForCausalLM", {**GROUPS, "tie_word_embeddings": True}),
}
COUNTS = {"num_attention_heads", "all_head_size", "num_key_value_groups", "hidden_size", "intermediate_size"}
EACH_FAMILY = ("vit classifier", "bert classifier", "llama", "qwen2", "qwen3, tied")


def model_of(case: str, **changes: Any) -> Any:
    """A model with noise for weights: fresh biases and norms are zeros and ones, and hide mistakes."""
    _, config, model, sizes = CASES[case]
    made = getattr(transformers, model)(getattr(transformers, config)(**{**sizes, **changes})).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for tensor in made.parameters():
            tensor.add_(0.1 * torch.randn(tensor.shape, generator=generator))
    return made


def net_of(case: str, model: Any = None, **options: Any) -> Pretrained:
    return CASES[case][0](model_of(case) if model is None else model, **{"depths": (1, 2, 3), **SHARES, **options})


@cache
def shared(case: str, per_layer: bool = True) -> Pretrained:
    """One super-network for the tests that leave it as it is."""
    return net_of(case, per_layer=per_layer)


def outputs(network: Any, inputs: Any) -> list[Tensor]:
    with torch.no_grad():
        return list(tensors_in(call(network, inputs)))


def assert_same(one: Any, other: Any, inputs: Any) -> None:
    for a, b in zip(outputs(one, inputs), outputs(other, inputs), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


def alike(net: Pretrained, depth: int, **sizes: int) -> Candidate:
    """The candidate whose layers all have these sizes."""
    each = {f"layer{i}.{name}": size for i in range(3) for name, size in sizes.items() if name != "hidden"}
    whole = {"hidden": sizes["hidden"]} if "hidden" in sizes else {}
    return net.space.candidate({"depth": depth, **whole, **each})


@pytest.mark.parametrize("case", CASES)
def test_keeps_the_contract_of_super_networks(case: str) -> None:
    net = shared(case)
    check_supernet(net, candidates=[net.smallest, net.space.sample(np.random.default_rng(0))])


@settings(max_examples=3)
@given(st.sampled_from(EACH_FAMILY), st.booleans(), st.integers(0, 2**32))
def test_any_candidate_keeps_it(case: str, per_layer: bool, seed: int) -> None:
    net = shared(case, per_layer)
    check_supernet(net, candidates=[net.space.sample(np.random.default_rng(seed))])


@pytest.mark.parametrize("case", CASES)
def test_uniform_networks_are_models_of_a_smaller_config(case: str) -> None:
    net, (family, kind, model, whole) = shared(case), CASES[case]
    groups = whole.get("num_key_value_heads", 4)
    options: list[tuple[int, ...]] = [(1, 3), (16, 32)]
    options.append((4,) if family in (bert, gpt2) else (groups // 2, groups))  # a config with no size of heads
    options.append((16, 24) if "head_dim" in whole else (24,))
    for depth, ffn, heads, hidden in itertools.product(*options):
        sizes = {"hidden": hidden} if "head_dim" in whole else {}
        network: Any = net.extract(alike(net, depth, heads=heads, ffn=ffn, **sizes))
        config = getattr(transformers, kind)(**whole)
        told = {"num_hidden_layers": depth, FFN.get(kind, "intermediate_size"): ffn, "hidden_size": hidden}
        told["num_attention_heads"] = heads * 4 // groups
        if groups == 2:
            told["num_key_value_heads"] = heads
        if "vit" in case:
            told["head_dim"] = 6
        for name, value in told.items():
            setattr(config, name, value)
        if getattr(config, "layer_types", None):
            config.layer_types = config.layer_types[:depth]
        twin = getattr(transformers, model)(config).eval()
        twin.load_state_dict(network.state_dict(), strict=True)
        assert_same(network, twin, net.example_inputs)
        for name in (*SIZES, "num_key_value_heads", "head_dim", "layer_types"):
            if hasattr(network.config, name):
                assert getattr(network.config, name) == getattr(twin.config, name), name
        for path, module in twin.named_modules():
            for attribute in COUNTS & vars(module).keys():
                assert getattr(network.get_submodule(path), attribute) == vars(module)[attribute], f"{path}.{attribute}"


@pytest.mark.parametrize("case", ["vit classifier", "bert, tied", "llama, tied", "qwen2", "qwen3, tied"])
def test_one_choice_for_all_layers_gives_networks_that_are_saved_and_read_back(case: str, tmp_path: Path) -> None:
    net = shared(case, per_layer=False)
    before = net.module.config.to_dict()  # type: ignore[operator, union-attr]
    heads = {"vit classifier": 2, "bert, tied": 4}.get(case, 1)  # BERT's config cannot say that heads were cut
    hidden = {} if heads > 1 else {"hidden": 16}
    network: Any = net.extract(net.space.candidate({"depth": 2, "ffn": 16, "heads": heads, **hidden}))
    network.save_pretrained(tmp_path)
    again = type(net.module).from_pretrained(tmp_path).eval()  # type: ignore[attr-defined]
    assert {k: v.shape for k, v in again.state_dict().items()} == {k: v.shape for k, v in network.state_dict().items()}
    assert_same(network, again, net.example_inputs)
    assert net.module.config.to_dict() == before  # type: ignore[operator, union-attr]
    assert not any(type(m).__module__.startswith("netwright") for m in network.modules()), (
        "classes of transformers only"
    )


def test_a_config_names_the_whole_where_layers_differ() -> None:
    net = shared("llama")
    network: Any = net.extract(
        net.space.candidate({**dict(net.largest), "depth": 2, "layer0.ffn": 16, "layer1.heads": 1})
    )
    assert network.config.num_hidden_layers == 2
    assert network.config.intermediate_size == 32
    assert (network.config.num_attention_heads, network.config.num_key_value_heads) == (4, 2)
    assert [layer.mlp.intermediate_size for layer in network.model.layers] == [16, 32]


@pytest.mark.parametrize("case", EACH_FAMILY)
def test_a_checkpoint_loads_unchanged(case: str, tmp_path: Path) -> None:
    """Saved before, read after the model was made a super-network, and the other way round."""
    trained, fresh = model_of(case), model_of(case, initializer_range=0.5)
    trained.save_pretrained(tmp_path)
    published = type(trained).from_pretrained(tmp_path)
    net = net_of(case, fresh)
    assert net.module is fresh
    assert list(fresh.state_dict()) == list(published.state_dict())
    net.module.load_state_dict(published.state_dict(), strict=True)
    with net.active(net.largest) as module:
        assert_same(module, trained, net.example_inputs)
    published.load_state_dict(net.module.state_dict(), strict=True)


def test_tied_embeddings_stay_tied() -> None:
    for case, path in (("llama, tied", "model.embed_tokens"), ("bert, tied", "bert.embeddings.word_embeddings")):
        net = shared(case)
        network: Any = net.extract(net.smallest)
        assert network.get_output_embeddings().weight is network.get_submodule(path).weight
        assert net.count(net.smallest).params == sum(p.numel() for p in network.parameters())


def test_networks_write_texts_whole_and_cut() -> None:
    net, ids = shared("qwen3, tied"), torch.tensor([[3, 1, 4]])
    for candidate in (net.smallest, net.largest):
        network: Any = net.extract(candidate)
        text = network.generate(ids, max_new_tokens=4, do_sample=False)
        assert text.shape == (1, 7)
        slow = ids
        for _ in range(4):
            slow = torch.cat([slow, network(slow, use_cache=False).logits[:, -1:].argmax(2)], 1)
        assert torch.equal(text, slow)
        with net.active(candidate) as module:
            assert torch.equal(module.generate(ids, max_new_tokens=4, do_sample=False), text)  # type: ignore[operator]


def test_what_was_extracted_can_be_cut_again() -> None:
    net = shared("bert classifier")
    network: Any = net.extract(alike(net, 2, heads=2, ffn=16))
    again = bert(network, heads=(1 / 2,), ffn=(1 / 2,))
    assert again.space.largest == again.space.candidate({"depth": 2, "layer0.heads": 2, "layer0.ffn": 16,
                                                         "layer1.heads": 2, "layer1.ffn": 16})  # fmt: skip
    check_supernet(again, candidates=[again.smallest])


@pytest.mark.parametrize("case", ["vit classifier", "llama, tied"])
def test_sorting_by_importance_changes_no_output(case: str) -> None:
    net = net_of(case)
    before = outputs(net.module, net.example_inputs)
    sort_channels(net)
    for a, b in zip(before, outputs(net.module, net.example_inputs), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


def test_a_training_step_changes_what_the_candidate_has_and_nothing_else() -> None:
    net = net_of("bert classifier")
    before = {name: tensor.clone() for name, tensor in net.module.state_dict().items()}
    candidate = alike(net, 1, heads=2, ffn=16)
    optimizer = torch.optim.SGD(net.module.parameters(), lr=0.1)
    with net.active(candidate) as module:
        module.train()
        call(module, {**net.example_inputs, "labels": torch.tensor([1])}).loss.backward()  # type: ignore[dict-item]
    optimizer.step()
    cut = net.cut(candidate)
    moved = 0
    for name, tensor in net.module.state_dict().items():
        changed = (tensor != before[name]).nonzero()
        moved += len(changed)
        if "layer.1" in name or "layer.2" in name:
            assert not len(changed), f"{name} belongs to layers that were skipped"
        for dim, ranges in cut.keep.get(name, {}).items():
            assert all(any(a <= i < b for a, b in ranges) for i in changed[:, dim].tolist()), f"{name} was cut"
    assert moved > 1000


def test_models_of_another_family_are_refused() -> None:
    for family, wrong in ((vit, "bert"), (bert, "llama"), (decoder, "vit")):
        with pytest.raises(NetError, match=r"is not a model of this family.*wrap"):
            family(model_of(wrong))
    with pytest.raises(NetError, match=r"^Linear is not .* LlamaForCausalLM, Qwen2ForCausalLM and Qwen3ForCausalLM"):
        decoder(nn.Linear(2, 2))


@pytest.mark.parametrize(("family", "case"), [(bert, "bert"), (vit, "vit"), (decoder, "llama")])
def test_options_that_choose_nothing_are_told(family: Any, case: str) -> None:
    model = model_of(case)
    for argument, wrong in (("ffn", (256, 512)), ("heads", (6,)), ("heads", (0.5, "all"))):
        with pytest.raises(NetError, match=f"{argument}= takes shares of the whole"):
            family(model, **{argument: wrong})
    net = family(model, ffn=(0.999,), round_to=64, depths=(3,))
    assert "depth" not in net.space
    report = net.report
    assert report.fixed["depth"] == 3
    assert {name for name in report.fixed if name.endswith("ffn")} == {f"layer{i}.ffn" for i in range(3)}
    told = {**report.rigid, **report.partly}.values()
    assert any("its axis layer1.ffn was given one option alone" in why for why in told)
    assert "  one option alone: " in str(report)
    assert "depth 3, layer0.ffn 32" in str(report)


@pytest.mark.parametrize(("family", "case"), [(bert, "bert classifier"), (decoder, "qwen2")])
def test_the_length_of_the_example_is_given_and_told(family: Any, case: str) -> None:
    model = model_of(case)
    net = family(model, length=5)
    assert "input_ids (1, 5)" in net.report.counted_for
    assert net.count(net.largest).macs < family(model, length=10).count(net.largest).macs
    for wrong in (0, 100_000, "all"):
        with pytest.raises(NetError, match="length= is a number of tokens from 1 to the"):
            family(model, length=wrong)
    with pytest.raises(NetError, match="not both"):
        family(model, net.example_inputs, length=5)


def test_spaces_are_those_of_dynas_t() -> None:
    with torch.device("meta"):
        base = transformers.BertForSequenceClassification(transformers.BertConfig())
        large = transformers.ViTForImageClassification(transformers.ViTConfig())
    net = bert(base)
    assert net.space["depth"].options == (6, 7, 8, 9, 10, 11, 12)
    assert net.space["layer3.heads"].options == (6, 8, 10, 12)
    assert net.space["layer3.ffn"].options == (1024, 2048, 3072)
    assert net.space.size == sum((4 * 3) ** depth for depth in range(6, 13))
    assert vit(large).space.size == net.space.size
    assert vit(large, depths=(12,), per_layer=False).space.size == 4 * 3
    assert [c.name for c in bert(base, heads=(), ffn=(1 / 2,), depths=(12,), per_layer=False).space] == ["ffn"]
    assert shared("llama").space.size == 2 * sum((2 * 2) ** depth for depth in (1, 2, 3))


def test_a_model_without_data_has_a_space_and_counts() -> None:
    """LLaMA 3.2 with a billion parameters."""
    config = transformers.LlamaConfig(
        vocab_size=128256, hidden_size=2048, intermediate_size=8192, num_hidden_layers=16, num_attention_heads=32,
        num_key_value_heads=8, head_dim=64, tie_word_embeddings=True,
    )  # fmt: skip
    with torch.device("meta"):
        model = transformers.LlamaForCausalLM(config)
    net = decoder(model, per_layer=False, depths=(8, 16), hidden=(1 / 2,), heads=(1 / 2,), ffn=())
    assert net.count(net.largest).params == 1_235_814_400
    small: Any = net.extract(net.smallest)
    assert net.count(net.smallest).params == sum(p.numel() for p in small.parameters())
    assert next(small.parameters()).is_meta
    attention = {"macs": 2 * 32 * 64 * 128 * 128 * 16}
    linear = 1_235_814_400 - 2048 * 33  # all weights but those of the norms; the embedding is the output layer
    assert net.count(net.largest).macs == 128 * linear + attention["macs"]


@pytest.mark.parametrize("case", ["vit classifier", "bert classifier", "bert"])
def test_the_files_of_the_search_compute_the_same(case: str, tmp_path: Path) -> None:
    net = shared(case)
    for candidate in (net.smallest, net.largest, net.space.sample(np.random.default_rng(0))):
        assert_quick_file(net, candidate, tmp_path)


def assert_quick_file(net: Pretrained, candidate: Candidate, folder: Path) -> None:
    network = net.extract(candidate)
    write_onnx(network, net.example_inputs, folder / "quick.onnx")
    found = run_onnx(folder / "quick.onnx", net.example_inputs)
    np.testing.assert_allclose(found, outputs(network, net.example_inputs)[0].numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("case", EACH_FAMILY)
def test_exported_to_onnx_it_computes_the_same(case: str, tmp_path: Path) -> None:
    net = shared(case)
    assert export(net.extract(net.smallest), tmp_path, ["onnx"]).differences["onnx"] < 1e-5


@pytest.mark.parametrize("case", ["llama", "qwen3, tied"])
def test_decoders_are_exported(case: str, tmp_path: Path) -> None:
    net = shared(case)
    assert export(net.extract(net.smallest), tmp_path, ["pt2"]).differences["pt2"] < 1e-5
    assert_quick_file(net, net.largest, tmp_path)
