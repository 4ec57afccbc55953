"""Networks that runtimes are tried on, as small as they can be, and what is asked of all runtimes alike."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from zoo.packages import torchvision

from netwright.measure.agreement import TOLERANCE
from netwright.measure.convert import example, feeds_of, outputs_of
from netwright.measure.runtimes.base import Runtime
from netwright.nets.families.inverted_residual import inverted_residual
from netwright.nets.families.ofa_mobilenet import ofa_mobilenet_v3
from netwright.nets.inputs import each_tensor
from netwright.nets.recalibrate import recalibrate

SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
NETWORKS = ("inverted residual", "mobilenet", "bert", "vit")


def network(name: str, batch: int = 1) -> tuple[nn.Module, Any]:
    """A network whose outputs depend on its inputs, and these."""
    torch.manual_seed(0)
    if name in ("inverted residual", "mobilenet"):
        net = (
            inverted_residual(1, 3, 6, widths=((4, 8), (6, 12)), depths=((1, 2), (1,)), expands=(1, 2))
            if name == "inverted residual"
            else ofa_mobilenet_v3(width=0.25, resolutions=(32,), classes=5)
        )
        module = net.extract(net.smallest)
        shape = net.example_inputs.shape[1:]
        recalibrate(module, [torch.randn(16, *shape) for _ in range(2)])
        return module.eval(), example(torch.randn(1, *shape), batch)
    with suppress(ImportError):
        torchvision()  # transformers imports it wherever it is installed
    import transformers

    if name == "vit":
        config = transformers.ViTConfig(**SIZES, image_size=16, patch_size=4, num_labels=5)
        return transformers.ViTForImageClassification(config).eval(), example(
            {"pixel_values": torch.randn(1, 3, 16, 16)}, batch
        )
    bert = transformers.BertConfig(**SIZES, vocab_size=50, max_position_embeddings=16)
    words = {"input_ids": torch.randint(1, 50, (1, 12)), "attention_mask": torch.ones(1, 12, dtype=torch.long)}
    return transformers.BertForSequenceClassification(bert).eval(), example(words, batch)


def most(name: str, precision: str) -> float:
    """How far a network may be from PyTorch: of a deep one that has learned nothing, much of what the last layers see
    is rounding."""
    return TOLERANCE[precision] * (2 if name == "mobilenet" and precision != "float32" else 1)


def others(inputs: Any, count: int, seed: int = 1) -> list[Any]:
    """Inputs of the same shapes and of the same distribution, none of them the same."""
    generator = torch.Generator().manual_seed(seed)
    shuffled = lambda t: torch.randn(t.shape, generator=generator) if t.is_floating_point() else t  # noqa: E731
    return [each_tensor(inputs, shuffled) for _ in range(count)]


def difference(runtime: Runtime, module: nn.Module, inputs: Any, path: Path) -> float:
    """How far a converted network is from PyTorch, relative to the outputs' size; of inputs that it was not given."""
    runtime.convert(module, inputs, path, others(inputs, 16))
    tried = others(inputs, 8, seed=2)
    session = runtime.open(path, feeds_of(tried[0]))
    got, wanted = [], []
    for each in tried:
        session.feed(feeds_of(each))
        session.run()
        got.append(session.outputs())
        wanted.append(outputs_of(module, each))
        assert [g.shape for g in got[-1]] == [w.shape for w in wanted[-1]]
    pairs = [(np.stack(g), np.stack(w)) for g, w in zip(zip(*got, strict=True), zip(*wanted, strict=True), strict=True)]
    return max(float(np.linalg.norm(g - w) / np.linalg.norm(w)) for g, w in pairs)
