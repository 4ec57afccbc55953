"""The hub of models: asked once whether it answers, and then no more where it does not."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import tiny_checkpoints as tiny

from netwright.core.errors import RecipeError
from netwright.sources.checkpoints import checkpoint_of, hub
from netwright.tasks import TASKS

tiny.library()
client: Any = pytest.importorskip("huggingface_hub", reason="huggingface_hub is not installed")


class Session:
    """A client's session.

    Args:
        error: raised of each request, None where the hub answers.
    """

    def __init__(self, error: Exception | None = None) -> None:
        self.error, self.asked = error, list[tuple[str, float]]()

    def head(self, address: str, timeout: float) -> SimpleNamespace:
        self.asked.append((address, timeout))
        if self.error is not None:
            raise self.error
        return SimpleNamespace(status_code=503)


@pytest.fixture(autouse=True)
def nothing_known() -> Iterator[None]:
    """What was found of the hub is forgotten before and after."""
    hub._answers.cache_clear()
    yield
    hub._answers.cache_clear()


def test_a_hub_that_cannot_be_reached_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    session = Session(ConnectionError("no such host"))
    monkeypatch.setattr(client, "get_session", lambda: session)
    monkeypatch.setattr(client.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr("time.sleep", lambda seconds: pytest.fail(f"the client waits {seconds} s to ask again"))
    for _ in range(2):
        checkpoint = checkpoint_of("nobody/nothing")
        assert checkpoint is not None
        with pytest.raises(RecipeError, match=r"'nobody/nothing' is no local directory, .* give the path"):
            checkpoint.preparation(TASKS.make("text-classification"))
    assert session.asked == [(client.constants.ENDPOINT, client.constants.HF_HUB_ETAG_TIMEOUT)]
    assert client.constants.HF_HUB_OFFLINE is False, "a person's other calls are as they were"


def test_one_that_answers_is_asked_for_its_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "get_session", Session)
    for offline in (False, True):
        monkeypatch.setattr(client.constants, "HF_HUB_OFFLINE", offline)
        with hub.hub_or_cache():
            assert client.constants.HF_HUB_OFFLINE is offline, "what a person has set stays"


def test_a_local_directory_does_not_ask(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "get_session", lambda: pytest.fail("the hub was asked"))
    checkpoint = checkpoint_of(str(tiny.bert(tmp_path / "model")))
    assert checkpoint is not None
    checkpoint.preparation(TASKS.make("text-classification"))
