"""A super-network trained by ``transformers.Trainer``: its loss asks a rule."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ..core.errors import MissingExtra, TrainingError
from ..nets.annealing import anneal
from ..nets.supernet import SuperNet
from ..tasks.base import Task
from ..training.gradients import set_aside
from ..training.rules import RULES, Lesson, Rule, Step

try:
    from transformers import Trainer
except ImportError:
    raise MissingExtra("transformers", "transformers", "netwright.adapters.transformers") from None


class SuperNetTrainer(Trainer):  # type: ignore[misc, unused-ignore]
    """A :class:`transformers.Trainer` whose batches teach sub-networks, as a rule says.

    Everything else is the Trainer's: data, optimizer, schedule, clipping, accumulation, bf16, logging, checkpoints.
    Which sub-networks learn is drawn from the seed and the step, so that a resumed training draws the same. What is
    evaluated is the largest network.

    Args:
        net: the super-network; its module is what is trained.
        task: what is learned of a batch.
        rule: which sub-networks learn, and from whom.
        rest: as the Trainer takes it, but for ``model``.
    """

    def __init__(self, *args: Any, net: SuperNet, task: Task, rule: Rule | str = "sandwich", **rest: Any) -> None:
        super().__init__(net.module, *args, **rest)
        self.net, self.task, self.rule, self.rule_state = net, task, RULES.make(rule), dict[str, torch.Tensor]()
        self.rule.prepare(net)
        if self.args.world_size > 1 or self.args.n_gpu > 1:
            raise TrainingError("a super-network is trained in one process and on one device: set CUDA_VISIBLE_DEVICES")
        if self.args.fp16:
            raise TrainingError("a rule's gradients cannot be scaled as fp16 needs it; use bf16=True")

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The rule's loss; the gradients are added here, and those that the Trainer adds are zero."""
        if not model.training:
            return super().compute_loss(model, inputs, return_outputs=return_outputs)
        at = Step(self.state.global_step, max(1, self.state.max_steps))
        anneal(self.net.module, at.share)
        rng = np.random.default_rng([self.args.seed, at.step])
        parameters = [p for p in model.parameters() if p.requires_grad]
        with set_aside(parameters):
            value = self.rule.step(self.net, Lesson(inputs, self.task, rng, at, state=self.rule_state))
            for p in parameters:
                if p.grad is not None:
                    p.grad /= self.args.gradient_accumulation_steps
        return torch.tensor(value, device=self.args.device, requires_grad=True)
