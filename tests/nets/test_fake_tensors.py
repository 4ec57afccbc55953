"""What is kept between traces has an end."""

from __future__ import annotations

import pytest
import torch

from netwright.nets import fake_tensors


def test_known_forms_do_not_grow_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fake_tensors, "FORMS", 10)
    metas = [torch.empty(n, 3, device="meta") for n in range(1, 50)]
    mode = fake_tensors.FakeTensors()
    with mode:
        for n in range(1, 50):
            assert torch.relu(metas[n - 1]).shape == (n, 3)
    assert len(mode._forms) <= 10
