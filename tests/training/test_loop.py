"""Training: it learns, it resumes bit for bit, it refuses what it must, it disturbs nobody."""

from __future__ import annotations

import math
import random
import subprocess
import sys
import time
import warnings
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_nets import blobs, loader, same, small, state
from torch import Tensor, nn
from torch.nn import functional as F

import netwright as nw
from netwright.core.errors import CheckpointError, TrainingError
from netwright.nets.families.inverted_residual import inverted_residual
from netwright.nets.state import read_tensors, write_tensors
from netwright.tasks.classification import Classification
from netwright.training.run import Progress


def sgd(lr: float, weight_decay: float = 1e-4) -> str:
    return f"sgd,lr={lr:g},momentum=0.9,nesterov=true,weight_decay={weight_decay:g}"


SETTINGS: dict[str, Any] = {"epochs": 4, "optimizer": sgd(0.05), "seed": 7, "key": "k"}


@pytest.fixture(scope="module")
def undisturbed() -> dict[str, Tensor]:
    net = small()
    nw.train(net, loader(16), **SETTINGS)
    return state(net.module)


# -- learning ----------------------------------------------------------------------------------------------------


def test_the_loss_falls_and_the_smallest_learns_too() -> None:
    net, seen = small(), list[Progress]()
    part = blobs()

    def losses() -> list[float]:
        found = []
        for candidate in (net.largest, net.smallest):
            network = nw.recalibrate(net.extract(candidate), [part.inputs])
            found.append(float(F.cross_entropy(network(part.inputs), part.targets).detach()))
        return found

    before = losses()
    nw.train(net, loader(16), epochs=12, optimizer=sgd(0.1), callback=seen.append)
    after = losses()
    assert after[0] < 0.5 * before[0] and after[1] < 0.8 * before[1]
    assert seen[-1].loss < 0.5 * seen[2].loss
    assert not any(m.training for m in net.module.modules())


def test_progress_is_told_after_every_step() -> None:
    seen = list[Progress]()
    nw.train(small(), loader(16), epochs=3, callback=seen.append, evaluate=lambda: {"top1": 1.0})
    assert [p.step for p in seen] == sorted(p.step for p in seen)
    assert {p.step for p in seen} == set(range(1, 10)) and {p.steps for p in seen} == {9}
    assert all(p.epoch == (p.step - 1) // 3 + 1 for p in seen) and seen[-1].epoch == seen[-1].epochs == 3
    assert all(math.isfinite(p.loss) and p.samples_per_s > 0 for p in seen)
    assert seen[-1].figures == {"top1": 1.0}


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(undisturbed: dict[str, Tensor]) -> None:
    net = small()
    torch.manual_seed(99)  # who drew what before is of no account
    torch.rand(5)
    nw.train(net, loader(16), **SETTINGS)
    assert same(state(net.module), undisturbed)
    other = small()
    nw.train(other, loader(16), **{**SETTINGS, "seed": 8})
    assert not same(state(other.module), undisturbed)


def test_nobodys_random_numbers_are_disturbed() -> None:
    net = small()
    torch.manual_seed(5)
    np.random.seed(5)
    random.seed(5)
    before = torch.random.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    nw.train(net, loader(16), epochs=1)
    nw.finetune(net.extract(net.smallest), loader(16), epochs=1, optimizer=sgd(0.01))
    assert torch.equal(torch.random.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])
    assert random.getstate() == before[2]


def test_the_default_layout_comes_back() -> None:
    net = small()
    nw.train(net, loader(16), epochs=1)
    assert all(p.is_contiguous() for p in net.module.parameters())


# -- going on ----------------------------------------------------------------------------------------------------


class Interrupt(BaseException):
    pass


@pytest.mark.parametrize("at", [1, 3, 4, 8, 12])
def test_interrupted_at_any_step_it_ends_with_the_same_bits(
    at: int, undisturbed: dict[str, Tensor], tmp_path: Path
) -> None:
    path = tmp_path / "checkpoint"

    def callback(progress: Progress) -> None:
        if progress.step == at:
            raise Interrupt

    with pytest.raises(Interrupt):
        nw.train(small(), loader(16), **SETTINGS, checkpoint=path, callback=callback)
    net, steps = small(), list[int]()
    nw.train(net, loader(16), **SETTINGS, checkpoint=path, callback=lambda p: steps.append(p.step))
    assert same(state(net.module), undisturbed)
    assert steps[0] == (at - 1) // 3 * 3 + 1, "whole epochs are not run again"
    again = small(seed=3)
    nw.train(again, loader(16), **SETTINGS, checkpoint=path, callback=lambda p: pytest.fail("nothing is left to do"))
    assert same(state(again.module), undisturbed)


