"""Models of transformers without some attentions and feed-forward networks."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from zoo.packages import torchvision

import netwright as nw
from netwright.formats.bundle import run_onnx
from netwright.formats.onnx import write_onnx
from netwright.nets.inputs import call, tensors_in
from netwright.testing import check_supernet

with suppress(ImportError):
    torchvision()  # transformers imports it wherever it is installed
transformers: Any = pytest.importorskip("transformers", reason="transformers is not installed")

LAYERS = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 3, "num_attention_heads": 2}
GROUPS = {**LAYERS, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 40}
FFNS = {"encoder_ffn_dim": 24, "decoder_ffn_dim": 24, "encoder_layers": 2, "decoder_layers": 2, "d_model": 16}
HEADS = {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "pad_token_id": 0, "decoder_start_token_id": 0}
TOKENS = torch.randint(1, 40, (2, 7), generator=torch.Generator().manual_seed(0))
TEXT = {"input_ids": TOKENS, "use_cache": False}
PAIR = {**TEXT, "decoder_input_ids": TOKENS[:, :5]}

CASES: dict[str, tuple[str, str, dict[str, Any], dict[str, Any], dict[str, int]]] = {
    "llama": ("LlamaConfig", "LlamaForCausalLM", GROUPS, TEXT, {"model.layers.self_attn": 3, "model.layers.mlp": 3}),
    "gpt2": (
        "GPT2Config",
        "GPT2LMHeadModel",
        {"n_embd": 16, "n_layer": 3, "n_head": 2, "vocab_size": 40, "bos_token_id": 1, "eos_token_id": 1},
        TEXT,
        {"transformer.h.attn": 3, "transformer.h.mlp": 3},
    ),
    "bert": (
        "BertConfig",
        "BertForSequenceClassification",
        {**LAYERS, "vocab_size": 40},
        {"input_ids": TOKENS, "attention_mask": torch.ones_like(TOKENS)},
        {"bert.encoder.layer.attention.self": 3, "bert.encoder.layer.intermediate": 3},
    ),
    "vit": (
        "ViTConfig",
        "ViTForImageClassification",
        {**LAYERS, "image_size": 8, "patch_size": 4},
        {"pixel_values": torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))},
        {"vit.layers.attention": 3, "vit.layers.mlp": 3},
    ),
    "t5": (  # the first attention of either makes the positions of the others
        "T5Config",
        "T5ForConditionalGeneration",
        {"vocab_size": 40, "d_model": 16, "d_ff": 24, "num_layers": 3, "num_heads": 2, "d_kv": 8},
        PAIR,
        {
            "encoder.block.layer.0": 2,
            "encoder.block.layer.1": 3,
            "decoder.block.layer.0": 2,
            "decoder.block.layer.1": 2,
            "decoder.block.layer.2": 3,
        },
    ),
    "marian": (
        "MarianConfig",
        "MarianMTModel",
        {"vocab_size": 40, **FFNS, **HEADS},
        PAIR,
        {
            **{f"model.encoder.layers.{own}": 2 for own in ("self_attn", "fc1")},
            **{f"model.decoder.layers.{own}": 2 for own in ("self_attn", "encoder_attn", "fc1")},
        },
    ),
    "mixtral": (
        "MixtralConfig",
        "MixtralForCausalLM",
        {**GROUPS, "num_hidden_layers": 2, "num_local_experts": 3},
        TEXT,
        {"model.layers.self_attn": 2, "model.layers.mlp": 2},
    ),
    "gpt-neox, beside one another": (
        "GPTNeoXConfig",
        "GPTNeoXForCausalLM",
        {**LAYERS, "vocab_size": 40},
        TEXT,
        {"gpt_neox.layers.attention": 3, "gpt_neox.layers.mlp": 3},
    ),
}


def model_of(case: str) -> Any:
    """A model with noise for weights: fresh biases and norms are zeros and ones, and hide mistakes."""
    config, model, sizes, *_ = CASES[case]
    made = getattr(transformers, model)(getattr(transformers, config)(**sizes)).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for tensor in made.parameters():
            tensor.add_(0.1 * torch.randn(tensor.shape, generator=generator))
    return made


@pytest.mark.parametrize("case", CASES)
def test_parts_are_found_and_left_out(case: str) -> None:
    *_, inputs, wanted = CASES[case]
    net = nw.wrap(model_of(case), inputs, axes=["parts", "depth"])
    assert {axis.name.removesuffix(".parts"): axis.options[-1] for axis in net.axes} == wanted
    check_supernet(net, candidates=[net.smallest, net.space.sample(np.random.default_rng(0))])


SILENT = {"llama": ("self_attn.o_proj", "mlp.down_proj"), "gpt2": ("attn.c_proj", "mlp.c_proj")}


@pytest.mark.parametrize("case", SILENT)
def test_without_them_the_model_is_as_with_weights_of_zero(case: str, tmp_path: Path) -> None:
    model = model_of(case)
    net = nw.wrap(model, CASES[case][3], axes=["parts"])
    attention, ffn = (axis.name for axis in net.axes)
    with torch.no_grad():
        network = net.extract({attention: 1, ffn: 2})
        path = tmp_path / "m.onnx"
        write_onnx(network, {"input_ids": TOKENS}, path)
        exported = torch.from_numpy(run_onnx(path, {"input_ids": TOKENS}))
        own = next(tensors_in(call(network, CASES[case][3])))
        layers = model.model.layers if case == "llama" else model.transformer.h
        for i, layer in enumerate(layers):
            for kept, name in zip((i < 1, i < 2), SILENT[case], strict=True):
                for tensor in layer.get_submodule(name).parameters():
                    tensor.mul_(kept)
        whole = next(tensors_in(call(model, CASES[case][3])))
    assert torch.allclose(own, whole, atol=1e-5)
    assert torch.allclose(exported, whole, atol=1e-4)
