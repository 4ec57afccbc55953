"""What recipes say of training and fine-tuning reaches both, and the given model's figures reach every table."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import tiny_checkpoints
import torch
from torch import nn

import netwright as nw
from netwright.cli.display import Display
from netwright.core.errors import RecipeError
from netwright.core.metric import Measurement
from netwright.measure.quality import Quality
from netwright.nets.state import load_state, read_tensors
from netwright.pipeline.callback import NullCallback
from netwright.pipeline.context import Context, open_run
from netwright.pipeline.export import export
from netwright.pipeline.finetune import finetune, tune_in_part
from netwright.pipeline.run_directory import RunDirectory
from netwright.pipeline.search import check, open_study, search
from netwright.pipeline.summary import write_report
from netwright.pipeline.train import require_trained, train
from netwright.recipe.load import parse

STEPS = 4
"""Of an epoch."""
OPTIMIZER = "adamw,lr=0.01"


def supernet(net: nn.Sequential | None = None) -> nw.SuperNet:
    net = net or nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 1))
    return nw.SuperNet(net, [nw.Width.tie(net, "width", (4, 8, 16), out_of=["0"], into=["2"])], torch.zeros(1, 6))


def solved() -> nw.SuperNet:
    """A model that comes trained: it gives the sum of its inputs, which is what is to be learned."""
    net = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 1))
    for tensor in net.parameters():
        nn.init.zeros_(tensor)
    with torch.no_grad():
        net[0].weight[:12] = torch.cat([torch.eye(6), -torch.eye(6)])
        net[2].weight[0, :12] = torch.tensor([1.0] * 6 + [-1.0] * 6)
    return supernet(net)


def data() -> nw.Data:
    x = torch.randn(96, 6, generator=torch.Generator().manual_seed(0))
    y = x.sum(1, keepdim=True)
    return nw.Data(nw.Split(x[:64], y[:64]), nw.Split(x[64:80], y[64:80]), nw.Split(x[80:], y[80:]))


def teachers() -> list[nn.Module]:
    half = solved().module
    for tensor in half.parameters():
        tensor.data /= 2
    return [solved().module, half]


class Killed(Exception):
    """Ends the process, as far as a job can tell."""


class Steps(NullCallback):
    """Counts training steps; the process ends after ``last`` of them."""

    def __init__(self, last: int = 0) -> None:
        self.seen, self.last = set[int](), last

    def trained(self, progress: Any) -> None:
        self.seen.add(progress.step)
        if len(self.seen) == self.last:
            raise Killed


@contextmanager
def job(out: Path, callback: Any = None, **changes: Any) -> Iterator[Context]:
    """A job that is small, with some keys of its recipe changed."""
    recipe = {
        "model": f"{__name__}:supernet", "data": f"{__name__}:data", "task": "regression",
        "objectives": ["mae", "macs"], "evaluations": 3, "search": {"strategy": "random"},
        "train": {"epochs": 2, "batch_size": 64 // STEPS, "optimizer": OPTIMIZER, **changes.pop("train", {})},
        "export": {"epochs": 2, "optimizer": OPTIMIZER, "formats": ["safetensors"], **changes.pop("export", {})},
        "latency": {"max_seconds": 0.05}, **changes,
    }  # fmt: skip
    with open_run(parse(recipe, "recipe"), out, callback=callback) as context:
        yield context


def trained(out: Path, callback: Any = None, **keys: Any) -> RunDirectory:
    """The directory of a job that was trained."""
    with job(out, callback, train=keys) as context:
        train(context)
        return context.run


def searched(out: Path, **changes: Any) -> tuple[RunDirectory, dict[nw.Candidate, nw.Record]]:
    """The directory of a job that was trained and searched, and its records."""
    with job(out, **changes) as context:
        study = open_study(context)
        check(context, study)
        train(context)
        search(context, study)
        return context.run, {record.candidate: record for record in study.records}


# -- the given model --------------------------------------------------------------------------------------------


def test_the_given_models_figures_are_the_first_row_of_every_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, records = searched(
        tmp_path, model=f"{__name__}:solved", train={"optimizer": "sgd,lr=0.1", "keep": 100.0},
        objectives=["mae", "latency"],
    )  # fmt: skip
    net, given = solved(), run.read_given()
    assert given["mae"].value == pytest.approx(0, abs=1e-6) and given["r2"].value == pytest.approx(1)
    assert given["macs"] == Measurement(float(net.count(net.largest).macs), kind="exact")
    assert given["latency"] == records[net.largest].measurements["latency"], "it was measured for the search"
    assert records[net.largest].values["mae"] > 0.001, "what training made of it is another row"
    Display().front(run.journal().front, run.read_roles(), given)
    first = capsys.readouterr().out.splitlines()[1]
    assert first.startswith("given model") and f"{given['macs'].value:.0f}" in first.replace(",", "")
    page = write_report(run).read_text().partition("<main>")[2]
    assert page.count("<td>given model</td>") == 1
    assert page.index("<td>given model</td>") < page.index(f"<td><code>{run.journal().front[0].id}")


def test_a_model_with_fresh_weights_has_no_row(tmp_path: Path) -> None:
    run, _ = searched(tmp_path)
    about = run.read_training()
    assert about is not None and about.given == {} == run.read_given()
    assert "given model" not in write_report(run).read_text()


def test_on_a_target_of_low_precision_the_given_model_is_said_to_be_of_float32(tmp_path: Path) -> None:
    target = "onnxruntime,precision=int8,form=u8u8"
    run, _ = searched(tmp_path, model=f"{__name__}:solved", target=target, evaluations=1, train={"epochs": 0})
    found = run.read_given()["mae"]
    assert found.value == pytest.approx(0, abs=1e-6) and found.details["precision"] == "float32"
    assert all("precision" not in record.measurements["mae"].details for record in run.journal().records)


def test_without_data_a_given_model_has_its_counts(tmp_path: Path) -> None:
    run, _ = searched(
        tmp_path, data="", task="classification", objectives=["macs", "params"],
        train={"epochs": 30}, export={"epochs": 0},
    )  # fmt: skip
    given = run.read_given()
    assert given["params"].value == 16 * 6 + 16 + 16 + 1 and "mae" not in given


# -- train.* ----------------------------------------------------------------------------------------------------


def test_a_super_network_trained_elsewhere_is_taken_up(tmp_path: Path) -> None:
    there, known = searched(tmp_path / "there", model=f"{__name__}:solved", train={"optimizer": "sgd,lr=0.1"})
    steps = Steps()
    here, found = searched(
        tmp_path / "here", model=f"{__name__}:solved", callback=steps, train={"weights": str(there.path)}
    )
    assert not steps.seen, "nothing is trained"
    assert here.weights.read_bytes() == there.weights.read_bytes()
    before, after = there.read_training(), here.read_training()
    assert before is not None and after is not None
    assert after.validation == before.validation and after.given == before.given != {}
    assert {c: r.values for c, r in found.items()} == {c: r.values for c, r in known.items()}


@pytest.mark.parametrize("rule", ["few-shot,begin=0.2,rule=single-path", "mixture"])
def test_several_sets_of_weights_go_through_the_whole_job(rule: str, tmp_path: Path) -> None:
    wishes: dict[str, Any] = {"train": {"rule": rule}}
    run, records = searched(tmp_path, **wishes)
    assert any("_set1" in name for name in read_tensors(run.weights)[0])
    with job(tmp_path, **wishes) as context:  # as a command of its own does
        require_trained(context)
        smallest = next(candidate for candidate in records if candidate == context.source.space.smallest)
        network, _ = context.network(smallest)
        assert context.validate(network)["mae"].value == records[smallest].values["mae"]
        assert not any("_set1" in name for name in network.state_dict())


def test_what_is_kept_is_the_average_of_the_weights(tmp_path: Path) -> None:
    run = trained(tmp_path / "average", ema=0.5)
    with job(tmp_path / "other") as context:
        net = context.source.supernet()
        loader = nw.TensorLoader(data().train, 64 // STEPS, shuffle=True)
        nw.train(net, loader, task=nw.tasks.Regression(), epochs=2, optimizer=OPTIMIZER, ema=0.5)
    kept, average = read_tensors(run.weights)[0], net.module.state_dict()
    assert kept.keys() == average.keys() and all(torch.equal(average[name], kept[name]) for name in kept)
    assert run.weights.read_bytes() != trained(tmp_path / "last").weights.read_bytes()


def test_killed_in_the_middle_of_an_epoch_a_job_ends_with_the_same_file(tmp_path: Path) -> None:
    whole = Steps()
    undisturbed = trained(tmp_path / "whole", whole, checkpoint_steps=1)
    assert len(whole.seen) == 2 * STEPS
    with pytest.raises(Killed):
        trained(tmp_path / "killed", Steps(STEPS + 2), checkpoint_steps=1)
    assert not RunDirectory(tmp_path / "killed").training.exists()
    rest = Steps()
    run = trained(tmp_path / "killed", rest, checkpoint_steps=1)
    assert STEPS - 2 <= len(rest.seen) <= STEPS - 1, "it goes on in the middle of the second epoch"
    assert run.weights.read_bytes() == undisturbed.weights.read_bytes()
    assert run.read_training() == undisturbed.read_training() and not run.checkpoint.exists()


# -- weights that come trained ----------------------------------------------------------------------------------


class Told(NullCallback):
    def __init__(self) -> None:
        self.texts: list[str] = []

    def stage(self, text: str) -> None:
        self.texts.append(text)


def mae_of_largest(run: RunDirectory) -> tuple[float, float]:
    """Before training and after it."""
    about = run.read_training()
    assert about is not None
    return about.validation["given"], about.validation["largest"]


def test_the_largest_stays_near_a_given_model_that_comes_trained(tmp_path: Path) -> None:
    harmful = {"model": f"{__name__}:solved"}
    told = Told()
    with job(tmp_path / "kept", told, train={"optimizer": "sgd,lr=0.1", "teacher": "none"}, **harmful) as context:
        train(context)
        before, after = mae_of_largest(context.run)
    with job(tmp_path / "let", train={"optimizer": "sgd,lr=0.1", "teacher": "none", "keep": 100.0}, **harmful) as other:
        train(other)
        _, without = mae_of_largest(other.run)
    constant = float((data().validation.targets - data().validation.targets.mean()).abs().mean())
    assert after <= before + 0.003 * 1.2 * constant < without
    assert any("back towards the given ones (train.keep)" in text for text in told.texts)


def test_what_comes_fresh_promises_nothing(tmp_path: Path) -> None:
    told = Told()
    with job(tmp_path, told) as context:
        train(context)
    assert not any("drawn back" in text for text in told.texts)


@pytest.mark.parametrize(("teacher", "given"), [("", True), ("given", True), ("none", False)])
def test_a_given_model_that_comes_trained_teaches(teacher: str, given: bool, tmp_path: Path) -> None:
    with job(tmp_path, model=f"{__name__}:solved", train={"teacher": teacher, "keep": 100.0}) as context:
        train(context)
        kept = read_tensors(context.run.weights)[0]
    net = solved()
    nw.train(
        net, nw.TensorLoader(data().train, 64 // STEPS, shuffle=True), task="regression", epochs=2,
        optimizer=OPTIMIZER, teacher=solved().module if given else None,
    )  # fmt: skip
    assert all(torch.equal(kept[name], tensor) for name, tensor in net.module.state_dict().items())


def test_the_largest_is_judged_once_where_it_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    judged = list[int]()
    whole = Quality.evaluate

    def counted(self: Quality, network: nn.Module) -> Any:
        judged.append(sum(p.numel() for p in network.parameters()))
        return whole(self, network)

    monkeypatch.setattr(Quality, "evaluate", counted)
    with job(tmp_path, model=f"{__name__}:solved", train={"keep": 100.0}) as context:
        train(context)
        about = context.run.read_training()
    assert len([size for size in judged if size == max(judged)]) == 1 + 2, "as it was given, and after each epoch"
    assert about is not None
    net = solved()
    load_state(net.module, read_tensors(context.run.weights)[0], context.run.weights)
    assert about.validation["largest"] == context.validate(net.extract(net.largest).eval())["mae"].value


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ({"export": {"teacher": "larges", "epochs": 0}}, "export.teacher is given or largest or none, or a function"),
        ({"export": {"teacher": "given+no_such_module:no", "epochs": 0}}, "cannot import 'no_such_module'"),
        ({"train": {"teacher": "largest"}}, "train.teacher is given or none, or a function of your own"),
    ],
)
def test_a_teacher_that_there_is_not_is_told_at_once(where: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=words), job(tmp_path, **where):
        raise AssertionError("it was opened")


def test_the_rate_that_a_range_test_finds_is_told(tmp_path: Path) -> None:
    told = Told()
    with job(tmp_path, told, train={"optimizer": "adamw,lr=auto"}) as context:
        train(context)
    net = supernet_of_seed()
    batches = nw.TensorLoader(data().train, 64 // STEPS, shuffle=True)
    found = nw.find_learning_rate(net, batches, task="regression", optimizer="adamw").best
    assert told.texts.count(f"training: the range test has found the learning rate {found:.3g}") == 1


# -- export.* ---------------------------------------------------------------------------------------------------


TEACHERS: dict[str, Callable[[nw.SuperNet], Any]] = {
    "largest": lambda net: net.extract(net.largest),
    "given": lambda net: supernet_of_seed().module,
    f"{__name__}:teachers": lambda net: teachers(),
    f"largest + given+{__name__}:teachers": lambda net: [
        net.extract(net.largest), supernet_of_seed().module, *teachers(),
    ],
}  # fmt: skip


def supernet_of_seed() -> nw.SuperNet:
    """As a job gives it to be trained."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return supernet()


