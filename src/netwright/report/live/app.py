"""The server of the live page: it answers GET alone, from files and studies that it was given when it was started."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from importlib import resources
from typing import Any
from urllib.parse import parse_qs

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .feed import MOST_RECORDS, Feed

MOST_BYTES = 2000
"""Of a request's path and query together."""

MOST_DIGITS = 9
"""Of a record's place."""

MOST_LISTENERS = 32
"""Pages that are told of news at once."""

LOOK_S, QUIET_S = 1.0, 15.0
"""Seconds between two looks for news, and after which a page is told that there are none."""

LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
COOKIE = "netwright-token"

FILES = {
    "/": ("live/page.html", "text/html"),
    "/base.css": ("base.css", "text/css"),
    "/page.css": ("live/page.css", "text/css"),
    "/page.js": ("live/page.js", "text/javascript"),
    "/study.js": ("live/study.js", "text/javascript"),
    "/charts.js": ("live/charts.js", "text/javascript"),
}
"""Address to file in the package of reports, and its type."""

HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-store",
}
"""Of every answer: the page loads nothing from elsewhere, and nobody else shows it."""


def make_app(feeds: Sequence[Feed], hosts: Sequence[str] = LOOPBACK, token: str = "") -> ASGIApp:
    """The server of a page.

    Args:
        feeds: the studies.
        hosts: the names that the server is asked by; ``*`` for any. A page of another site that has its own name lead
            here is not answered.
        token: what whoever asks must know; empty where everybody may look.
    """
    listeners = asyncio.Semaphore(MOST_LISTENERS)

    async def study(request: Request) -> Response:
        return Json(await run_in_threadpool(feed_of(request).about))

    async def figures(request: Request) -> Response:
        (since,) = numbers(request, "since")
        epoch, content = await run_in_threadpool(feed_of(request).figures, since)
        return Response(content, media_type="application/octet-stream", headers={"x-epoch": epoch})

    async def records(request: Request) -> Response:
        places = numbers(request, "places", MOST_RECORDS)
        epoch, found = await run_in_threadpool(feed_of(request).records, places)
        return Json({"epoch": epoch, "records": found})

    async def bundle(request: Request) -> Response:
        bundles, id_ = feed_of(request).bundles, request.path_params["id"]
        archive = await run_in_threadpool(bundles.archive, id_) if bundles else None
        if archive is None:
            raise HTTPException(404, "no such network was exported")
        told = {"content-disposition": f'attachment; filename="{id_}.zip"'}
        return StreamingResponse(archive, media_type="application/zip", headers=told)

    def feed_of(request: Request) -> Feed:
        number = request.path_params["number"]
        if number >= len(feeds):
            raise HTTPException(404, "there is no such study")
        return feeds[number]

    async def studies(request: Request) -> Response:
        return Json([feed.name for feed in feeds])

    async def events(request: Request) -> Response:
        if listeners.locked():
            return PlainTextResponse("too many pages are open", 503)

        async def told() -> AsyncIterator[str]:
            async with listeners:
                async for event in changes(feeds):
                    yield event

        return StreamingResponse(told(), media_type="text/event-stream")

    routes = [Route(path, _file(*what)) for path, what in FILES.items()]
    routes += [
        Route("/api/studies", studies), Route("/api/events", events),
        Route("/api/studies/{number:int}", study), Route("/api/studies/{number:int}/figures", figures),
        Route("/api/studies/{number:int}/records", records),
        Route("/api/studies/{number:int}/bundles/{id}.zip", bundle),
    ]  # fmt: skip
    return Starlette(routes=routes, middleware=[Middleware(Guard, hosts=tuple(hosts), token=token)])


def numbers(request: Request, name: str, most: int = 1) -> list[int]:
    """At most so many whole numbers, separated by commas, that a request gives by a name; 0 where it gives none.

    Raises :class:`HTTPException` for what is none.
    """
    given = request.query_params.get(name, "0").split(",")
    if len(given) > most or not all(x.isascii() and x.isdigit() and len(x) <= MOST_DIGITS for x in given):
        raise HTTPException(400, f"{name}: a whole number is needed{', or several with commas' * (most > 1)}")
    return list(map(int, given))


