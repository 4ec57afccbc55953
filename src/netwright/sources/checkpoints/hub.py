"""The hub of models, as the client ``huggingface_hub`` knows it."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any


@contextmanager
def hub_or_cache() -> Iterator[None]:
    """Files of models come from the hub or, where it cannot be reached, from those that were fetched before alone.

    The client asks an unreachable hub six times for each file that it lacks, with longer and longer pauses: half a
    minute until a person without a network is told so. Here it is asked once.
    """
    try:
        constants: Any = importlib.import_module("huggingface_hub.constants")
    except ImportError:  # a library of models that needs no client says what it needs itself
        yield
        return
    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or not _answers(constants.ENDPOINT, constants.HF_HUB_ETAG_TIMEOUT)
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


@cache
def _answers(address: str, seconds: float) -> bool:
    """Whether a hub says anything at all; what it says is for the client to judge. It is asked by the client's own
    session, so that proxies and certificates are those of the client."""
    try:
        importlib.import_module("huggingface_hub").get_session().head(address, timeout=seconds)
    except Exception:  # of the client's library of HTTP, which has changed between its versions
        return False
    return True
