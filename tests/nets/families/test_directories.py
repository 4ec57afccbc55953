"""Networks of every family are read back by transformers alone, whether their config describes them or not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("transformers", reason="transformers is not installed")

from nets.families.test_transformers import CASES, assert_same, shared

from netwright.core.candidate import Candidate
from netwright.formats.bundle import export
from netwright.nets.families.pretrained import Pretrained


def uneven(net: Pretrained) -> Candidate:
    """A candidate of two layers that differ."""
    rng = np.random.default_rng(0)
    while True:
        found = net.space.sample(rng)
        if found["depth"] == 2 and found["layer0.ffn"] != found["layer1.ffn"]:
            return found


@pytest.mark.parametrize("case", CASES)
def test_networks_are_read_by_transformers_alone(case: str, tmp_path: Path) -> None:
    net = shared(case)
    for candidate, kind in ((net.largest, "standard"), (uneven(net), "custom code")):
        network: Any = net.extract(candidate)
        with net.active(candidate) as module:
            assert_same(module, network, net.example_inputs)
        bundle = export(network, tmp_path / kind, ["transformers"])
        manifest = json.loads((bundle.path / "manifest.json").read_text())
        assert bundle.differences["transformers"] < 1e-5
        assert manifest["written"]["transformers"]["kind"] == kind
        assert {"transformers/config.json", "transformers/model.safetensors"} <= manifest["files"].keys()
        assert ("transformers/modeling_per_layer.py" in manifest["files"]) == (kind == "custom code")
