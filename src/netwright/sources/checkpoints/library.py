"""The library ``transformers``: imported, quiet, and its tokenizers."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from ...core.broken import without_broken_torchvision
from ...core.errors import MissingExtra, RecipeError, format_error
from ...core.quiet import quiet
from ...tasks.files.preparation import Ids, Tokenizer

FILES = ("tokenizer*.json", "vocab*", "*.model", "*.tiktoken")
"""What tokenizers lie in; without any the library makes one of no words."""

NO_LIMIT = 1_000_000
"""Tokenizers without a limit say a number beyond this."""


@cache
def transformers() -> Any:
    """The package. Raises :class:`MissingExtra` where there is none."""
    without_broken_torchvision()
    try:
        with quiet():
            return importlib.import_module("transformers")
    except ImportError:
        raise MissingExtra("transformers", "transformers", "a pre-trained model of transformers") from None


@contextmanager
def hub_quiet() -> Iterator[None]:
    """Without the library's bars and advice."""
    logging = transformers().utils.logging
    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        with quiet():
            yield
    finally:
        if bars:
            logging.enable_progress_bar()


class HubTokenizer(Tokenizer):
    """A tokenizer of ``transformers``.

    Args:
        own: the library's.
        most: tokens that the model takes.
    """

    def __init__(self, own: Any, most: int) -> None:
        self._own, self.most = own, most
        pad = own.pad_token_id if own.pad_token_id is not None else own.eos_token_id
        self.padding = {
            "input_ids": int(pad or 0),
            "attention_mask": 0,
            "token_type_ids": int(getattr(own, "pad_token_type_id", 0)),
        }

    @classmethod
    def of(cls, path: str, config: Any) -> HubTokenizer:
        """That of a checkpoint. Raises :class:`RecipeError` where it has none."""
        folder = Path(path)
        try:
            if folder.is_dir() and not any(file for pattern in FILES for file in folder.glob(pattern)):
                raise FileNotFoundError("none of its files is there")
            with hub_quiet():
                own = transformers().AutoTokenizer.from_pretrained(path, trust_remote_code=False)
        except Exception as error:  # of the library, of a file
            raise RecipeError(
                f"model: {path} holds no tokenizer that can be read ({format_error(error)[:160]}): put the tokenizer's "
                "files (tokenizer.json and tokenizer_config.json, or vocab.txt) of the model that it was trained from "
                "beside config.json"
            ) from error
        most = int(getattr(config, "max_position_embeddings", 0) or 0)
        limits = [n for n in (most, own.model_max_length) if n and n < NO_LIMIT]
        return cls(own, min(limits, default=NO_LIMIT))

    def encode(self, texts: Sequence[str], pairs: Sequence[str] | None, longest: int) -> Ids:
        return self._encoded(list(texts), None if pairs is None else list(pairs), longest).data

    def encode_words(self, texts: Sequence[Sequence[str]], longest: int) -> tuple[Ids, list[list[int | None]]]:
        found = self._encoded([list(words) for words in texts], None, longest, is_split_into_words=True)
        return found.data, [found.word_ids(i) for i in range(len(texts))]

    def _encoded(self, texts: Any, pairs: Any, longest: int, **settings: Any) -> Any:
        cut = {"truncation": True, "max_length": longest} if longest else {"truncation": False}
        return self._own(texts, pairs, return_attention_mask=True, verbose=False, **cut, **settings)