def test_interrupted_while_judging_it_ends_with_the_same_bits(undisturbed: dict[str, Tensor], tmp_path: Path) -> None:
    calls = 0

    def evaluate() -> dict[str, float]:
        nonlocal calls
        calls += 1
        torch.rand(3)
        if calls == 2:
            raise Interrupt
        return {"top1": 0.5}

    with pytest.raises(Interrupt):
        nw.train(small(), loader(16), **SETTINGS, checkpoint=tmp_path / "c", evaluate=evaluate)
    net = small()
    nw.train(net, loader(16), **SETTINGS, checkpoint=tmp_path / "c", evaluate=evaluate)
    assert same(state(net.module), undisturbed)


KILLED = """
import sys, torch
torch.set_num_threads(1)
sys.path.insert(0, sys.argv[1])
from test_loop import *
with open(sys.argv[3], "a", buffering=1) as log:
    nw.train(small(), loader(16), **SETTINGS, checkpoint=sys.argv[2], callback=lambda p: print(p.step, file=log))
"""


def test_killed_it_ends_with_the_same_bits(undisturbed: dict[str, Tensor], tmp_path: Path) -> None:
    path, log = tmp_path / "checkpoint", tmp_path / "log"
    log.touch()
    command = [sys.executable, "-c", KILLED, str(Path(__file__).parent), str(path), str(log)]
    process = subprocess.Popen(command)
    deadline = time.monotonic() + 60
    while process.poll() is None and len(log.read_text().split()) < 5 and time.monotonic() < deadline:
        time.sleep(0.0005)
    process.kill()
    process.wait(30)
    assert path.exists()
    net = small()
    nw.train(net, loader(16), **SETTINGS, checkpoint=path)
    assert same(state(net.module), undisturbed)


def test_more_epochs_go_on_from_the_checkpoint(tmp_path: Path) -> None:
    steps = list[int]()
    nw.train(small(), loader(16), **{**SETTINGS, "epochs": 1}, checkpoint=tmp_path / "c")
    nw.train(small(), loader(16), **SETTINGS, checkpoint=tmp_path / "c", callback=lambda p: steps.append(p.step))
    assert steps[0] == 4


# -- refusing ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("saved") / "c"
    nw.train(small(), loader(16), **{**SETTINGS, "epochs": 1}, checkpoint=path)
    return path.read_bytes()


def refused(path: Path, net: nw.SuperNet | None = None, **settings: Any) -> str:
    """That training refuses the checkpoint, and changes neither it nor its directory."""
    before = path.read_bytes()
    with pytest.raises(CheckpointError) as error:
        nw.train(net or small(), loader(16), **{**SETTINGS, **settings}, checkpoint=path)
    assert path.read_bytes() == before and [p.name for p in path.parent.iterdir()] == [path.name]
    return str(error.value)


def test_a_checkpoint_of_another_training_is_refused(saved: bytes, tmp_path: Path) -> None:
    path = tmp_path / "c"
    path.write_bytes(saved)
    assert "another training" in refused(path, key="other")
    torch.manual_seed(0)
    assert "other choices: " in refused(path, inverted_residual(1, 3, 4, widths=((2, 4),), depths=((1, 2),)))
    write_tensors(path, {"a": torch.zeros(2)}, {})
    refused(path)


