"""Directories for from_pretrained: read without netwright, with the tokenizer beside them, or refused."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from readers import Readers
from torch import nn
from zoo.packages import torchvision

import netwright as nw
from netwright.core.errors import BundleError
from netwright.formats import readback, transformers_reader
from netwright.formats import transformers as format_of_transformers
from netwright.formats.bundle import export
from netwright.nets.families.decoder import decoder
from netwright.nets.families.gpt2 import gpt2

with suppress(ImportError):
    torchvision()  # transformers imports it wherever it is installed
transformers: Any = pytest.importorskip("transformers", reason="transformers is not installed")

SIZES = {"hidden_size": 24, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 32,
         "vocab_size": 40, "max_position_embeddings": 16, "num_key_value_heads": 2, "head_dim": 6}  # fmt: skip
GPT = {"n_embd": 24, "n_layer": 4, "n_head": 4, "vocab_size": 40, "n_positions": 16}
CUT = {"depth": 3, "layer0.attention": 0, "layer1.ffn": 16, "layer2.mlp": 0}
SCRIPT = f"""
import json, runpy, sys
from pathlib import Path
read = runpy.run_path({str(Path(transformers_reader.__file__))!r})["read"]
import torch
found = {{}}
for folder in sys.argv[1:]:
    network = read(Path(folder))
    ids = torch.tensor([[3, 1, 4]])
    found[folder] = network.generate(ids, max_new_tokens=8, do_sample=False, pad_token_id=0)[0].tolist()
    network.save_pretrained(folder + "-again")
    again = read(Path(folder + "-again"))
    assert torch.equal(network(ids, use_cache=False).logits, again(ids, use_cache=False).logits)
assert not any(name.startswith("netwright.") for name in sys.modules)
print(json.dumps(found))
"""


@pytest.fixture(scope="module", autouse=True)
def quick(readers: Readers, fresh: None) -> Iterator[None]:
    """Copies of one process read back: what a fresh one does is a test of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(readback, "_answer", readers.answer)
        yield


def model_of(name: str, sizes: dict[str, Any], **changes: Any) -> Any:
    torch.manual_seed(0)
    config = getattr(transformers, name + "Config")(**{**sizes, "initializer_range": 0.3, **changes})
    return getattr(transformers, name + ("LMHeadModel" if name == "GPT2" else "ForCausalLM"))(config).eval()


def test_texts_are_the_same_cut_extracted_and_read_by_transformers_alone(tmp_path: Path) -> None:
    """Heads, FFNs and parts differ from layer to layer, and the first attention is missing."""
    wanted = {}
    for name, sizes, family in (("Llama", SIZES, decoder), ("Qwen3", SIZES, decoder), ("GPT2", GPT, gpt2)):
        net: Any = family(model_of(name, sizes), parts=True, length=8)
        wide, heads = net.space["layer1.ffn"].options, net.space["layer1.heads"].options
        candidate = net.space.candidate({**dict(net.largest), **CUT, "layer1.ffn": wide[0], "layer1.heads": heads[0]})
        network = net.extract(candidate)
        bundle = export(network, tmp_path / name, ["transformers"])
        ids = torch.tensor([[3, 1, 4]])
        told = network.generate(ids, max_new_tokens=8, do_sample=False, pad_token_id=0)[0].tolist()
        with net.active(candidate) as module:
            assert module.generate(ids, max_new_tokens=8, do_sample=False, pad_token_id=0)[0].tolist() == told
        assert len(set(told[3:])) > 1
        wanted[str(bundle.path / "transformers")] = told
        config = json.loads((bundle.path / "transformers" / "config.json").read_text())
        assert config["per_layer_config"]["0"]["skip"] == ["attention"]
        assert config["per_layer_config"]["2"]["skip"] == ["mlp"]
        assert config["per_layer_config"]["1"]["num_attention_heads"] == 2
    done = subprocess.run([sys.executable, "-I", "-c", SCRIPT, *wanted], capture_output=True, text=True, check=False)
    assert not done.returncode, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == wanted


def test_what_is_uneven_is_not_read_as_something_else_by_the_class_of_transformers(tmp_path: Path) -> None:
    net = gpt2(model_of("GPT2", GPT), length=8)
    for i, changes in enumerate(({"layer0.heads": 2}, {"layer0.ffn": 48}, {f"layer{i}.heads": 2 for i in range(4)})):
        bundle = export(net.extract({**dict(net.largest), **changes}), tmp_path / str(i), ["transformers"])
        with pytest.raises((RuntimeError, ValueError)):
            transformers.GPT2LMHeadModel.from_pretrained(bundle.path / "transformers")


def test_a_cache_is_among_the_outputs_that_are_compared(tmp_path: Path) -> None:
    model = model_of("Llama", SIZES)
    done = export(model, tmp_path, ["transformers"], example_inputs={"input_ids": torch.tensor([[3, 1, 4]])})
    assert done.differences["transformers"] < 1e-6


