"""The training loop of super-networks, and the fine-tuning of extracted networks."""

from __future__ import annotations

import math
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sized
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from ..core.errors import CheckpointError, TrainingError, format_error
from ..nets.inputs import call, split_batch, tensors_in
from ..nets.state import load_state, read_tensors, state_of, write_tensors
from ..nets.supernet import SuperNet
from ..tasks.losses import Loss, cross_entropy, scalar
from .rules import Rule, Sandwich

WORSE, LITTLE = 0.25, 0.05
"""The share by which a loss must have risen for weights to have been better before, since batches differ; and what is
added to it, since from next to nothing to little is no harm."""


class Loader(Protocol):
    """Batches of inputs and labels, anew at each iteration; a torch DataLoader is one."""

    def __iter__(self) -> Any: ...
    def __len__(self) -> int: ...


@dataclass(frozen=True)
class Progress:
    """Where training stands after a step.

    Args:
        epoch, epochs, step, steps: counted from 1; steps are of the whole training.
        loss: mean of the largest network's loss since the epoch began.
        samples_per_s: inputs read per second since the epoch began; each is used by several sub-networks.
        figures: what ``judge`` last returned.
    """

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float
    samples_per_s: float
    figures: Mapping[str, float] = field(default_factory=dict)


def train(
    net: SuperNet,
    loader: Loader,
    *,
    epochs: int = 30,
    lr: float = 0.1,
    weight_decay: float = 1e-4,
    rule: Rule | None = None,
    loss: Loss = cross_entropy,
    seed: int = 0,
    checkpoint: str | Path | None = None,
    key: str = "",
    judge: Callable[[], Mapping[str, float]] | None = None,
    watch: Callable[[Progress], None] | None = None,
) -> None:
    """Train the shared weights, in place.

    Stochastic gradient descent with Nesterov momentum 0.9, a warm-up of a twentieth of the steps and a cosine to
    zero. Each epoch draws its order, augmentation and sub-networks from (seed, epoch) alone, so that training which
    was interrupted goes on from its last epoch as if it had not been.

    Args:
        net: the super-network; left in evaluation mode.
        loader: batches of (inputs, labels), or dicts with ``labels`` among the inputs.
        epochs: passes over the loader.
        lr: the highest learning rate.
        weight_decay: for tensors of two or more dimensions.
        rule: who is sampled each step; :class:`Sandwich` by default.
        loss: of outputs and labels, a scalar; by default :func:`~netwright.tasks.losses.cross_entropy` of class
            scores of any shape. What sub-networks learn from the largest follows from it.
        seed: of everything random.
        checkpoint: a file that holds the state after each epoch; training goes on from it where it exists.
        key: names what is trained; a checkpoint with another key is refused.
        judge: called now and then, and after the last epoch; its figures are passed to ``watch``. Without one, weights
            that were better before are warned of: the loss of the last steps is compared with that of the first.
        watch: called after every step.

    Raises :class:`TrainingError` when the loss is no longer a finite number.
    """
    rule = rule or Sandwich()
    run = _Run(net.module, loader, epochs, lr, weight_decay, Path(checkpoint) if checkpoint else None, key)
    every = max(1, epochs // 8)
    figures: Mapping[str, float] = {}
    for epoch in run.remaining():
        rng = np.random.default_rng([seed, epoch])
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(rng.integers(2**63)))
            for progress in run.epoch(epoch, partial(_rule_step, rule, net, loss, rng), figures):
                if watch:
                    watch(progress)
        if judge and ((epoch + 1) % every == 0 or epoch + 1 == epochs):
            figures = judge()
            if watch:
                watch(run.progress(epoch, figures))
    run.finish()
    if judge is None:
        run.warn_if_worse()


def finetune(
    network: nn.Module,
    loader: Loader,
    *,
    epochs: int,
    lr: float,
    weight_decay: float = 1e-4,
    loss: Loss = cross_entropy,
    seed: int = 0,
) -> None:
    """Train a stand-alone network, in place, as :func:`train` does; left in evaluation mode."""

    def step(inputs: Any, labels: Any) -> float:
        value = scalar(loss(call(network, inputs), labels))
        value.backward()
        return float(value.detach())

    run = _Run(network, loader, epochs, lr, weight_decay, None, "")
    for epoch in run.remaining():
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(np.random.default_rng([seed, epoch]).integers(2**63)))
            for _ in run.epoch(epoch, step, {}):
                pass
    run.finish()


def _rule_step(rule: Rule, net: SuperNet, loss: Loss, rng: np.random.Generator, inputs: Any, labels: Any) -> float:
    return rule.step(net, inputs, labels, loss, rng)