@pytest.mark.parametrize("how", ["empty", "half", "text", "noise", "short header", "huge header", "a bit short"])
def test_a_damaged_checkpoint_is_refused_and_left_as_it_is(how: str, saved: bytes, tmp_path: Path) -> None:
    path = tmp_path / "c"
    path.write_bytes(
        {
            "empty": b"",
            "half": saved[: len(saved) // 2],
            "text": b"hello\n" * 900,
            "noise": random.Random(0).randbytes(5000),
            "short header": saved[:40],
            "huge header": b"\xff" * 8 + saved[8:],
            "a bit short": saved[:-1],
        }[how]
    )
    message = refused(path)
    assert str(path) in message and "\n" not in message


def test_no_damage_to_the_header_escapes_as_another_error(saved: bytes, tmp_path: Path) -> None:
    draw, path, net, fell = random.Random(1), tmp_path / "c", small(), 0
    header = 8 + int.from_bytes(saved[:8], "little")
    for _ in range(150):
        damaged = bytearray(saved)
        damaged[draw.randrange(header)] = draw.randrange(256)
        path.write_bytes(damaged)
        try:
            nw.train(net, loader(16), **{**SETTINGS, "epochs": 1}, checkpoint=path)
        except CheckpointError:
            fell += 1
            assert path.read_bytes() == bytes(damaged)
    assert fell > 100


def test_a_directory_in_place_of_the_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError):
        nw.train(small(), loader(16), **SETTINGS, checkpoint=tmp_path)


