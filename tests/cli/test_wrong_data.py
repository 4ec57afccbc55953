"""What people do wrong with tasks, data and training: exit code 2, one line, and the line names the fix."""

from __future__ import annotations

from pathlib import Path

import pytest

from .running import command, done, records

WRONG = {"objectives": ["wrong", "macs"]}


def said(path: Path, out: Path) -> str:
    return command("fit", path, "--out", out).mistake


@pytest.mark.parametrize(
    "data, words",
    [
        ("batches_of_one", ["train data", "(inputs, labels)", "tuple of 1"]),
        ("batches_without_labels", ["train data", "(inputs, labels)", "a tensor of shape (16, 6)"]),
        ("batches_by_other_names", ["'labels'", "'x', 'kind'"]),
        ("batches_of_lists", ["train labels", "int64 tensor", "a list of 16"]),
        ("labels_as_texts", ["train labels", "int64 tensor"]),
        ("labels_as_floats", ["train labels", "torch.float32", "labels.long()"]),
        ("empty", ["train data give no batches"]),
        ("empty_validation", ["validation data give no batches"]),
        ("drops_all", ["train data give no batches"]),
        ("a_generator", ["train data are a generator", "only once", "DataLoader"]),
        ("raises_at_once", ["train data could not be read", "/data/0.png"]),
    ],
)
def test_data_that_no_task_takes(recipe, tmp_path, data, words):
    """Found out before anything is begun."""
    out = tmp_path / "out"
    told = said(recipe(data=f"wrong:{data}"), out)
    assert all(word in told for word in words), told
    assert not (out / "study.db").exists()


@pytest.mark.parametrize(
    "data, words",
    [
        ("a_later_batch_of_another_shape", ["cannot be run on the train data", "16x7", "cannot be multiplied"]),
        ("a_later_label_beyond", ["labels go from 9 to 9", "4 classes", "epoch 1, step 6"]),
        ("a_later_validation_label_beyond", ["labels go from 9 to 9", "4 classes"]),
        ("a_later_validation_batch_of_another_shape", ["accuracy cannot be judged", "cannot be multiplied"]),
        ("used_up", ["used up", "__iter__ must begin anew"]),
        ("used_up_validation", ["used up", "__iter__ starts anew"]),
        ("raises_in_a_worker", ["could not be read", "/data/100.png", "in a worker", "num_workers=0"]),
    ],
)
def test_data_that_turn_out_wrong_later(recipe, tmp_path, data, words):
    out = tmp_path / "out"
    told = said(recipe(data=f"wrong:{data}"), out)
    assert all(word in told for word in words), told
    assert not (out / "supernet" / "weights.safetensors").exists() and not records(out)


@pytest.mark.parametrize(
    "task, words",
    [
        ("ForgetsTheMean", ["a loss must give one number", "(2,)", "its mean()"]),
        ("GivesAFloat", ["a loss must give one number", "a float", "not its item()"]),
        ("GivesNone", ["a loss must give one number", "NoneType"]),
        ("GivesNan", ["the loss of GivesNan is nan"]),
        ("LossRaises", ["the loss of LossRaises raised KeyError", "kind"]),
        ("ForgetsAMetric", ["ForgetsAMetric does not return 'wrong'", "'rihgt'"]),
        ("GivesANumber", ["netwright.Measurement(value, unit)", "a float is none"]),
        ("EvaluatorRaises", ["the evaluator of EvaluatorRaises raised ZeroDivisionError"]),
        ("NoLoss", ["NoLoss", "loss"]),
        ("Mien", ["did you mean 'Mine'"]),
        ("Mine,weight=3", ["no setting 'weight'", "it takes none"]),
    ],
)
def test_tasks_of_ones_own(recipe, tmp_path, task, words):
    """Found out before anything is begun."""
    out = tmp_path / "out"
    told = said(recipe(task=f"wrong:{task}", **WRONG), out)
    assert all(word in told for word in words), told
    assert not (out / "study.db").exists()


@pytest.mark.parametrize(
    "task, words",
    [
        ("WithoutGradient", ["the loss does not depend on the weights", "argmax"]),
        ("NanLater", ["the loss of the largest sub-network is inf in epoch 1, step 1"]),
        ("NoDistillation", ["distillation_loss(outputs, teacher, targets)", "rule='single-path'"]),
    ],
)
def test_losses_that_turn_out_wrong_in_training(recipe, tmp_path, task, words):
    out = tmp_path / "out"
    told = said(recipe(task=f"wrong:{task}", **WRONG), out)
    assert all(word in told for word in words), told
    assert not (out / "supernet" / "weights.safetensors").exists()


def test_a_rule_without_distillation_takes_any_loss(recipe, tmp_path):
    done(
        "train",
        recipe(task="wrong:NoDistillation", train={"epochs": 1, "rule": "single-path"}, **WRONG),
        "--out",
        tmp_path,
    )
    assert (tmp_path / "supernet" / "weights.safetensors").exists()


@pytest.mark.parametrize(
    "train, words",
    [
        ({"optimizer": "adamv"}, ["train.optimizer", "did you mean 'adam"]),
        ({"optimizer": "adamw,learning_rate=0.1"}, ["'learning_rate'", "lr, betas"]),
        ({"optimizer": "lbfgs"}, ["'lbfgs'", "'adamw'"]),
        ({"rule": "sandwitch"}, ["train.rule", "did you mean 'sandwich'"]),
        ({"rule": "sandwich,randm=2"}, ["'randm'", "did you mean 'random'"]),
        ({"schedule": "linear,warm_up=0.1"}, ["'warm_up'", "did you mean 'warmup'"]),
        ({"device": "gpu"}, ["train.device is cpu, cuda or auto"]),
        ({"precision": "float16"}, ["train.precision", "bfloat16"]),
        ({"ema": 2.0}, ["train.ema", "between 0 and 1"]),
        ({"weights": "nowhere"}, ["train.weights", "nowhere", "netwright train"]),
    ],
)
def test_settings_of_training(recipe, tmp_path, train, words):
    out = tmp_path / "out"
    told = said(recipe(train=train), out)
    assert all(word in told for word in words), told
    assert not (out / "study.db").exists()


def test_cuda_where_there_is_none(recipe, tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    told = said(recipe(train={"device": "cuda"}), tmp_path / "out")
    assert "train.device 'cuda' asks for CUDA" in told and "cpu or auto" in told


def test_nothing_is_lost(recipe, tmp_path):
    """The mended recipe goes on in the same directory with what stands there."""
    path = recipe(train={"epochs": 1})
    for verb in ("train", "search"):
        done(verb, path, "--out", tmp_path / "out", "--evaluations", 3)
    before = records(tmp_path / "out")
    assert "did you mean" in command("fit", recipe(train={"optimizer": "adamv"}), "--out", tmp_path / "out").mistake
    assert records(tmp_path / "out") == before
