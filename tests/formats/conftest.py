"""What reads exported files back is what everybody has: a fresh process for each network."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from readers import Readers

from netwright.formats import readback


@pytest.fixture(scope="module", autouse=True)
def fresh(readers: Readers) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(readback, "_answer", readers.fresh)
        yield
