"""Several processes train as one would: real ones, that talk to one another."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from small_nets import blobs, jitter, same, small, state, tiny
from torch import Tensor, nn
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

import netwright as nw
from netwright.core.errors import RecipeError, TrainingError
from netwright.core.launch import launched
from netwright.nets.state import read_tensors, write_tensors
from netwright.training.exchange import Exchange
from netwright.training.processes import Processes, alone, together
from netwright.training.rules import Lesson, Rule
from netwright.training.run import Progress
from netwright.training.sharing import Draws, portions
from netwright.training.streams import Stream

Work = Callable[[int], dict[str, Tensor] | None]


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


def _process(rank: int, size: int, port: int, work: Work, out: Path) -> None:
    where = {"RANK": rank, "WORLD_SIZE": size, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ |= {name: str(value) for name, value in where.items()}
    warnings.simplefilter("ignore")
    try:
        write_tensors(out / str(rank), work(rank) or {})
    except BaseException as error:
        (out / f"{rank}.error").write_text(f"{type(error).__name__}: {error}")
        raise SystemExit(1) from None


class Started:
    """Processes that each do the same work; forks of this one, which is quick."""

    def __init__(self, work: Work, out: Path, size: int = 2) -> None:
        self.out, port = out, free_port()
        self.processes = [
            multiprocessing.get_context("fork").Process(target=_process, args=(rank, size, port, work, out))
            for rank in range(size)
        ]
        for process in self.processes:
            process.start()

    def ended(self) -> list[str]:
        """What each raised, in words; empty where it raised nothing."""
        for process in self.processes:
            process.join(60)
            if process.is_alive():
                process.kill()
                raise AssertionError("it hangs")
        files = [self.out / f"{rank}.error" for rank in range(len(self.processes))]
        return [file.read_text() if file.exists() else "" for file in files]

    def results(self) -> list[dict[str, Tensor]]:
        assert self.ended() == [""] * len(self.processes)
        return [read_tensors(self.out / str(rank))[0] for rank in range(len(self.processes))]


# -- the same weights --------------------------------------------------------------------------------------------


def plain(seed: int = 0) -> nw.SuperNet:
    """A network without dropout and statistics, one of whose layers only some sub-networks have."""
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3))
    axes = [
        nw.Width.tie(net, "hidden", (4, 8), out_of=["1"], into=["3"]),
        nw.Width.tie(net, "other", (2, 5, 8), out_of=["3"], into=["5"]),
    ]
    return nw.SuperNet(net, axes, torch.zeros(1, 1, 4, 4))


def shuffled() -> nw.TensorLoader:
    return nw.TensorLoader(blobs(), 8, shuffle=True)


def uneven() -> nw.TensorLoader:
    """Batches of 7, and a last one of 1: one process has nothing of it."""
    return nw.TensorLoader(blobs(43), 7)


def indexed(workers: int = 0) -> Any:
    part = blobs()
    return DataLoader(TensorDataset(part.inputs, part.targets), batch_size=7, num_workers=workers)


PARITY: dict[str, tuple[Callable[[], Any], dict[str, Any]]] = {
    "sandwich": (shuffled, {"optimizer": "sgd,lr=0.1,momentum=0.9"}),
    "one sub-network a step": (shuffled, {"rule": "single-path", "optimizer": "adamw,lr=0.01", "clip_norm": 0.5}),
    "uneven parts, accumulated": (uneven, {"accumulate": 3, "ema": 0.9, "optimizer": "sgd,lr=0.1"}),
    "a DataLoader": (indexed, {"optimizer": "sgd,lr=0.1"}),
    "a DataLoader with workers": (lambda: indexed(1), {"optimizer": "sgd,lr=0.1", "accumulate": 2}),
    "a list": (lambda: list(uneven()), {"optimizer": "sgd,lr=0.1"}),
}


def trained(name: str, seed: int = 0) -> dict[str, Tensor]:
    make, wishes = PARITY[name]
    net = plain(seed)
    nw.train(net, make(), epochs=2, seed=3, **wishes)
    return state(net.module)


@pytest.fixture(scope="module")
def by_one() -> dict[str, dict[str, Tensor]]:
    return {name: trained(name) for name in PARITY}


@pytest.mark.parametrize("size", [2, 3])
def test_several_processes_give_the_weights_of_one(
    size: int, by_one: dict[str, dict[str, Tensor]], tmp_path: Path
) -> None:
    def work(rank: int) -> dict[str, Tensor]:
        return {f"{name}/{key}": value for name in PARITY for key, value in trained(name, seed=rank).items()}

    found, given = Started(work, tmp_path, size).results(), state(plain().module)
    assert all(same(found[0], other) for other in found[1:]), "to the bit among themselves"
    for name, one in by_one.items():
        for key, value in one.items():
            assert (value - given[key]).abs().max() > 1e-3, "something was learned"
            assert (value - found[0][f"{name}/{key}"]).abs().max() < 1e-6, name


def test_a_sampler_of_torch_that_shares_out_is_left_to_do_it(tmp_path: Path) -> None:
    def work(rank: int) -> dict[str, Tensor]:
        part, net = blobs(), plain(rank)
        data = TensorDataset(part.inputs, part.targets)
        sampler = DistributedSampler(data, num_replicas=2, rank=rank, shuffle=False)  # even ones, and odd ones
        nw.train(net, DataLoader(data, 4, sampler=sampler), epochs=1, optimizer="sgd,lr=0.1")
        return state(net.module)

    first, second = Started(work, tmp_path).results()
    net = plain()
    nw.train(net, nw.TensorLoader(blobs(), 8), epochs=1, optimizer="sgd,lr=0.1")
    assert same(first, second)
    assert all((value - first[key]).abs().max() < 1e-6 for key, value in state(net.module).items())


def test_gradients_that_some_processes_lack_count_as_none(tmp_path: Path) -> None:
    def work(rank: int) -> dict[str, Tensor]:
        module = nn.ParameterDict({name: nn.Parameter(torch.zeros(2)) for name in ("both", "one", "none")})
        module["both"].grad = torch.tensor([1.0, 2.0]) * (rank + 1)
        if rank == 1:
            module["one"].grad = torch.tensor([4.0, 6.0])
        Exchange(together(), module, list(module.values()))({})
        assert module["none"].grad is None
        return {name: p.grad for name, p in module.items() if p.grad is not None}

    for found in Started(work, tmp_path).results():
        assert found["both"].tolist() == [1.5, 3.0] and found["one"].tolist() == [2.0, 3.0]


# -- what is each process's own, and what is not -----------------------------------------------------------------


class Watches(Rule):
    """Keeps what it has seen and drawn."""

    def __init__(self) -> None:
        self.seen: list[Tensor] = []
        self.drawn: list[int] = []
        self.noise: list[float] = []

    def step(self, net: nw.SuperNet, lesson: Lesson) -> float:
        self.seen.append(lesson.inputs.flatten(1))
        self.noise.append(float(torch.rand(())))
        self.drawn.append(int(lesson.rng.integers(1000)))
        mean = float(lesson.inputs.mean())
        lesson.state["mean"] = lesson.state.get("mean", torch.zeros(())) * 0.5 + mean
        lesson.state["count"] = lesson.state.get("count", torch.zeros((), dtype=torch.int64)) + 1
        return lesson.learn(net, net.largest)[0]


@pytest.mark.parametrize("augment", [None, jitter])
def test_examples_and_noise_are_shared_out_and_draws_are_common(augment: Any, tmp_path: Path) -> None:
    def work(rank: int) -> dict[str, Tensor]:
        rule, net = Watches(), plain()
        nw.train(net, nw.TensorLoader(blobs(), 8, shuffle=True, augment=augment), epochs=1, rule=rule)
        return {"seen": torch.cat(rule.seen), "noise": torch.tensor(rule.noise), "drawn": torch.tensor(rule.drawn)}

    first, second = Started(work, tmp_path).results()
    assert torch.equal(first["drawn"], second["drawn"])
    assert not (first["noise"] == second["noise"]).any() and len(first["noise"].unique()) == len(first["noise"]) == 6
    seen, given = torch.cat([first["seen"], second["seen"]]), blobs().inputs.flatten(1)
    nearest = torch.cdist(seen, given).argmin(1)
    assert sorted(nearest.tolist()) == list(range(48)), "each example once"
    noise = [(part["seen"] - given[at]).abs() for part, at in zip((first, second), nearest.split(24), strict=True)]
    assert (noise[0] > 0).all() == (augment is not None)
    assert augment is None or not torch.allclose(noise[0], noise[1]), "another one for each"


def test_statistics_and_what_rules_remember_are_means(tmp_path: Path) -> None:
    def work(rank: int) -> dict[str, Tensor]:
        rule, net, loader = Watches(), small(), nw.TensorLoader(blobs(), 48)
        kept = dict[str, Tensor]()
        nw.train(
            net, loader, epochs=1, rule=rule, optimizer="sgd,lr=0.0001",
            callback=lambda p: kept.update(state(net.module)),
        )  # fmt: skip
        assert bool(kept) == (rank == 0), "the first alone calls back"
        return {**state(net.module), "mean": rule.seen[0].mean()}

    first, second = Started(work, tmp_path).results()
    expected = []
    for part in blobs().inputs.split(24):
        net = small()
        with net.active(net.largest) as module:
            module.train()(part)
        expected.append(state(net.module))
    for key in expected[0]:
        if "running" in key:
            assert torch.allclose(first[key], (expected[0][key] + expected[1][key]) / 2, atol=1e-6)
            assert torch.equal(first[key], second[key]) and not torch.equal(expected[0][key], expected[1][key])


def test_what_a_rule_remembers_is_the_same_in_all(tmp_path: Path) -> None:
    def work(rank: int) -> dict[str, Tensor]:
        rule = Watches()
        nw.train(plain(), shuffled(), epochs=1, rule=rule, checkpoint=tmp_path / "c")
        return {"seen": torch.stack([each.mean() for each in rule.seen])}

    first, second = Started(work, tmp_path).results()
    mean = torch.zeros(())
    for own in (first["seen"] + second["seen"]) / 2:
        mean = mean * 0.5 + own
    kept, _ = read_tensors(tmp_path / "c")
    (name,) = [key for key in kept if key.endswith("state/mean")]
    assert torch.allclose(kept[name], mean, atol=1e-6)


class Strays(Rule):
    """Remembers in one process what it does not in another."""

    def step(self, net: nw.SuperNet, lesson: Lesson) -> float:
        lesson.state[f"of {os.environ['RANK']}"] = torch.zeros(1)
        return lesson.learn(net, net.largest)[0]


def test_a_rule_that_remembers_other_things_in_each_is_refused(tmp_path: Path) -> None:
    errors = Started(lambda rank: nw.train(plain(), shuffled(), epochs=1, rule=Strays()), tmp_path).ended()
    assert all("the rule remembers tensors in one process that it does not in another" in error for error in errors)


# -- ends --------------------------------------------------------------------------------------------------------


def test_what_one_cannot_go_on_with_is_said_by_all_and_the_checkpoint_is_kept(tmp_path: Path) -> None:
    def work(rank: int) -> None:
        part = blobs()
        part.inputs[-1] = float("nan")  # the second process has it
        batches = [(part.inputs[i : i + 8], part.targets[i : i + 8]) for i in (*range(0, 40, 8), *range(0, 32, 8), 40)]

        class Later(list[Any]):
            """The last batch in the second epoch only."""

            epoch = 0

            def set_epoch(self, epoch: int) -> None:
                self.epoch = epoch

            def __iter__(self) -> Iterator[Any]:
                return iter([*batches[:9], batches[9 if self.epoch else 0]])

        nw.train(plain(), Later(batches), epochs=2, checkpoint=tmp_path / "c", optimizer="sgd,lr=0.01")

    first, second = Started(work, tmp_path).ended()
    assert second.startswith("TrainingError: the loss of the largest sub-network is nan in epoch 2, step 10")
    assert first.startswith(
        "TrainingError: another of the 2 processes of this training could not go on, and says why; the state after "
        "epoch 1 is kept"
    )
    assert read_tensors(tmp_path / "c")[1]["epoch"] == 1


def jittered() -> nw.TensorLoader:
    return nw.TensorLoader(blobs(), 8, shuffle=True, augment=jitter)


def test_a_process_that_is_lost_ends_all_and_the_training_is_gone_on_with(tmp_path: Path) -> None:
    wishes: dict[str, Any] = {"epochs": 3, "seed": 7, "optimizer": "adamw,lr=0.01", "ema": 0.9, "rule": Watches()}

    def trained_on(stop: int) -> Work:
        def told(progress: Progress) -> None:
            if progress.step == stop:  # the second waits for the first by then
                os.kill(os.getpid(), signal.SIGKILL)

        def work(rank: int) -> dict[str, Tensor]:
            net = tiny(seed=rank)
            nw.train(
                net, jittered(), checkpoint=tmp_path / f"c{bool(stop)}", checkpoint_steps=2, callback=told, **wishes
            )
            return state(net.module)

        return work

    (tmp_path / "whole").mkdir()
    whole = Started(trained_on(0), tmp_path / "whole").results()
    os.replace(tmp_path / "cFalse", tmp_path / "other")
    killed = Started(trained_on(9), tmp_path)
    _, second = killed.ended()
    assert killed.processes[0].exitcode == -signal.SIGKILL
    assert "another of the 2 processes of this training has ended" in second and "step 2 of epoch 2 is kept" in second
    os.replace(tmp_path / "cTrue", tmp_path / "cFalse")
    (tmp_path / "again").mkdir()
    again = Started(trained_on(0), tmp_path / "again").results()
    assert same(again[0], whole[0]) and same(again[1], whole[0])


def test_loaders_that_differ_and_batches_that_cannot_be_cut_are_refused(tmp_path: Path) -> None:
    def other_lengths(rank: int) -> None:
        nw.train(plain(), list(nw.TensorLoader(blobs(), 8 + 8 * rank)), epochs=1)

    assert "the loader gives 3 batches in process 1 and 6 in the first" in Started(other_lengths, tmp_path).ended()[1]

    def ragged(rank: int) -> None:
        nw.train(plain(), [(torch.zeros(4, 1, 4, 4), torch.zeros(3))], epochs=1)

    (tmp_path / "ragged").mkdir()
    for error in Started(ragged, tmp_path / "ragged").ended():
        assert (
            "cannot be shared among processes: one of its tensors has 4 examples, and one has the shape (3,)" in error
        )


def test_a_change_of_examples_that_raises_is_told_in_several_processes_as_in_one() -> None:
    def broken(inputs: Tensor) -> Tensor:
        raise ValueError("no such image")

    loader = nw.TensorLoader(blobs(), 8, augment=broken)
    for size in (1, 2):
        parts = portions(loader, 0, Processes(0, size), Draws(Stream(0), Stream), "a batch of epoch 1")
        with pytest.raises(TrainingError, match=r"a batch of epoch 1 could not be read: .*no such image"):
            next(parts)


# -- alone -------------------------------------------------------------------------------------------------------


def test_a_process_can_go_on_alone(tmp_path: Path) -> None:
    def work(rank: int) -> dict[str, Tensor]:
        net = plain()
        nw.train(net, shuffled(), epochs=1)
        if rank:
            return {}
        with alone():
            assert not dist.is_initialized() and launched() == (0, 1)
            nw.finetune(net.extract(net.smallest), shuffled(), epochs=1)
        assert launched() == (0, 2)
        return {"done": torch.ones(1)}

    assert Started(work, tmp_path).results()[0].keys() == {"done"}


def test_nothing_launched_is_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    assert launched() == (0, 1) and together() == Processes(0, 1)
    for name, value in {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "a", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    assert together() == Processes(0, 1) and not dist.is_initialized()
    monkeypatch.setenv("RANK", "2")
    with pytest.raises(RecipeError, match="RANK=2 and WORLD_SIZE=1 in the environment are not the number"):
        launched()
