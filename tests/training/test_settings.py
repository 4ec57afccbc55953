"""What a training can be told: clipping, accumulation, averages, precision, devices, modes, loaders of all kinds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from small_nets import blobs, loader, same, small, state, tiny
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

import netwright as nw
from netwright.core.errors import CallError, NetwrightError, TrainingError
from netwright.nets.devices import device_of, placed, to_device
from netwright.training.run import Progress


def after(net: nw.SuperNet | None = None, batches: Any = None, **wishes: Any) -> dict[str, Tensor]:
    net = net or tiny()
    nw.train(
        net,
        loader() if batches is None else batches,
        **{"epochs": 2, "optimizer": "sgd,lr=0.1", "rule": "largest", **wishes},
    )
    return state(net.module)


def close(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    return all(torch.allclose(left[k], right[k], atol=1e-6) for k in left)


def still(net: nw.SuperNet) -> nw.SuperNet:
    """The network without its dropout."""
    for module in net.module.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return net


def test_accumulated_batches_are_one_large_batch() -> None:
    part = blobs()
    large = [(part.inputs, part.targets)]
    parts = [(part.inputs[i : i + 12], part.targets[i : i + 12]) for i in range(0, 48, 12)]
    whole = after(still(tiny()), large, schedule="constant", epochs=3)
    assert close(after(still(tiny()), parts, accumulate=4, schedule="constant", epochs=3), whole)
    assert not close(after(still(tiny()), parts, schedule="constant", epochs=3), whole)
    # The last batches of an epoch are a step of their own, however many they are.
    two = [(part.inputs[:24], part.targets[:24]), parts[2]]
    once = {"schedule": "constant", "epochs": 1}
    assert close(after(still(tiny()), parts[:3], accumulate=2, **once), after(still(tiny()), two, **once))


def test_long_gradients_are_shortened() -> None:
    net = still(tiny())
    before = state(net.module)
    found = after(net, [next(iter(loader()))], clip_norm=1e-3, optimizer="sgd,lr=1", schedule="constant", epochs=1)
    moved = torch.cat([(found[k] - before[k]).flatten() for k in found])
    assert float(moved.norm()) == pytest.approx(1e-3, rel=1e-3)


def test_an_average_of_the_weights_is_judged_and_kept() -> None:
    seen: list[dict[str, Tensor]] = []
    net, judged = tiny(), list[dict[str, Tensor]]()
    final = after(
        net, ema=0.9, epochs=4, callback=lambda p: seen.append(state(net.module)),
        evaluate=lambda: judged.append(state(net.module)) or {},  # type: ignore[func-returns-value]
    )  # fmt: skip
    average = state(tiny().module)
    steps = seen[:6] + seen[7:13] + seen[14:20] + seen[21:27]  # after an epoch comes what was judged
    for n, each in enumerate(steps):
        decay = min(0.9, (1 + n) / (10 + n))
        average = {k: decay * average[k] + (1 - decay) * each[k] for k in average}
    assert close(final, average) and same(final, judged[-1]) and not close(final, steps[-1])


def test_bfloat16_computes_otherwise_and_weights_stay_float32() -> None:
    rough = after(precision="bfloat16")
    assert all(t.dtype is torch.float32 for t in rough.values())
    assert not close(rough, after()) and all(torch.allclose(rough[k], v, atol=0.05) for k, v in after().items())


@pytest.mark.parametrize(
    "wish, words",
    [
        ({"epochs": -1}, "epochs is 0 or more, not -1"),
        ({"clip_norm": 0.0}, "clip_norm"),
        ({"accumulate": 0}, "accumulate"),
        ({"ema": 1.0}, "ema is a decay between 0 and 1"),
        ({"precision": "float16"}, "precision is '?float32'? or '?bfloat16'?, not 'float16'"),
        ({"checkpoint_steps": -2}, "checkpoint_steps"),
    ],
)
def test_settings_out_of_range_are_told(wish: dict[str, Any], words: str) -> None:
    with pytest.raises(CallError, match=words):
        after(**wish)


# -- modes -------------------------------------------------------------------------------------------------------


class Quirky(nn.Sequential):
    """Keeps a layer in evaluation mode, whatever it is told."""

    def train(self, mode: bool = True) -> Any:
        super().train(mode)
        self[1].eval()
        return self


def quirky(kind: type[nn.Sequential]) -> nw.SuperNet:
    torch.manual_seed(0)
    net = kind(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 3))
    width = nw.Width.tie(net, "w", (2, 4), out_of=["0"], through=["1", "3"], into=["5"])
    return nw.SuperNet(net, [width], torch.zeros(1, 1, 4, 4))


def test_frozen_layers_stay_frozen() -> None:
    own, given = quirky(Quirky), quirky(nn.Sequential)
    given.module.train()
    given.module[1].eval()  # type: ignore[index]
    for net in (own, given):
        found = after(net)
        assert not found["1.running_mean"].any() and found["3.running_mean"].any()
    plain = after(quirky(nn.Sequential))
    assert plain["1.running_mean"].any()


# -- fine-tuning what may move ------------------------------------------------------------------------------------


@pytest.mark.parametrize("which", ["classifier*", ["classifier.weight", "*bias"], lambda name, p: p.dim() == 2])
def test_only_what_may_move_moves(which: Any) -> None:
    net = small()
    network = net.extract(net.largest).train()
    before, grads = state(network), {n: p.requires_grad for n, p in network.named_parameters()}
    nw.finetune(network, loader(), epochs=1, optimizer="sgd,lr=0.1", trainable=which)
    moved = {name for name, value in state(network).items() if not torch.equal(value, before[name])}
    assert "classifier.weight" in moved and "stem.weight" not in moved
    if which == "classifier*":
        assert moved == {"classifier.weight", "classifier.bias"}, "statistics of frozen layers stay, too"
    assert {n: p.requires_grad for n, p in network.named_parameters()} == grads
    assert not any(m.training for m in network.modules())


def test_patterns_that_name_nothing_are_told() -> None:
    network = tiny().extract(tiny().largest)
    for which, words in (("*haed*", "no parameter's name is like"), (lambda n, p: False, "chooses none of the 4")):
        with pytest.raises(TrainingError, match=words):
            nw.finetune(network, loader(), epochs=1, trainable=which)
    assert all(p.requires_grad for p in network.parameters())


def test_a_network_learns_from_a_teacher_as_much_as_from_the_targets() -> None:
    part = blobs()
    shuffled = [(part.inputs, part.targets.roll(1))]  # the targets are of no use
    teacher = tiny().extract(tiny().largest)
    nw.finetune(teacher, loader(), epochs=30, optimizer="adamw,lr=0.02")

    def agreement(network: nn.Module) -> float:
        with torch.no_grad():
            return float((network(part.inputs).argmax(1) == teacher(part.inputs).argmax(1)).float().mean())

    pupils = []
    for source in (None, teacher):
        pupil = tiny(3).extract(tiny(3).largest)
        nw.finetune(pupil, shuffled, epochs=60, optimizer="adamw,lr=0.05", teacher=source)
        pupils.append(agreement(pupil))
    assert pupils[1] > pupils[0] + 0.2


# -- devices -----------------------------------------------------------------------------------------------------

CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch finds no CUDA device on this machine")


def test_a_device_that_there_is_not_is_told_with_the_fix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert device_of("auto") == device_of("cpu") == torch.device("cpu")
    for name, words in (
        ("cuda", "asks for CUDA.*write cpu or auto"),
        ("cuda:1", "asks for CUDA"),
        ("gpu", "not 'gpu'"),
    ):
        with pytest.raises(CallError, match=words) as error:
            nw.train(tiny(), loader(), epochs=1, device=name)
        assert "\n" not in str(error.value)


def test_batches_of_any_structure_go_to_a_device() -> None:
    batch = {"x": [torch.ones(2)], "n": 3, "y": (torch.zeros(1),)}
    assert to_device(batch, torch.device("cpu")) is batch
    moved = to_device(batch, torch.device("meta"))
    assert moved["x"][0].is_meta and moved["y"][0].is_meta and moved["n"] == 3


def test_a_network_is_where_it_was_in_the_end() -> None:
    network = nn.BatchNorm1d(2)
    with pytest.raises(RuntimeError, match="stop"), placed(network, torch.device("cpu")):
        raise RuntimeError("stop")
    assert all(not p.is_meta for p in network.parameters())
    mixed = nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1, device="meta"))
    with pytest.raises(NetwrightError, match="several devices"), placed(mixed, torch.device("cpu")):
        pass


@CUDA
def test_training_on_cuda_learns_and_the_network_comes_back() -> None:
    net, seen = small(), list[Progress]()
    where = list[str]()
    nw.train(
        net, loader(), epochs=8, device="cuda", optimizer="sgd,lr=0.1,momentum=0.9", ema=0.5, precision="bfloat16",
        callback=lambda p: (seen.append(p), where.append(next(net.module.parameters()).device.type))[0],
    )  # fmt: skip
    assert {*where} == {"cuda"} and all(p.device.type == "cpu" for p in net.module.parameters())
    assert seen[-1].loss < 0.5 * seen[0].loss
    network = net.extract(net.largest)
    nw.finetune(network, loader(), epochs=1, device="auto", teacher=net.extract(net.largest))
    assert next(network.parameters()).device.type == "cpu"


@CUDA
def test_a_network_that_is_on_cuda_is_trained_there_and_stays() -> None:
    net = tiny()
    net.module.cuda()
    nw.train(net, loader(), epochs=1)
    assert next(net.module.parameters()).is_cuda


# -- loaders -----------------------------------------------------------------------------------------------------


class Failing(Dataset[Any]):
    def __len__(self) -> int:
        return 16

    def __getitem__(self, i: int) -> Any:
        if i == 9:
            raise OSError("file 9 is broken")
        return torch.zeros(1, 4, 4), 0


class Unknown(IterableDataset[Any]):
    def __iter__(self) -> Iterator[Any]:
        part = blobs(20)
        yield from zip(part.inputs, part.targets, strict=True)


class Once:
    """Gives the same iterator each time, which is used up."""

    def __init__(self) -> None:
        part = blobs(16)
        self.batches = iter([(part.inputs[:8], part.targets[:8]), (part.inputs[8:], part.targets[8:])])

    def __len__(self) -> int:
        return 2

    def __iter__(self) -> Iterator[Any]:
        return self.batches


@pytest.mark.parametrize("workers", [0, 2])
def test_a_loader_that_raises_is_told(workers: int) -> None:
    with pytest.raises(TrainingError, match=r"a batch of epoch 1 .*OSError: file 9 is broken") as error:
        after(batches=DataLoader(Failing(), batch_size=4, num_workers=workers))
    assert "\n" not in str(error.value)


def test_loaders_with_workers_and_of_unknown_length_are_read() -> None:
    seen = list[Progress]()
    after(batches=DataLoader(Unknown(), batch_size=8), callback=seen.append)
    assert [p.step for p in seen] == [1, 2, 3, 4, 5, 6] and {p.steps for p in seen} == {6}
    part = blobs()
    with_workers = DataLoader(TensorDataset(part.inputs, part.targets), batch_size=8, shuffle=True, num_workers=1)
    assert same(after(batches=with_workers), after(batches=with_workers))


def test_loaders_that_give_nothing_are_told() -> None:
    part = blobs(4)
    for empty in ([], DataLoader(TensorDataset(part.inputs, part.targets), batch_size=8, drop_last=True)):
        with pytest.raises(TrainingError, match="gives no batches"):
            after(batches=empty)
    with pytest.raises(TrainingError, match="used up"):
        after(batches=(batch for batch in loader()))
    with pytest.raises(TrainingError, match=r"no batches in epoch 2: it is used up"):
        after(batches=Once())


def test_a_batch_that_the_network_does_not_take_is_told() -> None:
    with pytest.raises(TrainingError, match=r"epoch 1, step 1, on a batch with tensors of shape \(2, 7\), \(2,\)"):
        after(batches=[(torch.zeros(2, 7), torch.zeros(2, dtype=torch.long))])
