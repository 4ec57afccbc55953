"""Language modelling: the next token of each position."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import exp, log
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ..core.errors import NetError, RecipeError
from ..core.metric import Metric
from ..nets.inputs import Inputs, has_targets
from .base import ClassTask
from .classification import check_class_indices, check_range
from .grouped import GroupedEvaluator
from .losses import class_loss, class_rows
from .outputs import IGNORED, finite, require_classes, scores_of
from .settings import require_settings

LOSS = Metric("loss")
PERPLEXITY = Metric("perplexity")
BITS_PER_BYTE = Metric("bits_per_byte")

LARGEST = 700.0
"""The largest loss whose exponential is a finite number."""


@dataclass(frozen=True)
class LanguageModelling(ClassTask):
    """The cross-entropy of tokens: scores (n, tokens, vocabulary) and labels (n, tokens), of which -100 do not count.

    A batch without labels is one of token ids, alone or as ``input_ids`` beside an ``attention_mask``: these are the
    labels too. Metrics are the loss in nats per token and its exponential, the perplexity.

    Args:
        shift: whether the labels are the input's own tokens, so that each position is judged on the label after it;
            False where they are the next tokens already, or masked ones.
        bytes_per_token: how many bytes of text a token stands for on average, 1 for models of bytes; where it is given,
            ``bits_per_byte`` is a metric too.
        temperature: that a teacher's scores and the network's are divided by.
    """

    shift: bool = True
    bytes_per_token: float = 0.0
    temperature: float = 1.0

    def __post_init__(self) -> None:
        require_settings(self)

    @property
    def metrics(self) -> tuple[Metric, ...]:
        return (LOSS, PERPLEXITY, BITS_PER_BYTE) if self.bytes_per_token else (LOSS, PERPLEXITY)

    def split(self, batch: Any) -> tuple[Inputs, Any]:
        if isinstance(batch, Mapping) and "input_ids" in batch and not has_targets(batch):
            ids, mask = batch["input_ids"], batch.get("attention_mask")
            return batch, ids if mask is None else ids.masked_fill(mask == 0, IGNORED)
        if isinstance(batch, Tensor) or (isinstance(batch, tuple | list) and len(batch) == 1):
            ids = batch if isinstance(batch, Tensor) else batch[0]
            return ids, ids
        return super().split(batch)

    def loss(self, outputs: Any, targets: Any) -> Tensor:
        return class_loss(*self.aligned(outputs, targets), -1, IGNORED, 0.0, ())

    def class_scores(self, outputs: Any, targets: Any) -> Tensor:
        scores, labels = self.aligned(outputs, targets)
        return class_rows(scores, labels, -1)

    def evaluator(self) -> TokenLossEvaluator:
        return TokenLossEvaluator(self)

    def example_script(self) -> str:
        shifted = "scores, labels = scores[:, :-1], labels[:, 1:]\n" if self.shift else ""
        size = self.bytes_per_token
        return (
            f"{shifted}scores, labels = scores[labels != {IGNORED}], labels[labels != {IGNORED}]\n"
            "scores = scores - scores.max(-1, keepdims=True)\n"
            "loss = (np.log(np.exp(scores).sum(-1)) - scores[range(len(labels)), labels]).mean()\n"
            'print("test perplexity:", np.exp(loss))\n'
        ) + (f'print("test bits_per_byte:", loss / np.log(2) / {size:g})\n' if size else "")

    def check_targets(self, targets: Any, part: str) -> None:
        check_class_indices(targets, part, dims=2)

    def check_outputs(self, outputs: Any, targets: Any) -> None:
        scores = scores_of(outputs)
        if scores.dim() != 3 or scores.shape[1] != targets.shape[1]:
            raise RecipeError(
                f"the model gives scores of shape {tuple(scores.shape)} for tokens of shape {tuple(targets.shape)}: it "
                "must give (n, tokens, vocabulary)"
            )
        check_range(scores.shape[-1], targets, IGNORED, ())
        if self.shift and targets.shape[1] < 2:
            raise RecipeError("sequences of one token have no next one: give longer ones, or shift=false with labels")

    def aligned(self, outputs: Any, targets: Any) -> tuple[Tensor, Tensor]:
        """Scores and the labels of the same positions. Raises :class:`NetError` for other shapes."""
        scores = scores_of(outputs)
        if scores.dim() != 3 or not isinstance(targets, Tensor) or scores.shape[:2] != targets.shape:
            shape = tuple(getattr(targets, "shape", ()))
            raise NetError(f"scores of shape {tuple(scores.shape)} and tokens of shape {shape} do not belong together")
        return (scores[:, :-1], targets[:, 1:]) if self.shift else (scores, targets)


class TokenLossEvaluator(GroupedEvaluator):
    """Sums the loss of tokens; intervals take sequences for independent.

    Args:
        task: whose tokens they are.
    """

    def __init__(self, task: LanguageModelling) -> None:
        super().__init__(task.metrics)
        self._task = task
        self._seen = torch.zeros(0, dtype=torch.int64)

    def update(self, outputs: Any, targets: Any) -> int:
        scores, labels = self._task.aligned(outputs, targets)
        scores, counted = finite(scores).float().cpu(), labels != IGNORED
        require_classes(labels[counted], scores.shape[-1])
        each = F.cross_entropy(scores.flatten(0, 1), labels.flatten(), ignore_index=IGNORED, reduction="none")
        seen = torch.bincount(labels[counted], minlength=scores.shape[-1])
        self._seen = seen if not len(self._seen) else self._seen + seen
        sums = torch.stack([each.view(labels.shape).double().sum(1), counted.sum(1).double()], 1)
        return self.add(sums, int(counted.sum()))

    def figures(self, sums: Tensor) -> dict[str, float]:
        total, tokens = sums.tolist()
        return self._of(total / tokens) if tokens else {}

    def baseline(self) -> dict[str, float]:
        """What a network has that always answers the frequencies of the tokens."""
        shares = self._seen.double() / max(1, int(self._seen.sum()))
        return self._of(float(-torch.xlogy(shares, shares).sum()))

    def _of(self, loss: float) -> dict[str, float]:
        found = {LOSS.name: loss, PERPLEXITY.name: exp(min(loss, LARGEST))}
        size = self._task.bytes_per_token
        return {**found, BITS_PER_BYTE.name: loss / log(2) / size} if size else found
