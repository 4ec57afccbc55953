"""Mistakes that people make in Python: each is answered in netwright's own words, or what was meant is taken.

``python_mistakes.txt`` holds the calls, each with words that its answer must have, or ``taken``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import netwright as nw
from netwright.formats.safetensors import Safetensors
from netwright.study.stores.memory import MemoryStore
from netwright.testing import FakeNet

LINES = (Path(__file__).parent / "python_mistakes.txt").read_text().splitlines()
ROWS = [tuple(line.rsplit("  ->  ", 1)) for line in LINES if line and not line.startswith("#")]
BARE = re.compile(r"object has no attribute '(?!b')|is not iterable|unhashable|not subscriptable|not callable")
"""What Python says of a mistake, and netwright does not; ``b`` is what a person's own condition asks for."""

SPACE = nw.Space([nw.Choice("a", (1, 2, 3)), nw.Choice("b", (1, 2))])
Q = {"q": "max"}


class Size(nw.Measurer):
    metrics = (nw.Metric("size"),)

    def measure(self, context: Any) -> Mapping[str, nw.Measurement]:
        return {"size": nw.Measurement(context.candidate["a"])}


def f(candidate: nw.Candidate) -> dict[str, float]:
    return {"q": float(sum(candidate.values())), "m": 1.0}  # type: ignore[arg-type]


@cache
def module() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 2))


@cache
def net() -> nw.SuperNet:
    return nw.wrap(nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 2)), torch.randn(2, 4))


@cache
def small() -> nn.Module:
    return net().extract(net().smallest)


def split() -> nw.Split:
    return nw.Split(torch.randn(6, 4), torch.arange(6) % 2)


def batches() -> list[Any]:
    return list(nw.TensorLoader(split(), 6))


def data() -> nw.Data:
    return nw.Data(split(), split(), split())


def calls(**usual: Callable[[], Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Let a function be called with some of its arguments, the rest as usual."""
    return lambda function: lambda **given: function(**{k: v() for k, v in usual.items() if k not in given} | given)


s = calls(
    space=lambda: SPACE,
    evaluate=lambda: f,
    objectives=lambda: Q,
    evaluations=lambda: 3,
    strategy=lambda: "random",
)(nw.search)
st = calls(store=MemoryStore, net=lambda: FakeNet(SPACE), objectives=lambda: [Size()])(nw.Study)
tr = calls(net=net, loader=batches, epochs=lambda: 1)(nw.train)
ft = calls(network=lambda: nn.Linear(4, 2), loader=batches, epochs=lambda: 1)(nw.finetune)
wr = calls(
    module=lambda: nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 2)),
    example_inputs=lambda: torch.randn(2, 4),
)(nw.wrap)
ex = calls(network=small, out=lambda: Path("out"), formats=lambda: ["safetensors"])(nw.export)


def run(*args: Any, **given: Any) -> Any:
    return st().run(*(args or ("random", 3)), **given)


def ql(task: Any = "classification", device: Any = None) -> Any:
    return nw.Quality(task, batches(), device).of(net().module)


@cache
def recs() -> tuple[nw.Record, ...]:
    return tuple(s())


def sn(axis: nw.Axis) -> nw.SuperNet:
    return nw.SuperNet(module(), [axis], torch.randn(2, 4))


def with_active(net: nw.SuperNet, candidate: Any) -> None:
    with net.active(candidate) as active:
        active(torch.randn(2, 4))


def csv() -> Path:
    Path("t.csv").write_text("a,q\n1,2\n2,3\n")
    return Path("t.csv").resolve()


def out() -> Path:
    return nw.export(small(), Path("bundle").resolve(), ["safetensors"]).path


def fmt() -> type:
    return Safetensors


def meas(function: Callable[[nw.Candidate], Any]) -> Size:
    return type("M", (Size,), {"measure": lambda self, context: function(context.candidate)})()


def nometrics(*metrics: Any) -> nw.Measurer:
    own = {"metrics": metrics[0]} if metrics else {}
    return type("M", (nw.Measurer,), {"measure": lambda self, context: {}, **own})()


def strat(function: Callable[..., Any]) -> nw.Strategy:
    return type("S", (nw.Strategy,), {"ask": staticmethod(function)})()


def own_rule(function: Callable[..., Any]) -> nw.rules.Rule:
    return type("R", (nw.rules.Rule,), {"step": staticmethod(function)})()


def own_task(function: Callable[..., Any]) -> nw.Task:
    return type("T", (nw.tasks.Classification,), {"loss": staticmethod(function)})()


NAMES = {**globals(), "np": np}


@pytest.fixture(scope="module", autouse=True)
def _elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("mistakes"))
        NAMES["TMP"] = Path.cwd()
        yield


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("call", "words"), ROWS, ids=[call[:60] for call, _ in ROWS])
def test_a_mistake_is_answered_in_words_or_what_was_meant_is_taken(call: str, words: str) -> None:
    if words == "taken":
        eval(call, NAMES)
        return
    with pytest.raises(nw.NetwrightError) as error:
        eval(call, NAMES)
    said = str(error.value)
    assert words in said and "\n" not in said and not BARE.search(said), said


def test_there_are_many() -> None:
    assert len(ROWS) > 1000 and len({call for call, _ in ROWS}) == len(ROWS)
