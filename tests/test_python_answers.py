"""What Python is given by hand: texts as the command line takes them, and mistakes in netwright's own words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import nn

import netwright as nw
from netwright.core.calls import told
from netwright.measure.base import EvaluationContext, Measurer
from netwright.strategies import STRATEGIES
from netwright.study.stores.memory import MemoryStore
from netwright.testing import FakeNet

SPACE = nw.Space([nw.Choice("a", (1, 2, 3)), nw.Choice("b", (1, 2))])


def value(candidate: nw.Candidate) -> Mapping[str, float]:
    return {"q": sum(candidate.values())}  # type: ignore[dict-item, arg-type]


class Size(Measurer):
    metrics = (nw.Metric("size", direction="min"), nw.Metric("depth", direction="max"))

    def measure(self, context: EvaluationContext) -> Mapping[str, nw.Measurement]:
        return {"size": nw.Measurement(context.candidate["a"]), "depth": nw.Measurement(1.0)}  # type: ignore[arg-type]


def study(**given: Any) -> nw.Study:
    return nw.Study(MemoryStore(), FakeNet(SPACE), **given)


def test_a_target_is_taken_as_it_is_typed() -> None:
    for kind in (nw.Latency, nw.Throughput, nw.Memory, nw.Energy):
        assert kind("onnxruntime,threads=1,batch=4").runtime == nw.targets.OnnxRuntime(threads=1, batch=4)
    with pytest.raises(nw.NetwrightError, match="no runtime 'onnxruntme'; did you mean 'onnxruntime'"):
        nw.Latency("onnxruntme")
    with pytest.raises(nw.NetwrightError, match=r"Latency is measured on a target, such as .* not on 3"):
        nw.Latency(3)  # type: ignore[arg-type]


def test_objectives_are_taken_by_their_names_where_something_measures_them() -> None:
    made = study(objectives=["depth", "size"], record=[Size()])
    assert [m.name for m in made.objectives] == ["depth", "size"] and made.objectives[0].direction == "max"
    assert len(made.run("random", 4)) == 4
    assert [m.name for m in study(objectives=[Size(), "depth"]).objectives] == ["size", "depth"]


@pytest.mark.parametrize(
    "given, words",
    [
        ({"objectives": ["accuracy", "latency"]}, ["'accuracy'", "nw.Accuracy(batches)"]),
        ({"objectives": ["latency"]}, ["'latency'", 'nw.Latency("onnxruntime,threads=1")']),
        ({"objectives": ["macs"]}, ["'macs'", "nw.Count('macs')"]),
        ({"objectives": ["sise"], "record": [Size()]}, ["'sise'", "did you mean 'size'"]),
        ({"objectives": "size"}, ["objectives takes a list", "'size'"]),
        ({"objectives": [nw.Accuracy]}, ["measurers", "the class Accuracy"]),
        ({"objectives": [Size()], "record": ["macs"]}, ["record", "nw.Count('macs')"]),
        ({"objectives": [Size()], "record": [3]}, ["record takes measurers", "not 3"]),
        ({"objectives": [Size()], "limit": ["size <= 2"]}, ["Study()", "argument 'limit'", "did you mean 'limits'"]),
        ({}, ["Study() needs 'objectives'"]),
    ],
)
def test_what_a_study_cannot_take_is_told_with_what_to_give(given: Any, words: list[str]) -> None:
    with pytest.raises(nw.NetwrightError) as error:
        study(**given)
    assert all(word in str(error.value) for word in words), str(error.value)


def test_one_limit_may_be_a_text() -> None:
    assert len(study(objectives=[Size()], limits="size <= 2").limits) == 1
    found = nw.search(SPACE, value, {"q": "max"}, limits="q <= 3", evaluations=6)
    assert all((r.status == "ok") == (r.values["q"] <= 3) for r in found)


@pytest.mark.parametrize("name", STRATEGIES.names())
def test_strategies_have_the_names_of_recipes(name: str) -> None:
    assert isinstance(STRATEGIES.make(name), nw.Strategy)


def test_a_number_too_large_for_arithmetic_is_told_as_such() -> None:
    with pytest.raises(nw.NetwrightError, match=r"'q' must be a number between -1e.150 and 1e.150, not a whole number"):
        nw.search(SPACE, lambda c: {"q": -(10**400)}, {"q": "max"}, evaluations=1)


def test_a_super_network_is_searched_by_a_function() -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    net = nw.SuperNet(model, [nw.Width.tie(model, "width", (4, 8), out_of=["0"], into=["2"])], torch.zeros(1, 4))
    records = nw.search(net, lambda c: {"q": c["width"]}, {"q": "min"}, evaluations=5, strategy="random")
    assert len(records) == 2


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: nw.search(nn.Linear(2, 2), value, {"q": "max"}), ["nw.Space", "Linear", "nw.wrap"]),  # type: ignore[arg-type]
        (lambda: nw.search(SPACE, {"q": "max"}, value), ["evaluate is a function"]),  # type: ignore[arg-type]
        (lambda: nw.search(SPACE, value, ["q"]), ['direction="max"', "'q'"]),  # type: ignore[arg-type]
        (lambda: nw.search(SPACE, value, {"q": "max"}, exact=3), ["exact is a function"]),  # type: ignore[arg-type]
        (lambda: nw.search(SPACE, value, {"q": "max"}, strategy="guidet"), ["'guidet'", "did you mean 'guided'"]),
        (lambda: nw.search(SPACE, value, {"q": "max"}, strategy=3), ["strategy is a strategy", "3"]),  # type: ignore[arg-type]
        (lambda: nw.search(SPACE, value, {"q": "max"}, evaluations="9"), ["evaluations is a whole number", "'9'"]),  # type: ignore[arg-type]
        (lambda: nw.search(SPACE, value, {"q": "max"}, evaluation=9), ["search() got an", "'evaluations'"]),  # type: ignore[call-arg]
        (lambda: nw.search(SPACE), ["search() needs 'evaluate', 'objectives'"]),  # type: ignore[call-arg]
        (lambda: nw.wrap(nn.Linear(2, 2), torch.zeros(1, 2), ignored=[]), ["wrap() got an", "'ignored'"]),  # type: ignore[call-arg]
        (lambda: nw.Latency("torch", budget=3), ["Latency() got an unexpected keyword argument 'budget'", "plan"]),  # type: ignore[call-arg]
        (lambda: nw.Choice("a", (1, 2), whem={}), ["Choice() got an", "'whem'", "did you mean 'when'"]),  # type: ignore[call-arg]
        (lambda: nw.Accuracy(), ["Accuracy() needs 'loader'"]),  # type: ignore[call-arg]
        (lambda: study(objectives=[Size()]).run(nw.Random(), evaluation=3), ["Study.run() got", "'evaluations'"]),  # type: ignore[call-arg]
        (lambda: nw.Study(MemoryStore(), nn.Linear(2, 2), objectives=[Size()]), ["not a Linear", "nw.wrap"]),  # type: ignore[arg-type]
        (lambda: nw.Study(3, FakeNet(SPACE), objectives=[Size()]), ["a file", "int"]),  # type: ignore[arg-type]
        (lambda: study(objectives=[Size()], seed="a"), ["a seed is a whole number"]),
        (lambda: study(objectives=[Size()], limits=[3]), ["a limit is a text", "3"]),
        (lambda: study(objectives=[Size()], warm_start=[3]), ["warm_start=", "int"]),
        (lambda: nw.Accuracy(None), ["accuracy is judged on batches"]),  # type: ignore[arg-type]
        (lambda: nw.targets.OnnxRuntime(thread=2), ["OnnxRuntime()", "did you mean 'threads'"]),  # type: ignore[call-arg]
        (lambda: nw.families.cifar_resnet(8, widht=3), ["cifar_resnet()", "'widht'"]),  # type: ignore[call-arg]
        (lambda: nw.front([], 1, 2, 3), ["front() takes fewer arguments without a name"]),  # type: ignore[call-arg, arg-type]
    ],
)  # fmt: skip
def test_mistakes_are_netwrights_own(call: Callable[[], Any], words: list[str]) -> None:
    with pytest.raises(nw.NetwrightError) as error:
        call()
    assert all(word in str(error.value) for word in words), str(error.value)


def test_a_type_error_of_a_persons_own_code_stays_theirs() -> None:
    def given(function: Callable[[int], int]) -> int:
        return function("x", "y")  # type: ignore[call-arg, arg-type]

    with pytest.raises(TypeError, match="positional") as error:
        told(given, "given")(lambda x: x)
    assert not isinstance(error.value, nw.NetwrightError)


def test_a_public_name_is_one_thing_however_it_is_reached() -> None:
    import netwright.simple
    import netwright.study.study

    assert nw.search is netwright.simple.search and nw.Study is netwright.study.study.Study
    assert nw.search.__module__ == "netwright.simple" and nw.search.__doc__
