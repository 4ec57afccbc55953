"""Translation is judged by what networks write, alike in PyTorch and in exported files."""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import netwright as nw
from netwright.core.errors import MeasureError, MissingExtra, NetError, RecipeError
from netwright.formats.bundle import export
from netwright.measure.exported import OnnxModule
from netwright.nets.families.translation import TranslationTransformer, translation
from netwright.tasks.translation import Translation
from netwright.testing import check_task

sacrebleu = pytest.importorskip("sacrebleu", reason="sacrebleu is not installed")

BEGIN, END, SOURCE, TARGET = 1, 2, 20, 12
WORDS = [f"w{i}" for i in range(TARGET)]


def text(ids: list[int]) -> str:
    return " ".join(WORDS[i] for i in ids if i > END)


def task(**settings: Any) -> Translation:
    return Translation(text, END, **{"longest": 9, **settings})


@cache
def supernet() -> nw.SuperNet:
    torch.manual_seed(0)
    net = translation(
        SOURCE, TARGET, encoder_widths=(8, 12), decoder_widths=(10, 16), ffn=(8, 16), heads=(2, 3), head_size=4,
        encoder_layers=2, decoder_layers=(1, 2), attends=(1, 2), length=5,
    )  # fmt: skip
    with torch.no_grad():
        for tensor in net.module.parameters():
            tensor.add_(0.3 * torch.randn_like(tensor))
    inputs, _ = sentences(1)
    return nw.SuperNet(net.module.eval(), net.axes, inputs)


def sentences(count: int, seed: int = 0) -> tuple[dict[str, Tensor], Tensor]:
    """A batch: sources of several lengths, and targets that begin and end."""
    generator = torch.Generator().manual_seed(seed)
    source = torch.randint(SOURCE, (count, 7), generator=generator)
    mask = torch.arange(7) < torch.randint(3, 8, (count, 1), generator=generator)
    mask[0] = True
    words = torch.randint(3, TARGET, (count, 6), generator=generator)
    size = torch.randint(2, 6, (count, 1), generator=generator)
    labels = words.where(torch.arange(6) < size, -100).where(torch.arange(6) != size, torch.tensor(END))
    written = torch.cat([torch.full((count, 1), BEGIN), labels[:, :-1].clamp(min=0)], 1)
    return {"source_ids": source, "target_ids": written, "source_mask": mask}, labels


def test_it_keeps_the_contract_of_tasks() -> None:
    parts = [[sentences(8, seed), sentences(8, seed + 9)] for seed in range(3)]
    found = check_task(task(label_smoothing=0.1), supernet().module, nw.Data(*parts))
    assert set(found) == {"bleu", "loss"}


def test_a_network_writes_what_its_own_method_writes() -> None:
    """The family's, which keeps what the encoder gives."""
    module: Any = supernet().module
    assert isinstance(module, TranslationTransformer)
    inputs, _ = sentences(16)
    for longest in (1, 3, 30):
        own = module.translate(inputs["source_ids"], BEGIN, END, longest, inputs["source_mask"])
        assert torch.equal(task(longest=longest).answer(module, inputs)["translation"], own)


def test_bleu_is_that_of_sacrebleu() -> None:
    """Of the whole corpus, whatever the batches; texts end before the first end, and none may be empty."""
    judged, texts, true = task().evaluator(), list[str](), list[str]()
    rng = np.random.default_rng(0)
    for seed in range(3):
        inputs, labels = sentences(10, seed)
        noisy = torch.where(torch.tensor(rng.random(labels.shape) < 0.2), 5, labels.clamp(min=END))
        noisy[0] = END
        scores = torch.zeros(10, 6, TARGET)
        assert judged.update({"logits": scores, "translation": noisy}, labels) == 10
        for row, label in zip(noisy.tolist(), labels.tolist(), strict=True):
            texts.append(text(row[: [*row, END].index(END)]))
            true.append(text([i for i in label if i > END]))
        del inputs
    found = judged.result()
    assert found["bleu"].value == pytest.approx(sacrebleu.corpus_bleu(texts, [true]).score)
    assert 20 < found["bleu"].value < 100 and found["bleu"].ci95 > 0 and found["bleu"].n == 30
    assert found["loss"].value == pytest.approx(np.log(TARGET), abs=1e-6)


def test_an_exported_file_is_judged_as_the_network_is(tmp_path: Path) -> None:
    net = supernet()
    network = net.extract(net.smallest)
    batches = [sentences(4), sentences(8, 1)]
    bundle = export(network, tmp_path, ["onnx"])
    module = OnnxModule(bundle.files["model.onnx"], network, net.example_inputs)
    judged = task()
    for inputs, _ in batches:
        assert torch.equal(judged.answer(module, inputs)["translation"], judged.answer(network, inputs)["translation"])
    figures = [nw.Quality(judged, batches).all_of(each)["bleu"].value for each in (module, network)]
    assert figures[0] == figures[1]


def test_the_training_is_that_of_next_tokens() -> None:
    inputs, labels = sentences(4)
    scores = supernet().module(**inputs)
    wanted = torch.nn.functional.cross_entropy(scores.flatten(0, 1), labels.flatten(), label_smoothing=0.1)
    assert task(label_smoothing=0.1).loss(scores, labels).item() == pytest.approx(wanted.item())


def test_mistakes_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RecipeError, match="longest is a number of tokens from 1"):
        task(longest=0)
    with pytest.raises(NetError, match="a dict of inputs with target_ids or decoder_input_ids"):
        task().answer(supernet().module, torch.zeros(1, 3))
    with pytest.raises(NetError, match="is judged by what"):
        task().evaluator().update(torch.zeros(1, 3, TARGET), torch.zeros(1, 3, dtype=torch.long))
    with pytest.raises(MeasureError, match="bleu cannot be judged"):
        nw.Quality(task(), [(torch.zeros(1, 3), torch.zeros(1, 3, dtype=torch.long))]).all_of(supernet().module)
    with pytest.raises(RecipeError, match="with the end token 99 in its vocabulary"):
        Translation(text, 99).check(supernet().module, nw.Data(*[[sentences(2)]] * 3))
    monkeypatch.setitem(sys.modules, "sacrebleu.metrics.bleu", None)
    with pytest.raises(
        MissingExtra, match=r"the task translation needs the package 'sacrebleu'.*netwright\[translation\]"
    ):
        task()