class _Run:
    """Optimizer, schedule and checkpoint of one training."""

    def __init__(
        self,
        module: nn.Module,
        loader: Loader,
        epochs: int,
        lr: float,
        weight_decay: float,
        checkpoint: Path | None,
        key: str,
    ) -> None:
        if not (isinstance(loader, Iterable) and isinstance(loader, Sized)):
            raise TrainingError(
                f"a loader gives (inputs, labels) batches at each iteration and has a length, as a DataLoader does, "
                f"and a list of batches; a {type(loader).__name__} is none"
            )
        if any(isinstance(m, nn.Conv2d) for m in module.modules()):
            # Channel-wise convolutions train about twice as fast on CPUs in this layout.
            module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.module, self.loader, self.epochs, self.lr = module, loader, epochs, lr
        self.checkpoint, self.key = checkpoint, key
        parameters = [p for p in module.parameters() if p.requires_grad]
        groups: list[dict[str, Any]] = [
            {"params": [p for p in parameters if p.dim() > 1], "weight_decay": weight_decay},
            {"params": [p for p in parameters if p.dim() <= 1], "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.SGD(groups, lr=lr, momentum=0.9, nesterov=True)
        self.steps = epochs * len(loader)
        # While the learning rate warms up, the weights are nearly those that were given.
        self._first: list[float] = []
        self._last: deque[float] = deque(maxlen=max(1, min(8, self.steps // 40)))
        self._progress: Progress | None = None

    def remaining(self) -> Iterable[int]:
        """The epochs that are still to run, counted from 0."""
        first = 0
        if self.checkpoint and self.checkpoint.exists():
            tensors, meta = read_tensors(self.checkpoint)
            try:
                if meta.get("key") != self.key:
                    raise CheckpointError(
                        f"{self.checkpoint} is of another training; use another directory for this one"
                    )
                parts: dict[str, dict[str, torch.Tensor]] = {"net": {}, "optimizer": {}}
                for name, tensor in tensors.items():
                    part, _, own = name.partition(":")
                    parts[part][own] = tensor
                first = int(meta["epoch"])
                load_state(self.module, parts["net"], self.checkpoint)
                _load_optimizer(self.optimizer, parts["optimizer"])
            except (AttributeError, LookupError, TypeError, ValueError) as error:
                raise CheckpointError(
                    f"{self.checkpoint} is damaged ({format_error(error)}); it is left as it is: move it away to "
                    "start anew"
                ) from None
        return range(first, self.epochs)

    def epoch(self, epoch: int, step: Callable[[Any, Any], float], figures: Mapping[str, float]) -> Iterable[Progress]:
        """One pass over the loader; saves the state at its end."""
        self.module.train()
        total, seen, began = 0.0, 0, time.perf_counter()
        for i, batch in enumerate(self.loader):
            inputs, labels = split_batch(batch)
            at = epoch * len(self.loader) + i
            for group in self.optimizer.param_groups:
                group["lr"] = self.lr * _schedule(at, self.steps)
            self.optimizer.zero_grad()
            value = step(inputs, labels)
            if not math.isfinite(value):
                kept = f"; the state after epoch {epoch} is kept" if self.checkpoint and epoch else ""
                raise TrainingError(
                    f"the loss is {value} in epoch {epoch + 1}, step {i + 1}: the learning rate {self.lr:g} may be too "
                    f"high, or the data hold values that are not finite{kept}"
                )
            self.optimizer.step()
            if at == len(self._first) < (self._last.maxlen or 0):
                self._first.append(value)
            self._last.append(value)
            total, seen = total + value, seen + _examples(labels)
            self._progress = Progress(
                epoch + 1,
                self.epochs,
                at + 1,
                self.steps,
                total / (i + 1),
                seen / (time.perf_counter() - began),
                figures,
            )
            yield self._progress
        if self.checkpoint:
            tensors = {f"net:{k}": v for k, v in state_of(self.module).items()}
            tensors |= {f"optimizer:{k}": v for k, v in _optimizer_tensors(self.optimizer).items()}
            write_tensors(self.checkpoint, tensors, {"key": self.key, "epoch": epoch + 1})

    def finish(self) -> None:
        """Evaluation mode, and torch's default layout again."""
        self.module.eval()
        self.module.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]

    def warn_if_worse(self) -> None:
        """Say that the weights were better before."""
        if not self._first:
            return
        before, after = fmean(self._first), fmean(self._last)
        if after > before + WORSE * abs(before) + LITTLE:
            warnings.warn(
                "training has harmed the weights that were given: the largest network's loss rose from "
                f"{before:.3g} to {after:.3g}; give a lower lr (it was {self.lr:g}), or keep the weights: epochs=0",
                stacklevel=3,
            )

    def progress(self, epoch: int, figures: Mapping[str, float]) -> Progress:
        """The last progress with newer figures."""
        last = self._progress
        assert last is not None
        return Progress(last.epoch, last.epochs, last.step, last.steps, last.loss, last.samples_per_s, figures)


def _examples(labels: Any) -> int:
    """How many examples a batch with these labels has, as far as they say."""
    first = next(tensors_in(labels), None)
    return len(first) if first is not None and first.dim() else 1


def _schedule(step: int, steps: int) -> float:
    """The share of the highest learning rate: linear warm-up, then a cosine to zero."""
    warm = max(1, steps // 20)
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


def _optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimizer's per-parameter state, flat: ``<parameter>/<entry>``."""
    state = optimizer.state_dict()["state"]
    return {f"{i}/{key}": torch.as_tensor(value) for i, entry in state.items() for key, value in entry.items()}


def _load_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """The inverse of :func:`_optimizer_tensors`."""
    state: dict[int, dict[str, Tensor]] = {}
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for name, tensor in tensors.items():
        i, _, key = name.partition("/")
        if key != "momentum_buffer" or tensor.shape != parameters[int(i)].shape:
            raise ValueError(f"the optimizer has no {name} of shape {tuple(tensor.shape)}")
        state.setdefault(int(i), {})[key] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
