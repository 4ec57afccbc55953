"""A super-network trained by Lightning: the training step of a module asks a rule."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ..core.errors import MissingExtra
from ..nets.annealing import anneal
from ..nets.supernet import SuperNet
from ..tasks.base import Task
from ..training.rules import RULES, Lesson, Rule, Step

try:
    from lightning.pytorch import LightningModule
except ImportError:
    raise MissingExtra("lightning", "lightning", "netwright.adapters.lightning") from None


class SuperNetModule(LightningModule):  # type: ignore[misc, unused-ignore]
    """A LightningModule whose batches teach sub-networks, as a rule says.

    Derive a class of it with ``configure_optimizers``, and what else is needed: validation, logging. The optimizer is
    stepped here (Lightning's manual optimization), since a rule goes backward itself. Which sub-networks learn is
    drawn from the seed and the step, so that a resumed training draws the same.

    Args:
        net: the super-network; its module is what is trained.
        task: what is learned of a batch.
        rule: which sub-networks learn, and from whom.
        seed: of the sub-networks that are drawn.
        clip_norm: the longest that the gradient may be, over all weights.
    """

    def __init__(
        self, net: SuperNet, task: Task, rule: Rule | str = "sandwich", seed: int = 0, clip_norm: float | None = None
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.module, self.net, self.task, self.rule = net.module, net, task, RULES.make(rule)
        self.rule.prepare(net)
        self.seed, self.clip_norm, self.rule_state = seed, clip_norm, dict[str, torch.Tensor]()

    def training_step(self, batch: Any, batch_idx: int) -> None:
        """Teach the sub-networks that the rule chooses, and move the weights."""
        optimizer: Any = self.optimizers()
        optimizer.zero_grad()
        at = Step(self.global_step, max(1, int(self.trainer.estimated_stepping_batches)))
        anneal(self.module, at.share)
        rng = np.random.default_rng([self.seed, at.step])
        value = self.rule.step(self.net, Lesson(batch, self.task, rng, at, state=self.rule_state))
        if self.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(self.parameters(), self.clip_norm)
        optimizer.step()
        schedules = self.lr_schedulers() or []
        for schedule in schedules if isinstance(schedules, list) else [schedules]:
            schedule.step()  # type: ignore[call-arg]
        self.log("train_loss", value, prog_bar=True)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the rule's own tensors."""
        checkpoint["netwright_rule"] = self.rule_state

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on with the rule's own tensors."""
        self.rule_state = dict(checkpoint.get("netwright_rule", {}))
