"""Training that was interrupted at any step, with any optimizer, ends with the bits of undisturbed training."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_nets import blobs, loader, same, small, state, tiny
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

import netwright as nw
from netwright.core.errors import CallError, CheckpointError, TrainingError
from netwright.nets.state import read_tensors, write_tensors
from netwright.training.optimizers import OPTIMIZERS
from netwright.training.rules import RULES, Lesson, Rule, Step
from netwright.training.run import Progress
from netwright.training.sampling import SAMPLINGS


class Interrupt(BaseException):
    pass


def trained(path: Path | None = None, stop: int = 0, batches: Any = None, **wishes: Any) -> dict[str, Tensor]:
    """The weights that training ends with; interrupted after a step and gone on with, where it is to be."""
    made = wishes.pop("net", tiny)
    wishes = {"epochs": 3, "seed": 7, "checkpoint_steps": 1 if path else 0, "checkpoint": path, **wishes}
    make = batches or loader

    def callback(progress: Progress) -> None:
        if progress.step >= stop:  # a curriculum may skip this one
            raise Interrupt

    if stop:
        with pytest.raises(Interrupt):
            nw.train(made(), make(), callback=callback, **wishes)
        random.seed(1)  # another process draws what it draws
        np.random.seed(1)
        torch.manual_seed(1)
    net = made(seed=5 if path and path.exists() else 0)  # other weights, which the checkpoint replaces
    nw.train(net, make(), **wishes)
    return state(net.module)


DENSE = sorted({*OPTIMIZERS.names()} - {"sparseadam", "muon"})


@pytest.mark.parametrize("name", DENSE)
def test_every_optimizer_goes_on_in_the_middle_of_an_epoch(name: str, tmp_path: Path) -> None:
    assert same(trained(tmp_path / "c", 8, optimizer=name), trained(optimizer=name))


def test_muon_goes_on_where_it_may_run(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"muon cannot optimize this network.*2D"):
        trained(optimizer="muon")

    def matrices(module: nn.Module) -> torch.optim.Optimizer:
        return torch.optim.Muon([p for p in module.parameters() if p.dim() == 2], lr=0.01)

    assert same(trained(tmp_path / "c", 8, optimizer=matrices), trained(optimizer=matrices))


@pytest.mark.parametrize("name", RULES.names())
def test_every_rule_goes_on_in_the_middle_of_an_epoch(name: str, tmp_path: Path) -> None:
    wishes: dict[str, Any] = {"rule": name, "net": small, "optimizer": "sgd,lr=0.1", "epochs": 2}
    assert same(trained(tmp_path / "c", 9, **wishes), trained(**wishes))


@pytest.mark.parametrize("name", SAMPLINGS.names())
def test_every_sampling_goes_on_in_the_middle_of_an_epoch(name: str, tmp_path: Path) -> None:
    wishes: dict[str, Any] = {"sampling": name, "net": small, "optimizer": "sgd,lr=0.1", "epochs": 2}
    assert same(trained(tmp_path / "c", 9, **wishes), trained(**wishes))


@settings(max_examples=10)
@given(
    stop=st.integers(1, 17),
    every=st.integers(1, 7),
    accumulate=st.sampled_from([1, 2, 4]),
    ema=st.sampled_from([None, 0.9]),
    optimizer=st.sampled_from([*DENSE, "adamw,amsgrad=true", "sgd,lr=0.1,momentum=0.9", "lion,weight_decay=0.1"]),
    rule=st.sampled_from(["curriculum", *RULES.names()]),
    sampling=st.sampled_from(SAMPLINGS.names()),
    kind=st.sampled_from(["in memory", "shuffled", "with its own generator", "stream"]),
)
def test_at_any_step_with_any_settings(
    stop: int,
    every: int,
    accumulate: int,
    ema: float | None,
    optimizer: str,
    rule: str,
    sampling: str,
    kind: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    path = tmp_path_factory.mktemp("resume") / "c"
    batches = {"shuffled": shuffled, "with its own generator": with_its_own_generator, "stream": stream}.get(kind)
    wishes: dict[str, Any] = {"accumulate": accumulate, "ema": ema, "optimizer": optimizer, "clip_norm": 1.0}
    wishes |= {"batches": batches, "rule": Curriculum() if rule == "curriculum" else rule, "sampling": sampling}
    stop = min(stop, 9)  # a stream and a curriculum have fewer steps
    assert same(trained(path, stop, checkpoint_steps=every, **wishes), trained(**wishes))


@settings(max_examples=12, deadline=None)
@given(st.lists(st.floats(0.01, 1), max_size=3), st.integers(1, 3), st.sampled_from([None, 0.9]))
def test_paused_after_any_shares_it_ends_with_the_same_bits(
    tmp_path_factory: pytest.TempPathFactory, shares: list[float], accumulate: int, ema: float | None
) -> None:
    """Each call makes the steps up to its share alone, and the batches of the optimizer's last step."""
    folder, seen = tmp_path_factory.mktemp("pause"), dict[str, list[int]]()

    def tuned(name: str, until: float) -> Tensor:
        network = tiny().extract(tiny().largest)
        nw.finetune(
            network, loader(), epochs=3, optimizer="adamw,lr=0.01", seed=3, accumulate=accumulate, ema=ema, until=until,
            checkpoint=folder / name, callback=lambda p: seen.setdefault(name, []).append(p.step),
        )  # fmt: skip
        return torch.cat([p.detach().flatten() for p in network.parameters()])

    whole = tuned("whole", 1.0)
    steps = len(seen["whole"])
    for share in sorted(shares):
        tuned("parts", share)
        assert share * steps <= len(seen["parts"]) < share * steps + accumulate
    assert torch.equal(tuned("parts", 1.0), whole) and seen["parts"] == seen["whole"] == [*range(1, steps + 1)]


