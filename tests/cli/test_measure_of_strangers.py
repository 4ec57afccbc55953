"""``netwright measure FILE`` of a file that somebody else has made."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from .running import command

QUICK = ("--max-seconds", "0.05", "--precision", "0.5")


class Evil:
    """Runs when it is unpickled, and gives example inputs. The measuring process may be in any folder."""

    def __init__(self, ran: Path) -> None:
        self.ran = ran

    def __reduce__(self) -> Any:
        return eval, (f"(open({str(self.ran)!r}, 'w').close(), ((__import__('torch').zeros(1, 4),), {{}}))[1]",)


def test_a_program_is_opened_where_it_is_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ran = tmp_path / "ran"
    torch.export.save(torch.export.export(nn.Linear(4, 2), (torch.zeros(1, 4),)), "good.pt2")
    with zipfile.ZipFile("good.pt2") as good, zipfile.ZipFile("evil.pt2", "w") as evil:
        for name in good.namelist():
            content = io.BytesIO()
            torch.save(Evil(ran), content)
            evil.writestr(name, content.getvalue() if "/sample_inputs/" in name else good.read(name))
    told = command("measure", "evil.pt2", *QUICK)
    assert told.code == 2 and len(told.lines) == 1 and not ran.exists()
    assert "evil.pt2 is a program" in told.err and "builtins.eval" in told.err and "--trust" in told.err
    assert command("measure", "evil.pt2", *QUICK, "--trust").code == 0
    assert ran.exists()