class Json(JSONResponse):
    """JSON in ASCII: texts of others may hold what cannot be written as UTF-8."""

    def render(self, content: Any) -> bytes:
        return json.dumps(content, allow_nan=False, separators=(",", ":")).encode()


async def changes(feeds: Sequence[Feed], look: float = LOOK_S, quiet: float = QUIET_S) -> AsyncIterator[str]:
    """Server-sent events: the numbers of the studies of which there is news, as soon as there is."""
    known: list[Any] = [None] * len(feeds)
    silent = 0.0
    while True:
        now = [await run_in_threadpool(feed.look) for feed in feeds]
        if news := [i for i, (before, after) in enumerate(zip(known, now, strict=True)) if before != after]:
            yield f"data: {json.dumps(news)}\n\n"
        elif silent >= quiet:
            yield ": nothing new\n\n"
        silent = 0.0 if news or silent >= quiet else silent + look
        known = list(now)
        await asyncio.sleep(look)


def _file(name: str, kind: str) -> Callable[[Request], Awaitable[Response]]:
    content = resources.files("netwright.report").joinpath(name).read_bytes()

    async def answer(request: Request) -> Response:
        return Response(content, media_type=kind)

    return answer


class Guard:
    """Answers whoever may not ask, or asks for what there is not, before anything else is done.

    Args:
        app: answers the others.
        hosts: see :func:`make_app`.
        token: see :func:`make_app`.
    """

    def __init__(self, app: ASGIApp, hosts: Sequence[str], token: str) -> None:
        self._app, self._hosts, self._token = app, hosts, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = [(k.encode(), v.encode()) for k, v in HEADERS.items()]
                message = {**message, "headers": [*message["headers"], *own]}
            await send(message)

        refused = self._refused(scope)
        await (self._app if refused is None else refused)(scope, receive, guarded)

    def _refused(self, scope: Scope) -> Response | None:
        """The answer to a request that goes no further; None for one that does."""
        headers: dict[bytes, list[bytes]] = {}
        for name, value in scope["headers"]:
            headers.setdefault(name.lower(), []).append(value)
        query = scope.get("query_string", b"")
        if len(scope.get("raw_path") or scope["path"].encode()) + len(query) > MOST_BYTES:
            return PlainTextResponse("the address is too long", 414)
        if scope["method"] not in ("GET", "HEAD"):
            return PlainTextResponse("there is nothing here that could be changed", 405, {"allow": "GET, HEAD"})
        if headers.get(b"content-length", [b"0"]) != [b"0"] or b"transfer-encoding" in headers:
            return PlainTextResponse("a request has no body here", 413)
        if "*" not in self._hosts and not self._is_asked_here(headers.get(b"host", [])):
            return PlainTextResponse("this server has another name", 421)
        return self._unknown(scope, headers, query) if self._token else None

    def _is_asked_here(self, names: Sequence[bytes]) -> bool:
        if len(names) != 1:
            return False
        name = names[0].decode("latin-1").lower()
        bare, colon, port = name.rpartition(":")
        return name in self._hosts or (bool(colon) and port.isdigit() and bare in self._hosts)

    def _unknown(self, scope: Scope, headers: Mapping[bytes, Sequence[bytes]], query: bytes) -> Response | None:
        """The answer to who does not know the token; and to who has it in the address, a cookie in its place."""
        bearer = headers.get(b"authorization", [b""])[0]
        if bearer.startswith(b"Bearer ") and self._is_token(bearer.removeprefix(b"Bearer ")):
            return None
        if self._is_token(Request(scope).cookies.get(COOKIE, "").encode("utf-8", "surrogatepass")):
            return None
        try:
            given = parse_qs(query, max_num_fields=10).get(b"token", [b""])[0]
        except ValueError:
            given = b""
        if scope["path"] == "/" and self._is_token(given):
            answer = RedirectResponse("/", 303)
            answer.set_cookie(COOKIE, self._token, httponly=True, samesite="strict")
            return answer
        return PlainTextResponse("open the address that 'netwright serve' has printed, with its token", 401)

    def _is_token(self, given: bytes) -> bool:
        return secrets.compare_digest(given, self._token.encode())
