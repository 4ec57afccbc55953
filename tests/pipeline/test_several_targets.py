"""One super-network, several targets in one study: each network is judged once, measured on all, and handed back with
each one's own file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli.running import TINY, command, done, records

from netwright.core.errors import LimitError, RecipeError
from netwright.core.limits import metric_named, parse_limit
from netwright.core.metric import Metric
from netwright.core.space import Choice, Space
from netwright.measure.at_target import AtTarget, at
from netwright.measure.base import Place
from netwright.measure.latency import Energy, Latency
from netwright.recipe.schema import ON_TARGET, Recipe
from netwright.testing import FakeMeasurer, FakeNet, check_measurer

TARGETS = [
    "--objectives",
    "accuracy,accuracy@small",
    "--target",
    "onnxruntime",
    "--target",
    "small=onnxruntime,precision=int8,form=u8u8",
]
LATENCIES = {"latency@onnxruntime", "latency@small"}


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("several") / "out"
    limit = ["--limit", "latency <= 1 s", "--limit", "latency@small <= 2 s"]
    done("fit", TINY, *TARGETS, *limit, "--evaluations", 4, "--export.epochs", 0, "--out", out)
    return out


def test_each_network_is_judged_once_and_measured_on_each(out: Path) -> None:
    for record in records(out):
        assert {"accuracy", "accuracy@small", *LATENCIES} <= record["measurements"].keys()
        assert "latency" not in record["measurements"]
        about = record["provenance"]
        assert about["target@onnxruntime"]["precision"] == "float32" and about["target@small"]["precision"] == "int8"


def test_the_front_and_the_limits_are_of_all(out: Path) -> None:
    front = json.loads((out / "front.json").read_text())
    assert front and all(entry["measurements"].keys() >= LATENCIES for entry in front)
    said = command("search", TINY, *TARGETS, "--limit", "latency <= 1 ns", "--evaluations", 4, "--out", out).mistake
    assert "latency@onnxruntime" in said or "latency@small" in said


def test_each_targets_own_file_is_handed_back_and_measured(out: Path) -> None:
    manifests = [json.loads(path.read_text()) for path in out.glob("networks/*/manifest.json")]
    assert manifests
    for about in manifests:
        assert {"model.onnx", "onnxruntime-int8.onnx"} <= about["files"].keys()
        assert {"accuracy", "accuracy@small", "file_bytes@small", *LATENCIES} <= about["test"].keys()
        small, whole = (about["test"][f"file_bytes@{name}"]["value"] for name in ("small", "onnxruntime"))
        assert small == about["files"]["onnxruntime-int8.onnx"]["bytes"] != whole
        assert about["target@small"]["fingerprint"] != about["target@onnxruntime"]["fingerprint"]
    text = next(out.glob("networks/*/README.md")).read_text()
    assert "`onnxruntime-int8.onnx` is what the target `onnxruntime,precision=int8,form=u8u8` runs" in text
    assert "latency@small" in (out / "report.html").read_text()


def test_the_same_command_goes_on_and_other_targets_are_another_study(out: Path) -> None:
    before = len(records(out))
    common = ["--evaluations", 5, "--out", out]
    done("search", TINY, *TARGETS, *common)
    assert len(records(out)) == before + 1
    said = command("search", TINY, "--target", "onnxruntime", *common).mistake
    assert "holds another study" in said


def recipe(target: str | list[str], **keys: object) -> Recipe:
    return Recipe(model="m:n", data="m:d", target=target, **keys)  # type: ignore[arg-type]


def test_names_are_those_of_the_runtimes_or_are_given() -> None:
    assert recipe("onnxruntime").targets == {"": "onnxruntime"} == recipe(["onnxruntime"]).targets
    several = recipe(["pi=ssh://pi/onnxruntime,threads=4", "openvino,threads=2", "ssh://nano/ncnn"])
    assert several.targets == {
        "pi": "ssh://pi/onnxruntime,threads=4", "openvino": "openvino,threads=2", "ncnn": "ssh://nano/ncnn",
    }  # fmt: skip
    assert several.objectives == ["accuracy", "latency@pi", "latency@openvino", "latency@ncnn"]
    again = recipe(["a=torch", "b=torch"], objectives=["energy@a", "macs"], limits=["latency <= 5 ms", "macs <= 3"])
    assert again.limits == ["latency@a <= 5 ms", "latency@b <= 5 ms", "macs <= 3"] and len(again.objectives) == 2
    assert recipe("torch").objectives == ["accuracy", "latency"]


@pytest.mark.parametrize(
    ("target", "said"),
    [
        (["onnxruntime", "onnxruntime,threads=2"], "two are called 'onnxruntime'; name them, such as onnxruntime2="),
        (["onnxruntime", "mine:Runtime"], "needs a name of letters and digits before it: name=mine:Runtime"),
        ([], "target is a runtime"),
    ],
)
def test_what_names_nothing_is_refused(target: list[str], said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        recipe(target)


def test_metrics_that_are_measured_on_targets_are_known_to_recipes() -> None:
    assert sorted(ON_TARGET) == sorted(m.name for kind in (Latency, Energy) for m in kind.metrics)


def test_limits_name_a_target() -> None:
    assert metric_named("latency@pi.local-2 <= 5 ms") == "latency@pi.local-2"
    metrics = [Metric("latency@pi", "ms"), Metric("latency@nano", "ms")]
    assert parse_limit("latency@nano <= 5 us", metrics).bound == 0.005
    with pytest.raises(LimitError, match="did you mean"):
        parse_limit("latency@nan <= 5 ms", metrics)


def test_a_measurer_of_one_of_several_is_a_measurer() -> None:
    inner = FakeMeasurer(Metric("latency", "ms", superlative="fastest"), lambda c: 1.0, on_device=True)
    outer = AtTarget(inner, "pi")
    check_measurer(outer, FakeNet(Space([Choice("k", (1, 2))])))
    assert [m.name for m in outer.metrics] == ["latency@pi"] and outer.metrics[0].superlative == "fastest on pi"
    assert outer.on_device and outer.place == Place()
    assert at("", {"a": 1}) == {"a": 1} and at("pi", {"a": 1}) == {"a@pi": 1}
