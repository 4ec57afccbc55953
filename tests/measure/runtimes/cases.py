"""Networks that runtimes are tried on, as small as they can be, and what is asked of all runtimes alike."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from zoo.packages import torchvision

from netwright.measure.convert import example, feeds_of, outputs_of
from netwright.measure.runtimes.base import Runtime
from netwright.nets.families.inverted_residual import inverted_residual
from netwright.nets.families.ofa_mobilenet import ofa_mobilenet_v3
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


def difference(runtime: Runtime, module: nn.Module, inputs: Any, path: Path) -> float:
    """How far a converted network is from PyTorch, relative to the outputs' size; of inputs that it was not given."""
    runtime.convert(module, inputs, path)
    others = {
        name: np.random.default_rng(1).standard_normal(v.shape).astype(v.dtype) if v.dtype.kind == "f" else v
        for name, v in feeds_of(inputs).items()
    }
    if isinstance(inputs, dict):
        changed: Any = {name: torch.from_numpy(value) for name, value in others.items()}
    else:
        (only,) = others.values()
        changed = torch.from_numpy(only)
    wanted = outputs_of(module, changed)
    session = runtime.open(path, others)
    session.run()
    got = session.outputs()
    assert [g.shape for g in got] == [w.shape for w in wanted]
    return max(float(np.linalg.norm(g - w) / np.linalg.norm(w)) for g, w in zip(got, wanted, strict=True))