@pytest.mark.parametrize("bad_epoch", [1, 2])
def test_a_loss_that_is_no_number_stops_with_advice(bad_epoch: int, tmp_path: Path) -> None:
    part = blobs()
    calls = 0

    def poison(images: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        return images * float("nan") if calls == 3 * (bad_epoch - 1) + 2 else images

    batches = nw.TensorLoader(part, 16, shuffle=True, augment=poison)
    with pytest.raises(TrainingError, match=rf"epoch {bad_epoch}, step 2.*learning rate 0\.05") as error:
        nw.train(small(), batches, **SETTINGS, checkpoint=tmp_path / "c")
    assert ("state after epoch 1 is kept" in str(error.value)) == (bad_epoch == 2) == (tmp_path / "c").exists()
    if bad_epoch == 2:
        tensors, meta = read_tensors(tmp_path / "c")
        assert meta["epoch"] == 1 and all(torch.isfinite(t).all() for t in tensors.values() if t.is_floating_point())


def test_a_learning_rate_that_is_far_too_high_is_noticed() -> None:
    with pytest.raises(TrainingError, match="learning rate"):
        nw.train(small(), loader(16), epochs=30, optimizer=sgd(1e25))


# -- the sandwich rule -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_the_sandwich_gradient_is_the_sum_of_its_parts(share: float) -> None:
    net, part = small(), blobs(12)
    with torch.no_grad():
        for p in net.module.parameters():
            p.add_(torch.randn_like(p) * 0.1)
    net.module.train()
    rng, twin = np.random.default_rng(3), np.random.default_rng(3)
    rule = nw.rules.Sandwich(random=3, targets=share)
    value = rule.step(net, nw.rules.Lesson((part.inputs, part.targets), Classification(), rng))
    got = {k: p.grad.clone() for k, p in net.module.named_parameters() if p.grad is not None}

    net.module.zero_grad()
    students = [net.smallest, *(net.space.sample(twin) for _ in range(3))]
    with net.active(net.largest) as module:
        scores = module(part.inputs)
        # the mean over the batch of -sum(p log q), written out
        loss = -scores.log_softmax(1)[torch.arange(12), part.targets].mean()
        loss.backward()
    beliefs = scores.detach().softmax(1)
    summed = {k: p.grad.clone() for k, p in net.module.named_parameters() if p.grad is not None}
    for candidate in students:
        net.module.zero_grad()
        with net.active(candidate) as module:
            logs = module(part.inputs).log_softmax(1)
            taught, own = -(beliefs * logs).sum(1).mean(), -logs[torch.arange(12), part.targets].mean()
            (share * own + (1 - share) * taught).backward()
        for k, p in net.module.named_parameters():
            if p.grad is not None:
                summed[k] += p.grad
    assert value == pytest.approx(float(loss.detach()), rel=1e-5)
    assert got.keys() == summed.keys() == dict(net.module.named_parameters()).keys()
    for k, v in got.items():
        torch.testing.assert_close(v, summed[k], rtol=1e-4, atol=1e-6)


def test_weight_decay_spares_vectors_and_the_rate_ends_at_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    rates, groups = list[float](), list[Any]()
    step = torch.optim.SGD.step

    def watched(self: torch.optim.SGD, *args: Any) -> Any:
        rates.append(self.param_groups[0]["lr"])
        groups[:] = self.param_groups
        return step(self, *args)

    monkeypatch.setattr(torch.optim.SGD, "step", watched)
    nw.train(small(), loader(16), epochs=20, optimizer=sgd(0.1, 0.01))
    assert len(rates) == 60 and max(rates) == pytest.approx(0.1)
    assert rates[0] < 0.05 and rates[-1] < 0.001 and all(a >= b for a, b in pairwise(rates[3:]))
    assert [g["weight_decay"] for g in groups] == [0.01, 0.0]
    assert {p.dim() > 1 for p in groups[0]["params"]} == {True} and {p.dim() <= 1 for p in groups[1]["params"]} == {
        True
    }


# -- fine-tuning -------------------------------------------------------------------------------------------------


def test_finetuning_changes_the_extracted_network_alone() -> None:
    net, part = small(), blobs()
    nw.train(net, loader(16), epochs=2)
    network = nw.recalibrate(net.extract(net.smallest), [part.inputs])
    shared, own = state(net.module), state(network)
    loss = float(F.cross_entropy(network(part.inputs), part.targets).detach())
    nw.finetune(network, loader(16), epochs=4, optimizer=sgd(0.05), seed=1)
    assert same(state(net.module), shared)
    assert all(not torch.equal(v, own[k]) for k, v in state(network).items() if "classifier" in k)
    assert float(F.cross_entropy(network(part.inputs), part.targets).detach()) < loss
    assert not any(m.training for m in network.modules())
    twin = nw.recalibrate(net.extract(net.smallest), [part.inputs])
    nw.finetune(twin, loader(16), epochs=4, optimizer=sgd(0.05), seed=1)
    assert same(state(twin), state(network))


def test_finetuning_stops_at_a_loss_that_is_no_number() -> None:
    net = small()
    network = net.extract(net.smallest)
    with torch.no_grad():
        network.classifier.weight.fill_(float("nan"))  # type: ignore[union-attr, operator]
    with pytest.raises(TrainingError, match="epoch 1"):
        nw.finetune(network, loader(16), epochs=1, optimizer=sgd(0.1))


# -- running statistics ------------------------------------------------------------------------------------------


def test_the_shared_statistics_are_those_of_the_largest() -> None:
    net, part = small(), blobs(12)
    alone = net.extract(net.largest).train()
    alone(part.inputs)
    net.module.train()
    nw.rules.Sandwich(random=2).step(
        net, nw.rules.Lesson((part.inputs, part.targets), Classification(), np.random.default_rng(0))
    )
    found, wanted = net.module.state_dict(), alone.state_dict()
    names = [name for name in wanted if "running" in name or "tracked" in name]
    assert names and all(torch.equal(found[name], wanted[name]) for name in names)
    assert all(m.track_running_stats for m in net.module.modules() if isinstance(m, nn.BatchNorm2d))


# -- weights that were given -------------------------------------------------------------------------------------


def test_training_that_harms_the_given_weights_says_so() -> None:
    net = small()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        nw.train(net, loader(16), epochs=30, optimizer=sgd(0.1))  # fresh weights learn
        nw.train(net, loader(16), epochs=15, optimizer=sgd(0.01))  # and are not harmed by a little more
    with pytest.warns(UserWarning, match=r"harmed the weights that were given.*lower lr \(it was 1\)"):
        nw.train(net, loader(16), epochs=2, optimizer="adamw,lr=1")  # moves each weight by 1, whatever its gradient


def test_one_hard_batch_at_the_end_is_no_harm() -> None:
    """In a training of few steps the last batch may be harder than the first."""
    net, easy = small(), blobs(24)
    nw.train(net, nw.TensorLoader(easy, 8, shuffle=True), epochs=10, optimizer=sgd(0.1))
    hard = nw.Split(easy.inputs, easy.targets.roll(1))
    batches = [*nw.TensorLoader(easy, 8), *nw.TensorLoader(easy, 8), next(iter(nw.TensorLoader(hard, 8)))]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        nw.train(net, batches, epochs=1, optimizer=sgd(1e-6))