def test_a_pause_needs_a_checkpoint() -> None:
    with pytest.raises(CallError, match=r"until=0.5 pauses a training, which goes on from a checkpoint"):
        nw.finetune(nn.Linear(2, 2), loader(), epochs=1, until=0.5)


@pytest.mark.parametrize("ema", [None, 0.9])
def test_what_is_finished_is_not_trained_again(ema: float | None, tmp_path: Path) -> None:
    def never() -> Any:
        class Never(list[Any]):
            def __iter__(self) -> Any:
                raise AssertionError("it was read")

        return Never([0])

    whole = trained(tmp_path / "c", ema=ema)
    before = (tmp_path / "c").read_bytes()
    assert same(trained(tmp_path / "c", batches=never, ema=ema), whole)
    assert (tmp_path / "c").read_bytes() == before


def test_an_average_that_comes_later_begins_with_what_was_learned(tmp_path: Path) -> None:
    whole = trained(tmp_path / "c")
    assert same(trained(tmp_path / "c", ema=0.99), whole)


def with_workers() -> Any:
    part = blobs()
    generator = torch.Generator().manual_seed(3)
    data = TensorDataset(part.inputs, part.targets)
    return DataLoader(data, batch_size=8, shuffle=True, generator=generator, num_workers=1)


def test_loaders_with_workers_are_gone_on_with(tmp_path: Path) -> None:
    wishes: dict[str, Any] = {"epochs": 2, "batches": with_workers}
    assert same(trained(tmp_path / "c", 8, **wishes), trained(**wishes))


def test_a_network_with_statistics_and_another_layout_too(tmp_path: Path) -> None:
    wishes: dict[str, Any] = {"epochs": 2, "optimizer": "adafactor,lr=0.01", "checkpoint_steps": 3}

    def callback(progress: Progress) -> None:
        if progress.step == 8:
            raise Interrupt

    undisturbed, net = small(), small(seed=1)
    nw.train(undisturbed, loader(), **wishes)
    with pytest.raises(Interrupt):
        nw.train(small(), loader(), checkpoint=tmp_path / "c", callback=callback, **wishes)
    nw.train(net, loader(), checkpoint=tmp_path / "c", **wishes)
    assert same(state(net.module), state(undisturbed.module))


KILLED = """
import sys, time, torch
torch.set_num_threads(1)
sys.path[:0] = [sys.argv[1]]
from small_nets import *
with open(sys.argv[3], "a", buffering=1) as log:
    def told(progress):
        print(progress.step, file=log)
        time.sleep(0.02)
    nw.train(tiny(), loader(), epochs=3, seed=7, optimizer="adamw,lr=0.01", checkpoint=sys.argv[2], checkpoint_steps=2,
             callback=told)
"""


