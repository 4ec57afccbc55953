"""Where journals are kept: one store per file."""

from __future__ import annotations

import re
from pathlib import Path

from ...core.errors import CallError, StoreError
from ...core.registry import Registry
from .base import Store

STORES: Registry[Store] = Registry("store", Store, __name__, {
    "memory": "memory:MemoryStore",
    "postgresql": "postgresql:PostgresqlStore",
    "sqlite": "sqlite:SqliteStore",
}, error=StoreError)  # fmt: skip


def open_store(store: Store | str | Path) -> Store:
    """A store as it is given, of a text such as ``sqlite,path=runs/study.db`` or ``module:Class,key=value``, or the
    SQLite file of a path.

    Raises :class:`StoreError` or :class:`CallError` for what is none of them.
    """
    if isinstance(store, str) and not _names_a_store(store):
        store = Path(store)
    if isinstance(store, Path):
        from .sqlite import SqliteStore

        return SqliteStore(store)
    if isinstance(store, Store | str):
        return STORES.make(store)
    raise CallError(
        f"a study is kept in a file, by its path, or in a store such as 'sqlite,path=study.db', not in a "
        f"{type(store).__name__}"
    )


def _names_a_store(text: str) -> bool:
    """Whether a text is one of the registry's, and not a path."""
    name = text.partition(",")[0].strip()
    settings = re.fullmatch(r"[A-Za-z_]\w*(,\s*\w+=[^,]*)+", text) is not None
    return settings or name in STORES.names() or re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", name) is not None
