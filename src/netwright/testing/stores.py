"""The contract of a store, for people who write their own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from threading import Thread
from typing import Any

from ..core.errors import StoreError
from ..study.stores.base import Entry, Store

ENTRIES: list[Entry] = [
    ("study", {"text": 'ü"\n\\ \x7f\u2028', "numbers": [1, -0.1, 1e300, 5e-324, 2**70], "": []}),
    ("ask", {}),
    ("record", {"nested": {"none": None, "yes": True, "deep": [[{"a": [1]}]]}, "long": "x" * 100_000}),
    ("record", {"i": 1}),
    ("record", {"i": 1}),
    ("limits", {"": 0.1}),
]
"""Of every kind of value that JSON has; two are alike."""

NO_JSON: list[Mapping[str, Any]] = [
    {"value": float("nan")},
    {"value": float("inf")},
    {"value": {1, 2}},
    {"value": object()},
]


def check_store(make: Callable[[], Store], again: Callable[[Store], Store] | None = None) -> None:
    """Raise AssertionError where a store breaks what a study relies on.

    ::

        def test_my_store(tmp_path):
            paths = (tmp_path / str(i) for i in itertools.count())
            check_store(lambda: MyStore(next(paths)), again=lambda store: MyStore(store.path))

    Entries come back whole, in order and unchanged, from the beginning or from any place; what is no JSON is refused
    and leaves nothing behind; the first entry is begun once; only one block at a time holds the store, or of a shared
    one each block is a member. What is added by several at once is decided by one after another.

    Args:
        make: gives a new, empty store each time.
        again: opens the journal of a store once more, as another process would; None for a store that ends with its
            process.
    """
    reopened = again or (lambda store: store)
    _keeps_entries(make(), reopened)
    _reads_what_is_new(make(), reopened)
    _is_not_changed_afterwards(make())
    _refuses_what_is_no_json(make())
    _begins_once(make(), reopened)
    store = make()
    if store.shared:
        _is_held_by_several(store, reopened)
        _is_added_to_one_after_another(make(), reopened)
    else:
        _is_held_by_one(store, reopened)


def _keeps_entries(store: Store, again: Callable[[Store], Store]) -> None:
    assert list(store.read()) == [], "a new store is empty"
    for count, (kind, body) in enumerate(ENTRIES, 1):
        store.append(kind, body)
        assert list(again(store).read()) == ENTRIES[:count], "what append has returned for comes back, whole, in order"
    assert list(store.read()) == ENTRIES, "reading changes nothing"
    store.append_all(ENTRIES)
    assert list(again(store).read()) == ENTRIES * 2, "what append_all has returned for comes back, in order"


def _reads_what_is_new(store: Store, again: Callable[[Store], Store]) -> None:
    follower, seen = again(store), 0
    for kind, body in ENTRIES:
        store.append(kind, body)
        new = list(follower.read(since=seen))
        assert new == [(kind, body)], f"read(since={seen}) gives the entries after the first {seen}, not {new!r:.200}"
        seen += len(new)
    for since in range(len(ENTRIES) + 3):
        assert list(store.read(since)) == ENTRIES[since:], f"read(since={since}) of {len(ENTRIES)} entries"
        assert list(store.scan(since)) == ENTRIES[since:], f"scan(since={since}) differs from read() of a whole journal"
    reading = store.read()
    first = next(reading)
    store.append("retry", {"late": True})
    rest = list(reading)
    assert [first, *rest][: len(ENTRIES)] == ENTRIES, "what is appended while someone reads is in nobody's way"
    assert list(store.read(seen)) == [("retry", {"late": True})]


def _is_not_changed_afterwards(store: Store) -> None:
    body: dict[str, Any] = {"list": [1], "nested": {"a": 1}}
    store.append("record", body)
    body["list"].append(2)
    body["nested"]["a"] = body["more"] = 2
    next(iter(store.read()))[1]["nested"]["a"] = 3
    kept = list(store.read())
    assert kept == [("record", {"list": [1], "nested": {"a": 1}})], (
        "an entry shares nothing with what was given or read"
    )


def _refuses_what_is_no_json(store: Store) -> None:
    store.append("study", {})
    for body in NO_JSON:
        try:
            store.append("record", body)
        except StoreError:
            pass
        except Exception as error:
            raise AssertionError(f"{body} raises a {type(error).__name__}, not StoreError: {error}") from error
        else:
            raise AssertionError(f"{body} is taken, which JSON cannot hold")
        assert list(store.read()) == [("study", {})], "what was refused leaves nothing behind"


def _begins_once(store: Store, again: Callable[[Store], Store]) -> None:
    for each, (kind, body) in zip((store, again(store), store), ENTRIES, strict=False):
        each.begin(kind, body)
        assert list(store.read()) == ENTRIES[:1], "begin() adds the first entry, and none where there is one"


def _is_held_by_one(store: Store, again: Callable[[Store], Store]) -> None:
    for _ in range(2):  # it is let go with the block
        with store.held():
            store.append("record", {})
            assert list(again(store).read()), "who holds a store is in no reader's way"
    try:
        with store.held():
            raise KeyError("of the block")
    except KeyError:
        pass
    with store.held():
        if again(store) is store:
            return
        try:
            with again(store).held():
                raise AssertionError("two hold one journal at a time")
        except StoreError:
            pass


def _is_held_by_several(store: Store, again: Callable[[Store], Store]) -> None:
    other = again(store)
    assert not store.member and not store.members(), "nobody holds a new store"
    with store.held():
        assert store.member in other.members(), "others see who holds a shared store"
        with other.held():
            assert store.member != other.member, "each has a name of its own"
            assert store.members() >= {store.member, other.member}
            other.append("record", {})
            assert list(store.read()) == [("record", {})], "what one adds the others read"
        assert not other.member and store.members() == {store.member}, "who has let go is no member"
    assert not other.members()


def _is_added_to_one_after_another(store: Store, again: Callable[[Store], Store]) -> None:
    def add(mine: Store) -> None:
        for _ in range(10):
            mine.add(lambda: [("record", {"i": sum(1 for _ in mine.read())})])

    threads = [Thread(target=add, args=(again(store),)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = [body["i"] for _, body in store.read()]
    assert found == list(range(30)), f"who decides what to add has read all that was added before, not {found}"