def test_killed_in_the_middle_of_an_epoch_it_ends_with_the_same_bits(tmp_path: Path) -> None:
    path, log = tmp_path / "checkpoint", tmp_path / "log"
    log.touch()
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(Path(__file__).parent), str(path), str(log)])
    deadline = time.monotonic() + 60
    while process.poll() is None and len(log.read_text().split()) < 10 and time.monotonic() < deadline:
        time.sleep(0.0005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait(30)
    _, meta = read_tensors(path)
    assert meta["epoch"] == 1, "it was killed in its second epoch"
    net, steps = tiny(seed=5), list[int]()
    nw.train(
        net, loader(), epochs=3, seed=7, optimizer="adamw,lr=0.01", checkpoint=path, checkpoint_steps=2,
        callback=lambda p: steps.append(p.step),
    )  # fmt: skip
    assert steps[0] > 7, "and went on within it"
    assert same(state(net.module), trained(optimizer="adamw,lr=0.01"))


# -- loaders -----------------------------------------------------------------------------------------------------


class Stream(IterableDataset[Any]):
    """Examples in an order of its own, drawn as they come, of an unknown number."""

    def __iter__(self) -> Iterator[Any]:
        part = blobs(40)
        kept: list[int] = []
        for i in range(40):
            kept.append(i)
            if len(kept) > 8:
                picked = kept.pop(random.randrange(len(kept)))
                yield part.inputs[picked] + 0.1 * np.random.rand(), part.targets[picked]


def shuffled() -> Any:
    part = blobs()
    return DataLoader(TensorDataset(part.inputs, part.targets), batch_size=8, shuffle=True)


def with_its_own_generator() -> Any:
    part = blobs()
    generator = torch.Generator().manual_seed(3)
    return DataLoader(TensorDataset(part.inputs, part.targets), batch_size=8, shuffle=True, generator=generator)


def stream() -> Any:
    return DataLoader(Stream(), batch_size=8)


@pytest.mark.parametrize("batches", [shuffled, with_its_own_generator, stream])
@pytest.mark.parametrize("stop", [3, 9])
def test_loaders_are_read_again_up_to_where_they_were(batches: Any, stop: int, tmp_path: Path) -> None:
    assert same(trained(tmp_path / "c", stop, batches), trained(batches=batches))


def test_a_tensor_loader_goes_on_without_reading_what_was_read(tmp_path: Path) -> None:
    seen = list[int]()

    def counted() -> nw.TensorLoader:
        def augment(images: Tensor) -> Tensor:
            seen.append(len(images))
            return images

        return nw.TensorLoader(blobs(), 8, shuffle=True, augment=augment)

    trained(tmp_path / "c", 9, counted, optimizer="adamw")  # the default looks at some first
    assert len(seen) == 18 + 1, "one batch was taken whose step was not saved"


class Curriculum(Rule):
    """Chooses data one by one, by what it has learned of them, and keeps a tensor of its own."""

    def step(self, net: nw.SuperNet, lesson: Lesson) -> float:
        loss = nw.rules.Sandwich().step(net, lesson)
        state = lesson.state
        state["mean"] = 0.9 * state.get("mean", torch.zeros(())) + 0.1 * loss
        for group in net.module.parameters():
            assert group.grad is not None
            group.grad *= 1 + state["mean"]
        return loss

    def data(self, loader: Any, rng: np.random.Generator, *, at: Step, state: dict[str, Tensor]) -> Iterator[Any]:
        for inputs, targets in loader:
            if rng.random() < 0.8:
                yield inputs * (1 + float(state.get("mean", 0.0))), targets


def test_a_rules_own_tensors_and_data_are_gone_on_with(tmp_path: Path) -> None:
    assert same(trained(tmp_path / "c", 8, rule=Curriculum()), trained(rule=Curriculum()))


# -- what is refused ---------------------------------------------------------------------------------------------


def test_the_state_of_another_optimizer_is_refused(tmp_path: Path) -> None:
    trained(tmp_path / "c", optimizer="adamw")
    with pytest.raises(CheckpointError, match=r"of a training with the optimizer adamw, not sgd,lr=0\.1"):
        trained(tmp_path / "c", optimizer="sgd,lr=0.1")


def test_values_that_no_checkpoint_keeps_are_told(tmp_path: Path) -> None:
    def own(module: nn.Module) -> torch.optim.Optimizer:
        made = torch.optim.SGD(module.parameters(), lr=0.1)
        made.param_groups[0]["closure"] = print
        return made

    with pytest.raises(CheckpointError, match=r"is a builtin_function_or_method: train without a checkpoint"):
        trained(tmp_path / "c", optimizer=own)


def test_a_checkpoint_without_an_optimizers_tensors_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "c"
    trained(path, epochs=1, optimizer="adamw")
    tensors, meta = read_tensors(path)
    write_tensors(path, {k: v for k, v in tensors.items() if "exp_avg" not in k}, meta)
    with pytest.raises(CheckpointError, match="damaged"):
        trained(path, epochs=1, optimizer="adamw")