def test_a_network_is_copied_and_compared_with_its_config_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, plan = list[Any](), format_of_transformers._plan
    monkeypatch.setattr(format_of_transformers, "_plan", lambda network: asked.append(network) or plan(network))
    model = model_of("Llama", SIZES)
    form = format_of_transformers.Transformers()
    for folder in ("a", "b"):
        export(model, tmp_path / folder, [form], example_inputs={"input_ids": torch.tensor([[3, 1, 4]])})
        assert not form._planned, "the copy is not kept"
    assert asked == [model, model]


def test_files_of_the_tokenizer_come_along(tmp_path: Path) -> None:
    given = tmp_path / "given"
    model_of("Llama", SIZES).save_pretrained(given)
    for name in (
        "tokenizer.json",
        "tokenizer_config.json",
        "special_tokens_map.json",
        "chat_template.jinja",
        "my.md",
    ):
        (given / name).write_text("{}")
    net = decoder(transformers.LlamaForCausalLM.from_pretrained(given), per_layer=False, length=8)
    bundle = export(net.extract(net.smallest), tmp_path / "out", ["transformers"])
    written = json.loads((bundle.path / "manifest.json").read_text())["written"]["transformers"]
    beside = ["chat_template.jinja", "special_tokens_map.json", "tokenizer.json", "tokenizer_config.json"]
    assert written["beside"] == beside
    assert written["class"] == "LlamaForCausalLM"
    found = {each.name for each in (bundle.path / "transformers").iterdir()}
    assert found == {*beside, "config.json", "generation_config.json", "model.safetensors"}
    assert str(tmp_path) not in (bundle.path / "transformers" / "config.json").read_text()


def test_an_earlier_network_leaves_nothing_behind(tmp_path: Path) -> None:
    net = decoder(model_of("Llama", SIZES), length=8)
    export(net.extract({**dict(net.largest), "layer0.ffn": 16}), tmp_path, ["transformers"])
    (tmp_path / "transformers" / "mine.txt").write_text("kept")
    export(net.extract(net.largest), tmp_path, ["transformers"])
    assert {each.name for each in (tmp_path / "transformers").iterdir()} == {
        "config.json", "generation_config.json", "mine.txt", "model.safetensors",
    }  # fmt: skip


def test_heads_of_which_the_hidden_size_is_no_multiple_are_read(tmp_path: Path) -> None:
    """LLaMA's own config refuses them."""
    sizes = {**SIZES, "hidden_size": 32, "num_attention_heads": 4, "num_key_value_heads": 4, "head_dim": 8}
    net = decoder(model_of("Llama", sizes), heads=(3 / 4,), ffn=(), hidden=(), per_layer=False, length=8)
    bundle = export(net.extract({**dict(net.largest), "heads": 3}), tmp_path, ["transformers"])
    assert json.loads((tmp_path / "manifest.json").read_text())["written"]["transformers"]["kind"] == "custom code"
    assert bundle.differences["transformers"] < 1e-6


def test_what_transformers_would_misread_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"^Linear is not a model of transformers.*leave it out of formats$"):
        export(nn.Linear(2, 2), tmp_path, ["transformers"], example_inputs=torch.ones(1, 2))
    model = transformers.GPTNeoXForCausalLM(
        transformers.GPTNeoXConfig(
            hidden_size=24, num_hidden_layers=2, num_attention_heads=4, intermediate_size=32, vocab_size=40
        )
    ).eval()
    inputs = {"input_ids": torch.arange(6)[None], "use_cache": False}
    net = nw.wrap(model, inputs, axes=["width"])
    narrow = net.space.candidate({**dict(net.largest), **dict([next(iter(dict(net.smallest).items()))])})
    with pytest.raises(BundleError, match=r"reads as another network.*models like BertModel.*leave transformers out"):
        export(net.extract(narrow), tmp_path, ["transformers"])
    assert not (tmp_path / "manifest.json").exists()


def test_of_a_wrapped_model_layers_may_differ_and_nothing_else(tmp_path: Path) -> None:
    inputs = {"input_ids": torch.arange(6)[None], "use_cache": False}
    for name, sizes in (("Llama", SIZES), ("GPT2", GPT)):
        net = nw.wrap(model_of(name, sizes), inputs)
        widths = [choice for choice in net.space if choice.name.endswith("width")]
        ffn = next(choice for choice in widths if max(choice.options) in (32, 96))
        bundle = export(net.extract({**net.largest, ffn.name: ffn.options[0]}), tmp_path / name, ["transformers"])
        assert bundle.differences["transformers"] < 1e-6
    hidden = next(choice for choice in widths if max(choice.options) == 24)
    with pytest.raises(
        BundleError, match=r"heads have 6 channels here and 4 there; only the heads, FFN sizes and parts"
    ):
        export(net.extract({**net.largest, hidden.name: 16}), tmp_path / "hidden", ["transformers"])
