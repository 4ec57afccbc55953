"""The live page: what it is told of a study; and its server, which answers nothing else, whatever is asked."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import netwright as nw
from netwright.core.errors import StoreError
from netwright.study.stores.memory import MemoryStore
from netwright.study.stores.sqlite import SqliteStore

pytest.importorskip("starlette")
from starlette.testclient import TestClient

from netwright.report.live.app import COOKIE, FILES, make_app
from netwright.report.live.app import changes as changes_of
from netwright.report.live.feed import PART, Feed

TOKEN = "k-" + "x" * 30
SPACE = {"width": (1, 2, 3, 4, 5, 6), "shape": ((1, 1), (2, 3))}


def figures(candidate: nw.Candidate) -> dict[str, float]:
    width = int(candidate["width"])  # type: ignore[call-overload]
    if width == 6:
        raise RuntimeError("<b>six</b>")
    return {"q": float(width), "cost": float(width * len(str(candidate["shape"])))}


def search(store: Any, evaluations: int = 12, limits: tuple[str, ...] = ()) -> list[nw.Record]:
    return nw.search(
        SPACE,
        figures,
        {"q": "max", "cost": "min"},
        store=store,
        evaluations=evaluations,
        strategy="random",
        limits=limits,
    )


@pytest.fixture
def store() -> MemoryStore:
    made = MemoryStore()
    search(made)
    return made


def client(*feeds: Feed, **more: Any) -> TestClient:
    return TestClient(make_app(feeds, **more), base_url="http://localhost:7660", follow_redirects=False)


# -- what is told -----------------------------------------------------------------------------------------------------


def test_a_study_is_told_whole_and_then_what_is_new() -> None:
    store = MemoryStore()
    search(store, 4)
    feed = Feed("mine", store, lambda: 12)
    told = feed.tell()
    assert (told["name"], told["count"], told["next"], told["wanted"]) == ("mine", 4, 4, 12)
    assert told["objectives"][0] == {"name": "q", "unit": "", "direction": "max"} and not told["problem"]
    search(store, 12)
    new = feed.tell(told["next"])
    assert new["epoch"] == told["epoch"] and new["count"] == 12 and len(new["records"]) == 8
    ids = [r["id"] for r in told["records"] + new["records"]]
    assert len(set(ids)) == 12
    failed = [r for r in told["records"] + new["records"] if r["status"] == "failed"]
    assert failed and {r["reason"] for r in failed} == {"RuntimeError: <b>six</b>"}
    json.dumps(new, allow_nan=False)


def test_other_limits_judge_all_records_anew(store: MemoryStore) -> None:
    feed = Feed("mine", store)
    before = feed.tell()
    search(store, 12, ("cost <= 12",))
    after = feed.tell(before["next"])
    assert after["epoch"] != before["epoch"] and after["limits"] == ["cost <= 12"]
    statuses = [r["status"] for r in feed.tell()["records"]]
    assert statuses.count("infeasible") and len(statuses) == after["count"]


def test_who_was_measured_again_is_told_again(store: MemoryStore) -> None:
    feed = Feed("mine", store)
    seen = feed.tell()
    body = dict(next(body for kind, body in store.read() if kind == "record"))
    store.append("record", {**body, "reason": "again", "status": "failed", "measurements": {}})
    new = feed.tell(seen["next"])["records"]
    assert [(r["id"], r["reason"]) for r in new] == [(body["id"], "again")]


def test_large_studies_are_told_in_parts() -> None:
    store = MemoryStore()
    nw.search({"a": range(60), "b": range(60)}, lambda c: {"q": 1.0}, {"q": "max"}, store=store, evaluations=2,
              strategy="random")  # fmt: skip
    (body, *_) = (body for kind, body in store.read() if kind == "record")
    for i in range(PART):
        candidate = {"a": i % 60, "b": i // 60}
        store.append("record", {**body, "candidate": candidate, "id": nw.Candidate(candidate).id})
    feed = Feed("large", store)
    first = feed.tell()
    rest = feed.tell(first["next"])
    assert len(first["records"]) == PART and rest["next"] == rest["count"] == PART + len(rest["records"])


def test_an_entry_that_cannot_be_read_is_counted(store: MemoryStore) -> None:
    store.append("record", {"nonsense": 1})
    assert Feed("mine", store).tell()["unreadable"] == 1


def test_what_is_pending_is_told() -> None:
    store = MemoryStore()
    search(store, 2)
    store.append("ask", {"candidates": [{"width": 4, "shape": [2, 3]}], "provenance": {}})
    assert {"width": 4, "shape": (2, 3)} in Feed("mine", store).tell()["pending"]


def test_events_tell_of_news_alone(store: MemoryStore) -> None:
    feeds = [Feed("a", store), Feed("b", MemoryStore())]

    async def listen() -> list[str]:
        events = changes_of(feeds, look=0.001, quiet=0.003)
        told = [await anext(events)]
        while not told[-1].startswith(":"):
            told.append(await anext(events))
        search(store, 12, ("cost <= 99",))
        while told[-1].startswith(":"):
            told.append(await anext(events))
        await events.aclose()  # type: ignore[attr-defined]
        return told

    told = asyncio.run(listen())
    assert told[0] == "data: [0, 1]\n\n" and told[1] == ": nothing new\n\n" and told[-1] == "data: [0]\n\n"


# -- the server -------------------------------------------------------------------------------------------------------


def test_the_page_and_its_studies(store: MemoryStore) -> None:
    asks = client(Feed("a", store), Feed("b", MemoryStore()))
    for path, (_, kind) in FILES.items():
        answer = asks.get(path)
        assert answer.status_code == 200 and answer.headers["content-type"].startswith(kind) and answer.text
    assert asks.get("/api/studies").json() == ["a", "b"]
    assert asks.get("/api/studies/0").json()["count"] == 12 == asks.get("/api/studies/0?since=3").json()["count"]
    assert asks.get("/api/studies/1").json()["records"] == []


def test_nothing_is_loaded_from_elsewhere_or_written_in_the_page(store: MemoryStore) -> None:
    asks = client(Feed("a", store))
    for path in (*FILES, "/api/studies", "/nothing"):
        headers = asks.get(path).headers
        assert "default-src 'none'" in headers["content-security-policy"] and "unsafe" not in str(headers)
        assert headers["x-content-type-options"] == "nosniff" and headers["cache-control"] == "no-store"
    texts = {path: asks.get(path).text for path in FILES}
    assert "http" not in texts["/"] + texts["/page.css"] + texts["/page.js"] and "style=" not in texts["/"]
    assert not any(word in text for word in ("innerHTML", "eval(", "document.write") for text in texts.values())


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/api/studies/9", 404), ("/api/studies/-1", 404), ("/api/studies/0?since=-1", 400), ("/api/studies/x", 404),
        ("/api/studies/0?since=1e9", 400), ("/api/studies/0?since=" + "9" * 30, 400), ("/page.py", 404),
        ("/api/studies/0?since=٣", 400), ("/../app.py", 404), ("/%2e%2e/app.py", 404), ("/page.html", 404),
        ("//etc/passwd", 404), ("/" + "a" * 3000, 414), ("/?" + "a" * 3000, 414), ("/api/studies/" + "9" * 500, 404),
    ],
)  # fmt: skip
def test_what_there_is_not_is_refused(path: str, code: int, store: MemoryStore) -> None:
    assert client(Feed("a", store)).get(path).status_code == code


def test_nothing_can_be_changed(store: MemoryStore) -> None:
    asks = client(Feed("a", store))
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "NONSENSE"):
        assert asks.request(method, "/api/studies/0").status_code == 405
    assert asks.request("GET", "/", content=b"x" * 10).status_code == 413
    assert asks.request("GET", "/", content=iter([b"x"])).status_code == 413
    assert asks.head("/").status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "127.0.0.1.nip.io:7660", "", "localhost:80:80"]
)
def test_a_page_of_others_that_leads_here_is_not_answered(host: str, store: MemoryStore) -> None:
    assert client(Feed("a", store)).get("/", headers={"host": host}).status_code == 421


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:7660", "[::1]:7660", "LOCALHOST:1"])
def test_this_machine_is_answered(host: str, store: MemoryStore) -> None:
    assert client(Feed("a", store)).get("/", headers={"host": host}).status_code == 200


def test_elsewhere_a_token_is_needed(store: MemoryStore) -> None:
    asks = client(Feed("a", store), hosts="*", token=TOKEN)
    for path in (*FILES, "/api/studies", "/api/events", "/nothing"):
        assert asks.get(path).status_code == 401
    for wrong in ("", TOKEN[:-1], TOKEN + "x", "ü", "\udc80"):
        assert asks.get("/", params={"token": wrong.encode("utf-8", "replace")}).status_code == 401
        assert (
            asks.get("/", headers={b"authorization": b"Bearer " + wrong.encode("utf-8", "replace")}).status_code == 401
        )
        assert asks.get("/", headers={b"cookie": f"{COOKIE}={wrong}".encode("utf-8", "replace")}).status_code == 401
    assert asks.get("/api/studies", params={"token": TOKEN}).status_code == 401, "an address is for the page alone"
    assert asks.get("/api/studies", headers={"authorization": f"Bearer {TOKEN}"}).status_code == 200
    answer = asks.get("/", params={"token": TOKEN})
    assert answer.status_code == 303 and answer.headers["location"] == "/"
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=strict" in cookie
    asks.cookies.set(COOKIE, TOKEN)
    assert asks.get("/").status_code == asks.get("/api/studies/0").status_code == 200


TEXTS = st.text(st.characters(min_codepoint=1, max_codepoint=0x2FF, exclude_categories=["Cs"]), max_size=60)
HEADERS = st.dictionaries(
    st.sampled_from(
        ["authorization", "cookie", "range", "accept", "content-length", "transfer-encoding", "host", "x-any"]
    ),
    TEXTS.map(lambda text: text.replace("\r", "").replace("\n", "").replace("\0", "").encode()),
    max_size=4,
)


@pytest.fixture(scope="module")
def fuzzed() -> Iterator[tuple[TestClient, TestClient]]:
    store = MemoryStore()
    search(store)
    yield client(Feed("a", store)), client(Feed("a", store), hosts="*", token=TOKEN)


@settings(max_examples=150, deadline=None)
@given(
    method=st.sampled_from(["GET", "HEAD", "POST", "PUT", "get", "PROPFIND"]),
    prefix=st.sampled_from(["/", "/api/", "/api/studies/", "/api/studies/0?since=", "/?token=", "/page."]),
    rest=TEXTS,
    headers=HEADERS,
    body=st.none() | st.binary(max_size=50),
)
def test_no_request_is_too_much(
    fuzzed: tuple[TestClient, TestClient], method: str, prefix: str, rest: str, headers: Any, body: bytes | None
) -> None:
    if prefix + rest == "/api/events":
        return
    scope = {
        "type": "http", "method": method, "path": prefix + rest, "raw_path": (prefix + rest).encode(), "headers": [
            (name.encode(), value) for name, value in headers.items()
        ], "query_string": rest.encode(), "http_version": "1.1", "scheme": "http", "server": ("localhost", 7660),
        "root_path": "", "client": ("127.0.0.1", 1),
    }  # fmt: skip
    for asks in fuzzed:
        sent: list[Any] = []

        async def send(message: Any, sent: list[Any] = sent) -> None:
            sent.append(message)

        async def receive() -> Any:
            return {"type": "http.request", "body": body or b"", "more_body": False}

        asyncio.run(asks.app(dict(scope), receive, send))
        assert sent[0]["status"] in (200, 303, 400, 401, 404, 405, 413, 414, 421)
        assert asks is not fuzzed[1] or sent[0]["status"] not in (200, 303) or TOKEN in str(headers) + rest


# -- the store --------------------------------------------------------------------------------------------------------


def test_a_store_that_is_only_read_writes_nothing(tmp_path: Path) -> None:
    search(tmp_path / "s.db", 4)
    before = (tmp_path / "s.db").read_bytes()
    store = SqliteStore(tmp_path / "s.db", must_exist=True, read_only=True)
    assert Feed("mine", store).tell()["count"] == 4
    with pytest.raises((StoreError, sqlite3.Error)):
        store.append("record", {"i": 1})
    assert (tmp_path / "s.db").read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["s.db"]
    search(tmp_path / "s.db", 6)  # nobody is in its way
    assert len(list(store.read())) > 6