@pytest.mark.parametrize("teacher", TEACHERS)
def test_chosen_networks_learn_from_a_teacher(teacher: str, tmp_path: Path) -> None:
    with job(tmp_path, export={"teacher": teacher}) as context:
        train(context)
        net, tuned = context.source.supernet(), finetune(context, context.source.space.smallest)
        loader = nw.TensorLoader(data().train, 64 // STEPS, shuffle=True)

        def taught_by(networks: Any) -> Any:
            network = net.extract(net.smallest)
            task = nw.tasks.Regression()
            nw.finetune(network, loader, task=task, epochs=2, optimizer=OPTIMIZER, teacher=networks)
            return context.validate(network)

        assert tuned.after == taught_by(TEACHERS[teacher](net))
        assert tuned.after != taught_by(None)


def test_fine_tuning_that_gets_no_better_ends_with_the_best_epoch(tmp_path: Path) -> None:
    harmful = {"optimizer": "sgd,lr=0.2", "epochs": 6, "patience": 1, "schedule": "constant"}
    with job(tmp_path, train={"epochs": 0}, export=harmful, model=f"{__name__}:solved") as context:
        train(context)
        tuned = finetune(context, context.source.space.smallest)
        net = context.source.supernet()
        network, figures = net.extract(net.smallest), list[float]()
        for epochs in range(1, 7):
            network = net.extract(net.smallest)
            loader = nw.TensorLoader(data().train, 64 // STEPS, shuffle=True)
            nw.finetune(network, loader, task="regression", epochs=epochs, optimizer="sgd,lr=0.2", schedule="constant")
            figures.append(context.validate(network)["mae"].value)
    first = next((i for i in range(1, 6) if not figures[i] < figures[i - 1]), 6)
    assert tuned.after["mae"].value == figures[first - 1]


def test_adapters_learn_in_the_place_of_weights_and_are_written(tmp_path: Path) -> None:
    tiny_checkpoints.library()  # which peft imports
    pytest.importorskip("peft", reason="peft is not installed")
    with job(tmp_path, train={"epochs": 0}, export={"lora": 2}) as context:
        train(context)
        study = open_study(context)
        search(context, study)
        (network,) = export(context, study, [study.front()[0]])
        plain = context.source.supernet().extract(network.record.candidate).state_dict()
        folder = context.run.network(network.id)
        weights, adapter = (
            read_tensors(folder / file)[0] for file in ("weights.safetensors", "adapter/adapter_model.safetensors")
        )
    for name in ("0", "2"):
        a, b = (adapter[f"base_model.model.{name}.lora_{part}.weight"] for part in "AB")
        assert a.shape[0] == b.shape[1] == 2 and b.any()
        torch.testing.assert_close(weights[f"{name}.weight"], plain[f"{name}.weight"] + 8 * b @ a)
        assert torch.equal(weights[f"{name}.bias"], plain[f"{name}.bias"])


def test_adapters_are_written_of_what_is_handed_back_alone(tmp_path: Path) -> None:
    tiny_checkpoints.library()
    pytest.importorskip("peft", reason="peft is not installed")
    with job(tmp_path, train={"epochs": 0}, export={"lora": 2}) as context:
        train(context)
        smallest = context.source.space.smallest
        adapter = context.run.adapter(smallest.id)
        tune_in_part(context, smallest, 0.5)
        assert not adapter.exists()
        assert finetune(context, smallest).kept and sorted(path.name for path in adapter.iterdir()) == [
            "adapter_config.json", "adapter_model.safetensors",
        ]  # fmt: skip
    with job(tmp_path, train={"epochs": 0}) as context:
        finetune(context, smallest)
        assert not adapter.exists()


def test_only_parameters_that_may_move_are_fine_tuned(tmp_path: Path) -> None:
    with job(tmp_path, train={"epochs": 0}, export={"trainable": ["2.*"]}) as context:
        train(context)
        study = open_study(context)
        search(context, study)
        (network,) = export(context, study, [study.front()[0]])
        plain = context.source.supernet().extract(network.record.candidate).state_dict()
        file = context.run.network(network.id) / "weights.safetensors"
        moved = {name: not torch.equal(plain[name], tensor) for name, tensor in read_tensors(file)[0].items()}
    assert moved == {"0.weight": False, "0.bias": False, "2.weight": True, "2.bias": True}
