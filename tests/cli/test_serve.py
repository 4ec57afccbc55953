"""``netwright serve`` as a person starts it, and as a browser shows it."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import netwright as nw
from cli.running import command, process

uvicorn = pytest.importorskip("uvicorn")


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("live") / "s.db"
    space = {"depth": (1, 2, 3), "width": (8, 16)}
    nw.search(space, figures, {"q": "max", "cost": "min"}, store=path, evaluations=6, strategy="random")
    return path


def figures(candidate: nw.Candidate) -> dict[str, float]:
    depth, width = int(candidate["depth"]), int(candidate["width"])  # type: ignore[call-overload]
    if (depth, width) == (2, 16):
        raise RuntimeError("<script>no</script>")
    return {"q": float(depth), "cost": float(depth * width)}


@contextmanager
def served(*arguments: object) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The process of a page and its address; it is ended as by Ctrl-C."""
    running = process("serve", *arguments, "--port", 0)
    try:
        assert running.stdout is not None
        line = running.stdout.readline()
        found = re.search(r"http://\S+", line)
        assert found, (line, running.communicate(timeout=30))
        yield running, found[0]
    finally:
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=30)
        assert running.returncode == 0 and "the studies are as they were" in err, (running.returncode, out, err)


def asked(address: str) -> str:
    with urllib.request.urlopen(address, timeout=30) as answer:
        return str(answer.read().decode())


def test_it_shows_studies_to_this_machine_and_ends_at_ctrl_c(study: Path) -> None:
    with served(study, study) as (_, address):
        assert address.startswith("http://127.0.0.1:") and "token" not in address
        assert "<title>netwright</title>" in asked(address)
        assert json.loads(asked(f"{address}api/studies")) == [str(study)] * 2
        told = json.loads(asked(f"{address}api/studies/1"))
        assert told["count"] == 6 and told["wanted"] is None
        with urllib.request.urlopen(f"{address}api/events", timeout=30) as events:
            assert events.readline() == b"data: [0, 1]\n"


def test_for_others_there_is_a_token(study: Path) -> None:
    with served(study, "--host", "0.0.0.0") as (_, address):
        place, _, token = address.partition("?token=")
        here = place.replace("0.0.0.0", "127.0.0.1")
        assert len(token) > 30
        with pytest.raises(urllib.error.HTTPError, match="401"):
            asked(here)
        opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
        assert b"<title>netwright</title>" in opener.open(f"{here}?token={token}", timeout=30).read()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere.db"], "there is no study at nowhere.db"),
        (["STUDY", "--port", "99999"], "nothing can listen at 127.0.0.1 port 99999"),
        (["STUDY", "--host", "999.1.2.3"], "nothing can listen at 999.1.2.3"),
        (["STUDY", "--prot", "1"], "did you mean '--port'"),
    ],
)
def test_what_cannot_be_served_is_said(arguments: list[str], said: str, study: Path) -> None:
    assert said in command("serve", *(str(study) if each == "STUDY" else each for each in arguments)).mistake


def test_without_its_packages_it_names_the_extra(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert "netwright[live]" in command("serve", study).mistake
