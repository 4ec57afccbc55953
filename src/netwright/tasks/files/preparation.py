"""What files of data are made into for a pre-trained model: token ids of texts, images of its size."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Ids = dict[str, list[list[int]]]
"""The inputs of a model by name, a list of whole numbers for each text."""


class Tokenizer(ABC):
    """Makes whole numbers of texts, as a pre-trained model was trained on them.

    Attributes:
        most: tokens of a text that the model takes.
        padding: what shorter texts are filled with at their ends, by the name of the input; ``attention_mask`` is among
            them.
    """

    most: int
    padding: Mapping[str, int]

    @abstractmethod
    def encode(self, texts: Sequence[str], pairs: Sequence[str] | None, longest: int) -> Ids:
        """The ids of texts, with the marks that the model wants around them.

        Args:
            texts: one for each example.
            pairs: a second one for each.
            longest: tokens that a text, or a pair, is cut to; 0 cuts none.
        """

    @abstractmethod
    def encode_words(self, texts: Sequence[Sequence[str]], longest: int) -> tuple[Ids, list[list[int | None]]]:
        """The ids of texts that are split in words, and the word that each token is of; None for marks."""


@dataclass(frozen=True)
class Preparation:
    """What a pre-trained model wants files of data to be made into.

    Args:
        tokenizer: gives the tokenizer of a model that takes texts; None for others.
        images: settings of :func:`~netwright.tasks.files.images.image_folder` by default.
        classes: those that its trained head has, in its order; none where the head is new.
    """

    tokenizer: Callable[[], Tokenizer] | None = None
    images: Mapping[str, Any] = field(default_factory=dict)
    classes: tuple[str, ...] = ()


NOTHING = Preparation()
"""No pre-trained model: tables are numbers, and images are as they are."""
