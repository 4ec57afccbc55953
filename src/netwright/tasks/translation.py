"""Translation: the next token of each position is learned, and what is written token by token is judged."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..core.errors import MissingExtra, NetError, RecipeError
from ..core.metric import Metric
from ..nets.inputs import Inputs, call
from .base import ClassTask
from .grouped import GroupedEvaluator
from .language_modelling import LOSS, LanguageModelling
from .losses import class_loss
from .outputs import IGNORED, finite, require_classes, scores_of
from .settings import find_functions, require_settings

BLEU = Metric("bleu", "", "max", superlative="best by BLEU")

WRITTEN = ("target_ids", "decoder_input_ids")
"""What networks call the tokens that have been written so far."""

ANSWER = "translation"
"""What an answer holds beside the network's own scores."""

NGRAMS = 4


@dataclass(frozen=True)
class Translation(ClassTask):
    """Sequences to sequences: scores (n, tokens, vocabulary) of the token that follows each one of ``target_ids`` (or
    ``decoder_input_ids``), and labels (n, tokens), of which -100 do not count.

    Networks learn the next token after the true ones. They are judged by what they write by themselves: the likeliest
    token, one after the other, from the first of ``target_ids`` on until ``end``. Each takes a run of the whole
    network, so that an exported file is judged as the network is; the number of tokens must be free in it. ``bleu`` is
    sacrebleu's of the texts (``pip install 'netwright[translation]'``).

    Args:
        decode: makes a text of a list of token ids, without marks such as ``end``: a function, or ``module:function``.
        end: the token that ends a text.
        longest: tokens after which writing stops.
        label_smoothing: the share of a label that all tokens have equally.
        temperature: that a teacher's scores and the network's are divided by.
    """

    decode: Callable[[list[int]], str] | str
    end: int
    longest: int = 64
    label_smoothing: float = 0.0
    temperature: float = 1.0

    def __post_init__(self) -> None:
        require_settings(self)
        find_functions(self, "decode")
        if self.longest < 1 or self.end < 0:
            raise RecipeError("Translation: longest is a number of tokens from 1, and end the id of one")
        _bleu()

    @property
    def metrics(self) -> tuple[Metric, ...]:
        return (BLEU, LOSS)

    @property
    def _tokens(self) -> LanguageModelling:
        return LanguageModelling(shift=False, temperature=self.temperature)

    def loss(self, outputs: Any, targets: Any) -> Tensor:
        return class_loss(*self._tokens.aligned(outputs, targets), -1, IGNORED, self.label_smoothing, ())

    def class_scores(self, outputs: Any, targets: Any) -> Tensor:
        return self._tokens.class_scores(outputs, targets)

    def answer(self, network: nn.Module, inputs: Inputs) -> dict[str, Tensor]:
        """The scores of the true tokens, and the ids that the network writes, (n, tokens); all after the first ``end``
        are that."""
        name = next((name for name in WRITTEN if isinstance(inputs, Mapping) and name in inputs), None)
        if name is None:
            raise NetError(f"a translator takes a dict of inputs with {' or '.join(WRITTEN)} among them")
        scores, written = scores_of(call(network, inputs)), inputs[name][:, :1]
        done = torch.zeros_like(written, dtype=torch.bool)
        while written.shape[1] <= self.longest and not done.all():
            following = scores_of(call(network, {**inputs, name: written}))[:, -1:]
            token = following.argmax(2).to(written).masked_fill(done, self.end)
            written, done = torch.cat([written, token], 1), done | (token == self.end)
        return {"logits": scores, ANSWER: written[:, 1:]}

    def evaluator(self) -> TranslationEvaluator:
        return TranslationEvaluator(self)

    def check_targets(self, targets: Any, part: str) -> None:
        self._tokens.check_targets(targets, part)

    def check_outputs(self, outputs: Any, targets: Any) -> None:
        scores = scores_of(outputs)
        if scores.dim() != 3 or self.end >= scores.shape[2]:
            raise RecipeError(
                f"the model gives scores of shape {tuple(scores.shape)}: it must give (n, tokens, vocabulary), with "
                f"the end token {self.end} in its vocabulary"
            )


class TranslationEvaluator(GroupedEvaluator):
    """Sums of sacrebleu's counts over texts, and of the loss of tokens; intervals take texts for independent.

    Args:
        task: whose texts they are.
    """

    def __init__(self, task: Translation) -> None:
        super().__init__(task.metrics)
        self._task, self._bleu = task, _bleu()(effective_order=True)

    def update(self, outputs: Any, targets: Any) -> int:
        if not isinstance(outputs, Mapping) or ANSWER not in outputs:
            raise NetError(
                "a translator is judged by what it writes: give what Translation.answer(network, inputs) gives"
            )
        scores, labels = self._task._tokens.aligned(outputs, targets)
        counted = labels != IGNORED
        require_classes(labels[counted], scores.shape[-1])
        each = torch.nn.functional.cross_entropy(
            finite(scores).float().flatten(0, 1), labels.flatten(), ignore_index=IGNORED, reduction="none"
        )
        sums = [each.view(labels.shape).double().sum(1), counted.sum(1).double()]
        rows = [self._counts(*pair) for pair in zip(outputs[ANSWER].tolist(), labels.tolist(), strict=True)]
        return self.add(torch.cat([torch.stack(sums, 1), torch.tensor(rows, dtype=torch.float64)], 1), len(rows))

    def _counts(self, written: list[int], labels: list[int]) -> list[int]:
        """What BLEU sums over texts: n-grams found and written, and both lengths."""
        texts = [self._text(ids) for ids in (written, [i for i in labels if i != IGNORED])]
        found = self._bleu.sentence_score(texts[0], texts[1:])
        return [*found.counts, *found.totals, found.sys_len, found.ref_len]

    def _text(self, ids: list[int]) -> str:
        assert not isinstance(self._task.decode, str)
        return self._task.decode(ids[: ids.index(self._task.end)] if self._task.end in ids else ids)

    def figures(self, sums: Tensor) -> dict[str, float]:
        loss, tokens, *counts = sums.tolist()
        whole = [round(count) for count in counts]
        score = _bleu().compute_bleu(whole[:NGRAMS], whole[NGRAMS : 2 * NGRAMS], *whole[-2:], smooth_method="exp").score
        return {BLEU.name: score, LOSS.name: loss / tokens} if tokens else {}


def _bleu() -> Any:
    """sacrebleu's class. Raises :class:`MissingExtra` where the package is not there."""
    try:
        from sacrebleu.metrics.bleu import BLEU as Score
    except ImportError:
        raise MissingExtra("sacrebleu", "translation", "the task translation") from None
    return Score
