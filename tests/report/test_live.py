"""The live page: what it is told of a study; and its server, which answers nothing else, whatever is asked."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fuzz import swaps
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import netwright as nw
from netwright.core.errors import StoreError
from netwright.core.files import parse_json
from netwright.study.stores.memory import MemoryStore
from netwright.study.stores.sqlite import SqliteStore

pytest.importorskip("starlette")
from starlette.testclient import TestClient

from netwright.report.live.app import COOKIE, FILES, make_app
from netwright.report.live.app import changes as changes_of
from netwright.report.live.feed import MOST_RECORDS, STATUSES, Feed

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


def rows(feed: Feed, since: int = 0) -> list[dict[str, float | str]]:
    """The figures of records as a page reads them: what there is."""
    about, content = feed.about(), feed.figures(since)[1]
    names = [m["name"] for m in about["metrics"]]
    table = np.frombuffer(content, "<f8").reshape(-1, 1 + len(names))
    return [
        {"status": STATUSES[int(row[0])], **{n: v for n, v in zip(names, row[1:].tolist(), strict=True) if v == v}}
        for row in table
    ]


def test_a_study_is_told_whole_and_then_what_is_new() -> None:
    store = MemoryStore()
    search(store, 4)
    feed = Feed("mine", store, lambda: 12, lambda: 2)
    about = feed.about()
    assert (about["name"], about["count"], about["wanted"], about["workers"]) == ("mine", 4, 12, 2)
    assert about["objectives"][0] == {"name": "q", "unit": "", "direction": "max"} and not about["problem"]
    before = rows(feed)
    search(store, 12)
    after = feed.about()
    assert after["epoch"] == about["epoch"] and after["count"] == 12
    assert before + rows(feed, 4) == rows(feed) and len(rows(feed)) == 12
    for place, (row, told) in enumerate(zip(rows(feed), feed.records(range(12))[1], strict=True)):
        assert told["place"] == place and told["status"] == {"whole": "ok"}.get(str(row["status"]), row["status"])
        width = told["candidate"]["width"]
        assert row == ({"status": "failed"} if width == 6 else {**row, "q": width})
    json.dumps([after, feed.records(range(12))], allow_nan=False)


def test_why_networks_failed_is_told_with_how_many(store: MemoryStore) -> None:
    (found,) = Feed("mine", store).about()["failures"]
    six = [nw.Candidate({"width": 6, "shape": shape}).id for shape in SPACE["shape"]]
    assert (found["reason"], found["count"]) == ("RuntimeError: <b>six</b>", 2) and set(found["ids"]) == set(six)


def test_other_limits_judge_all_records_anew(store: MemoryStore) -> None:
    feed = Feed("mine", store)
    before = feed.about()
    assert all(r["status"] != "infeasible" for r in rows(feed))
    search(store, 12, ("cost <= 12",))
    after = feed.about()
    assert after["epoch"] != before["epoch"] and after["limits"] == ["cost <= 12"]
    assert [r["status"] == "infeasible" for r in rows(feed)] == [r.get("cost", 0) > 12 for r in rows(feed)]


def test_who_was_measured_again_keeps_its_place(store: MemoryStore) -> None:
    feed = Feed("mine", store)
    before, ids = feed.about(), [r["id"] for r in feed.records(range(12))[1]]
    body = dict(next(body for kind, body in store.read() if kind == "record"))
    store.append("record", {**body, "reason": "again", "status": "failed", "measurements": {}})
    after = feed.about()
    assert (after["epoch"] != before["epoch"], after["count"]) == (True, 12)
    assert after["epoch"].split("-")[0] == before["epoch"].split("-")[0], "places are what they were"
    assert [r["id"] for r in feed.records(range(12))[1]] == ids
    place = ids.index(body["id"])
    assert feed.records([place])[1][0]["reason"] == "again" and rows(feed)[place] == {"status": "failed"}


def test_what_was_not_measured_whole_is_not_told_as_such() -> None:
    store = MemoryStore()
    search(store, 3)
    body = next(dict(body) for kind, body in store.read() if kind == "record" and body["status"] == "ok")
    partial = {**body["measurements"], "q": {**body["measurements"]["q"], "kind": "partial", "best_case": 9.0, "of": 9}}
    store.append("record", {**body, "measurements": partial})
    feed = Feed("mine", store)
    feed.about()
    (told,) = (r for r in feed.records(range(3))[1] if r["id"] == body["id"])
    assert told["open"] == ["q"] and rows(feed)[told["place"]]["status"] == "partial"


def test_records_are_told_at_most_so_many_at_once() -> None:
    store = MemoryStore()
    nw.search({"a": range(60), "b": range(60)}, lambda c: {"q": 1.0}, {"q": "max"}, store=store, evaluations=2,
              strategy="random")  # fmt: skip
    (body, *_) = (body for kind, body in store.read() if kind == "record")
    for i in range(MOST_RECORDS):
        candidate = {"a": i % 60, "b": i // 60}
        store.append("record", {**body, "candidate": candidate, "id": nw.Candidate(candidate).id})
    feed = Feed("large", store)
    assert feed.about()["count"] > MOST_RECORDS == len(feed.records(range(10**6))[1])
    assert feed.records([10**9])[1] == []


def test_a_value_that_no_float_holds_is_none() -> None:
    store = MemoryStore()
    search(store, 2)
    body = next(dict(body) for kind, body in store.read() if kind == "record" and body["status"] == "ok")
    huge = {**body["measurements"], "size": {"value": 10**400, "unit": "B", "spread": 0.0, "n": 1, "kind": "exact"}}
    store.append("record", {**body, "measurements": huge})
    feed = Feed("mine", store)
    assert feed.about()["unreadable"] == 1 or all("size" not in row for row in rows(feed))


class Faulty(MemoryStore):
    """A store that fails after so many entries, once."""

    after: int | None = None

    def numbered(self, since: int = 0, bad: Any = None) -> Iterator[Any]:
        for number, kind, body in super().numbered(since, bad):
            if self.after == number:
                self.after = None
                raise StoreError("gone")
            yield number, kind, body


@given(after=st.integers(1, 20))
@settings(max_examples=20, deadline=None)
def test_a_store_that_fails_in_the_middle_is_told_whole_later(after: int) -> None:
    store = Faulty()
    search(store, 12)
    feed = Feed("mine", store)
    store.after = after
    feed.about()
    assert feed.about()["problem"] == "" and rows(feed) == rows(Feed("mine", store))


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("record"), st.integers(1, 8), st.floats(0, 10) | st.none(), st.booleans()),
        st.tuples(st.just("limit"), st.none() | st.integers(0, 10)),
        st.tuples(st.just("retry"), st.integers(1, 8)),
        st.tuples(st.just("look")),
    ),
    max_size=25,
)


@given(steps=STEPS)
@settings(max_examples=80, deadline=None)
def test_who_follows_knows_what_who_comes_later_reads(steps: list[tuple[Any, ...]]) -> None:
    store = MemoryStore()
    search(store, 1)
    feed = Feed("mine", store)
    for step in steps:
        match step:
            case ("record", int(width), value, bool(more)):
                found = {} if value is None else {"q": nw.Measurement(value), "cost": nw.Measurement(width)}
                found |= {"more": nw.Measurement(1.0)} if more else {}
                record = nw.Record(nw.Candidate({"width": width, "shape": (1, 1)}), found, "ok" if found else "failed")
                store.append("record", record.to_json())
            case ("limit", bound):
                store.append("limits", {"limits": [] if bound is None else [["q", "<=", float(bound), ""]]})
            case ("retry", width):
                store.append("retry", {"candidates": [{"width": width, "shape": [1, 1]}]})
            case _:
                feed.about()
    late = Feed("mine", store)
    assert {k: v for k, v in feed.about().items() if k not in ("epoch", "times", "metrics", "failures")} == {
        k: v for k, v in late.about().items() if k not in ("epoch", "times", "metrics", "failures")
    }

    def known(one: Feed) -> dict[str, Any]:
        told = one.records(range(MOST_RECORDS))[1]
        return {r["id"]: (r["reason"], row) for r, row in zip(told, rows(one), strict=True)}

    assert known(feed) == known(late)


def test_an_entry_that_cannot_be_read_is_counted(store: MemoryStore) -> None:
    store.append("record", {"nonsense": 1})
    assert Feed("mine", store).about()["unreadable"] == 1


def test_what_is_pending_is_told_and_who_evaluates_it() -> None:
    store = MemoryStore()
    search(store, 2)
    candidate = {"width": 4, "shape": [2, 3]}
    store.append("ask", {"candidates": [candidate], "provenance": {}})
    feed = Feed("mine", store)
    assert {"candidate": {"width": 4, "shape": (2, 3)}, "by": ""} in feed.about()["pending"]
    store.append("claim", {"candidate": candidate, "by": "pi"})
    assert {"candidate": {"width": 4, "shape": (2, 3)}, "by": "pi"} in feed.about()["pending"]


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


@given(data=st.data())
@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
def test_whatever_a_journal_holds_it_is_told(store: MemoryStore, data: st.DataObject) -> None:
    entries = list(store.read())
    place = data.draw(st.integers(0, len(entries) - 1))
    damaged = MemoryStore()
    for i, (kind, body) in enumerate(entries):
        with suppress(ValueError):  # what is no JSON is no entry that was written
            damaged.append(kind, parse_json(data.draw(swaps(body))) if i == place else body)
    asks = client(Feed("a", damaged))
    for path in ("", "/figures", "/records?places=0,1,2,3,4,5,6,7,8,9,10,11"):
        answer = asks.get(f"/api/studies/0{path}")
        assert answer.status_code == 200, (path, answer.text)


# -- the server -------------------------------------------------------------------------------------------------------


def test_the_page_and_its_studies(store: MemoryStore) -> None:
    asks = client(Feed("a", store), Feed("b", MemoryStore()))
    for path, (_, kind) in FILES.items():
        answer = asks.get(path)
        assert answer.status_code == 200 and answer.headers["content-type"].startswith(kind) and answer.text
    assert asks.get("/api/studies").json() == ["a", "b"]
    assert asks.get("/api/studies/0").json()["count"] == 12 and asks.get("/api/studies/1").json()["count"] == 0
    told, epoch = asks.get("/api/studies/0/figures?since=3"), asks.get("/api/studies/0").json()["epoch"]
    assert told.headers["x-epoch"] == epoch and len(told.content) == 9 * 3 * 8
    found = asks.get("/api/studies/0/records?places=4,1,4").json()
    assert found["epoch"] == epoch and [r["place"] for r in found["records"]] == [4, 1, 4]
    assert asks.get("/api/studies/1/figures").content == b""


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
        ("/api/studies/9", 404), ("/api/studies/-1", 404), ("/api/studies/0/figures?since=-1", 400),
        ("/api/studies/x", 404), ("/api/studies/9/figures", 404), ("/api/studies/9/records", 404),
        ("/api/studies/0/figures?since=1e9", 400), ("/api/studies/0/figures?since=" + "9" * 30, 400),
        ("/api/studies/0/figures?since=1,2", 400), ("/api/studies/0/records?places=", 400),
        ("/api/studies/0/records?places=1,,2", 400), ("/api/studies/0/records?places=" + ",".join("1" * 201), 400),
        ("/api/studies/0/figures?since=٣", 400), ("/../app.py", 404), ("/%2e%2e/app.py", 404), ("/page.html", 404),
        ("/api/studies/0/bundles/0123456789.zip", 404), ("/page.py", 404),
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
    prefix=st.sampled_from(
        ["/", "/api/", "/api/studies/", "/api/studies/0/", "/api/studies/0/bundles/", "/?token=", "/page."]
    ),
    rest=TEXTS | st.sampled_from(["figures", "records", "0123456789.zip", "../manifest.json.zip"]),
    query=st.sampled_from(["", "since=", "places=", "token="]),
    headers=HEADERS,
    body=st.none() | st.binary(max_size=50),
)
def test_no_request_is_too_much(
    fuzzed: tuple[TestClient, TestClient],
    method: str,
    prefix: str,
    rest: str,
    query: str,
    headers: Any,
    body: bytes | None,
) -> None:
    if prefix + rest == "/api/events":
        return
    scope = {
        "type": "http", "method": method, "path": prefix + rest, "raw_path": (prefix + rest).encode(), "headers": [
            (name.encode(), value) for name, value in headers.items()
        ], "query_string": (query + rest).encode(), "http_version": "1.1", "scheme": "http", "root_path": "",
        "server": ("localhost", 7660), "client": ("127.0.0.1", 1),
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
    assert Feed("mine", store).about()["count"] == 4
    with pytest.raises((StoreError, sqlite3.Error)):
        store.append("record", {"i": 1})
    assert (tmp_path / "s.db").read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["s.db"]
    search(tmp_path / "s.db", 6)  # nobody is in its way
    assert len(list(store.read())) > 6
